//! Why bytes are not what they should be.

use crate::{ChainError, DiskMapError};

/// The result of decoding.
pub type Result<T> = std::result::Result<T, FormatError>;

/// Why bytes could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// Fewer bytes than the structure needs.
    #[error("{what} is cut off: {bytes} bytes, {needed_bytes} needed")]
    Short {
        /// Which structure.
        what: &'static str,
        /// Bytes there are.
        bytes: u64,
        /// Bytes there should be.
        needed_bytes: u64,
    },
    /// More bytes than the structure may have.
    #[error("{what} claims {bytes} bytes, at most {limit_bytes} are valid")]
    Long {
        /// Which structure.
        what: &'static str,
        /// The length claimed.
        bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// The bytes are not Offsite's.
    #[error("no {0}: it does not start as one does")]
    Magic(&'static str),
    /// Bytes changed since they were written.
    #[error("{0} is damaged: its checksum does not match")]
    Checksum(&'static str),
    /// An object of another kind.
    #[error("an object of kind {found} where {expected} was expected")]
    Kind {
        /// The kind found.
        found: u16,
        /// The kind expected.
        expected: u16,
    },
    /// A newer Offsite wrote this.
    #[error("{what} has version {version}, this Offsite reads up to {known}: use a newer one")]
    Version {
        /// Which structure.
        what: &'static str,
        /// The version found.
        version: u16,
        /// The newest version known.
        known: u16,
    },
    /// A feature that a reader must know to read correctly.
    #[error("the object uses features {0:#x} that this Offsite does not know: use a newer one")]
    Feature(u32),
    /// An encryption suite that is not known.
    #[error("encryption suite {0} is not known to this Offsite: use a newer one")]
    Suite(u16),
    /// Checksums match and yet the content contradicts itself.
    #[error("{what} contradicts itself: {why}")]
    Invalid {
        /// Which structure.
        what: &'static str,
        /// The contradiction.
        why: String,
    },
}

impl FormatError {
    /// Content that contradicts itself.
    pub(crate) fn invalid(what: &'static str, why: impl std::fmt::Display) -> Self {
        Self::Invalid { what, why: why.to_string() }
    }
}

impl From<DiskMapError> for FormatError {
    fn from(error: DiskMapError) -> Self {
        Self::invalid("index", error)
    }
}

impl From<ChainError> for FormatError {
    fn from(error: ChainError) -> Self {
        Self::invalid("head", error)
    }
}
