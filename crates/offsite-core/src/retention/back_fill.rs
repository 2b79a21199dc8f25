//! Slots of long-term retention that a job missed, and what fills them.

use std::collections::BTreeMap;

use super::judgement::by_age;
use super::marking::mark;
use super::policy::{ArchiveMethod, Expiry, Policy};
use super::reason::Reason;
use super::tier::{Flags, Tier};
use super::verdicts::{Conditions, Subject, verdicts};
use crate::schedule::Schedule;
use crate::{Chain, PointKind, RestorePoint, Sequence, Timestamp};

/// A point of the sources that fills slots which the job missed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackFill {
    /// Its position in the list of times that were offered, from 0.
    pub position: usize,
    /// The tiers whose slots it fills.
    pub flags: Flags,
    /// The points of the chain that lose flags to it, each with the flags that it keeps.
    pub moved: BTreeMap<Sequence, Flags>,
    /// The newest point of the chain that is older than it.
    pub after: Sequence,
    /// The oldest point of the chain that is newer than it.
    pub before: Sequence,
}

/// What of `offered` the archives lack that they would have, had the job run in each of its intervals. Oldest first.
///
/// `offered` are the times of the points that the sources still have, oldest first. `elsewhere` are the job's points in other
/// places. `schedule` tells the intervals of the job.
///
/// - In an interval without a point of the job, the job would have copied the newest of the offered points. In an interval with
///   one, it did what it was to do.
/// - Flags are told by the times of all these points: those of the job, and those that it would have copied.
/// - A point of the job that stands for a slot only because the better one was missed gives the flag to that one.
/// - Only what has a slot then is filled: an archive that the next run would let go of is not.
/// - The oldest point of the job keeps its flags, as nothing is known of what came before it.
/// - What lies before the oldest point of the job, or after its newest one, was not missed.
///
/// A point that came with its day waits in the chain until it takes its slot. A back-filled archive takes it at once. So until the
/// regular tier has turned over once, a tier may lack its oldest archive.
#[must_use]
pub fn missed(
    chain: &Chain,
    elsewhere: &[RestorePoint],
    offered: &[Timestamp],
    policy: &Policy,
    schedule: &Schedule,
    now: Timestamp,
) -> Vec<BackFill> {
    let Some(gfs) = policy.gfs.filter(|gfs| gfs.method() != ArchiveMethod::Active && gfs.expiry() == Expiry::Count)
    else {
        return Vec::new();
    };
    let mut line = Line::of(chain, elsewhere, now);
    line.offer(offered, schedule, now);
    if !line.entries.iter().any(|entry| entry.offered.is_some()) {
        return Vec::new();
    }
    for at in 1..line.entries.len() {
        let marks = mark(&gfs, &policy.zone, line.entries[at - 1].time, line.entries[at].time);
        line.entries[at - 1].due = line.entries[at - 1].due.union(marks.predecessor);
        line.entries[at].due = line.entries[at].due.union(marks.point);
    }
    // Nothing is known of what came before the first, so it keeps what it has.
    if let Some(first) = line.entries.first_mut() {
        first.due = first.due.union(first.flags);
    }
    let moves: Vec<Move> = gfs.tiers().flat_map(|tier| line.moves(tier)).collect();
    let subjects = line.subjects(&moves);
    let has_slot = |reason: &Reason| matches!(reason, Reason::Slot { .. });
    let verdicts = verdicts(&subjects, policy, now, &Conditions::default().with_merges_carry(true));
    let wanted = line.entries.iter().zip(&verdicts).enumerate().filter_map(|(at, (entry, verdict))| {
        let position = entry.offered.filter(|_| verdict.reasons.iter().any(has_slot))?;
        let mut moved: BTreeMap<Sequence, Flags> = BTreeMap::new();
        for Move { from, tier, .. } in moves.iter().filter(|step| step.to == at) {
            if let Some(sequence) = line.entries[*from].own {
                let flags = moved.entry(sequence).or_insert(line.entries[*from].flags);
                *flags = flags.without(*tier);
            }
        }
        let own = |entry: &Entry| entry.own;
        Some(BackFill {
            position,
            flags: entry.due,
            moved,
            after: line.entries[..at].iter().rev().find_map(own)?,
            before: line.entries[at..].iter().find_map(own)?,
        })
    });
    wanted.collect()
}

/// A tier's flag that goes from one point to another.
#[derive(Debug, Clone, Copy)]
struct Move {
    from: usize,
    to: usize,
    tier: Tier,
}

/// The points of a job, and between them what it would have copied.
struct Line {
    entries: Vec<Entry>,
}

struct Entry {
    time: Timestamp,
    /// The number of a point of the chain. `None` for a point elsewhere, and for one that is offered.
    own: Option<Sequence>,
    /// The position among those that are offered.
    offered: Option<usize>,
    is_archived: bool,
    is_back_filled: bool,
    kind: PointKind,
    flags: Flags,
    /// The flags that the points beside it cause.
    due: Flags,
}

impl Line {
    fn of(chain: &Chain, elsewhere: &[RestorePoint], now: Timestamp) -> Self {
        let entry = |point: &RestorePoint, own: Option<Sequence>, is_archived| Entry {
            time: point.time,
            own,
            offered: None,
            is_archived,
            is_back_filled: point.is_back_filled,
            kind: if own.is_some() { point.kind } else { PointKind::Increment },
            flags: point.flags,
            due: Flags::NONE,
        };
        let own = by_age(chain, elsewhere).into_iter();
        let entries = own.map(|(point, place)| entry(point, place.map(|_| point.sequence), place == Some(true)));
        let mut entries: Vec<Entry> = entries.filter(|entry| entry.time <= now).collect();
        entries.sort_by_key(|entry| entry.time);
        Self { entries }
    }

    /// Adds what the job would have copied where it has nothing.
    fn offer(&mut self, offered: &[Timestamp], schedule: &Schedule, now: Timestamp) {
        let times = || self.entries.iter().filter(|entry| entry.own.is_some()).map(|entry| entry.time);
        let (Some(first), Some(last)) = (times().min(), times().max()) else { return };
        let span_of = |time: Timestamp| schedule.span_at(time).start;
        let mut taken: BTreeMap<Timestamp, Option<usize>> =
            self.entries.iter().map(|entry| (span_of(entry.time), None)).collect();
        for (position, time) in offered.iter().enumerate() {
            if first < *time && *time < last && *time <= now {
                let best = taken.entry(span_of(*time)).or_insert(Some(position));
                *best = best.map(|_| position);
            }
        }
        for position in taken.into_values().flatten() {
            let time = offered[position];
            let at = self.entries.iter().position(|entry| entry.time > time).unwrap_or(self.entries.len());
            let (own, kind, flags, due) = (None, PointKind::Full, Flags::NONE, Flags::NONE);
            self.entries.insert(
                at,
                Entry {
                    time,
                    own,
                    offered: Some(position),
                    is_archived: true,
                    is_back_filled: false,
                    kind,
                    flags,
                    due,
                },
            );
        }
    }

    /// The flags of `tier` that go to what is offered beside their points.
    fn moves(&self, tier: Tier) -> Vec<Move> {
        let is_wrong = |entry: &Entry| entry.own.is_some() && entry.flags.contains(tier) && !entry.due.contains(tier);
        let wrong = (0..self.entries.len()).filter(|at| is_wrong(&self.entries[*at]));
        let move_from = |from: usize| {
            // Slots are filled one after the other. What is filled already lies between a point and what is yet to come.
            let was_missed = |at: &usize| self.entries[*at].offered.is_some() || self.entries[*at].is_back_filled;
            let takes = |at: &usize| self.entries[*at].due.contains(tier);
            let left = (0..from).rev().take_while(was_missed).find(takes);
            let right = (from + 1..self.entries.len()).take_while(was_missed).find(takes);
            let is_offered = |at: &usize| self.entries[*at].offered.is_some();
            let to = left.filter(is_offered).or(right.filter(is_offered))?;
            Some(Move { from, to, tier })
        };
        wrong.filter_map(move_from).collect()
    }

    fn subjects(&self, moves: &[Move]) -> Vec<Subject> {
        let subject = |(at, entry): (usize, &Entry)| {
            let lost = moves.iter().filter(|step| step.from == at).map(|step| step.tier);
            let flags = if entry.offered.is_some() { entry.due } else { lost.fold(entry.flags, Flags::without) };
            Subject::new(Sequence(at as u64), entry.time, entry.kind).with_flags(flags).with_archived(entry.is_archived)
        };
        self.entries.iter().enumerate().map(subject).collect()
    }
}
