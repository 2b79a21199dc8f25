//! What can go wrong in a repository.

use std::error::Error as StdError;
use std::fmt;

use crate::Key;

/// The result of a repository's call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed. Two kinds differ only where a caller acts differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum ErrorKind {
    /// No object has that name.
    NotFound,
    /// An object of that name exists. It may be this caller's own, from an earlier try.
    AlreadyExists,
    /// The write may have happened, or not. Read back before you decide; never clean up.
    Indeterminate,
    /// The place does not answer, or it answers with a fault of its own. The same call may succeed later.
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
    /// The object has another name outside of the place, where a write would be seen. Nothing was written.
    Linked,
    /// The place cannot do this at all.
    Unsupported,
}

impl ErrorKind {
    /// What the caller should do.
    #[must_use]
    pub fn class(self) -> ErrorClass {
        match self {
            Self::Indeterminate | Self::Unavailable | Self::MediaAbsent => ErrorClass::RetryLater,
            Self::NoSpace => ErrorClass::FreeSpace,
            Self::Corrupt => ErrorClass::Damaged,
            Self::AlreadyExists | Self::Linked => ErrorClass::Busy,
            Self::NotFound => ErrorClass::NotThere,
            Self::PermissionDenied | Self::WrongMedia | Self::Unsupported => ErrorClass::WrongInput,
        }
    }
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

/// What a caller should do about an error. The engine's errors have the same classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum ErrorClass {
    /// Run the whole operation again later: the place does not answer, or its medium is away. An operation that wrote reads back
    /// first what it may have stored.
    RetryLater,
    /// Make room at the place, or keep less there. Then run the operation again.
    FreeSpace,
    /// What is stored is not what was written. Go on without it, or get it again from elsewhere; trying again does not help.
    Damaged,
    /// Somebody else has the name, or works on the same thing. Look again at what is there, then wait, or leave it to them.
    Busy,
    /// What was asked for is not there, and may come. Ask for something that is there, or wait until it comes.
    NotThere,
    /// Change what the operation was given: a name, a setting, a permission, the medium. Trying again does not help.
    WrongInput,
    /// A program is wrong, not its input. Stop, and report it. No [`ErrorKind`] is of this class.
    Defect,
}

/// A failed call: its kind, what was being done, to which object of which repository, and the cause beneath.
///
/// Act on [`kind`](Error::kind), [`class`](Error::class), [`key`](Error::key) and [`location`](Error::location). The text is for
/// people and may change.
///
/// Each layer adds what it knows. What a layer closer to the cause has named stays: a second [`with_key`](Error::with_key),
/// [`with_subject`](Error::with_subject), [`with_location`](Error::with_location) or [`with_source`](Error::with_source) changes
/// nothing.
#[derive(Debug)]
pub struct Error {
    // In a box, as a result that is mostly `Ok` should be small.
    parts: Box<Parts>,
}

#[derive(Debug)]
struct Parts {
    kind: ErrorKind,
    action: &'static str,
    key: Option<Key>,
    subject: Option<String>,
    location: Option<String>,
    detail: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind` while doing `action` ("create", "read", ...).
    #[must_use]
    pub fn new(kind: ErrorKind, action: &'static str) -> Self {
        let (key, subject, location, detail, source) = (None, None, None, None, None);
        Self { parts: Box::new(Parts { kind, action, key, subject, location, detail, source }) }
    }

    /// Names the object.
    #[must_use]
    pub fn with_key(mut self, key: &Key) -> Self {
        self.parts.key.get_or_insert_with(|| key.clone());
        self
    }

    /// Says in words what the call was for, where a key does not say it: a folder, a medium. The text shows it in place of the key.
    #[must_use]
    pub fn with_subject(mut self, subject: impl Into<String>) -> Self {
        self.parts.subject.get_or_insert_with(|| subject.into());
        self
    }

    /// Names the repository, as [`Repository::location`](crate::Repository::location) does.
    #[must_use]
    pub fn with_location(mut self, location: impl Into<String>) -> Self {
        self.parts.location.get_or_insert_with(|| location.into());
        self
    }

    /// Names the repository anew: for one that keeps its objects in another.
    #[cfg(feature = "testing")]
    pub(crate) fn moved_to(mut self, location: String) -> Self {
        self.parts.location = Some(location);
        self
    }

    /// Adds what a person should know, the way out included. A second detail follows the first.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        self.parts.detail = Some(match self.parts.detail.take() {
            Some(first) => format!("{first}; {detail}"),
            None => detail,
        });
        self
    }

    /// Keeps the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.parts.source.get_or_insert_with(|| source.into());
        self
    }

    /// Why the call failed.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.parts.kind
    }

    /// What the caller should do.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        self.kind().class()
    }

    /// Whether the same call may succeed if it is made again unchanged, and stored nothing so far.
    ///
    /// False for [`ErrorKind::Indeterminate`], which a caller reads back first, and for [`ErrorKind::MediaAbsent`], where a
    /// handle stays dead: both are of the class [`ErrorClass::RetryLater`], which is about the whole operation.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.kind() == ErrorKind::Unavailable
    }

    /// The object; `None` where the call was for none.
    #[must_use]
    pub fn key(&self) -> Option<&Key> {
        self.parts.key.as_ref()
    }

    /// The repository, as its [`location`](crate::Repository::location) says; `None` where no layer has named it.
    #[must_use]
    pub fn location(&self) -> Option<&str> {
        self.parts.location.as_deref()
    }
}

/// The text names the repository only where it names nothing in it: whoever has several says which, in front of the text.
impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts { kind, action, key, subject, location, detail, .. } = &*self.parts;
        write!(formatter, "cannot {action}")?;
        match (subject, key, location) {
            (Some(subject), _, _) => write!(formatter, " {subject}")?,
            (None, Some(key), _) => write!(formatter, " {key}")?,
            (None, None, Some(location)) => write!(formatter, " {location}")?,
            (None, None, None) => {}
        }
        write!(formatter, ": {kind}")?;
        match detail {
            Some(detail) => write!(formatter, ", {detail}"),
            None => Ok(()),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.parts.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}
