//! Who uses a file.

use std::fmt;
use std::path::PathBuf;

/// Who uses a file or a block device, so that it must not be written over.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum FileUser {
    /// It, or a partition of it, is mounted there.
    Mount(PathBuf),
    /// Another block device stands on it: of the device mapper (with LVM's name), a RAID, a loop device.
    Device(String),
    /// It is used as swap space.
    Swap,
    /// A process has it open to write to it.
    Process {
        /// The process.
        id: u32,
        /// The name of its program.
        name: String,
    },
}

impl fmt::Display for FileUser {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mount(at) => write!(formatter, "it is mounted at {}", at.display()),
            Self::Device(name) => write!(formatter, "device {name} stands on it"),
            Self::Swap => formatter.write_str("it is swap space"),
            Self::Process { id, name } => write!(formatter, "{name} (process {id}) has it open to write to it"),
        }
    }
}
