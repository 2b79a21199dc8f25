//! Which restore points a policy keeps, why, and until when.
//!
//! Each question has its function: [`verdicts`] judges the points of a job by its [`Policy`], [`simple`] those of
//! a job that only counts, and [`Simulation`] tells a chain's whole life from the times of its points; [`forecast`] says when
//! each point of a chain will go. All of them
//! are pure: the present is an argument, and the policy names its time zone.
//!
//! # What is decided here where the rules leave room
//!
//! - *Clocks that are set.* An anchor at an hour that the clocks skip is as much later as they skip; at an hour that they
//!   show twice it is the first. A week is an ISO week, Monday to Sunday.
//! - *The interval of a point* begins after the point before it; so [`Marking::InInterval`] flags the first point at or
//!   after an anchor. Several anchors between two points can flag both.
//! - *The first point* is never flagged by an anchor at or before it.
//! - *Days.* A point goes as soon as it is D days old, by the same time of day; so a daily job keeps D points.
//! - *Several fulls.* The oldest chain goes when the points after it are as many as the regular tier keeps, be they
//!   of one newer chain or of several.
//! - *Active.* The nearer point may be the one that is already copied as an increment; it is then read whole afterwards and
//!   becomes a full. Nothing is merged into it: the chain grows until the next such full has points enough, then it goes as a
//!   whole, and the flagged full stays as an archive.
//! - *Flags stay* on an archive also when their tier has no slot left for it: a larger count later counts it again.
//! - *Archives by date* go at the start of the day on which they are due. Quarters count as three months each. A period
//!   begins with its anchor.
//! - *A generation*, of which a changed policy deletes one in a run, is one point of the chain, or a whole older chain, or one
//!   archive, beside what the run itself pushes out: else a daily job would never arrive at its new policy.
//! - *The last complete point of a machine* is kept wherever it lies, unless merges carry the machine along
//!   ([`Conditions::merges_carry`]): then nothing of it is lost when its point goes.

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

/// A verdict for each point, in the order of `points` (oldest first).
///
/// Points dated after `now` are kept and not counted.
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
