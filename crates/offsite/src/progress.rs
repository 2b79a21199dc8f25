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

    /// Nothing moves, as the operation waits.
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

/// What an operation waits for.
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

impl fmt::Display for Task {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
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
        })
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
