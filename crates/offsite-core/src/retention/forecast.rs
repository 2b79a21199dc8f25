//! Forecasts: when each point goes, and what that frees.

use std::collections::{BTreeMap, BTreeSet};

use super::due::{Ageing, Due, due};
use super::judgement::judge;
use super::marking::mark;
use super::policy::{ArchiveMethod, Policy};
use super::reason::Verdict;
use super::verdicts::{Conditions, PolicyChange};
use crate::plan::references;
use crate::schedule::ClockReading;
use crate::{BlockMap, Chain, ObjectId, PointKind, RestorePoint, Sequence, Status, Timestamp};

/// The number of runs that a forecast looks ahead: 27 years of a daily job.
const RUNS_MAX: u32 = 10_000;

/// Stored bytes that all states from one restore point to another need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlockLife {
    /// The oldest point that needs the bytes.
    pub first: Sequence,
    /// The newest point that needs the bytes.
    pub last: Sequence,
    /// The number of bytes.
    pub bytes: u64,
}

impl BlockLife {
    /// `bytes` stored bytes that all states from `first` to `last` need.
    #[must_use]
    pub const fn new(first: Sequence, last: Sequence, bytes: u64) -> Self {
        Self { first, last, bytes }
    }
}

/// The forecast for one restore point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Departure {
    /// The number of the point.
    pub sequence: Sequence,
    /// The time of the run in which the point leaves the chain and becomes an archive. `None` if it never becomes one.
    pub archived: Option<Timestamp>,
    /// The time of the run in which the point goes. `None` if it stays for the next 10,000 runs.
    pub goes: Option<Timestamp>,
    /// The bytes that only this point needs when it goes. The forecast assumes that the newest point's blocks do not change.
    pub freed_bytes: u64,
}

impl Departure {
    /// The forecast for a point that stays.
    #[must_use]
    pub const fn never(sequence: Sequence) -> Self {
        Self { sequence, archived: None, goes: None, freed_bytes: 0 }
    }
}

/// Collects the lives of blocks from the states of restore points.
///
/// Call [`add`](Self::add) for each point, oldest first, then [`finish`](Self::finish).
#[derive(Debug, Clone, Default)]
pub struct BlockLives {
    last: Option<Sequence>,
    /// The frames of the last state by place, each with its length and the first point that had it.
    open: Vec<(ObjectId, u64, u32, Sequence)>,
    bytes: BTreeMap<(Sequence, Sequence), u64>,
}

impl BlockLives {
    /// Adds the state of the next newer point.
    pub fn add(&mut self, sequence: Sequence, state: &BlockMap) {
        let before = std::mem::take(&mut self.open);
        let mut before = before.into_iter().peekable();
        for at in references([state]) {
            let place = (at.file, at.offset);
            while let Some(ended) = before.next_if(|(file, offset, ..)| (*file, *offset) < place) {
                self.end(ended);
            }
            let known = before.next_if(|(file, offset, ..)| (*file, *offset) == place);
            let first = known.map_or(sequence, |(.., first)| first);
            self.open.push((at.file, at.offset, at.length, first));
        }
        before.for_each(|ended| self.end(ended));
        self.last = Some(sequence);
    }

    fn end(&mut self, (_, _, length, first): (ObjectId, u64, u32, Sequence)) {
        if let Some(last) = self.last {
            *self.bytes.entry((first, last)).or_default() += u64::from(length);
        }
    }

    /// All lives.
    ///
    /// Lives with the same first and last point are added up to one.
    #[must_use]
    pub fn finish(mut self) -> Vec<BlockLife> {
        std::mem::take(&mut self.open).into_iter().for_each(|ended| self.end(ended));
        self.bytes.into_iter().map(|((first, last), bytes)| BlockLife { first, last, bytes }).collect()
    }
}

/// What the future of a chain depends on, besides the chain itself.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Outlook<'a> {
    /// The retention policy of the job.
    pub policy: &'a Policy,
    /// How the job removes its oldest points.
    pub ageing: Ageing,
    /// The job's points on other drives. They count for the policy. The forecast assumes that all coming points are in this
    /// chain.
    pub elsewhere: &'a [RestorePoint],
    /// The present.
    pub now: Timestamp,
    /// The latest time that the job has known. `None` means that the clock is not doubted.
    pub known: Option<Timestamp>,
    /// The number of seconds that the clock may be ahead of `known` before the job doubts it.
    pub ahead_max_secs: i64,
    /// `true` if a run has finished all deletions of this policy. `false` if the policy has changed since.
    pub is_settled: bool,
}

impl<'a> Outlook<'a> {
    /// The outlook where `policy` stays as it is.
    ///
    /// Old points are merged, no other drives count, and the clock is not doubted.
    #[must_use]
    pub const fn new(policy: &'a Policy, now: Timestamp) -> Self {
        Self {
            policy,
            ageing: Ageing::Merge,
            elsewhere: &[],
            now,
            known: None,
            ahead_max_secs: i64::MAX,
            is_settled: true,
        }
    }

    /// Sets how the job removes its oldest points.
    #[must_use]
    pub const fn with_ageing(self, ageing: Ageing) -> Self {
        Self { ageing, ..self }
    }

    /// Sets the job's points on other drives.
    #[must_use]
    pub const fn with_elsewhere(self, elsewhere: &'a [RestorePoint]) -> Self {
        Self { elsewhere, ..self }
    }

    /// Sets the latest time that the job has known, and how many seconds the clock may be ahead of it.
    #[must_use]
    pub const fn with_clock(self, known: Option<Timestamp>, ahead_max_secs: i64) -> Self {
        Self { known, ahead_max_secs, ..self }
    }

    /// Sets whether a run has finished all deletions of this policy.
    #[must_use]
    pub const fn with_settled(self, is_settled: bool) -> Self {
        Self { is_settled, ..self }
    }
}

/// The forecast for each point of `chain`, oldest first.
///
/// It assumes that the policy stays, and that each run copies every machine whole. `next` returns the time of the run after the
/// given one.
#[must_use]
pub fn forecast(
    chain: &Chain,
    outlook: &Outlook<'_>,
    lives: &[BlockLife],
    next: impl Fn(Timestamp) -> Option<Timestamp>,
) -> Vec<Departure> {
    let mut oracle = Oracle {
        outlook,
        known: outlook.known,
        is_settled: outlook.is_settled,
        archives: chain.archives().to_vec(),
        points: chain.points().to_vec(),
        departures: chain.all().map(|point| (point.sequence, Departure::never(point.sequence))).collect(),
        kept: chain.all().map(|point| point.sequence).collect(),
        lives: lives.to_vec(),
        newest: chain.latest().map(|point| point.sequence),
    };
    let mut time = chain.latest().map_or(outlook.now, |latest| latest.time.max(outlook.now));
    for _ in 0..RUNS_MAX {
        let Some(later) = next(time).filter(|later| *later > time) else { break };
        time = later;
        oracle.add(time);
        if !oracle.age(chain, time) || oracle.kept.is_empty() {
            break;
        }
    }
    oracle.departures.into_values().collect()
}

/// A chain without data, run by run.
struct Oracle<'a> {
    outlook: &'a Outlook<'a>,
    /// The latest time that the job knows by then.
    known: Option<Timestamp>,
    is_settled: bool,
    archives: Vec<RestorePoint>,
    points: Vec<RestorePoint>,
    departures: BTreeMap<Sequence, Departure>,
    /// The points of today that are still there.
    kept: BTreeSet<Sequence>,
    /// What has not been freed.
    lives: Vec<BlockLife>,
    /// The newest point of today.
    newest: Option<Sequence>,
}

impl Oracle<'_> {
    fn add(&mut self, time: Timestamp) {
        let policy = self.outlook.policy;
        let numbers = self.archives.iter().chain(&self.points).map(|point| point.sequence.0);
        let next = Sequence(numbers.max().unwrap_or(0).saturating_add(1));
        let Some(last) = self.points.last_mut() else { return };
        let mut point = RestorePoint { time, sequence: next, ..last.clone() };
        (point.kind, point.flags) = (PointKind::Increment, super::Flags::NONE);
        for machine in point.machines.iter_mut().filter(|machine| machine.status != Status::Carried) {
            (machine.status, machine.captured) = (Status::Complete, time);
        }
        if let Some(gfs) = &policy.gfs {
            let marks = mark(gfs, &policy.zone, last.time, time);
            last.flags = last.flags.union(marks.predecessor);
            point.flags = marks.point;
            if gfs.method() == ArchiveMethod::Active {
                if !marks.predecessor.is_empty() && last.kind == PointKind::Increment {
                    last.kind = PointKind::Full;
                }
                if !marks.point.is_empty() {
                    point.kind = PointKind::Full;
                }
            }
        }
        self.points.push(point);
    }

    /// What the clock is made of in a run at `now`; the job remembers it.
    fn clock(&mut self, now: Timestamp) -> Option<ClockReading> {
        let clock = ClockReading::judge(Some(self.known?), now, self.outlook.ahead_max_secs);
        self.known = Some(clock.mark());
        Some(clock)
    }

    /// Does what is due at `now`.
    ///
    /// False, if it makes no chain: nothing more can be foretold.
    fn age(&mut self, chain: &Chain, now: Timestamp) -> bool {
        let clock = self.clock(now);
        if clock.is_some_and(|clock| !clock.may_prune()) {
            return true;
        }
        let change = if self.is_settled { PolicyChange::Settled } else { PolicyChange::Careful { added: 1 } };
        let conditions = Conditions { change, merges_carry: true, ..Conditions::default() };
        let Ok(chain) = Chain::with_archives(chain.block_size(), self.archives.clone(), self.points.clone()) else {
            return false;
        };
        let Outlook { elsewhere, policy, ageing, .. } = *self.outlook;
        let verdicts = judge(&chain, elsewhere, policy, now, &conditions);
        self.is_settled = !verdicts.iter().any(Verdict::is_held_back);
        for due in due(&chain, &verdicts, ageing) {
            match due {
                Due::RemoveArchive(sequence) => {
                    self.archives.retain(|archive| archive.sequence != sequence);
                    self.depart(sequence, now);
                }
                Due::RemoveRollbacks(points) => self.leave(points.len(), &[], now),
                Due::RemoveChain { points, archived } => self.leave(points.len(), &archived, now),
                Due::Merge { increments, archived } => {
                    self.leave(increments.len(), archived.as_slice(), now);
                    if let Some(full) = self.points.first_mut() {
                        full.kind = PointKind::Full;
                    }
                }
            }
        }
        true
    }

    /// The oldest `count` points leave the chain; those of `archived` stay beside it.
    fn leave(&mut self, count: usize, archived: &[Sequence], now: Timestamp) {
        for point in self.points.drain(..count.min(self.points.len())).collect::<Vec<_>>() {
            let sequence = point.sequence;
            if archived.contains(&sequence) {
                self.archives.push(RestorePoint { kind: PointKind::Full, ..point });
                if let Some(departure) = self.departures.get_mut(&sequence) {
                    departure.archived = Some(now);
                }
            } else {
                self.depart(sequence, now);
            }
        }
    }

    fn depart(&mut self, sequence: Sequence, now: Timestamp) {
        let Some(departure) = self.departures.get_mut(&sequence) else { return };
        self.kept.remove(&sequence);
        let (kept, newest) = (&self.kept, self.newest);
        let mut freed_bytes = 0;
        self.lives.retain(|life| {
            let is_needed = Some(life.last) == newest || kept.range(life.first..=life.last).next().is_some();
            freed_bytes += if is_needed { 0 } else { life.bytes };
            is_needed
        });
        (departure.goes, departure.freed_bytes) = (Some(now), freed_bytes);
    }
}
