//! The signals that ask a command to stop.

/// A signal that asks a command to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StopSignal {
    /// `Ctrl-C`.
    Interrupt,
    /// `kill`, or the service manager of the system.
    Terminate,
}

impl StopSignal {
    /// Returns the exit status that a shell reports after this signal.
    pub(crate) const fn status(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "Ctrl-C (SIGINT)",
            Self::Terminate => "SIGTERM",
        }
    }
}
