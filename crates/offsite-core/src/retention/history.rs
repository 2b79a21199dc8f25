//! Which points of a past a chain would have, had its job run at each of them.

use std::collections::BTreeMap;

use super::policy::Policy;
use super::simulation::{Simulation, SimulationError};
use super::tier::Flags;
use crate::{Chain, Timestamp};

/// A point of the past that a chain would still have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct WantedPoint {
    /// Its position in the list of times, from 0.
    pub position: usize,
    /// The tiers that would have flagged it.
    pub flags: Flags,
}

/// What a chain would have, had its job run at each of some times.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Wanted {
    /// The flags that the chain's newest point would have got from the points after it.
    pub newest: Flags,
    /// The points that the chain would still have, oldest first.
    pub points: Vec<WantedPoint>,
}

/// Which of `times` a chain would have at `now`, had its job run at each of them after what is in `chain`.
///
/// `times` are those of the points that wait, oldest first, none older than the chain's newest point. Two may be equal.
///
/// A point that is carried alone needs the flags that it would have had among all. So flags are told by all of `times`, and each
/// point of the result has all that it ever got: also those that a later point caused. A job that carries the points of the result
/// one after the other, with these flags, and does what retention asks for after each, comes to the same chain and archives, and
/// lets go of none of them on the way.
///
/// ```
/// use offsite_core::retention::{Gfs, Policy, Simple, wanted};
/// use offsite_core::{BlockSize, Chain, Timestamp};
///
/// // Sixty daily points. The copy keeps 7, and 2 weekly ones.
/// let first = Timestamp::parse("2026-01-01T22:00:00Z")?;
/// let times: Vec<_> = (0..60).map(|day| first.saturating_add_secs(day * 86_400)).collect();
/// let policy = Policy::new(Simple::new(7)?).with_gfs(Gfs::new(2, 0, 0, 0)?);
/// let chain = Chain::new(BlockSize::default(), Vec::new())?;
/// let wanted = wanted(&chain, &times, &policy, times[59])?;
/// let positions: Vec<usize> = wanted.points.iter().map(|point| point.position).collect();
/// // Sunday 02-15 and 02-22 are archives; the newest seven are the chain.
/// assert_eq!(positions, [45, 52, 53, 54, 55, 56, 57, 58, 59]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`SimulationError::ArchivesByDate`] if the policy's archives go by date.
pub fn wanted(chain: &Chain, times: &[Timestamp], policy: &Policy, now: Timestamp) -> Result<Wanted, SimulationError> {
    let mut simulation = Simulation::of(policy.clone(), chain)?;
    let before = chain.points().len() as u64;
    let mut newest = chain.latest().map_or(Flags::NONE, |point| point.flags);
    for (position, time) in times.iter().enumerate() {
        simulation.arrive(*time);
        // The predecessor gets its last flags as its successor arrives, and may leave at once.
        if position == 0 && before > 0 {
            newest = newest.union(simulation.flags_of(before - 1));
        }
    }
    // The next run is at the present. By days, points may have come of age since.
    if let Some(last) = times.last().filter(|last| **last < now) {
        simulation.run(now.max(*last));
    }
    let chain = simulation.points().map(|point| (point.number, point.flags));
    let archives = simulation.archives().map(|archive| (archive.number, archive.flags));
    let kept: BTreeMap<u64, Flags> = archives.chain(chain).collect();
    let point = |(number, flags): (&u64, &Flags)| {
        let position = usize::try_from(number.checked_sub(before)?).ok().filter(|position| *position < times.len())?;
        Some(WantedPoint { position, flags: *flags })
    };
    Ok(Wanted { newest, points: kept.iter().filter_map(point).collect() })
}
