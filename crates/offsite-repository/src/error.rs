//! What can go wrong in a repository.

use std::error::Error as StdError;
use std::fmt;

use crate::Key;

/// The result of a repository's call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed, as far as the caller would act differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No object has that name.
    NotFound,
    /// An object of that name exists; it may be this caller's own, written by an earlier try.
    AlreadyExists,
    /// A write may or may not have happened. Read back before deciding; never clean up.
    Indeterminate,
    /// The place does not answer, or answers with a fault of its own. Trying again later may help.
    Unavailable,
    /// The place is full.
    NoSpace,
    /// The place refuses this user.
    PermissionDenied,
    /// A removable medium is not there.
    MediaAbsent,
    /// Another medium than the expected one is there.
    WrongMedia,
    /// An object is not what was stored: shorter than a range asked for, longer than a limit, unreadable.
    Corrupt,
    /// The object has another name outside of the place, where whatever is written into it would be seen. Nothing was written.
    Linked,
    /// The place cannot do this at all.
    Unsupported,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NotFound => "not found",
            Self::AlreadyExists => "already exists",
            Self::Indeterminate => "outcome unknown",
            Self::Unavailable => "unavailable",
            Self::NoSpace => "no space left",
            Self::PermissionDenied => "permission denied",
            Self::MediaAbsent => "medium absent",
            Self::WrongMedia => "wrong medium",
            Self::Corrupt => "damaged",
            Self::Linked => "shared by a hard link",
            Self::Unsupported => "not supported",
        })
    }
}

/// A failed call: its kind, what was being done, to which object, and the cause beneath.
///
/// The text is for people and not part of the interface; act on [`Error::kind`].
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    action: &'static str,
    place: Option<String>,
    detail: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind` while doing `action` ("create", "read", ...).
    #[must_use]
    pub fn new(kind: ErrorKind, action: &'static str) -> Self {
        Self { kind, action, place: None, detail: None, source: None }
    }

    /// Names the object.
    #[must_use]
    pub fn with_key(mut self, key: &Key) -> Self {
        self.place = Some(key.to_string());
        self
    }

    /// Names the place where no key fits: a path, a URL.
    #[must_use]
    pub fn with_place(mut self, place: impl Into<String>) -> Self {
        self.place = Some(place.into());
        self
    }

    /// Adds what a person should know, the way out included.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Keeps the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The kind, for deciding what to do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "cannot {}", self.action)?;
        if let Some(place) = &self.place {
            write!(formatter, " {place}")?;
        }
        write!(formatter, ": {}", self.kind)?;
        if let Some(detail) = &self.detail {
            write!(formatter, ", {detail}")?;
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}
