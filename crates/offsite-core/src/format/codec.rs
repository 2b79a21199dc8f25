//! Records to bytes and back. The only file that names bincode.
//!
//! The encoding is bincode's standard one (variable-length integers, little-endian, fields in order, no tags), pinned at
//! 2.0.1 and frozen by golden bytes; `wincode` reads and writes the same bytes. bincode by itself accepts trailing bytes and
//! more than one spelling of a value, and allocates what a length claims; so a record is decoded from a slice only, under
//! a limit of memory, must consume every byte, and must encode to the same bytes again.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{FormatError, Result};

const ENCODING: bincode::config::Configuration = bincode::config::standard();

/// The bytes of `record`.
pub(super) fn encode<T: Serialize>(what: &'static str, record: &T) -> Result<Vec<u8>> {
    bincode::serde::encode_to_vec(record, ENCODING).map_err(|error| FormatError::invalid(what, error))
}

/// The record whose bytes are exactly `bytes`.
pub(super) fn decode<T: Serialize + DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T> {
    // bincode makes room for a text of the length that it claims, up to the limit; so the limit follows the record's
    // length. It counts an integer as eight bytes, which takes one at least, hence never less than eight times that.
    let (record, consumed): (T, usize) = match bytes.len() {
        0..0x1000 => decode_within::<T, 0x1_0000>(what, bytes),
        0x1000..0x1_0000 => decode_within::<T, 0x10_0000>(what, bytes),
        0x1_0000..0x10_0000 => decode_within::<T, 0x100_0000>(what, bytes),
        0x10_0000..0x100_0000 => decode_within::<T, 0x1000_0000>(what, bytes),
        _ => decode_within::<T, 0x4000_0000>(what, bytes),
    }?;
    if consumed != bytes.len() {
        return Err(FormatError::invalid(what, format!("{} bytes after its end", bytes.len() - consumed)));
    }
    if encode(what, &record)? != bytes {
        return Err(FormatError::invalid(what, "it is not written in the one valid way"));
    }
    Ok(record)
}

/// A record at the start of `bytes` that takes at most `LIMIT` bytes of memory, and how many bytes it consumed.
fn decode_within<T: DeserializeOwned, const LIMIT: usize>(what: &'static str, bytes: &[u8]) -> Result<(T, usize)> {
    bincode::serde::decode_from_slice(bytes, ENCODING.with_limit::<LIMIT>())
        .map_err(|error| FormatError::invalid(what, error))
}

#[cfg(test)]
mod tests;
