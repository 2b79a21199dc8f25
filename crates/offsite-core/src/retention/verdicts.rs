//! Verdicts over the restore points of a job.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::calendar;
use super::policy::{ArchiveMethod, Days, Expiry, Policy, Regular};
use super::reason::{Reason, Until, Verdict};
use super::tier::{Flags, Tier};
use crate::schedule::ClockReading;
use crate::{MachineName, MachineState, PointKind, RestorePoint, Sequence, Status, Timestamp};

/// What retention needs to know about a restore point.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Subject {
    /// The number of the point.
    pub sequence: Sequence,
    /// The time that it stands for.
    pub time: Timestamp,
    /// What the point needs besides its own indexes.
    pub kind: PointKind,
    /// The tiers that have flagged it.
    pub flags: Flags,
    /// `true` if the point has left the chain and is an archive.
    pub is_archived: bool,
    /// The machines in it.
    pub machines: Vec<MachineState>,
    /// The time until which the storage protects the point from deletion. `None` if it does not protect it.
    pub immutable_until: Option<Timestamp>,
    /// `true` if somebody has put the point on hold.
    pub is_held: bool,
    /// `true` if a reader has pinned the point.
    pub is_pinned: bool,
}

/// A point of a chain. It is neither on hold nor pinned.
impl From<&RestorePoint> for Subject {
    fn from(point: &RestorePoint) -> Self {
        let machines = point.machines.clone();
        Self { flags: point.flags, machines, ..Self::new(point.sequence, point.time, point.kind) }
    }
}

impl Subject {
    /// A point of the chain without flags, machines, hold and pin.
    #[must_use]
    pub const fn new(sequence: Sequence, time: Timestamp, kind: PointKind) -> Self {
        Self {
            sequence,
            time,
            kind,
            flags: Flags::NONE,
            is_archived: false,
            machines: Vec::new(),
            immutable_until: None,
            is_held: false,
            is_pinned: false,
        }
    }

    /// Replaces the flags.
    #[must_use]
    pub fn with_flags(self, flags: Flags) -> Self {
        Self { flags, ..self }
    }

    /// Replaces the machines.
    #[must_use]
    pub fn with_machines(self, machines: Vec<MachineState>) -> Self {
        Self { machines, ..self }
    }

    /// Sets whether the point is an archive.
    #[must_use]
    pub fn with_archived(self, is_archived: bool) -> Self {
        Self { is_archived, ..self }
    }

    fn is_complete(&self) -> bool {
        self.machines.iter().all(|machine| machine.status != Status::Incomplete)
    }
}

/// Whether the policy has changed since a run last finished all its deletions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PolicyChange {
    /// The policy has not changed, or the user has asked for all deletions at once.
    #[default]
    Settled,
    /// The policy has changed. A run deletes what it pushes out itself, and one generation more.
    ///
    /// The job reports this in each run until no verdict has [`Reason::PolicyChanged`].
    Careful {
        /// The number of points that this run has added to the chain.
        added: u32,
    },
}

/// What verdicts depend on, besides the points and the policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Conditions {
    /// Whether the policy has changed.
    pub change: PolicyChange,
    /// Machines that the job stopped selecting long enough ago. Their last complete point may go.
    pub deleted: BTreeSet<MachineName>,
    /// `true` if merges keep the last state of each machine in the full. A point of the chain may then go even if it is the last
    /// one of a machine.
    pub merges_carry: bool,
    /// The reading of the clock. If it is in doubt, nothing goes. `None` means that the clock is not doubted.
    pub clock: Option<ClockReading>,
}

impl Conditions {
    /// Sets whether the policy has changed.
    #[must_use]
    pub fn with_change(self, change: PolicyChange) -> Self {
        Self { change, ..self }
    }

    /// Sets the machines whose last complete point may go.
    #[must_use]
    pub fn with_deleted(self, deleted: BTreeSet<MachineName>) -> Self {
        Self { deleted, ..self }
    }

    /// Sets whether merges keep the last state of each machine in the full.
    #[must_use]
    pub fn with_merges_carry(self, merges_carry: bool) -> Self {
        Self { merges_carry, ..self }
    }

    /// Sets the reading of the clock.
    ///
    /// `None` means that the clock is not doubted.
    #[must_use]
    pub fn with_clock(self, clock: impl Into<Option<ClockReading>>) -> Self {
        Self { clock: clock.into(), ..self }
    }
}

/// The verdict of `policy` on each of `points`, in their order.
///
/// `points` are all archives and chain points of a job, oldest first. `now` is the present.
#[must_use]
pub fn verdicts(points: &[Subject], policy: &Policy, now: Timestamp, conditions: &Conditions) -> Vec<Verdict> {
    let mut judge = Judge { points, policy, now, conditions, reasons: vec![Vec::new(); points.len()] };
    judge.dated();
    judge.regular();
    let set_aside = judge.slots();
    judge.locks();
    judge.last_of_machines();
    let wholes = judge.whole_chains();
    judge.pace(&wholes, set_aside);
    judge.clock();
    let sequences = points.iter().map(|point| point.sequence);
    sequences.zip(judge.reasons).map(|(sequence, reasons)| Verdict { sequence, reasons }).collect()
}

struct Judge<'a> {
    points: &'a [Subject],
    policy: &'a Policy,
    now: Timestamp,
    conditions: &'a Conditions,
    reasons: Vec<Vec<Reason>>,
}

/// Positions from the newest point, where an incomplete point never counts against a complete one.
#[derive(Default)]
struct Positions {
    complete: u32,
    all: u32,
}

impl Positions {
    fn next(&mut self, point: &Subject) -> u32 {
        self.all += 1;
        self.complete += u32::from(point.is_complete());
        if point.is_complete() { self.complete } else { self.all }
    }
}

impl Judge<'_> {
    fn is_future(&self, index: usize) -> bool {
        self.points[index].time > self.now
    }

    /// The chain's points, oldest first.
    fn chain(&self) -> Vec<usize> {
        (0..self.points.len()).filter(|index| !self.points[*index].is_archived).collect()
    }

    fn expiry(&self) -> Expiry {
        self.policy.gfs.map(|gfs| gfs.expiry()).unwrap_or_default()
    }

    /// The flags that the policy still knows.
    fn flags(&self, index: usize) -> Flags {
        let Some(gfs) = self.policy.gfs else { return Flags::NONE };
        gfs.tiers().filter(|tier| self.points[index].flags.contains(*tier)).collect()
    }

    /// Whether a point of the chain is a flagged full that was read whole for its tier: nothing is merged into it.
    fn is_read_whole(&self, index: usize) -> bool {
        let is_active = self.policy.gfs.is_some_and(|gfs| gfs.method() == ArchiveMethod::Active);
        is_active && self.points[index].kind == PointKind::Full && !self.flags(index).is_empty()
    }

    /// Points out of the future, and flagged fulls until their dates.
    fn dated(&mut self) {
        for index in 0..self.points.len() {
            if self.is_future(index) {
                self.reasons[index].push(Reason::FutureDated { now: self.now });
            } else if self.expiry() == Expiry::Date && self.points[index].kind == PointKind::Full {
                for tier in self.flags(index).tiers() {
                    let until = self.due(tier, self.points[index].time);
                    if self.now < until {
                        self.reasons[index].push(Reason::Dated { tier, until });
                    }
                }
            }
        }
    }

    /// When a full that was assigned to `tier` at `time` goes.
    fn due(&self, tier: Tier, time: Timestamp) -> Timestamp {
        let count = self.policy.gfs.map_or(0, |gfs| gfs.count(tier));
        let assigned = self.policy.zone.date(time);
        let months = |months: u32| calendar::days_later(calendar::months_later(assigned, months)?, 1);
        let date = match tier {
            Tier::Weekly => calendar::days_later(assigned, 7 * count),
            Tier::Monthly => months(count),
            Tier::Quarterly => months(3 * count),
            Tier::Yearly => months(12 * count),
        };
        date.and_then(|date| self.policy.zone.start_of(date)).unwrap_or(Timestamp::MAX)
    }

    /// The newest points, by count or age.
    fn regular(&mut self) {
        // What a date keeps is nothing to the regular tier.
        let counted: Vec<usize> = self
            .chain()
            .into_iter()
            .filter(|index| !self.is_future(*index) && self.reasons[*index].is_empty())
            .collect();
        let mut expires = Vec::with_capacity(counted.len());
        if let Regular::Days(days) = self.policy.regular {
            for index in &counted {
                let own = self.policy.zone.days_later(self.points[*index].time, days.days());
                // Where clocks are set back, a later point can come to its age an hour earlier; a chain goes in order.
                expires.push(expires.last().map_or(own, |before: &Timestamp| own.max(*before)));
            }
        }
        let mut positions = Positions::default();
        for (at, index) in counted.iter().enumerate().rev() {
            let position = positions.next(&self.points[*index]);
            let keep = match self.policy.regular {
                Regular::Simple(simple) => simple.keep(),
                Regular::Days(days) => {
                    if self.now < expires[at] {
                        self.reasons[*index].push(Reason::Recent { days: days.days(), until: expires[at] });
                    }
                    Days::KEEP_MIN
                }
            };
            if position <= keep {
                self.reasons[*index].push(Reason::Newest { position, keep, goes_after: keep - position + 1 });
            }
        }
    }

    /// Slots of the tiers, newest first.
    ///
    /// How many flagged points leave the chain and want one.
    fn slots(&mut self) -> usize {
        let Some(gfs) = self.policy.gfs.filter(|gfs| gfs.expiry() == Expiry::Count) else { return 0 };
        let mut positions: [Positions; 4] = Default::default();
        let mut set_aside = 0;
        // A full that was read whole stays as long as its chain is the newest.
        let newest: Vec<usize> = self.segments().last().map_or_else(Vec::new, |segment| {
            self.chain()[segment.clone()].iter().copied().filter(|index| self.is_read_whole(*index)).collect()
        });
        for index in (0..self.points.len()).rev().filter(|index| self.points[*index].time <= self.now) {
            let point = &self.points[index];
            let in_chain = !point.is_archived && !self.reasons[index].is_empty();
            let is_counted = !in_chain || (gfs.method() == ArchiveMethod::Active && point.kind == PointKind::Full);
            let leaves = !point.is_archived && !in_chain && !newest.contains(&index);
            set_aside += usize::from(leaves && !point.flags.is_empty());
            for tier in self.flags(index).tiers() {
                if !is_counted {
                    self.reasons[index].push(Reason::Flagged { tier });
                    continue;
                }
                let (slot, count) = (positions[tier.index()].next(point), gfs.count(tier));
                if slot <= count {
                    self.reasons[index].push(Reason::Slot { tier, slot, count, goes_after: count - slot + 1 });
                }
            }
        }
        set_aside
    }

    /// Immutability, holds, pins.
    fn locks(&mut self) {
        for (point, reasons) in self.points.iter().zip(&mut self.reasons) {
            if let Some(until) = point.immutable_until.filter(|until| self.now < *until) {
                reasons.push(Reason::Immutable { until });
            }
            if point.is_held {
                reasons.push(Reason::OnHold);
            }
            if point.is_pinned {
                reasons.push(Reason::Pinned);
            }
        }
    }

    /// The newest point that has a machine whole.
    fn last_of_machines(&mut self) {
        let mut last: BTreeMap<&MachineName, usize> = BTreeMap::new();
        for (index, point) in self.points.iter().enumerate().filter(|(_, point)| point.time <= self.now) {
            for machine in point.machines.iter().filter(|machine| machine.status != Status::Incomplete) {
                last.insert(&machine.name, index);
            }
        }
        let is_one_chain = self.segments().len() <= 1;
        for (machine, index) in last {
            let is_carried = self.conditions.merges_carry && is_one_chain && !self.points[index].is_archived;
            if !is_carried && !self.conditions.deleted.contains(machine) {
                self.reasons[index].push(Reason::LastOfMachine { machine: machine.clone() });
            }
        }
    }

    /// The chain's points, cut before each full, or before the rollbacks that lead back from it, as ranges of what
    /// [`Self::chain`] tells.
    fn segments(&self) -> Vec<Range<usize>> {
        let chain = self.chain();
        let kind = |at: usize| self.points[chain[at]].kind;
        let starts_one = |at: &usize| kind(*at) != PointKind::Increment && kind(*at - 1) != PointKind::Rollback;
        let mut starts: Vec<usize> = (1..chain.len()).filter(starts_one).collect();
        starts.insert(0, 0);
        starts.push(chain.len());
        starts.windows(2).map(|pair| pair[0]..pair[1]).filter(|range| !range.is_empty()).collect()
    }

    /// The points of the chain that `segment` is, without the rollbacks in it: nothing newer stands on those.
    fn without_rollbacks(&self, chain: &[usize], segment: Range<usize>) -> Vec<usize> {
        let points = chain[segment].iter().copied();
        points.filter(|index| self.points[*index].kind != PointKind::Rollback).collect()
    }

    /// Keeps older chains whole; which points these are.
    fn whole_chains(&mut self) -> Vec<Vec<usize>> {
        let (chain, mut segments) = (self.chain(), self.segments());
        // The newest chain is merged into its full, unless that full is flagged and may not change.
        let newest_merges = segments.last().is_some_and(|segment| {
            let full = self.without_rollbacks(&chain, segment.clone()).first().copied();
            full.is_none_or(|full| {
                let is_dated = self.reasons[full].iter().any(|reason| matches!(reason, Reason::Dated { .. }));
                !is_dated && !self.is_read_whole(full)
            })
        });
        if newest_merges {
            segments.pop();
        }
        let wholes: Vec<Vec<usize>> =
            segments.into_iter().map(|segment| self.without_rollbacks(&chain, segment)).collect();
        for whole in &wholes {
            let holds = |index: &usize| {
                let reason = self.reasons[*index].iter().find(|reason| !reason.is_of_archive())?;
                Some((self.points[*index].sequence, reason.until()))
            };
            let held: Option<(Sequence, Until)> = whole.iter().rev().find_map(holds);
            let Some((kept, until)) = held else { continue };
            for index in whole {
                // A flagged full leaves with its chain, however long its tier wants it.
                if self.reasons[*index].iter().all(Reason::is_of_archive) {
                    self.reasons[*index].push(Reason::ChainOf { kept, until });
                }
            }
        }
        wholes
    }

    /// Holds back what a changed policy would delete beyond one generation.
    fn pace(&mut self, wholes: &[Vec<usize>], set_aside: usize) {
        let PolicyChange::Careful { added } = self.conditions.change else { return };
        let mut chain_share = u64::from(added) + 1;
        let mut archive_share = set_aside as u64 + 1;
        let mut paid: Option<usize> = None;
        for index in 0..self.points.len() {
            if !self.reasons[index].is_empty() {
                continue;
            }
            let whole = wholes.iter().position(|whole| whole.contains(&index));
            if whole.is_some() && whole == paid {
                continue;
            }
            let share = if self.points[index].is_archived { &mut archive_share } else { &mut chain_share };
            if *share == 0 {
                self.reasons[index].push(Reason::PolicyChanged);
            } else {
                *share -= 1;
                paid = whole;
            }
        }
    }

    /// Keeps where it is all that would go or move while the clock is in doubt.
    fn clock(&mut self) {
        let Some(clock) = self.conditions.clock.filter(|clock| !clock.may_prune()) else { return };
        for (point, reasons) in self.points.iter().zip(&mut self.reasons) {
            let is_due = if point.is_archived { reasons.is_empty() } else { reasons.iter().all(Reason::is_of_archive) };
            if is_due {
                reasons.push(Reason::ClockInDoubt { clock });
            }
        }
    }
}
