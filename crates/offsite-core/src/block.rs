//! Blocks: the fixed-size pieces of a disk.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

/// The size of a job's blocks.
///
/// A job keeps the block size of its first restore point for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[non_exhaustive]
pub enum BlockSize {
    /// 256 KiB. Gives the smallest increments and the largest index.
    KiB256,
    /// 512 KiB.
    KiB512,
    /// 1 MiB, the default.
    #[default]
    MiB1,
    /// 4 MiB. Gives the smallest index. For disks of many terabytes that change little.
    MiB4,
}

/// The error for a number of bytes that is no [`BlockSize`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a block of {bytes} bytes: use 256 KiB, 512 KiB, 1 MiB or 4 MiB")]
#[non_exhaustive]
pub struct BlockSizeError {
    /// The rejected number of bytes.
    pub bytes: u64,
}

impl BlockSize {
    /// All sizes, ascending.
    pub const ALL: [Self; 4] = [Self::KiB256, Self::KiB512, Self::MiB1, Self::MiB4];

    /// The size in bytes.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        match self {
            Self::KiB256 => 256 << 10,
            Self::KiB512 => 512 << 10,
            Self::MiB1 => 1 << 20,
            Self::MiB4 => 4 << 20,
        }
    }

    /// Converts a number of bytes to a block size.
    ///
    /// # Errors
    /// [`BlockSizeError`] if `bytes` is none of the four sizes.
    pub fn from_bytes(bytes: u64) -> Result<Self, BlockSizeError> {
        Self::ALL.into_iter().find(|size| u64::from(size.bytes()) == bytes).ok_or(BlockSizeError { bytes })
    }

    /// The number of blocks of a disk with `size_bytes` bytes.
    ///
    /// The last block may be shorter than the others.
    #[must_use]
    pub const fn count(self, size_bytes: u64) -> u64 {
        size_bytes.div_ceil(self.bytes() as u64)
    }

    /// The position on the disk where block number `block` starts, in bytes.
    #[must_use]
    pub const fn offset(self, block: u32) -> u64 {
        block as u64 * self.bytes() as u64
    }

    /// The length of block number `block` on a disk of `size_bytes`, in bytes.
    ///
    /// Each block has the full block size, except the last, which may be shorter. A block past the end of the disk has length 0.
    #[must_use]
    pub fn length_at(self, block: u32, size_bytes: u64) -> u32 {
        let left = size_bytes.saturating_sub(self.offset(block));
        u32::try_from(left).unwrap_or(u32::MAX).min(self.bytes())
    }
}

impl fmt::Display for BlockSize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::KiB256 => "256 KiB",
            Self::KiB512 => "512 KiB",
            Self::MiB1 => "1 MiB",
            Self::MiB4 => "4 MiB",
        })
    }
}

/// A SHA-256 (FIPS 180-4): of a block's uncompressed bytes, or of what an index or a head refers to.
///
/// Offsite treats blocks with equal digests as equal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

/// The error for a text that is no [`Digest`].
///
/// A digest has 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a digest has 64 hexadecimal digits")]
#[non_exhaustive]
pub struct DigestError;

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

/// Prints 64 hexadecimal digits.
impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// Parses what `Display` prints.
impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        crate::id::from_hex(text).map(Self).ok_or(DigestError)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..8].iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))?;
        formatter.write_str("..")
    }
}
