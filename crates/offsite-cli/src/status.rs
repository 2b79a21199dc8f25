//! The ways in which a command ends.

use crate::advice;
use crate::error_text::chain_of;
use crate::stop_signal::StopSignal;

/// The status of a command that ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// Everything requested is done.
    Done,
    /// Everything is done, but something needs a look.
    Warnings,
    /// The report says that something is wrong.
    Failed,
    /// The config is wrong.
    WrongUse,
    /// The answer of a monitoring plugin: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.
    Check(u8),
}

impl Status {
    /// Returns the exit status of the command.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::WrongUse => 2,
            Self::Warnings => 3,
            Self::Check(code) => code,
        }
    }

    /// Returns the worse of two.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::WrongUse, Self::WrongUse) => Self::WrongUse,
            (Self::Failed | Self::WrongUse, _) | (_, Self::Failed | Self::WrongUse) => Self::Failed,
            (Self::Warnings, _) | (_, Self::Warnings) => Self::Warnings,
            // A check is never one of several.
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
    /// The arguments or the config are wrong.
    WrongUse(String),
    /// The command was told to stop, and has stopped.
    Stopped {
        /// The signal that stopped it.
        signal: StopSignal,
        /// What that means, in words.
        what: String,
    },
}

impl Failure {
    /// Returns the failure in words.
    pub(crate) fn text(&self) -> &str {
        let (Self::Failed(text) | Self::WrongUse(text) | Self::Stopped { what: text, .. }) = self;
        text
    }
}

impl From<offsite::Error> for Failure {
    fn from(error: offsite::Error) -> Self {
        Self::Failed(advice::text_of(&error))
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
