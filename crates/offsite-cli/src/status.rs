//! How a command ends.

use crate::advice;
use crate::error_text::chain_of;
use crate::stop_signal::StopSignal;

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
