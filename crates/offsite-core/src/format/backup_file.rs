//! Backup files: the frames of one restore point, for all its machines.
//!
//! An envelope with a [`BackupFileHeader`], zeros up to [`region_bytes`], then frames, each at a multiple of the
//! file's alignment, zeros between them and after the last.

use crate::FolderId;
use serde::{Deserialize, Serialize};

use super::disk_format::{decode_identity, encode_format};
use super::{ENVELOPE_BYTES, Kind, Result, codec, encode_record};
use crate::{DiskIdentity, DiskNumber};

const WHAT: &str = "backup file";

/// The head of a backup file, from which its frames can be made sense of without any index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupFileHeader {
    /// The job folder.
    pub folder: FolderId,
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
    /// The machines that the machine numbers in the frames stand for.
    pub machines: Vec<MachineLabel>,
}

/// A machine's number, name and disks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineLabel {
    /// The number in the job folder.
    pub number: u32,
    /// The name.
    pub name: String,
    /// All its disks as the restore point has them, ascending by number. `None` means that the file does not tell of them.
    pub disks: Vec<DiskLabel>,
}

/// What a disk is known by, and its size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskLabel {
    /// The number in its machine.
    pub number: u16,
    /// The name.
    pub name: String,
    /// The format of its image, as in an index.
    pub format: u8,
    /// The size in bytes.
    pub size_bytes: u64,
}

impl DiskLabel {
    /// The label of a disk of `size_bytes`.
    #[must_use]
    pub fn new(number: DiskNumber, identity: &DiskIdentity, size_bytes: u64) -> Self {
        let (name, format) = (identity.name.as_str().to_owned(), encode_format(identity.format));
        Self { number: number.0, name, format, size_bytes }
    }

    /// What the disk is known by.
    ///
    /// # Errors
    /// [`FormatError`](super::FormatError) for a name or a format that is none.
    pub fn identity(&self) -> Result<DiskIdentity> {
        decode_identity(WHAT, &self.name, self.format)
    }
}

impl BackupFileHeader {
    /// What a file begins with: the header and zeros, up to its first frame.
    ///
    /// Of machines whose disks find no room before that, no disks are told.
    ///
    /// # Errors
    /// [`FormatError::Long`](super::FormatError::Long) for more machines than a header can name.
    pub fn encode(mut self) -> Result<Vec<u8>> {
        let names = self.machines.iter().map(|machine| machine.name.as_str());
        let region = region_bytes(names, self.alignment_bytes.into());
        let disks: Vec<Vec<DiskLabel>> =
            self.machines.iter_mut().map(|machine| std::mem::take(&mut machine.disks)).collect();
        let room = region.min(ENVELOPE_BYTES as u64 + Kind::BackupFile.record_bytes_max());
        let mut left = room.saturating_sub(encode_record(Kind::BackupFile, &self)?.len() as u64);
        for (machine, disks) in self.machines.iter_mut().zip(disks) {
            // The count of no disks is there already.
            let bytes = (codec::encode(WHAT, &disks)?.len() as u64).saturating_sub(1);
            if bytes <= left {
                left -= bytes;
                machine.disks = disks;
            }
        }
        let mut bytes = encode_record(Kind::BackupFile, &self)?;
        bytes.resize(usize::try_from(region).unwrap_or(usize::MAX), 0);
        Ok(bytes)
    }
}

/// Room for the disks of each machine: some five of them by the names of their files.
const DISKS_BYTES: u64 = 112;

/// Where the first frame starts in a file for machines with these names: the same for all files of one restore point,
/// so that frames can be placed before anything is written.
///
/// It does not depend on the machines' disks, so it can be told of any file without reading it.
#[must_use]
pub fn region_bytes<'a>(machines: impl Iterator<Item = &'a str>, alignment_bytes: u64) -> u64 {
    // Envelope, fixed fields and counts at their longest, and a number, a length and a count for each name.
    let fixed = ENVELOPE_BYTES as u64 + 96;
    let names: u64 = machines.map(|name| name.len() as u64 + 16 + DISKS_BYTES).sum();
    (fixed + names).next_multiple_of(alignment_bytes.max(64))
}
