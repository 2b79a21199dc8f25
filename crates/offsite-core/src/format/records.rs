//! Small objects that are one record: the repository's marker, release lists, pins, lease renewals, the two ends of an export.

use serde::{Deserialize, Serialize};

use crate::{FolderId, RepositoryId};

/// What makes a place a repository. Its key is `offsite-repository`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryMarker {
    /// The repository's identity, drawn at random when it is made.
    pub id: RepositoryId,
    /// When it was made, in seconds since 1970.
    pub created_unix_secs: i64,
}

/// Parts of backup files that nothing refers to since a commit; written before that commit, which names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseList {
    /// The job folder.
    pub folder: FolderId,
    /// By file: its id, and offset and length of each range, ascending.
    pub files: Vec<(u64, Vec<(u64, u64)>)>,
}

/// A reader's claim that what the head of this number refers to stays readable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// The job folder.
    pub folder: FolderId,
    /// The number of the head.
    pub head: u64,
    /// Who holds it, in a form that the same host can test for life.
    pub holder: String,
}

/// A sign of life of the writer of an epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRenewal {
    /// The job folder.
    pub folder: FolderId,
    /// The writer's epoch.
    pub epoch: u32,
    /// Which renewal, from 1.
    pub count: u64,
}

/// How far the verification of a job folder has come, and what it has found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerificationRecord {
    /// The job folder.
    pub folder: FolderId,
    /// The backup file and the offset in it of the frame that comes next. `None` after all has been read: it starts over.
    pub next: Option<(u64, u64)>,
    /// Frames that are damaged: the backup file, the offset in it, and the digest of the block that ought to be there.
    pub damaged: Vec<(u64, u64, [u8; 32])>,
    /// Backup files that are missing or cut off, and how many bytes of each are there: all frames that end later are lost.
    pub cut: Vec<(u64, u64)>,
    /// Indexes that cannot be read.
    pub indexes: Vec<u64>,
}

/// The start of an exported restore point. An index, a backup file and an [`ExportEnd`] follow, each at the next multiple of
/// [`EXPORT_ALIGNMENT_BYTES`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportHeader {
    /// The export's identity, drawn at random; its index and its backup file name it as their job folder.
    pub id: FolderId,
    /// The job that was exported, for people.
    pub job: String,
    /// The length of the index.
    pub index_bytes: u64,
    /// The length of the backup file; 0: there is none, as no block is stored.
    pub file_bytes: u64,
}

/// The end of an exported restore point; nothing follows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportEnd {
    /// The export's identity.
    pub id: FolderId,
    /// The number of frames.
    pub frames: u64,
    /// The bytes before this record's envelope.
    pub bytes: u64,
    /// Their checksum.
    pub checksum: u64,
}

/// The parts of an export start at multiples of this, and so do the frames in its backup file.
pub const EXPORT_ALIGNMENT_BYTES: u32 = 64;
