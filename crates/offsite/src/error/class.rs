//! What a caller can do about an error.

use offsite_core::format::FormatError;
use offsite_repository::{ErrorClass, ErrorKind};

use super::{DamagedPart, Error};

impl Error {
    /// The class of the error: what the caller can do about it.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Repository { source, .. } => of_kind(source.kind()),
            Self::Damaged { .. } if self.is_of_newer_version() => ErrorClass::WrongInput,
            Self::Damaged { .. } | Self::MachineDamaged { .. } => ErrorClass::Damaged,
            Self::Torn { source, .. } => source.class(),
            Self::NoRoom { .. } => ErrorClass::FreeSpace,
            Self::Busy { .. } | Self::Fenced { .. } | Self::InUse { .. } => ErrorClass::Busy,
            Self::UnknownJob { .. }
            | Self::UnknownMachine { .. }
            | Self::UnknownPoint { .. }
            | Self::UnknownDisk { .. }
            | Self::NothingYet { .. }
            | Self::Incomplete { .. } => ErrorClass::NotThere,
            Self::NoSource { .. }
            | Self::CommitUnknown { .. }
            | Self::SnapshotExpired { .. }
            | Self::Stopped { .. } => ErrorClass::RetryLater,
            Self::Io { source, .. } => of_file(Some(source), ErrorClass::RetryLater),
            Self::Image { source, .. } | Self::ExportFile { source, .. } => {
                of_file(source.as_ref(), ErrorClass::WrongInput)
            }
            Self::NotARepository { .. }
            | Self::NotEmpty { .. }
            | Self::AlreadyARepository { .. }
            | Self::NamesNotExclusive { .. }
            | Self::SameRepository { .. }
            | Self::OtherOrigin { .. }
            | Self::PathTaken { .. }
            | Self::InRepository { .. }
            | Self::DeviceTooSmall { .. }
            | Self::NoMachine { .. }
            | Self::JobHasPoints { .. }
            | Self::WrongKindOfJob { .. }
            | Self::NameTaken { .. }
            | Self::InvalidSetting { .. } => ErrorClass::WrongInput,
            Self::Defect { .. } => ErrorClass::Defect,
        }
    }

    /// Returns `true` if the same call may succeed later, without anybody changing its input or repairing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self.class() {
            ErrorClass::RetryLater | ErrorClass::FreeSpace | ErrorClass::Busy | ErrorClass::NotThere => true,
            // What is missing may have been let go meanwhile; the next call starts from newer restore points.
            ErrorClass::Damaged => self.repository_kind() == Some(ErrorKind::NotFound),
            _ => false,
        }
    }

    /// Returns `true` if something was not there as it was stored: it is damaged, or it was released meanwhile.
    pub(crate) fn is_loss(&self) -> bool {
        match self.innermost() {
            // It is no part of a repository.
            Self::Damaged { part: DamagedPart::Export, .. } => false,
            Self::Damaged { .. } => true,
            Self::Repository { source, .. } => matches!(source.kind(), ErrorKind::NotFound | ErrorKind::Corrupt),
            _ => false,
        }
    }

    /// The error at the root of this one.
    ///
    /// If this error describes the consequence for a restore, it is the error behind that.
    #[must_use]
    pub fn innermost(&self) -> &Self {
        match self {
            Self::Torn { source, .. } | Self::MachineDamaged { source, .. } => source.innermost(),
            error => error,
        }
    }

    /// The kind of the repository's error behind this one.
    ///
    /// `None` if there is none.
    #[must_use]
    pub fn repository_kind(&self) -> Option<ErrorKind> {
        match self.innermost() {
            Self::Repository { source, .. } | Self::CommitUnknown { source, .. } => Some(source.kind()),
            Self::Damaged { source: Some(source), .. } => {
                source.downcast_ref::<offsite_repository::Error>().map(offsite_repository::Error::kind)
            }
            _ => None,
        }
    }

    /// Returns `true` if what could not be read is intact, but has a version that this library does not know.
    #[must_use]
    pub fn is_of_newer_version(&self) -> bool {
        let Self::Damaged { source: Some(source), .. } = self.innermost() else { return false };
        matches!(
            source.downcast_ref(),
            Some(FormatError::Version { .. } | FormatError::Feature(_) | FormatError::Suite(_))
        )
    }
}

fn of_kind(kind: ErrorKind) -> ErrorClass {
    match kind {
        ErrorKind::NotFound | ErrorKind::Corrupt => ErrorClass::Damaged,
        ErrorKind::NoSpace => ErrorClass::FreeSpace,
        ErrorKind::PermissionDenied | ErrorKind::Linked | ErrorKind::Unsupported => ErrorClass::WrongInput,
        _ => ErrorClass::RetryLater,
    }
}

/// The class of a failed call of the operating system.
///
/// It is `other`, unless the place is full.
fn of_file(source: Option<&std::io::Error>, other: ErrorClass) -> ErrorClass {
    match source.map(std::io::Error::kind) {
        Some(std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded) => ErrorClass::FreeSpace,
        _ => other,
    }
}
