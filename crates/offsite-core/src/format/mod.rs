//! The stored bytes, version 1. `docs/format.md` describes them for someone who writes another reader.
//!
//! Every object starts with an [envelope](Envelope). Small objects are one record inside it; an [index] and a
//! [backup file](backup_file) go on after it with parts of their own. Integers are little-endian.
//!
//! Bytes from a repository are hostile until they are decoded here: lengths are capped before anything is allocated,
//! checksums are compared before anything is parsed, and what was parsed is encoded again and compared.

pub mod backup_file;
mod codec;
mod columns;
mod directory;
mod disk_format;
mod envelope;
mod error;
pub mod frame;
pub mod head;
pub mod index;
mod index_record;
pub mod records;

pub use envelope::{ENVELOPE_BYTES, Envelope, Kind, Protection, decode_record, encode_record};
pub use error::{FormatError, Result};

/// What is stored as an object of its own.
pub trait WireFormat: Sized {
    /// The stored bytes.
    ///
    /// # Errors
    /// [`FormatError`] for a value that [`WireFormat::decode`] would refuse, or that is too long.
    fn encode(&self) -> Result<Vec<u8>>;

    /// The value that `bytes` are of.
    ///
    /// # Errors
    /// [`FormatError`] says what is damaged or contradictory.
    fn decode(bytes: &[u8]) -> Result<Self>;
}

/// CRC-64/NVME of `bytes`.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u64 {
    let mut digest = crc64fast_nvme::Digest::new();
    digest.write(bytes);
    digest.sum64()
}

/// CRC-64/NVME of bytes that come piece by piece.
#[derive(Clone, Default)]
pub struct Checksum(crc64fast_nvme::Digest);

impl Checksum {
    /// The next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    /// The checksum of all pieces so far.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.sum64()
    }
}
