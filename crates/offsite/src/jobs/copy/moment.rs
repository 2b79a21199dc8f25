//! A moment of the sources' past, as a request for it names it.

use offsite_core::Timestamp;
use offsite_core::retention::Marks;
use offsite_core::selection::Age;

/// A moment of the sources' past.
#[derive(Debug, Clone)]
pub(crate) struct Moment {
    /// Its time. In a folder whose clock went back, it is the latest time so far.
    pub(super) time: Timestamp,
    /// Of each open folder the newest point that was there.
    until: Vec<Option<Age>>,
    /// The flags of the point and of the one before it. `None` if the times of the chain's points tell them.
    pub(super) marks: Option<Marks>,
}

impl Moment {
    /// The moment at which these were the newest points of the open folders.
    pub(super) const fn new(time: Timestamp, until: Vec<Option<Age>>) -> Self {
        Self { time, until, marks: None }
    }

    /// Whether a point of a folder was there.
    pub(super) fn has(&self, folder: usize, age: Age) -> bool {
        self.until.get(folder).copied().flatten().is_some_and(|until| age <= until)
    }

    pub(super) fn with_marks(self, marks: Marks) -> Self {
        Self { marks: Some(marks), ..self }
    }
}
