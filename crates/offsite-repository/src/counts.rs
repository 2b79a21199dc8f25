//! Counts of the calls that reached a repository.

use std::fmt;
use std::ops::{AddAssign, Sub};

use crate::Key;

/// A method of a repository, of its writers or of its capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Verb {
    /// [`Repository::create`](crate::Repository::create).
    Create,
    /// [`ObjectWriter::write`](crate::ObjectWriter::write).
    Write,
    /// [`ObjectWriter::finish`](crate::ObjectWriter::finish).
    Finish,
    /// [`ObjectWriter::abort`](crate::ObjectWriter::abort).
    Abort,
    /// [`Repository::read`](crate::Repository::read).
    Read,
    /// [`Repository::list`](crate::Repository::list).
    List,
    /// [`Repository::delete`](crate::Repository::delete).
    Delete,
    /// [`Repository::sweep`](crate::Repository::sweep).
    Sweep,
    /// [`Links::is_linked`](crate::Links::is_linked).
    IsLinked,
    /// [`Reclaim::punch`](crate::Reclaim::punch).
    Punch,
    /// [`Reclaim::allocated_bytes`](crate::Reclaim::allocated_bytes).
    AllocatedBytes,
    /// [`CloneRange::create_from`](crate::CloneRange::create_from).
    CreateFrom,
    /// [`Patch::write_extents`](crate::Patch::write_extents).
    WriteExtents,
    /// [`Retain::retain_until`](crate::Retain::retain_until).
    RetainUntil,
    /// [`Retain::retained_until`](crate::Retain::retained_until).
    RetainedUntil,
}

impl fmt::Display for Verb {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Create => "create",
            Self::Write => "write",
            Self::Finish => "finish",
            Self::Abort => "abort",
            Self::Read => "read",
            Self::List => "list",
            Self::Delete => "delete",
            Self::Sweep => "sweep",
            Self::IsLinked => "is linked",
            Self::Punch => "punch",
            Self::AllocatedBytes => "allocated bytes",
            Self::CreateFrom => "create from",
            Self::WriteExtents => "write extents",
            Self::RetainUntil => "retain until",
            Self::RetainedUntil => "retained until",
        })
    }
}

/// One call in the log of a [`Recording`](crate::Recording).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Call {
    /// The method that was called.
    pub verb: Verb,
    /// The object of the call. `None` for calls about the place as a whole (`list`, `sweep`).
    pub key: Option<Key>,
    /// The number of bytes that the caller passed. For a read, the number of bytes that the repository returned.
    pub bytes: u64,
}

/// Numbers of calls and bytes.
///
/// Failed calls count, too. [`Recording`](crate::Recording) collects them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Calls of `create`.
    pub creates: u64,
    /// Calls of `write`.
    pub writes: u64,
    /// Calls of `finish`.
    pub finishes: u64,
    /// Calls of `abort`.
    pub aborts: u64,
    /// Calls of `read`, however many ranges each had.
    pub reads: u64,
    /// Calls of `list`, one for each page.
    pub lists: u64,
    /// Calls of `delete`.
    pub deletes: u64,
    /// Calls of `sweep`.
    pub sweeps: u64,
    /// Calls of `is_linked`.
    pub link_checks: u64,
    /// Calls of `punch`, however many ranges each had.
    pub punches: u64,
    /// Calls of `allocated_bytes`.
    pub allocation_checks: u64,
    /// Calls of `create_from`.
    pub clones: u64,
    /// Calls of `write_extents`.
    pub patches: u64,
    /// Calls of `retain_until`.
    pub retentions: u64,
    /// Calls of `retained_until`.
    pub retention_checks: u64,
    /// Bytes that reads returned.
    pub bytes_read: u64,
    /// Bytes passed to `write` and `write_extents`.
    pub bytes_written: u64,
    /// Bytes passed to `punch`.
    pub bytes_punched: u64,
    /// Bytes that the place cloned. They did not pass through the caller.
    pub bytes_cloned: u64,
}

impl Counts {
    /// The number of all calls.
    #[must_use]
    pub fn calls(&self) -> u64 {
        let writing = self.creates + self.writes + self.finishes + self.aborts + self.clones + self.patches;
        let reading = self.reads + self.lists + self.link_checks + self.allocation_checks + self.retention_checks;
        writing + reading + self.deletes + self.sweeps + self.punches + self.retentions
    }

    /// The counts of one call.
    pub(crate) fn of(verb: Verb, bytes: u64) -> Self {
        let none = Self::default();
        match verb {
            Verb::Create => Self { creates: 1, ..none },
            Verb::Write => Self { writes: 1, bytes_written: bytes, ..none },
            Verb::Finish => Self { finishes: 1, ..none },
            Verb::Abort => Self { aborts: 1, ..none },
            Verb::Read => Self { reads: 1, bytes_read: bytes, ..none },
            Verb::List => Self { lists: 1, ..none },
            Verb::Delete => Self { deletes: 1, ..none },
            Verb::Sweep => Self { sweeps: 1, ..none },
            Verb::IsLinked => Self { link_checks: 1, ..none },
            Verb::Punch => Self { punches: 1, bytes_punched: bytes, ..none },
            Verb::AllocatedBytes => Self { allocation_checks: 1, ..none },
            Verb::CreateFrom => Self { clones: 1, bytes_cloned: bytes, ..none },
            Verb::WriteExtents => Self { patches: 1, bytes_written: bytes, ..none },
            Verb::RetainUntil => Self { retentions: 1, ..none },
            Verb::RetainedUntil => Self { retention_checks: 1, ..none },
        }
    }

    fn zip(self, other: Self, join: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            creates: join(self.creates, other.creates),
            writes: join(self.writes, other.writes),
            finishes: join(self.finishes, other.finishes),
            aborts: join(self.aborts, other.aborts),
            reads: join(self.reads, other.reads),
            lists: join(self.lists, other.lists),
            deletes: join(self.deletes, other.deletes),
            sweeps: join(self.sweeps, other.sweeps),
            link_checks: join(self.link_checks, other.link_checks),
            punches: join(self.punches, other.punches),
            allocation_checks: join(self.allocation_checks, other.allocation_checks),
            clones: join(self.clones, other.clones),
            patches: join(self.patches, other.patches),
            retentions: join(self.retentions, other.retentions),
            retention_checks: join(self.retention_checks, other.retention_checks),
            bytes_read: join(self.bytes_read, other.bytes_read),
            bytes_written: join(self.bytes_written, other.bytes_written),
            bytes_punched: join(self.bytes_punched, other.bytes_punched),
            bytes_cloned: join(self.bytes_cloned, other.bytes_cloned),
        }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        *self = self.zip(other, u64::saturating_add);
    }
}

/// The difference to an earlier snapshot. A number is zero if the earlier one is greater.
impl Sub for Counts {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        self.zip(earlier, u64::saturating_sub)
    }
}
