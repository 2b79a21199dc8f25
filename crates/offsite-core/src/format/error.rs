//! The errors of decoding stored bytes.

use crate::{ChainError, DiskMapError};

/// The result of decoding.
pub type Result<T> = std::result::Result<T, FormatError>;

/// The error for stored bytes that cannot be decoded.
///
/// `docs/format.md` describes the structures.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// There are fewer bytes than the structure needs.
    #[error("{what} is cut off: {bytes} bytes, {needed_bytes} needed")]
    Short {
        /// The structure.
        what: &'static str,
        /// The number of bytes that there are.
        bytes: u64,
        /// The number of bytes that there should be.
        needed_bytes: u64,
    },
    /// There are more bytes than the structure may have.
    #[error("{what} claims {bytes} bytes, at most {limit_bytes} are valid")]
    Long {
        /// The structure.
        what: &'static str,
        /// The length that the bytes claim.
        bytes: u64,
        /// The largest length that is allowed.
        limit_bytes: u64,
    },
    /// The structure does not begin with Offsite's magic bytes. The value is the structure.
    #[error("no {0}: it does not start as one does")]
    Magic(&'static str),
    /// The checksum does not match: bytes have changed since they were written. The value is the structure.
    #[error("{0} is damaged: its checksum does not match")]
    Checksum(&'static str),
    /// The object is of another kind.
    #[error("an object of kind {found} where {expected} was expected")]
    Kind {
        /// The stored kind.
        found: u16,
        /// The expected kind.
        expected: u16,
    },
    /// A newer version of Offsite wrote the structure.
    #[error("{what} has version {version}, this Offsite reads up to {known}: use a newer one")]
    Version {
        /// The structure.
        what: &'static str,
        /// The stored version.
        version: u16,
        /// The newest version that this library knows.
        known: u16,
    },
    /// A reader must know these features to read correctly, and this library does not. The value is their bit mask.
    #[error("the object uses features {0:#x} that this Offsite does not know: use a newer one")]
    Feature(u32),
    /// This library does not know this encryption suite.
    #[error("encryption suite {0} is not known to this Offsite: use a newer one")]
    Suite(u16),
    /// The checksums match, but the content contradicts itself.
    #[error("{what} contradicts itself: {why}")]
    Invalid {
        /// The structure.
        what: &'static str,
        /// The contradiction, in words.
        why: String,
    },
}

impl FormatError {
    /// The error for content that contradicts itself.
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
