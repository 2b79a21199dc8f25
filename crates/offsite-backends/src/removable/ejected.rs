//! A medium that can be taken out.

use std::fmt;
use std::path::PathBuf;

use super::marker::Medium;

/// A medium that a person can unmount and take out now.
///
/// `Display` says so in words.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EjectedMedium {
    /// The medium.
    pub medium: Medium,
    /// The folder at which it is mounted.
    pub path: PathBuf,
}

impl fmt::Display for EjectedMedium {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { medium, path } = self;
        write!(formatter, "everything is on medium {medium}; unmount {}, then take it out", path.display())
    }
}
