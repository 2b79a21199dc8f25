//! Notes: remarks of a report besides its results.

use std::fmt;

use offsite_core::schedule::ClockReading;
use offsite_core::{DiskNumber, MachineName, Sequence, Timestamp};

use crate::report::{DamagedHead, ErrorSummary, IndexLoss, Reason};
use crate::{Bytes, JobName};

/// Something that a job should have read, and could not.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Unseen {
    /// A repository that could not be opened.
    Repository {
        /// The caller's name for the repository.
        name: String,
        /// Why it could not be opened.
        why: ErrorSummary,
    },
    /// A source. The error names it.
    Source {
        /// Why it could not be read.
        why: ErrorSummary,
    },
    /// A folder of a repository that may belong to a job.
    Folder {
        /// The name of the folder.
        name: String,
        /// The repository, in words.
        location: String,
        /// Why the folder could not be read.
        why: ErrorSummary,
    },
    /// The newest heads of a job folder. There may be newer restore points than those that were seen.
    Heads {
        /// The name of the job.
        job: JobName,
        /// One of these heads.
        head: DamagedHead,
    },
    /// Another place that the job writes to in turn. Retention does not count the restore points there.
    Elsewhere {
        /// The caller's name for the place.
        name: String,
        /// Why it could not be read.
        why: ErrorSummary,
    },
}

/// A remark of a report, besides its results.
///
/// `Display` prints it as a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Note {
    /// The job could not read something. Nothing counts as gone because of that.
    NotSeen(Unseen),
    /// A text that the caller of the job has added.
    Custom {
        /// The words of the caller.
        text: String,
    },
    /// A post-job activity failed.
    PostJob {
        /// The words of the activity.
        text: String,
    },
    /// The run was stopped before its interval was done. The next run goes on from there.
    Stopped,
    /// It is unknown what an interval did. Its runner ended before the post-job activities were done.
    EndUnknown,
    /// Places could not be reached for a time. The copy waited, and went on.
    Outages {
        /// How often that was.
        outages: u32,
        /// How long it was in all, in seconds.
        waited_secs: u64,
    },
    /// A machine has restore points with a date after the present. They are not copied before that date.
    FutureDated {
        /// The name of the machine.
        machine: MachineName,
        /// The earliest of these dates.
        earliest: Timestamp,
    },
    /// The restore point that was copied has an earlier time than the one before. The clock of the backups has gone back.
    ClockWentBack {
        /// The name of the machine.
        machine: MachineName,
        /// The job that makes the restore points.
        job: JobName,
        /// The number of the restore point that was copied now.
        sequence: Sequence,
        /// The time of that restore point.
        captured: Timestamp,
        /// The time of the restore point that was copied before.
        copied: Timestamp,
    },
    /// A new full took a machine's blocks from the chain, as they could not be read from the source.
    KeptFromChain {
        /// The name of the machine.
        machine: MachineName,
        /// Why the blocks could not be read from the source.
        why: Reason,
    },
    /// The new state of a machine lacks a disk that the copy has.
    DiskGone {
        /// The name of the machine.
        machine: MachineName,
        /// The number of the disk.
        disk: DiskNumber,
        /// The size of the disk before, in bytes.
        size_bytes: u64,
        /// The time at which the machine was in the new state.
        captured: Timestamp,
    },
    /// A disk has shrunk to less than half of its size.
    DiskShrunk {
        /// The name of the machine.
        machine: MachineName,
        /// The number of the disk.
        disk: DiskNumber,
        /// The size of the disk before, in bytes.
        before_bytes: u64,
        /// The size of the disk in the new state, in bytes.
        now_bytes: u64,
        /// The time at which the machine was in the new state.
        captured: Timestamp,
    },
    /// A disk has lost more than half of its data.
    DiskEmptied {
        /// The name of the machine.
        machine: MachineName,
        /// The number of the disk.
        disk: DiskNumber,
        /// The number of blocks with data before.
        before_blocks: u64,
        /// The number of blocks with data in the new state.
        now_blocks: u64,
        /// The time at which the machine was in the new state.
        captured: Timestamp,
    },
    /// A restore point of the sources' past could not be read, and is left out. The points after it are brought.
    HistoryPointLost {
        /// The time of the restore point.
        time: Timestamp,
        /// Why it could not be read.
        why: ErrorSummary,
    },
    /// The sources' past is not brought while the clock is in doubt, as retention lets go of nothing on the way.
    HistoryWaits {
        /// The reading of the clock.
        clock: ClockReading,
    },
    /// A slot of long-term retention that the job missed could not be filled.
    SlotNotFilled {
        /// The time of the restore point that would fill it.
        time: Timestamp,
        /// Why it could not be taken.
        why: ErrorSummary,
    },
    /// The retention policy has changed. This run deleted one generation. The next runs delete the rest.
    PolicyChanged,
    /// Nothing was deleted, as the clock is in doubt.
    ClockInDoubt {
        /// The reading of the clock.
        clock: ClockReading,
    },
    /// Machines that are no longer selected keep their copies for now. The sources could not be read, and may select them again.
    DeselectedKept {
        /// Why the sources could not be read.
        why: ErrorSummary,
    },
    /// A restore point should have been read whole from the source, which no longer has it. It was made from the chain's own
    /// blocks.
    FullFromChain {
        /// The number of the point.
        sequence: Sequence,
    },
    /// A restore point could not be read whole from the source.
    FullNotRead {
        /// The number of the point.
        sequence: Sequence,
        /// The reason.
        why: ErrorSummary,
    },
    /// An archive has damaged blocks, so they could not be copied to files of its own. They are copied as soon as they are intact
    /// again.
    ArchiveShares {
        /// The number of the archive.
        sequence: Sequence,
        /// The name of the machine.
        machine: MachineName,
        /// The number of damaged blocks.
        blocks: u64,
    },
    /// Damaged blocks could not be put back from the source.
    NotHealedFromSource {
        /// The reason.
        why: ErrorSummary,
    },
    /// No source was searched for intact copies of damaged blocks.
    SourcesNotSearched {
        /// The reason.
        why: ErrorSummary,
    },
    /// One source was not searched for intact copies of damaged blocks.
    SourceNotSearched {
        /// The job that is the source.
        job: JobName,
        /// The repository, in words.
        location: String,
        /// The reason.
        why: ErrorSummary,
    },
    /// Damaged blocks are not put back as long as the index of a restore point cannot be read.
    HealingWaits,
    /// Damaged blocks of a machine were not put back.
    NotHealed {
        /// The name of the machine.
        machine: MachineName,
        /// The number of damaged blocks.
        blocks: u64,
        /// The restore points with which they are stored.
        points: Vec<Sequence>,
        /// Where the same bytes were looked for.
        searched: HealingSearch,
    },
    /// A chain of the target repository was not searched for blocks that the copy wants. They came from elsewhere.
    LenderNotSearched {
        /// The job with that chain.
        job: JobName,
        /// The repository, in words.
        location: String,
        /// The reason.
        why: ErrorSummary,
    },
    /// What came over the link could not be put into the block cache.
    CacheNotFilled {
        /// The reason.
        why: ErrorSummary,
    },
    /// Blocks were read from other frames than planned, as those could not be used. The copy has them.
    ReadElsewhere {
        /// `true` if the planned frames are at the side of the target, and `false` if they are at the source.
        is_lent: bool,
        /// The number of blocks.
        blocks: u64,
        /// Why the first of the planned frames could not be used.
        why: ErrorSummary,
    },
    /// The chain was not verified.
    NotVerified {
        /// The reason.
        why: ErrorSummary,
    },
    /// A verification found damage.
    DamageFound {
        /// The number of damaged places.
        places: u64,
    },
    /// Blocks that were found damaged before were not read again.
    NotReadAgain {
        /// The number of such blocks.
        blocks: u64,
    },
    /// The findings of a verification could not be stored. The next verification and the next run do not know them.
    FindingsNotStored {
        /// The reason.
        why: ErrorSummary,
    },
    /// A head exists only as a second copy. Either heads are lost, or a run was cut off as it committed.
    NewerHeadCopy {
        /// The name of the job.
        job: JobName,
        /// The number of the head that exists only as a copy.
        copy: u64,
        /// The number of the newest head.
        newest: u64,
    },
    /// A repair found an index, and could not tell which restore point it belongs to.
    IndexUnassigned {
        /// What is wrong with the index.
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

/// Where damaged blocks were looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum HealingSearch {
    /// In the chain and in every source. Nothing else has the same bytes intact.
    All,
    /// In the chain, and not in every source.
    SomeSources,
    /// In the chain only: no source was looked at. A run of a copy job looks at its sources.
    Chain,
}

impl fmt::Display for Note {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSeen(unseen) => unseen.fmt(formatter),
            Self::Custom { text } | Self::PostJob { text } => formatter.write_str(text),
            Self::Outages { outages: 1, waited_secs } => {
                write!(formatter, "a place could not be reached for {waited_secs} s; the copy waited, and went on")
            }
            Self::Outages { outages, waited_secs } => write!(
                formatter,
                "places could not be reached {outages} times, for {waited_secs} s in all; the copy waited, and went on"
            ),
            Self::Stopped => {
                formatter.write_str("it was stopped before the interval was done; the next run goes on from here")
            }
            Self::EndUnknown => {
                formatter.write_str("what it did is not known: its runner ended before what comes after it was done")
            }
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
            Self::HistoryPointLost { time, why } => {
                write!(
                    formatter,
                    "the restore point of {time} could not be read, and the past is brought without it: {why}"
                )
            }
            Self::SlotNotFilled { time, why } => write!(
                formatter,
                "a slot of long-term retention that was missed could not be filled with the restore point of {time}: {why}"
            ),
            Self::HistoryWaits { clock } => {
                write!(formatter, "the past of the sources waits until the clock is no longer in doubt: {clock}")
            }
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
            Self::NotHealed { machine, blocks, points, searched } => {
                let of = if points.len() == 1 { "point" } else { "points" };
                let points: Vec<String> = points.iter().map(ToString::to_string).collect();
                let why = match searched {
                    HealingSearch::All => {
                        "cannot be put back: no source and no other restore point has the same bytes intact"
                    }
                    HealingSearch::SomeSources => "have not been found yet, as not every source could be searched",
                    HealingSearch::Chain => {
                        "have not been put back: no other restore point has the same bytes intact, and sources were not looked at"
                    }
                };
                let (blocks, points) = (damaged(*blocks), points.join(", "));
                write!(formatter, "{machine}: {blocks}, stored with restore {of} {points}, {why}")
            }
            Self::LenderNotSearched { job, location, why } => {
                write!(
                    formatter,
                    "job {job} in {location} was not searched for blocks that need not cross the link: {why}"
                )
            }
            Self::CacheNotFilled { why } => {
                write!(formatter, "not all that came over the link was put into the cache: {why}")
            }
            Self::ReadElsewhere { is_lent, blocks, why } => {
                let (of, how) =
                    if *is_lent { ("the target", "from the source") } else { ("the source", "from equal blocks") };
                let blocks = if *blocks == 1 { "1 block".to_owned() } else { format!("{blocks} blocks") };
                write!(formatter, "{blocks} could not be used as {of} has them, and were read {how}: {why}")
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
