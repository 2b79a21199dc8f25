//! A chain's life under a policy, run by run, without data.

use std::collections::VecDeque;

use super::marking::Marker;
use super::policy::{Days, Expiry, Gfs, Method, Policy, Regular};
use super::tier::{Flags, Tier};
use crate::{PointKind, Timestamp};

/// A restore point of a simulated chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// The time that it stands for.
    pub time: Timestamp,
    /// Whether it stands alone.
    pub kind: PointKind,
    /// The tiers that have flagged it.
    pub flags: Flags,
    /// With a policy by days: when it is old enough to go.
    expires: Timestamp,
}

/// An archive full beside a simulated chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Archived {
    /// The time that it stands for.
    pub time: Timestamp,
    /// The tiers that have flagged it.
    pub flags: Flags,
}

/// A restore point that is not newer than the one before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{point} is not after {predecessor}: restore points come oldest first, each at a time of its own")]
pub struct NotAscending {
    /// The point before.
    pub predecessor: Timestamp,
    /// The point.
    pub point: Timestamp,
}

/// A policy that a simulation cannot follow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("archives that go by date belong to chains with periodic fulls, and a copy's chain has none")]
pub struct NoPeriodicFulls;

/// A forever-forward chain and its archives: what is there after each run of a job.
///
/// It holds what the policy keeps and no more, however many points were added.
#[derive(Debug, Clone)]
pub struct Simulation {
    policy: Policy,
    chain: VecDeque<Member>,
    archive: VecDeque<Archived>,
    marker: Marker,
    /// How many points have left the chain.
    gone: u64,
    /// The chain's fulls, by their number among all points ever added.
    fulls: VecDeque<u64>,
}

impl Simulation {
    /// Nothing yet.
    ///
    /// # Errors
    /// [`NoPeriodicFulls`] for archives by date.
    pub fn new(policy: Policy) -> Result<Self, NoPeriodicFulls> {
        if policy.gfs.is_some_and(|gfs| gfs.expiry() == Expiry::Date) {
            return Err(NoPeriodicFulls);
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

    /// One run: a restore point at `time` is copied, the tiers mark, the chain ages, archives go.
    ///
    /// # Errors
    /// [`NotAscending`] if `time` is not after the newest point; nothing has changed then.
    pub fn add(&mut self, time: Timestamp) -> Result<(), NotAscending> {
        let mut expires = time;
        if let Regular::Days(days) = self.policy.regular {
            expires = self.policy.zone.days_later(time, days.days());
        }
        let (mut kind, mut flags) = (PointKind::Full, Flags::NONE);
        if let Some(&Member { time: predecessor, expires: before, .. }) = self.chain.back() {
            if time <= predecessor {
                return Err(NotAscending { predecessor, point: time });
            }
            // Where clocks are set back, a later point can come to its age an hour earlier; a chain goes in order.
            expires = expires.max(before);
            (kind, flags) = self.mark(predecessor, time);
        }
        if kind == PointKind::Full {
            self.fulls.push_back(self.gone + self.chain.len() as u64);
        }
        self.chain.push_back(Member { time, kind, flags, expires });
        let archived = self.archive.len();
        self.age(time);
        if let Some(gfs) = self.policy.gfs
            && (self.archive.len() > archived || gfs.method() == Method::Active)
        {
            self.count(&gfs);
        }
        Ok(())
    }

    /// The chain, oldest point first.
    pub fn chain(&self) -> impl ExactSizeIterator<Item = &Member> {
        self.chain.iter()
    }

    /// The archives, oldest first.
    pub fn archive(&self) -> impl ExactSizeIterator<Item = &Archived> {
        self.archive.iter()
    }

    /// Flags the predecessor as it deserves; the new point's kind and flags.
    fn mark(&mut self, predecessor: Timestamp, time: Timestamp) -> (PointKind, Flags) {
        let Some(gfs) = self.policy.gfs else { return (PointKind::Increment, Flags::NONE) };
        let marks = self.marker.arrive(&gfs, &self.policy.zone, predecessor, time);
        let is_active = gfs.method() == Method::Active;
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
                        self.archive.push_back(Archived { time: member.time, flags: member.flags });
                    }
                }
                self.gone += older as u64;
                self.fulls.pop_front();
                continue;
            }
            // Nothing is merged into a full that was read whole: it leaves with its chain.
            let is_active = self.policy.gfs.is_some_and(|gfs| gfs.method() == Method::Active);
            let is_read_whole = |full: &Member| is_active && !full.flags.is_empty();
            if self.chain.front().is_none_or(is_read_whole) || self.keeps(0, now) {
                return;
            }
            // The full and the oldest increment become the full of the increment's time; a flagged full stays as well.
            if let Some(Member { time, flags, .. }) = self.chain.pop_front().filter(|full| !full.flags.is_empty()) {
                self.archive.push_back(Archived { time, flags });
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
        if gfs.method() == Method::Active {
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

/// The names of the tiers, as they are written in JSON.
impl Flags {
    /// The tiers' names, shortest period first.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        self.tiers().map(Tier::name)
    }
}
