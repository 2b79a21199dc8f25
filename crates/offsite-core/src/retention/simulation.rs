//! The life of a chain under a policy, run by run, without data.

use std::collections::VecDeque;

use super::marking::Marker;
use super::policy::{ArchiveMethod, Days, Expiry, Gfs, Policy, Regular};
use super::tier::Flags;
use crate::{Chain, PointKind, RestorePoint, Timestamp};

/// A restore point of a simulated chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SimulatedPoint {
    /// The time that it stands for.
    pub time: Timestamp,
    /// The kind of the point.
    pub kind: PointKind,
    /// The tiers that have flagged it.
    pub flags: Flags,
    /// For a policy by days: the time at which the point is old enough to go.
    expires: Timestamp,
    /// Its number among all points ever added.
    pub(super) number: u64,
}

/// An archive full beside a simulated chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SimulatedArchive {
    /// The time that it stands for.
    pub time: Timestamp,
    /// The tiers that have flagged it.
    pub flags: Flags,
    /// Its number among all points ever added.
    pub(super) number: u64,
}

impl SimulatedArchive {
    /// The number of an archive that was there before the simulation began.
    pub(super) const EARLIER: u64 = u64::MAX;
}

impl From<&SimulatedPoint> for SimulatedArchive {
    fn from(full: &SimulatedPoint) -> Self {
        Self { time: full.time, flags: full.flags, number: full.number }
    }
}

/// The error for what a simulation cannot follow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SimulationError {
    /// The policy has archives that go by date ([`Expiry::Date`](super::Expiry::Date)).
    #[error("archives that go by date belong to chains with periodic fulls, and a copy's chain has none")]
    ArchivesByDate,
    /// The restore point is not newer than the one before it.
    #[error("{point} is not after {predecessor}: restore points come oldest first, each at a time of its own")]
    NotAscending {
        /// The time of the point before.
        predecessor: Timestamp,
        /// The time of the rejected point.
        point: Timestamp,
    },
}

/// A forever-forward chain and its archives, after each run of a job.
///
/// It simulates a policy without any data. It holds what the policy keeps and no more, however many runs there were. The [front
/// page](crate#example) of the crate has an example.
#[derive(Debug, Clone)]
pub struct Simulation {
    policy: Policy,
    chain: VecDeque<SimulatedPoint>,
    archive: VecDeque<SimulatedArchive>,
    marker: Marker,
    /// How many points have left the chain.
    gone: u64,
    /// The chain's fulls, by their number among all points ever added.
    fulls: VecDeque<u64>,
}

impl Simulation {
    /// An empty chain under `policy`.
    ///
    /// # Errors
    /// [`SimulationError::ArchivesByDate`] if the policy's archives go by date.
    pub fn new(policy: Policy) -> Result<Self, SimulationError> {
        if policy.gfs.is_some_and(|gfs| gfs.expiry() == Expiry::Date) {
            return Err(SimulationError::ArchivesByDate);
        }
        Ok(Self {
            policy,
            chain: VecDeque::new(),
            archive: VecDeque::new(),
            marker: Marker::default(),
            gone: 0,
            fulls: VecDeque::new(),
        })
    }

    /// Simulates one run at `time`.
    ///
    /// The job copies a restore point, the tiers flag points, the regular tier removes old points, and archives expire.
    ///
    /// # Errors
    /// [`SimulationError::NotAscending`] if `time` is not after the newest point. The simulation is then unchanged.
    pub fn add(&mut self, time: Timestamp) -> Result<(), SimulationError> {
        match self.chain.back() {
            Some(&SimulatedPoint { time: predecessor, .. }) if time <= predecessor => {
                Err(SimulationError::NotAscending { predecessor, point: time })
            }
            _ => {
                self.arrive(time);
                Ok(())
            }
        }
    }

    /// [`add`](Self::add) for a point that may have the time of the point before it.
    pub(super) fn arrive(&mut self, time: Timestamp) {
        let predecessor = self.chain.back().map(|point| point.time);
        let (kind, flags) =
            predecessor.map_or((PointKind::Full, Flags::NONE), |predecessor| self.mark(predecessor, time));
        self.push(time, kind, flags);
        self.run(time);
    }

    /// The chain and the archives as they are now under `policy`.
    pub(super) fn of(policy: Policy, chain: &Chain) -> Result<Self, SimulationError> {
        let mut simulation = Self::new(policy)?;
        for point in chain.points() {
            simulation.push(point.time, point.kind, point.flags);
        }
        let archived = |archive: &RestorePoint| SimulatedArchive {
            time: archive.time,
            flags: archive.flags,
            number: SimulatedArchive::EARLIER,
        };
        simulation.archive = chain.archives().iter().map(archived).collect();
        Ok(simulation)
    }

    fn push(&mut self, time: Timestamp, kind: PointKind, flags: Flags) {
        let mut expires = time;
        if let Regular::Days(days) = self.policy.regular {
            expires = self.policy.zone.days_later(time, days.days());
        }
        // Where clocks are set back, a later point can come to its age an hour earlier; a chain goes in order.
        expires = self.chain.back().map_or(expires, |before| before.expires.max(expires));
        let number = self.gone + self.chain.len() as u64;
        if kind == PointKind::Full {
            self.fulls.push_back(number);
        }
        self.chain.push_back(SimulatedPoint { time, kind, flags, expires, number });
    }

    /// What a run at `now` takes away.
    pub(super) fn run(&mut self, now: Timestamp) {
        let archived = self.archive.len();
        self.age(now);
        if let Some(gfs) = self.policy.gfs
            && (self.archive.len() > archived || gfs.method() == ArchiveMethod::Active)
        {
            self.count(&gfs);
        }
    }

    /// The flags of the point with this number, in the chain or beside it.
    pub(super) fn flags_of(&self, number: u64) -> Flags {
        let point = self.chain.iter().find(|point| point.number == number).map(|point| point.flags);
        let archive = || self.archive.iter().find(|archive| archive.number == number).map(|archive| archive.flags);
        point.or_else(archive).unwrap_or_default()
    }

    /// The points of the chain, oldest first.
    pub fn points(&self) -> impl ExactSizeIterator<Item = &SimulatedPoint> {
        self.chain.iter()
    }

    /// The archives, oldest first.
    pub fn archives(&self) -> impl ExactSizeIterator<Item = &SimulatedArchive> {
        self.archive.iter()
    }

    /// Flags the predecessor, and returns kind and flags of the new point.
    fn mark(&mut self, predecessor: Timestamp, time: Timestamp) -> (PointKind, Flags) {
        let Some(gfs) = self.policy.gfs else { return (PointKind::Increment, Flags::NONE) };
        let marks = self.marker.arrive(&gfs, &self.policy.zone, predecessor, time);
        let is_active = gfs.method() == ArchiveMethod::Active;
        let number = self.gone + self.chain.len() as u64 - 1;
        if let Some(last) = self.chain.back_mut().filter(|_| !marks.predecessor.is_empty()) {
            last.flags = last.flags.union(marks.predecessor);
            if is_active && last.kind == PointKind::Increment {
                last.kind = PointKind::Full;
                self.fulls.push_back(number);
            }
        }
        let is_full = is_active && !marks.point.is_empty();
        (if is_full { PointKind::Full } else { PointKind::Increment }, marks.point)
    }

    /// Takes from the chain what the regular tier no longer keeps; what is flagged goes to the archive.
    fn age(&mut self, now: Timestamp) {
        loop {
            // An older chain goes as a whole, when its newest point may.
            if let Some(second) = self.fulls.get(1) {
                let older = usize::try_from(second - self.gone).unwrap_or(usize::MAX);
                if self.keeps(older - 1, now) {
                    return;
                }
                for member in self.chain.drain(..older) {
                    if !member.flags.is_empty() {
                        self.archive.push_back(SimulatedArchive::from(&member));
                    }
                }
                self.gone += older as u64;
                self.fulls.pop_front();
                continue;
            }
            // Nothing is merged into a full that was read whole: it leaves with its chain.
            let is_active = self.policy.gfs.is_some_and(|gfs| gfs.method() == ArchiveMethod::Active);
            let is_read_whole = |full: &SimulatedPoint| is_active && !full.flags.is_empty();
            if self.chain.front().is_none_or(is_read_whole) || self.keeps(0, now) {
                return;
            }
            // The full and the oldest increment become the full of the increment's time; a flagged full stays as well.
            if let Some(full) = self.chain.pop_front().filter(|full| !full.flags.is_empty()) {
                self.archive.push_back(SimulatedArchive::from(&full));
            }
            if let Some(full) = self.chain.front_mut() {
                full.kind = PointKind::Full;
            }
            self.gone += 1;
            self.fulls.clear();
            self.fulls.push_back(self.gone);
        }
    }

    /// Whether the regular tier keeps the point with that index in the chain.
    fn keeps(&self, index: usize, now: Timestamp) -> bool {
        let position = (self.chain.len() - index) as u64;
        match self.policy.regular {
            Regular::Simple(simple) => position <= u64::from(simple.keep()),
            Regular::Days(_) => position <= u64::from(Days::KEEP_MIN) || now < self.chain[index].expires,
        }
    }

    /// Lets go of the archives that no tier counts.
    fn count(&mut self, gfs: &Gfs) {
        let mut taken = [0_u32; 4];
        let mut take = |flags: Flags| {
            let mut has_slot = false;
            for tier in flags.tiers() {
                let taken = &mut taken[tier.index()];
                *taken += 1;
                has_slot |= *taken <= gfs.count(tier);
            }
            has_slot
        };
        if gfs.method() == ArchiveMethod::Active {
            for number in &self.fulls {
                let index = usize::try_from(number - self.gone).unwrap_or(usize::MAX);
                take(self.chain[index].flags);
            }
        }
        let slots: Vec<bool> = self.archive.iter().rev().map(|archived| take(archived.flags)).collect();
        let mut slots = slots.into_iter().rev();
        self.archive.retain(|_| slots.next().unwrap_or(true));
    }
}
