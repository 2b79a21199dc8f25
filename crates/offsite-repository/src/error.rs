//! The errors of a repository.

use std::error::Error as StdError;
use std::fmt;

use crate::Key;

/// The result of a call of a repository.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kind of a failure.
///
/// Two kinds differ only if a caller acts differently on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no object with that name.
    NotFound,
    /// An object with that name exists. The caller itself may have stored it in an earlier try.
    AlreadyExists,
    /// The write may have happened or not. Read back before you decide. Do not clean up.
    Indeterminate,
    /// The place does not answer, or answers with a fault of its own. The same call may succeed later.
    Unavailable,
    /// The place is full.
    NoSpace,
    /// The place denies access to this user.
    PermissionDenied,
    /// A removable medium is absent.
    MediaAbsent,
    /// A medium is present, but it is not the expected one.
    WrongMedia,
    /// The stored object is not what it should be: shorter than a requested range, longer than a limit, or unreadable.
    Corrupt,
    /// The object has another name outside of the place, where a write would be seen. Nothing was written.
    Linked,
    /// The place does not support the call.
    Unsupported,
}

impl ErrorKind {
    /// The class of the kind: what the caller should do.
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

/// What a caller should do about an error.
///
/// The errors of the engine have the same classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum ErrorClass {
    /// Run the whole operation again later. The place does not answer, or its medium is away. If the operation has written
    /// something, it first reads back what it may have stored.
    RetryLater,
    /// Free some space at the place, or keep less there. Then run the operation again.
    FreeSpace,
    /// The stored bytes are not what was written. Continue without them, or get them from elsewhere. A retry does not help.
    Damaged,
    /// Somebody else has the name, or works on the same thing. Look again, then wait or leave it to them.
    Busy,
    /// What was asked for is not there, but may come. Ask for something that is there, or wait.
    NotThere,
    /// Change what the operation was given: a name, a setting, a permission, the medium. A retry does not help.
    WrongInput,
    /// A program has a bug. Stop, and report it. No [`ErrorKind`] has this class.
    Defect,
}

/// The error of a failed call.
///
/// It has the kind of the failure, what was being done, the object, the place, and the cause. Base decisions on
/// [`kind`](Error::kind), [`class`](Error::class), [`key`](Error::key) and [`location`](Error::location). The text is for people
/// and may change.
///
/// Each layer adds what it knows, and the layer closest to the cause wins: a second [`with_key`](Error::with_key),
/// [`with_subject`](Error::with_subject), [`with_location`](Error::with_location) or [`with_source`](Error::with_source) changes
/// nothing.
///
/// ```
/// use offsite_repository::{Error, ErrorClass, ErrorKind, Key};
///
/// let key = Key::new("folder/object")?;
/// let error = Error::new(ErrorKind::NoSpace, "create").with_key(&key).with_location("/mnt/dr");
/// assert_eq!(error.class(), ErrorClass::FreeSpace);
/// assert_eq!(error.key(), Some(&key));
/// # Ok::<(), offsite_repository::KeyError>(())
/// ```
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
    /// An error of this kind.
    ///
    /// `action` says what was being done, as a verb such as `"create"` or `"read"`.
    #[must_use]
    pub fn new(kind: ErrorKind, action: &'static str) -> Self {
        let (key, subject, location, detail, source) = (None, None, None, None, None);
        Self { parts: Box::new(Parts { kind, action, key, subject, location, detail, source }) }
    }

    /// Adds the object.
    #[must_use]
    pub fn with_key(mut self, key: &Key) -> Self {
        self.parts.key.get_or_insert_with(|| key.clone());
        self
    }

    /// Says in words what the call was for, if no key does: a folder, a medium.
    ///
    /// The text of the error shows it instead of the key.
    #[must_use]
    pub fn with_subject(mut self, subject: impl Into<String>) -> Self {
        self.parts.subject.get_or_insert_with(|| subject.into());
        self
    }

    /// Adds the place, in the words of [`Repository::location`](crate::Repository::location).
    #[must_use]
    pub fn with_location(mut self, location: impl Into<String>) -> Self {
        self.parts.location.get_or_insert_with(|| location.into());
        self
    }

    /// Replaces the place. It is for a repository that keeps its objects in another one.
    #[cfg(feature = "testing")]
    pub(crate) fn moved_to(mut self, location: String) -> Self {
        self.parts.location = Some(location);
        self
    }

    /// Adds what a person should know, such as the way out.
    ///
    /// A second detail follows the first.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        self.parts.detail = Some(match self.parts.detail.take() {
            Some(first) => format!("{first}; {detail}"),
            None => detail,
        });
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.parts.source.get_or_insert_with(|| source.into());
        self
    }

    /// The kind of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.parts.kind
    }

    /// What the caller should do.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        self.kind().class()
    }

    /// Returns `true` if the same call may succeed when it is repeated unchanged, and has stored nothing so far.
    ///
    /// Two kinds return `false` although their class is [`ErrorClass::RetryLater`], as the class is about the whole operation.
    /// After [`ErrorKind::Indeterminate`] the caller has to read back first. After [`ErrorKind::MediaAbsent`] the handle stays
    /// dead.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.kind() == ErrorKind::Unavailable
    }

    /// The object of the call.
    ///
    /// `None` if the call was about none.
    #[must_use]
    pub fn key(&self) -> Option<&Key> {
        self.parts.key.as_ref()
    }

    /// The place, in the words of [`location`](crate::Repository::location).
    ///
    /// `None` if no layer has added it.
    #[must_use]
    pub fn location(&self) -> Option<&str> {
        self.parts.location.as_deref()
    }
}

/// The text names the place only if it names no object or subject. A caller with several places puts the place in front of the
/// text.
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
