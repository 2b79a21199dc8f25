//! The signals that ask a command to stop.

/// A signal that asks a command to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StopSignal {
    /// `Ctrl-C`.
    Interrupt,
    /// `kill`, or the system's service manager.
    Terminate,
}

impl StopSignal {
    /// As a shell tells the end by that signal.
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
