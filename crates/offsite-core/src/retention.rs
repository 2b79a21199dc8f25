//! Which restore points a policy keeps, why, and until when.
//!
//! Each question has its function. [`judge`] tells what a [`Policy`] says of each point of a chain, and [`verdicts`] does so for
//! points from anywhere. [`forecast`] says when each point will go. [`Simulation`] lives a chain from the times of its points
//! alone. All are pure: the present is an argument, and the policy names its time zone.
//!
//! # What is decided here where the rules leave room
//!
//! - *Clocks that change.* An anchor at an hour that the clocks skip is as much later as they skip. At an hour that they show
//!   twice, it is the first. A week is an ISO week, Monday to Sunday.
//! - *The interval of a point* begins after the point before it. So [`Marking::InInterval`] flags the first point at or after an
//!   anchor. Several anchors between two points can flag both.
//! - *The first point.* No anchor at or before it flags it.
//! - *Days.* A point goes as soon as it is D days old, by the same time of day. So a daily job keeps D points.
//! - *Several fulls.* The oldest chain goes when the points after it are as many as the regular tier keeps, in one newer chain or
//!   in several.
//! - *Active.* If the nearer point is already there as an increment, the job reads it whole afterwards, and it becomes a full.
//!   Nothing merges into it. The chain grows until the next such full has points enough. Then it goes as a whole, and the flagged
//!   full stays as an archive.
//! - *Flags stay* on an archive when their tier has no slot left for it. A larger count later counts it again.
//! - *Archives by date* go at the start of their day. A quarter counts as three months. A period begins with its anchor.
//! - *A generation*, of which a changed policy deletes one in a run, is one point of the chain, or one older chain, or one archive.
//!   It comes on top of what the run itself pushes out; else a daily job would never arrive at its new policy.
//! - *The last complete point of a machine* stays wherever it lies. If merges carry the machine along
//!   ([`Conditions::merges_carry`]), nothing of it is lost when its point goes, so it may go.

mod anchor;
mod calendar;
mod due;
mod forecast;
mod judgement;
mod machines;
mod marking;
mod policy;
mod reason;
mod simulation;
mod tier;
mod verdicts;

pub use anchor::{AnchorError, Anchors, MonthDay, QuarterMonth, Weekday};
pub use calendar::{Zone, ZoneError};
pub use due::{Ageing, Due, due};
pub use forecast::{BlockLife, BlockLives, Departure, Outlook, forecast};
pub use judgement::judge;
pub use machines::DeletedMachines;
pub use marking::{Marks, mark, mark_again, mark_full, stand_in};
pub use policy::{
    ArchiveMethod, Days, DaysError, Expiry, Gfs, GfsError, Marking, Policy, Regular, Simple, SimpleError,
};
pub use reason::{Reason, Until, Verdict};
pub use simulation::{SimulatedArchive, SimulatedPoint, Simulation, SimulationError};
pub use tier::{Flags, Tier};
pub use verdicts::{Conditions, PolicyChange, Subject, verdicts};

use crate::{RestorePoint, Timestamp};

/// What `policy` alone says of each point, in the order of `points` (oldest first).
///
/// It keeps points with a date after `now`, and does not count them.
#[must_use]
pub fn simple(points: &[RestorePoint], policy: Simple, now: Timestamp) -> Vec<Verdict> {
    let mut position = 0;
    let mut verdicts: Vec<Verdict> = points
        .iter()
        .rev()
        .map(|point| {
            let reasons = if point.time > now {
                vec![Reason::FutureDated { now }]
            } else {
                position += 1;
                let kept = position <= policy.keep();
                kept.then(|| Reason::Newest { position, keep: policy.keep(), goes_after: policy.keep() - position + 1 })
                    .into_iter()
                    .collect()
            };
            Verdict { sequence: point.sequence, reasons }
        })
        .collect();
    verdicts.reverse();
    verdicts
}
