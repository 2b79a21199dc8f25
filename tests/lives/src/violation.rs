//! What does not hold, and what shows it.

use std::fmt;

/// What must hold, whatever happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Law {
    /// Heads, indexes and their second copies can be read and agree.
    Readable,
    /// Each machine of each point is what it was when it was captured.
    True,
    /// Every frame is there and intact, but for those that were damaged on purpose.
    Intact,
    /// The numbers of a head are what its indexes say.
    Numbers,
    /// An operation makes the points that it is to make, and no others.
    Points,
    /// No point and no machine goes that is to be kept.
    Kept,
    /// What is not to be kept goes.
    Gone,
    /// An operation that nothing stands in the way of succeeds.
    Succeeds,
    /// No operation calls damaged what is not, or itself defective.
    NoFalseAlarm,
    /// What is damaged is named, to the machine and the point.
    Named,
    /// What verification has noted, the next copy carries again.
    Healed,
    /// Plans are what is done.
    Planned,
    /// What nothing needs is not stored.
    Tight,
    /// A reader reads what it began to read.
    Reads,
    /// A repair makes of a folder what can be made of it.
    Repaired,
    /// No operation touches a folder that is not its own.
    Alone,
    /// Nothing panics.
    NoPanic,
}

/// A law that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub law: Law,
    /// What was seen.
    pub detail: String,
}

impl Violation {
    /// `law` does not hold.
    pub fn new(law: Law, detail: impl Into<String>) -> Self {
        Self { law, detail: detail.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}: {}", self.law, self.detail)
    }
}

/// A violation of `law` unless `holds`.
///
/// # Errors
/// That.
pub fn ensure(holds: bool, law: Law, detail: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation::new(law, detail())) }
}
