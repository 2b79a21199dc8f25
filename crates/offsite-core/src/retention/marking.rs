//! Marking: which restore points the anchors flag.

use std::collections::BTreeMap;

use super::anchor::Anchors;
use super::calendar::Zone;
use super::policy::{Gfs, Marking};
use super::tier::{Flags, Tier};
use crate::{Sequence, Timestamp};

/// The flags that the arrival of a restore point causes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Marks {
    /// The flags for the point before it. It gets those of the tiers that have an anchor between the two, and is nearer to it.
    pub predecessor: Flags,
    /// The flags for the new point.
    pub point: Flags,
}

impl Marks {
    /// These flags for the point before the new one, and for the new one.
    #[must_use]
    pub const fn new(predecessor: Flags, point: Flags) -> Self {
        Self { predecessor, point }
    }
}

/// The flags that a new point at time `point` causes, after a point at time `predecessor`.
///
/// The first point of a chain has no predecessor, and gets no flag.
#[must_use]
pub fn mark(gfs: &Gfs, zone: &Zone, predecessor: Timestamp, point: Timestamp) -> Marks {
    Marker::default().arrive(gfs, zone, predecessor, point)
}

/// [`mark`] for one point after another, without asking the calendar about each.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Marker {
    /// For each tier the first anchor after the newest point; `None` if it is not known.
    next: [Option<Timestamp>; 4],
}

impl Marker {
    pub(super) fn arrive(&mut self, gfs: &Gfs, zone: &Zone, predecessor: Timestamp, point: Timestamp) -> Marks {
        let mut marks = Marks::default();
        for tier in gfs.tiers() {
            let next = &mut self.next[tier.index()];
            let after = |time| gfs.anchors().next_after(tier, time, zone).unwrap_or(Timestamp::MAX);
            let first = *next.get_or_insert_with(|| after(predecessor));
            if point < first {
                continue;
            }
            // Of several anchors between the two points the first is the nearest to the one, the last to the other.
            let last = gfs.anchors().last_until(tier, point, zone).unwrap_or(first);
            let is_nearer = |anchor: Timestamp| {
                anchor.unix_secs() - predecessor.unix_secs() < point.unix_secs() - anchor.unix_secs()
            };
            let (to_predecessor, to_point) = match gfs.marking() {
                Marking::Nearest => (is_nearer(first), !is_nearer(last)),
                Marking::InInterval => (false, true),
            };
            if to_predecessor {
                marks.predecessor = marks.predecessor.with(tier);
            }
            if to_point {
                marks.point = marks.point.with(tier);
            }
            *next = Some(after(point));
        }
        marks
    }
}

/// The flags of a new full in a chain with periodic fulls.
///
/// `flagged` are the fulls that have flags, with their times. A period of a tier goes from one anchor to the next. The first full
/// in a period gets the tier's flag, even if it comes late.
#[must_use]
pub fn mark_full(gfs: &Gfs, zone: &Zone, flagged: &[(Timestamp, Flags)], full: Timestamp) -> Flags {
    let anchors: &Anchors = gfs.anchors();
    let is_free = |tier: &Tier| {
        let Some(begin) = anchors.last_until(*tier, full, zone) else { return false };
        !flagged.iter().any(|(time, flags)| flags.contains(*tier) && begin <= *time && *time <= full)
    };
    gfs.tiers().filter(is_free).collect()
}

/// The point that takes over the flag of a damaged point in a tier.
///
/// `damaged` is the time of the damaged point. `intact` are the other points with their times and flags. The result is the one
/// that lies in the same slot and is nearest to the slot's anchor. `None` if there is no such point.
///
/// A point lies in the slot of its nearest anchor ([`Marking::Nearest`]) or of its last one ([`Marking::InInterval`]). A point
/// from another slot is not taken, as that slot would lose it. A point that already has the tier's flag is not taken either.
#[must_use]
pub fn stand_in(
    gfs: &Gfs,
    zone: &Zone,
    tier: Tier,
    damaged: Timestamp,
    intact: impl IntoIterator<Item = (Sequence, Timestamp, Flags)>,
) -> Option<Sequence> {
    let anchor = anchor_of(gfs, zone, tier, damaged)?;
    let is_free = |(_, time, flags): &(Sequence, Timestamp, Flags)| {
        !flags.contains(tier) && anchor_of(gfs, zone, tier, *time) == Some(anchor)
    };
    let distance = |time: Timestamp| (time.unix_secs() - anchor.unix_secs()).abs();
    let free = intact.into_iter().filter(is_free);
    free.min_by_key(|(_, time, _)| distance(*time)).map(|(sequence, _, _)| sequence)
}

/// The flags of points whose flags have been lost.
///
/// For each tier and slot, the point that is nearest to the anchor gets the flag. An archive so gets back what it had: if another
/// point of its slot had been nearer, that one would be the archive.
#[must_use]
pub fn mark_again(
    gfs: &Gfs,
    zone: &Zone,
    points: impl IntoIterator<Item = (Sequence, Timestamp)>,
) -> BTreeMap<Sequence, Flags> {
    let points: Vec<_> = points.into_iter().collect();
    let mut marks: BTreeMap<Sequence, Flags> = BTreeMap::new();
    for tier in gfs.tiers() {
        let mut slots: BTreeMap<Timestamp, (i64, Sequence)> = BTreeMap::new();
        for (sequence, time) in &points {
            let Some(anchor) = anchor_of(gfs, zone, tier, *time) else { continue };
            let candidate = ((time.unix_secs() - anchor.unix_secs()).abs(), *sequence);
            let best = slots.entry(anchor).or_insert(candidate);
            *best = (*best).min(candidate);
        }
        for (_, sequence) in slots.into_values() {
            let flags = marks.entry(sequence).or_default();
            *flags = flags.with(tier);
        }
    }
    marks
}

/// The anchor whose slot a point of this time belongs to.
fn anchor_of(gfs: &Gfs, zone: &Zone, tier: Tier, time: Timestamp) -> Option<Timestamp> {
    let last = gfs.anchors().last_until(tier, time, zone);
    let next = gfs.anchors().next_after(tier, time, zone).filter(|_| gfs.marking() == Marking::Nearest);
    let distance = |anchor: &Timestamp| (anchor.unix_secs() - time.unix_secs()).abs();
    last.into_iter().chain(next).min_by_key(distance)
}
