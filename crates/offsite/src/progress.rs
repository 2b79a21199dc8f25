//! Telling someone how far a long operation is.

use std::fmt;
use std::time::Duration;

use offsite_core::{DiskNumber, MachineName};

use crate::JobName;

/// Listens to long operations. Whoever listens implements what it wants to hear. Calls should return at once.
pub trait Progress: Send + Sync {
    /// An activity starts.
    fn begin(&self, activity: &Activity<'_>) {
        let _ = activity;
    }

    /// More bytes of an activity are done.
    fn advance(&self, activity: &Activity<'_>) {
        let _ = activity;
    }

    /// An activity is over: it is done, has failed, or was cancelled.
    fn end(&self, activity: &Activity<'_>) {
        let _ = activity;
    }

    /// Nothing moves, as the operation waits; or it moves slowly, as it gives way.
    fn wait(&self, wait: &Wait<'_>) {
        let _ = wait;
    }
}

/// Something that takes a while. An operation does one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Activity<'a> {
    /// The operation that it is a part of.
    pub task: Task,
    /// What is done.
    pub step: Step,
    /// The job.
    pub job: &'a JobName,
    /// The machine that is worked on, where it is one.
    pub machine: Option<&'a MachineName>,
    /// The disk of that machine, where it is one.
    pub disk: Option<DiskNumber>,
    /// How many bytes are done.
    pub done_bytes: u64,
    /// About how many bytes there are.
    pub total_bytes: u64,
}

/// An operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Task {
    /// Disk images become a restore point.
    Backup,
    /// Restore points are copied.
    Copy,
    /// Increments go into the full.
    Merge,
    /// Damaged blocks are put back.
    Heal,
    /// An archive gets blocks of its own.
    MakeIndependent,
    /// An increment becomes a full.
    MakeFull,
    /// Live blocks leave files that are mostly superseded.
    Compact,
    /// Another transform; or a look for what ended one.
    Transform,
    /// A machine is restored.
    Restore,
    /// Restore points are verified.
    Verify,
    /// A job's folder is repaired.
    Repair,
    /// Machines are exported.
    Export,
    /// An export is imported.
    Import,
    /// A seed is mapped.
    Map,
    /// A block cache is filled.
    Populate,
}

/// A part of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Step {
    /// Blocks are read, and written where they belong.
    Transfer,
    /// What no block is stored of is made zero.
    Zero,
    /// Blocks are read and compared with their digests.
    Check,
    /// Backup files are searched for blocks.
    Search,
}

/// What an operation waits for, or gives way to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wait<'a> {
    /// Another run holds the job and cannot be asked whether it lives, as it is on another host or was before a restart. If it gives no
    /// sign of life, the job is taken over.
    Lease {
        /// The job.
        job: &'a JobName,
        /// Who holds it, as its claim says.
        holder: &'a str,
        /// How long a sign of life is waited for.
        at_most: Duration,
    },
    /// A backup is at work in a folder that a copy reads. The copy goes on with one request at a time.
    Backup {
        /// The job of the backup.
        job: &'a JobName,
        /// Who makes it.
        holder: &'a str,
    },
    /// Readers hold what is to be released, and cannot be asked whether they live. The pins of those that give no sign of life are removed.
    Readers {
        /// The job that they read.
        job: &'a JobName,
        /// How many there are.
        readers: u64,
        /// How long a sign of life is waited for.
        at_most: Duration,
    },
    /// A place that the job reads from or writes to cannot be reached. It is tried again.
    Place {
        /// The job.
        job: &'a JobName,
        /// Why, in words that name the place.
        why: &'a str,
        /// The pause before the next try.
        at_most: Duration,
    },
}

impl Task {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Backup,
        Self::Copy,
        Self::Merge,
        Self::Heal,
        Self::MakeIndependent,
        Self::MakeFull,
        Self::Compact,
        Self::Transform,
        Self::Restore,
        Self::Verify,
        Self::Repair,
        Self::Export,
        Self::Import,
        Self::Map,
        Self::Populate,
    ];

    /// The words for it: `backup`, `make full`, and so on.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Copy => "copy",
            Self::Merge => "merge",
            Self::Heal => "heal",
            Self::MakeIndependent => "make independent",
            Self::MakeFull => "make full",
            Self::Compact => "compact",
            Self::Transform => "transform",
            Self::Restore => "restore",
            Self::Verify => "verify",
            Self::Repair => "repair",
            Self::Export => "export",
            Self::Import => "import",
            Self::Map => "map",
            Self::Populate => "populate",
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.word())
    }
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Transfer, Self::Zero, Self::Check, Self::Search];

    /// The word for it: `transfer`, `zero`, `check` or `search`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Transfer => "transfer",
            Self::Zero => "zero",
            Self::Check => "check",
            Self::Search => "search",
        }
    }
}

impl fmt::Display for Wait<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lease { job, at_most, .. } => write!(
                formatter,
                "job {job} was held by a run on another host, or before a restart; waiting up to {} s for a sign of its life",
                at_most.as_secs()
            ),
            Self::Backup { job, holder } => {
                write!(
                    formatter,
                    "a backup of job {job} is at work ({holder}); the copy reads one request at a time until it ends"
                )
            }
            Self::Readers { job, at_most, .. } => write!(
                formatter,
                "a reader of job {job} on another host, before a restart, or with a pin that cannot be read holds what is to be released; \
                 waiting up to {} s for a sign of its life",
                at_most.as_secs()
            ),
            Self::Place { job, why, at_most } => {
                write!(formatter, "job {job} waits {} s, and tries again: {why}", at_most.as_secs_f64().ceil())
            }
        }
    }
}

/// Nobody listens.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {}
