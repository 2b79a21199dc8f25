//! The result of the suite.

use std::fmt;

/// How a case ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The repository keeps this part of the contract, as far as the suite can see.
    Passed,
    /// The repository breaks this part of the contract. The text says what the suite saw.
    Failed(String),
    /// The suite did not try the case. The text says why. This says nothing about the repository.
    LeftOut(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => formatter.write_str("passed"),
            Self::Failed(what) => write!(formatter, "FAILED: {what}"),
            Self::LeftOut(why) => write!(formatter, "left out: {why}"),
        }
    }
}

/// The result of one case.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CaseReport {
    /// The name of the case.
    pub name: &'static str,
    /// How the case ended.
    pub outcome: Outcome,
}

impl fmt::Display for CaseReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:<22} {}", self.name, self.outcome)
    }
}

/// The results of all cases.
///
/// `Display` prints them as a table.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The location of the place.
    pub location: String,
    /// The top-level folder that the suite used. Nothing else used it, and its objects are deleted.
    pub folder: String,
    /// The cases in the order in which they ran.
    pub cases: Vec<CaseReport>,
}

impl Report {
    /// Returns `true` if no case failed.
    ///
    /// Cases that were left out do not count.
    #[must_use]
    pub fn nothing_failed(&self) -> bool {
        self.failed().next().is_none()
    }

    /// The cases that passed.
    pub fn passed(&self) -> impl Iterator<Item = &CaseReport> {
        self.cases.iter().filter(|case| case.outcome == Outcome::Passed)
    }

    /// The cases that failed.
    pub fn failed(&self) -> impl Iterator<Item = &CaseReport> {
        self.cases.iter().filter(|case| matches!(case.outcome, Outcome::Failed(_)))
    }

    /// The cases that the suite did not try.
    pub fn left_out(&self) -> impl Iterator<Item = &CaseReport> {
        self.cases.iter().filter(|case| matches!(case.outcome, Outcome::LeftOut(_)))
    }

    /// How the case with this name ended.
    ///
    /// `None` if it did not run.
    #[must_use]
    pub fn outcome(&self, name: &str) -> Option<&Outcome> {
        self.cases.iter().find(|case| case.name == name).map(|case| &case.outcome)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}", self.location)?;
        for case in &self.cases {
            writeln!(formatter, "  {case}")?;
        }
        let (passed, failed, left_out) = (self.passed().count(), self.failed().count(), self.left_out().count());
        write!(formatter, "  {passed} passed, {failed} failed, {left_out} left out")
    }
}
