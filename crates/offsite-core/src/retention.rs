//! Retention: which restore points a policy keeps, why, and until when.
//!
//! Each question has its function:
//!
//! - [`judge`]: what does a [`Policy`] say about each point of a chain? [`verdicts`] answers it for points from anywhere.
//! - [`due`]: which transforms bring the chain to what the verdicts ask for?
//! - [`forecast`]: when will each point go?
//! - [`wanted`]: which points of a past would a chain have, had its job run at each of them?
//! - [`missed`]: which slots of long-term retention did a job miss, and what fills them?
//! - [`Simulation`]: which points does a policy leave after many runs? It needs only their times.
//!
//! All functions are pure: the present is an argument, and the policy names its time zone.
//!
//! # Details of the rules
//!
//! - *Changes of the clocks.* If the clocks skip the hour of an anchor, the anchor moves later by as much as they skip. If they
//!   show the hour twice, the first counts. A week is an ISO 8601 week, Monday to Sunday.
//! - *The interval of a point* begins after the point before it. So [`Marking::InInterval`] flags the first point at or after an
//!   anchor. If several anchors lie between two points, both points can get a flag.
//! - *The first point.* No anchor at or before it flags it.
//! - *Days.* A policy of D days deletes a point as soon as it is D days old, at the same time of day. So a daily job keeps D
//!   points.
//! - *Several fulls.* The oldest chain goes when as many points follow it as the regular tier keeps. They may be in one newer
//!   chain or in several.
//! - *Active archives* ([`ArchiveMethod::Active`]). If the point nearest to the anchor is already there as an increment, the job
//!   reads it whole afterwards, and it becomes a full. Nothing merges into it. The chain grows until enough points follow the
//!   next such full. Then it goes as a whole, and the flagged full stays as an archive.
//! - *Flags stay* on an archive even if its tier has no slot left for it. If the count is raised later, the archive counts again.
//! - *Archives by date* ([`Expiry::Date`]) go at the start of their day. A quarter counts as three months. A period begins with
//!   its anchor.
//! - *A changed policy* deletes one generation a run, on top of what the run itself pushes out. Otherwise a daily job would never
//!   reach its new policy. A generation is one point of the chain, one older chain, or one archive.
//! - *The last complete point of a machine* stays, wherever it lies. It may go if merges carry the machine along
//!   ([`Conditions::merges_carry`]), as nothing of the machine is lost then.

mod anchor;
mod back_fill;
mod calendar;
mod due;
mod fingerprint;
mod forecast;
mod history;
mod judgement;
mod machines;
mod marking;
mod policy;
mod reason;
mod simulation;
mod tier;
mod verdicts;

pub use anchor::{AnchorError, Anchors, MonthDay, QuarterMonth, Weekday};
pub use back_fill::{BackFill, missed};
pub use calendar::{Zone, ZoneError};
pub use due::{Ageing, Due, due};
pub use forecast::{BlockLife, BlockLives, Departure, Outlook, forecast};
pub use history::{Wanted, WantedPoint, wanted};
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

/// The verdicts of a [`Simple`] policy alone, in the order of `points` (oldest first).
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
