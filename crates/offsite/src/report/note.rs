//! What a report has to say beside its results, as data.

use std::fmt;

use offsite_core::schedule::ClockReading;
use offsite_core::{DiskNumber, MachineName, Sequence, Timestamp};

use crate::report::{DamagedHead, ErrorSummary, IndexLoss, Reason};
use crate::{Bytes, JobName};

/// Something that a job was to look at, and could not.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Unseen {
    /// A repository that was not opened.
    Repository {
        /// What whoever opens it calls it.
        name: String,
        /// Why not.
        why: ErrorSummary,
    },
    /// A source, which the error names.
    Source {
        /// Why not.
        why: ErrorSummary,
    },
    /// A folder of a repository that may be of a job.
    Folder {
        /// Its name.
        name: String,
        /// The repository.
        location: String,
        /// Why not.
        why: ErrorSummary,
    },
    /// The newest heads of a job's folder: newer restore points may be there than those that were seen.
    Heads {
        /// The job.
        job: JobName,
        /// One of these heads.
        head: DamagedHead,
    },
    /// Another place that the job writes to in turn: retention does not count the restore points there.
    Elsewhere {
        /// What whoever opens it calls it.
        name: String,
        /// Why not.
        why: ErrorSummary,
    },
}

/// What a report has to say beside its results.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Note {
    /// Something that the job was to look at was not seen. What is not seen does not count as gone.
    NotSeen(Unseen),
    /// What the caller of the job handed over to be said.
    Custom {
        /// In the caller's words.
        text: String,
    },
    /// A post-job activity went wrong.
    PostJob {
        /// In the host's words.
        text: String,
    },
    /// The run was stopped before its interval was done.
    Stopped,
    /// What an interval did is not known: its runner ended before what comes after the interval was done.
    EndUnknown,
    /// A machine that was chosen could not be copied.
    NotCopied {
        /// Why not.
        why: ErrorSummary,
    },
    /// A machine has restore points that are dated after the present. They are not copied until then.
    FutureDated {
        /// The machine.
        machine: MachineName,
        /// The earliest of their times.
        earliest: Timestamp,
    },
    /// The clock has gone back by which restore points of a machine are made.
    ClockWentBack {
        /// The machine.
        machine: MachineName,
        /// The job that makes them.
        job: JobName,
        /// The restore point that was copied now.
        sequence: Sequence,
        /// Its time.
        captured: Timestamp,
        /// The time of the one that was copied before.
        copied: Timestamp,
    },
    /// A new full has the blocks that the chain had of a machine, as the source could not be read.
    KeptFromChain {
        /// The machine.
        machine: MachineName,
        /// Why the source could not be read.
        why: Reason,
    },
    /// A disk that the copy has is not in the new state of its machine.
    DiskGone {
        /// The machine.
        machine: MachineName,
        /// The disk.
        disk: DiskNumber,
        /// Its size before.
        size_bytes: u64,
        /// When the machine was in the new state.
        captured: Timestamp,
    },
    /// A disk has shrunk to less than half of its size.
    DiskShrunk {
        /// The machine.
        machine: MachineName,
        /// The disk.
        disk: DiskNumber,
        /// Its size before.
        before_bytes: u64,
        /// Its size in the new state.
        now_bytes: u64,
        /// When the machine was in the new state.
        captured: Timestamp,
    },
    /// A disk has lost more than half of its data.
    DiskEmptied {
        /// The machine.
        machine: MachineName,
        /// The disk.
        disk: DiskNumber,
        /// How many blocks had data before.
        before_blocks: u64,
        /// How many blocks have data in the new state.
        now_blocks: u64,
        /// When the machine was in the new state.
        captured: Timestamp,
    },
    /// The policy has changed. This run let go of one generation; the next ones let go of the rest.
    PolicyChanged,
    /// Nothing was pruned, as the clock is in doubt.
    ClockInDoubt {
        /// What was made of the clock.
        clock: ClockReading,
    },
    /// Machines that are no longer selected keep their copies for now: the sources could not be looked at, and may select them again.
    DeselectedKept {
        /// Why the sources could not be looked at.
        why: ErrorSummary,
    },
    /// A restore point was to be read whole from the source, which has it no more. It is a copy of the chain's own blocks.
    FullFromChain {
        /// The point.
        sequence: Sequence,
    },
    /// A restore point could not be read whole from the source.
    FullNotRead {
        /// The point.
        sequence: Sequence,
        /// Why not.
        why: ErrorSummary,
    },
    /// An archive has damaged blocks, which could not be copied to files of its own. Once intact again, they are.
    ArchiveShares {
        /// The archive.
        sequence: Sequence,
        /// The machine.
        machine: MachineName,
        /// How many blocks are damaged.
        blocks: u64,
    },
    /// Damaged blocks could not be put back from the source.
    NotHealedFromSource {
        /// Why not.
        why: ErrorSummary,
    },
    /// Damaged blocks were not looked for in any source.
    SourcesNotSearched {
        /// Why not.
        why: ErrorSummary,
    },
    /// Damaged blocks were not looked for in one source.
    SourceNotSearched {
        /// The job that is the source.
        job: JobName,
        /// The repository.
        location: String,
        /// Why not.
        why: ErrorSummary,
    },
    /// Damaged blocks are not put back while the index of a restore point cannot be read.
    HealingWaits,
    /// Damaged blocks of a machine were not put back.
    NotHealed {
        /// The machine.
        machine: MachineName,
        /// How many blocks.
        blocks: u64,
        /// The restore points that they are stored with.
        points: Vec<Sequence>,
        /// Whether every source was searched: then nothing else has the same bytes intact.
        is_searched: bool,
    },
    /// The chain was not verified.
    NotVerified {
        /// Why not.
        why: ErrorSummary,
    },
    /// A verification found damage.
    DamageFound {
        /// In how many places.
        places: u64,
    },
    /// Blocks that were found damaged before were not read again.
    NotReadAgain {
        /// How many.
        blocks: u64,
    },
    /// What a verification has found could not be noted down for the next verification and the next run.
    FindingsNotStored {
        /// Why not.
        why: ErrorSummary,
    },
    /// A head has a second copy, and is not there itself: heads are lost, or a run was cut off as it committed.
    NewerHeadCopy {
        /// The job.
        job: JobName,
        /// The number of the head that has only the copy.
        copy: u64,
        /// The number of the newest head.
        newest: u64,
    },
    /// A repair found an index, and not which restore point it was for.
    IndexUnassigned {
        /// What is wrong with it.
        why: IndexLoss,
    },
}

impl From<Unseen> for Note {
    fn from(unseen: Unseen) -> Self {
        Self::NotSeen(unseen)
    }
}

impl fmt::Display for Unseen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repository { name, why } => write!(formatter, "not looked at: repository {name}: {why}"),
            Self::Source { why } => write!(formatter, "not looked at: {why}"),
            Self::Folder { name, location, why } => {
                write!(formatter, "not looked at: the folder {name} of {location}: {why}")
            }
            Self::Heads { head, .. } => head.fmt(formatter),
            Self::Elsewhere { name, why } => write!(formatter, "retention does not count what is on {name}: {why}"),
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSeen(unseen) => unseen.fmt(formatter),
            Self::Custom { text } | Self::PostJob { text } => formatter.write_str(text),
            Self::Stopped => {
                formatter.write_str("it was stopped before the interval was done; the next run goes on from here")
            }
            Self::EndUnknown => {
                formatter.write_str("what it did is not known: its runner ended before what comes after it was done")
            }
            Self::NotCopied { why } => why.fmt(formatter),
            Self::FutureDated { machine, earliest } => write!(
                formatter,
                "{machine}: newer restore points are dated in the future, from {earliest} on, and are not copied until then"
            ),
            Self::ClockWentBack { machine, job, sequence, captured, copied } => write!(
                formatter,
                "{machine}: restore point {sequence} of job {job} is dated {captured}, before the one that was copied last ({copied}): \
                 the clock by which it was made has gone back"
            ),
            Self::KeptFromChain { machine, why } => write!(
                formatter,
                "{machine}: the new full has the blocks that the chain had of it, as they could not be read from the source: {why}"
            ),
            Self::DiskGone { machine, disk, size_bytes, captured } => write!(
                formatter,
                "disk {} of {machine} ({}) is gone: the state of {captured} is without it; older restore points have it as long as they \
                 are kept",
                disk.0,
                Bytes(*size_bytes)
            ),
            Self::DiskShrunk { machine, disk, before_bytes, now_bytes, captured } => write!(
                formatter,
                "disk {} of {machine} has shrunk from {} to {} in the state of {captured}",
                disk.0,
                Bytes(*before_bytes),
                Bytes(*now_bytes)
            ),
            Self::DiskEmptied { machine, disk, before_blocks, now_blocks, captured } => write!(
                formatter,
                "disk {} of {machine} has lost more than half of its data: {before_blocks} blocks before, {now_blocks} in the state of \
                 {captured}",
                disk.0
            ),
            Self::PolicyChanged => {
                formatter.write_str("the policy changed: this run lets go of one generation, the next ones of the rest")
            }
            Self::ClockInDoubt { clock: ClockReading::Behind { now, known } } => {
                write!(formatter, "the clock says {now} and has said {known} before: nothing was removed")
            }
            Self::ClockInDoubt { clock } => clock.fmt(formatter),
            Self::DeselectedKept { why } => write!(
                formatter,
                "machines that were not selected keep their copies for now: they may be selected again, and the sources cannot be looked \
                 at: {why}"
            ),
            Self::FullFromChain { sequence } => write!(
                formatter,
                "restore point {sequence} was to be read whole from the source, which has it no more: it is a copy of the chain's own \
                 blocks"
            ),
            Self::FullNotRead { sequence, why } => {
                write!(formatter, "restore point {sequence} could not be read whole from the source: {why}")
            }
            Self::ArchiveShares { sequence, machine, blocks } => write!(
                formatter,
                "archive {sequence} has {} of machine {machine}, of which no copy could be made; once intact again, they are copied to \
                 files of the archive's own",
                damaged(*blocks)
            ),
            Self::NotHealedFromSource { why } => {
                write!(formatter, "damaged blocks could not be put back from the source: {why}")
            }
            Self::SourcesNotSearched { why } => {
                write!(formatter, "damaged blocks were not looked for at the sources: {why}")
            }
            Self::SourceNotSearched { job, location, why } => {
                write!(formatter, "damaged blocks were not looked for in job {job} in {location}: {why}")
            }
            Self::HealingWaits => {
                formatter.write_str("damaged blocks are not put back while an index of a restore point cannot be read")
            }
            Self::NotHealed { machine, blocks, points, is_searched } => {
                let of = if points.len() == 1 { "point" } else { "points" };
                let points: Vec<String> = points.iter().map(ToString::to_string).collect();
                let why = match is_searched {
                    true => "cannot be put back: no source and no other restore point has the same bytes intact",
                    false => "have not been found yet, as not every source could be searched",
                };
                let (blocks, points) = (damaged(*blocks), points.join(", "));
                write!(formatter, "{machine}: {blocks}, stored with restore {of} {points}, {why}")
            }
            Self::NotVerified { why } => write!(formatter, "the chain was not verified: {why}"),
            Self::DamageFound { places } => write!(
                formatter,
                "verification found damage in {places} places; the next run puts back what a source or another restore point has intact"
            ),
            Self::NotReadAgain { blocks: 1 } => {
                formatter.write_str("another block was found damaged before, and was not read again now")
            }
            Self::NotReadAgain { blocks } => {
                write!(formatter, "{blocks} other blocks were found damaged before, and were not read again now")
            }
            Self::FindingsNotStored { why } => {
                write!(formatter, "the next verification, and the next run, know nothing of this one: {why}")
            }
            Self::NewerHeadCopy { copy, newest, .. } => write!(
                formatter,
                "there is a second copy of head {copy}, and the newest head is {newest}: heads are lost, or a run was cut off as it \
                 committed"
            ),
            Self::IndexUnassigned { why } => why.fmt(formatter),
        }
    }
}

fn damaged(blocks: u64) -> String {
    if blocks == 1 { "1 damaged block".to_owned() } else { format!("{blocks} damaged blocks") }
}
