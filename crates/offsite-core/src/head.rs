//! Heads: the numbered roots of a job folder.
//!
//! The newest head says what the folder contains.

use std::collections::BTreeMap;

use crate::{Chain, CommitId, Digest, FolderId, Labels, MachineName, ObjectId, Sequence, Timestamp};

/// The kind of job that writes to a job folder.
// Exhaustive: a third kind of job would change the stored format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// A backup job: its restore points come from disk images.
    Backup,
    /// A copy job: its restore points come from another chain.
    Copy,
}

/// A writer's claim to be the only writer of a job folder.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lease {
    /// The holder. On the holder's own host, others can check whether it is still alive.
    pub holder: String,
    /// The number of seconds after which a silent holder loses the claim. A value above [`Lease::SECS_MAX`] counts as that.
    pub duration_secs: u32,
}

impl Lease {
    /// The longest duration of a claim, in seconds.
    ///
    /// It applies whatever a head says.
    pub const SECS_MAX: u32 = 3_600;

    /// A claim of `holder` that ends after `duration_secs` seconds of silence.
    #[must_use]
    pub const fn new(holder: String, duration_secs: u32) -> Self {
        Self { holder, duration_secs }
    }

    /// The time without a sign of life after which an observer may take the claim as stale.
    #[must_use]
    pub fn silence(&self) -> std::time::Duration {
        std::time::Duration::from_secs(self.duration_secs.min(Self::SECS_MAX).into())
    }
}

/// What a head knows about a backup file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileState {
    /// The length of the file in bytes.
    pub length: u64,
    /// The bytes of the file that restore points refer to, padding included. It is a hint for what is worth compacting. The
    /// indexes alone decide whether a file is dead or a range is free.
    pub live_bytes: u64,
    /// The time until which nobody can delete the file. `None` if it can be deleted at any time.
    pub retain_until: Option<Timestamp>,
}

impl FileState {
    /// A file of `length` bytes, of which restore points refer to `live_bytes`.
    ///
    /// It can be deleted at any time.
    #[must_use]
    pub const fn new(length: u64, live_bytes: u64) -> Self {
        Self { length, live_bytes, retain_until: None }
    }
}

/// Something that the chain no longer refers to, and whose space has not been given back yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retirement {
    /// The number of the head that stopped referring to it. Readers of older heads may still need it.
    pub since: u64,
    /// The retired object.
    pub what: RetiredObject,
    /// The number of bytes that its release gives back.
    pub bytes: u64,
}

impl Retirement {
    /// A retirement of `what`, to which head number `since` stopped referring.
    ///
    /// Its release gives `bytes` bytes back.
    #[must_use]
    pub const fn new(since: u64, what: RetiredObject, bytes: u64) -> Self {
        Self { since, what, bytes }
    }
}

/// The object of a [`Retirement`].
// Exhaustive: an engine that does not know one must not compile, as it would never give the space back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetiredObject {
    /// A whole backup file.
    File(ObjectId),
    /// An index.
    Index(ObjectId),
    /// Ranges of files. A release list names them.
    Ranges {
        /// The id of the release list.
        list: ObjectId,
        /// The digest of the stored list. Nothing else is taken for the list.
        digest: Digest,
    },
}

/// The state of a job folder after a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Head {
    /// The identity of the folder. It is drawn at random when the folder is created.
    pub folder: FolderId,
    /// The number of this head. The next commit has the next number.
    pub number: u64,
    /// The id of this commit. It is drawn at random.
    pub commit: CommitId,
    /// The ids of earlier commits, newest first.
    pub ancestry: Vec<CommitId>,
    /// The boundary for late writers. Heads up to this number may have been deleted. A writer whose number is not greater has
    /// lost.
    pub boundary: u64,
    /// The epoch of the writer.
    pub epoch: u32,
    /// The newest sealed epoch, or 0 if there is none. No writer writes into files of this epoch or an earlier one any more. A
    /// writer that lost its lease without a sign of its end may wake up in the middle of a write.
    pub sealed_epoch: u32,
    /// The writer's claim. `None` while nobody writes.
    pub lease: Option<Lease>,
    /// The kind of job that writes here.
    pub role: Role,
    /// The alignment of frames, in bytes. Each frame starts at a multiple of it.
    pub alignment_bytes: u32,
    /// The number that the next restore point gets.
    pub next_sequence: Sequence,
    /// The latest time that a writer of this folder has known.
    pub clock: Timestamp,
    /// The machines; the position in the list is a machine's number. A number belongs to one machine for ever.
    pub machines: Vec<MachineName>,
    /// The time at which each machine was last in the job's selection. A machine that has always been in it may lack an entry.
    pub last_selected: BTreeMap<MachineName, Timestamp>,
    /// The tags and containers of the machines. A machine without any has no entry.
    pub labels: BTreeMap<MachineName, Labels>,
    /// The [fingerprint](crate::retention::Policy::fingerprint) of the retention policy under which a run last finished all its
    /// deletions.
    pub settled_policy: Option<u64>,
    /// The time at which the last scheduled compaction ended. `None` if there was none.
    pub compacted: Option<Timestamp>,
    /// `true` while a copy job brings the past of its source, point by point. The next run goes on with it.
    pub brings_history: bool,
    /// The backup files that the chain refers to.
    pub files: BTreeMap<ObjectId, FileState>,
    /// The restore points.
    pub chain: Chain,
    /// The objects that wait for their release.
    pub retired: Vec<Retirement>,
}

impl Head {
    /// The first head of a new job folder.
    ///
    /// It has no lease, no machines and no files.
    #[must_use]
    pub const fn new(
        folder: FolderId,
        commit: CommitId,
        role: Role,
        alignment_bytes: u32,
        clock: Timestamp,
        chain: Chain,
    ) -> Self {
        Self {
            folder,
            number: 1,
            commit,
            ancestry: Vec::new(),
            boundary: 0,
            epoch: 1,
            sealed_epoch: 0,
            lease: None,
            role,
            alignment_bytes,
            next_sequence: Sequence(1),
            clock,
            machines: Vec::new(),
            last_selected: BTreeMap::new(),
            labels: BTreeMap::new(),
            settled_policy: None,
            compacted: None,
            brings_history: false,
            files: BTreeMap::new(),
            chain,
            retired: Vec::new(),
        }
    }

    /// The lengths in bytes of the files that the chain refers to.
    #[must_use]
    pub fn file_lengths(&self) -> BTreeMap<ObjectId, u64> {
        self.files.iter().map(|(id, file)| (*id, file.length)).collect()
    }
}
