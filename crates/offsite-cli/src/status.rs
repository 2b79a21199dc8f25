//! How a command ends.

use std::process::ExitCode;

use crate::print;

/// A command that ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// Everything asked for is done.
    Done,
    /// Done, but something needs a look.
    Warnings,
    /// The report says that something is wrong.
    Failed,
}

impl Status {
    /// As a script is told it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Done => "success",
            Self::Warnings => "warning",
            Self::Failed => "failed",
        }
    }

    /// As the command's exit status tells it.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Warnings => 3,
        }
    }

    /// The worse of two.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Failed, _) | (_, Self::Failed) => Self::Failed,
            (Self::Warnings, _) | (_, Self::Warnings) => Self::Warnings,
            (Self::Done, Self::Done) => Self::Done,
        }
    }
}

/// A command that could not be carried out.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The operation failed.
    Failed(String),
    /// What was typed, or the config, makes no sense.
    WrongUse(String),
}

impl From<offsite::Error> for Failure {
    fn from(error: offsite::Error) -> Self {
        Self::Failed(chain_of(&error))
    }
}

impl From<offsite::repository::Error> for Failure {
    fn from(error: offsite::repository::Error) -> Self {
        Self::Failed(chain_of(&error))
    }
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self::Failed(text)
    }
}

/// An error and what caused it, a line each.
pub(crate) fn chain_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str("\n  because: ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Prints why a command could not be carried out; the exit status.
pub(crate) fn report(failure: &Failure) -> ExitCode {
    let (text, status) = match failure {
        Failure::Failed(text) => (text, 1),
        Failure::WrongUse(text) => (text, 2),
    };
    print::problem(text);
    print::exit(status)
}
