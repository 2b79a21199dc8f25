//! Which restore points a policy keeps, and why.

use std::fmt;

use crate::{RestorePoint, Sequence, Timestamp};

/// How many of the newest restore points are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Simple {
    keep: u32,
}

/// A count that no policy may have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a retention of {0} restore points: keep at least 2, so that a damaged newest point leaves one to go back to")]
pub struct TooFew(pub u32);

impl Simple {
    /// The smallest count.
    pub const KEEP_MIN: u32 = 2;

    /// Keeps the newest `keep` restore points.
    ///
    /// # Errors
    /// [`TooFew`] below 2.
    pub fn new(keep: u32) -> Result<Self, TooFew> {
        if keep < Self::KEEP_MIN { Err(TooFew(keep)) } else { Ok(Self { keep }) }
    }

    /// How many.
    #[must_use]
    pub const fn keep(self) -> u32 {
        self.keep
    }
}

/// The newest 7.
impl Default for Simple {
    fn default() -> Self {
        Self { keep: 7 }
    }
}

/// Why a restore point is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// It is the `position`-th newest (from 1) of the `keep` newest, and goes when `goes_after` newer ones exist.
    Newest {
        /// 1 for the newest.
        position: u32,
        /// The policy's count.
        keep: u32,
        /// So many points must be added before this one goes.
        goes_after: u32,
    },
    /// It is dated after the present, so it is neither counted nor touched.
    FutureDated {
        /// The present, as the job knows it.
        now: Timestamp,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newest { position, keep, goes_after } => {
                write!(formatter, "newest {position} of {keep}, until {goes_after} newer")
            }
            Self::FutureDated { now } => write!(formatter, "dated after {now}"),
        }
    }
}

/// What becomes of a restore point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Which point.
    pub sequence: Sequence,
    /// Every reason to keep it; none: it expires.
    pub reasons: Vec<Reason>,
}

impl Verdict {
    /// Whether the point stays.
    #[must_use]
    pub fn keeps(&self) -> bool {
        !self.reasons.is_empty()
    }
}

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
                let kept = position <= policy.keep;
                kept.then(|| Reason::Newest { position, keep: policy.keep, goes_after: policy.keep - position + 1 })
                    .into_iter()
                    .collect()
            };
            Verdict { sequence: point.sequence, reasons }
        })
        .collect();
    verdicts.reverse();
    verdicts
}
