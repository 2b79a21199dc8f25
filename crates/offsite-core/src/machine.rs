//! Machines and their disks.

use std::fmt;
use std::sync::Arc;

/// The longest machine name, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// The name of a machine. One name is one machine, whichever job backs it up.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MachineName(Arc<str>);

/// Why a text is no machine name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is no machine name: {reason}")]
pub struct MachineNameError {
    name: String,
    reason: &'static str,
}

impl MachineName {
    /// Parses a name: 1 to 128 bytes, no control characters, no slash, no blank at an end.
    ///
    /// # Errors
    /// [`MachineNameError`] says what is wrong.
    pub fn new(name: &str) -> Result<Self, MachineNameError> {
        let refuse = |reason| Err(MachineNameError { name: name.to_owned(), reason });
        if name.is_empty() {
            return refuse("it is empty");
        }
        if name.len() > NAME_BYTES_MAX {
            return refuse("it has more than 128 bytes");
        }
        if name.chars().any(char::is_control) {
            return refuse("it has a control character");
        }
        if name.contains(['/', '\\']) {
            return refuse("it has a slash");
        }
        if name.trim() != name || name.starts_with('.') {
            return refuse("it starts or ends with a blank, or starts with a dot");
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MachineName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

impl fmt::Debug for MachineName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, formatter)
    }
}

/// The number that stands for a machine inside one job folder, in the headers of its frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct MachineNumber(pub u32);

/// The number of a disk within its machine, counted from 0 in the order in which the disks were given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct DiskNumber(pub u16);

impl fmt::Display for DiskNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}
