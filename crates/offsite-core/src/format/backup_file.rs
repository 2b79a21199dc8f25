//! Backup files: the frames of one restore point, for all its machines.
//!
//! An envelope with a [`BackupFileHeader`], zeros up to [`region_bytes`], then frames, each at a multiple of the
//! file's alignment, zeros between them and after the last.

use serde::{Deserialize, Serialize};

use super::ENVELOPE_BYTES;

/// The head of a backup file, from which its frames can be made sense of without any index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupFileHeader {
    /// The job folder.
    pub folder: [u8; 16],
    /// The file's id.
    pub id: u64,
    /// The restore point that it was written for.
    pub sequence: u64,
    /// The time of that point, in seconds since 1970.
    pub time_unix_secs: i64,
    /// The size of a block.
    pub block_bytes: u32,
    /// Frames start at multiples of this.
    pub alignment_bytes: u32,
    /// The names that the machine numbers in the frames stand for.
    pub machines: Vec<MachineLabel>,
}

/// A machine's number and name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineLabel {
    /// The number in the job folder.
    pub number: u32,
    /// The name.
    pub name: String,
}

/// Where the first frame starts in a file for machines with these names: the same for all files of one restore point,
/// so that frames can be placed before anything is written.
#[must_use]
pub fn region_bytes<'a>(machines: impl Iterator<Item = &'a str>, alignment_bytes: u64) -> u64 {
    // Envelope, fixed fields and counts at their longest, and a number and a length for each name.
    let fixed = ENVELOPE_BYTES as u64 + 96;
    let names: u64 = machines.map(|name| name.len() as u64 + 16).sum();
    (fixed + names).next_multiple_of(alignment_bytes.max(64))
}
