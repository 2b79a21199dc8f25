//! Machines and their disks.

use std::fmt;
use std::sync::Arc;

/// The longest machine name, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// The name of a machine.
///
/// Two machines with the same name count as one, whichever jobs back them up.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MachineName(Arc<str>);

/// The error for a text that is no [`MachineName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is no machine name: {reason}")]
pub struct MachineNameError {
    name: String,
    reason: &'static str,
}

impl MachineName {
    /// Parses a machine name.
    ///
    /// A name has 1 to 128 bytes. It contains no control character and no slash. It neither starts nor ends with white space.
    ///
    /// # Errors
    /// [`MachineNameError`] with the text and the rule that it breaks.
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

/// The number of a machine inside one job folder.
///
/// The headers of its frames have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct MachineNumber(pub u32);

/// The number of a disk within its machine.
///
/// Disks are counted from 0, in the order in which they were first given. [`match_disks`](crate::match_disks) assigns the
/// numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct DiskNumber(pub u16);

impl fmt::Display for DiskNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}
