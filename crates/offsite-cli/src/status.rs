//! How a command ends.

use std::process::ExitCode;

use crate::print;
use crate::signals::StopSignal;

/// A command that ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// Everything asked for is done.
    Done,
    /// Done, but something needs a look.
    Warnings,
    /// The report says that something is wrong.
    Failed,
    /// The config makes no sense.
    WrongUse,
    /// What a monitoring plugin answers: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.
    Check(u8),
}

impl Status {
    /// As the command's exit status tells it.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::WrongUse => 2,
            Self::Warnings => 3,
            Self::Check(code) => code,
        }
    }

    /// The worse of two.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::WrongUse, Self::WrongUse) => Self::WrongUse,
            (Self::Failed | Self::WrongUse, _) | (_, Self::Failed | Self::WrongUse) => Self::Failed,
            (Self::Warnings, _) | (_, Self::Warnings) => Self::Warnings,
            // No part of several.
            (check @ Self::Check(_), _) | (_, check @ Self::Check(_)) => check,
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
    /// It was told to stop, and has.
    Stopped {
        /// By what.
        signal: StopSignal,
        /// What that means, in words.
        what: String,
    },
}

impl Failure {
    /// In words.
    pub(crate) fn text(&self) -> &str {
        let (Self::Failed(text) | Self::WrongUse(text) | Self::Stopped { what: text, .. }) = self;
        text
    }
}

impl From<offsite::Error> for Failure {
    fn from(error: offsite::Error) -> Self {
        Self::Failed(crate::advice::text_of(&error))
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
    let status = match failure {
        Failure::Failed(text) => {
            print::problem(text);
            1
        }
        Failure::WrongUse(text) => {
            print::problem(text);
            2
        }
        Failure::Stopped { signal, what } => {
            print::problem(format_args!("stopped by {}: {what}", signal.name()));
            signal.status()
        }
    };
    print::exit(status)
}
