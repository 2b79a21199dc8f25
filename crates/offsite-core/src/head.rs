//! Heads: the numbered roots of a job folder. The newest says what the folder is.

use std::collections::BTreeMap;

use crate::{Chain, CommitId, FolderId, Labels, MachineName, ObjectId, Sequence, Timestamp};

/// Who writes to a job folder.
// Exhaustive: a third kind of job would change the stored format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// A backup job: its restore points come from disk images.
    Backup,
    /// A copy job: its restore points come from another chain.
    Copy,
}

/// A writer's claim to be the only one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lease {
    /// Who holds it. The host of the holder can test it for life.
    pub holder: String,
    /// How long a holder may be silent. At most [`Lease::SECS_MAX`] count.
    pub duration_secs: u32,
}

impl Lease {
    /// No claim holds for longer, whatever a head says.
    pub const SECS_MAX: u32 = 3_600;

    /// The claim of `holder`.
    #[must_use]
    pub const fn new(holder: String, duration_secs: u32) -> Self {
        Self { holder, duration_secs }
    }

    /// How long an observer must see no sign of life before the claim is stale.
    #[must_use]
    pub fn silence(&self) -> std::time::Duration {
        std::time::Duration::from_secs(self.duration_secs.min(Self::SECS_MAX).into())
    }
}

/// A backup file that the chain refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileState {
    /// Its length.
    pub length: u64,
    /// The bytes of it that the chain's points refer to, padding included. It tells what is worth a look. The indexes alone decide
    /// whether a file is dead, or a range free.
    pub live_bytes: u64,
    /// Until when nobody can delete it. `None` if anybody can.
    pub retain_until: Option<Timestamp>,
}

impl FileState {
    /// A file of this length with so many bytes that the chain's points refer to. It can be deleted at any time.
    #[must_use]
    pub const fn new(length: u64, live_bytes: u64) -> Self {
        Self { length, live_bytes, retain_until: None }
    }
}

/// Something without a reference in the chain, whose space has not come back yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retirement {
    /// The head that stopped referring to it. Readers of older heads may still need it.
    pub since: u64,
    /// What it is.
    pub what: RetiredObject,
    /// The bytes that its release brings back.
    pub bytes: u64,
}

impl Retirement {
    /// `what`, to which the head `since` stopped referring. Its release brings `bytes` bytes.
    #[must_use]
    pub const fn new(since: u64, what: RetiredObject, bytes: u64) -> Self {
        Self { since, what, bytes }
    }
}

/// What a [`Retirement`] is about.
// Exhaustive: an engine that does not know one must not compile, as it would never give the space back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetiredObject {
    /// A whole backup file.
    File(ObjectId),
    /// An index.
    Index(ObjectId),
    /// Parts of files, in the release list of this id.
    Ranges(ObjectId),
}

/// The state of a job folder.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Head {
    /// The folder's identity, drawn at random when it is made.
    pub folder: FolderId,
    /// This head's number; the next commit's is one more.
    pub number: u64,
    /// This commit's own id, drawn at random.
    pub commit: CommitId,
    /// The ids of the commits before it, newest first.
    pub ancestry: Vec<CommitId>,
    /// Heads up to this number may be gone; a writer whose number is not greater has lost.
    pub boundary: u64,
    /// The writer's epoch.
    pub epoch: u32,
    /// Files of this epoch and earlier are not written into any more: a writer that was taken over without a sign of its end may
    /// wake up in the middle of a call that does. 0: none was.
    pub sealed_epoch: u32,
    /// The writer's claim, while it works.
    pub lease: Option<Lease>,
    /// What kind of job writes here.
    pub role: Role,
    /// Frames start at multiples of this.
    pub alignment_bytes: u32,
    /// The number of the next restore point.
    pub next_sequence: Sequence,
    /// The latest time that a writer of this folder has known.
    pub clock: Timestamp,
    /// Machines by number. A number belongs to one machine for ever.
    pub machines: Vec<MachineName>,
    /// When each machine was last in the job's selection. A machine that never left it may lack an entry.
    pub last_selected: BTreeMap<MachineName, Timestamp>,
    /// The tags and containers of machines. A machine without any has no entry.
    pub labels: BTreeMap<MachineName, Labels>,
    /// The fingerprint of the retention policy of the last run that had nothing left over.
    pub settled_policy: Option<u64>,
    /// When the last compaction on schedule ended.
    pub compacted: Option<Timestamp>,
    /// The backup files that the chain refers to.
    pub files: BTreeMap<ObjectId, FileState>,
    /// The restore points.
    pub chain: Chain,
    /// What waits for its release.
    pub retired: Vec<Retirement>,
}

impl Head {
    /// The first head of a job folder, without lease, machines and files.
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
            files: BTreeMap::new(),
            chain,
            retired: Vec::new(),
        }
    }

    /// The lengths of the files that the chain refers to.
    #[must_use]
    pub fn file_lengths(&self) -> BTreeMap<ObjectId, u64> {
        self.files.iter().map(|(id, file)| (*id, file.length)).collect()
    }
}
