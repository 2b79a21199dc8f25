//! Where an error happened.

use std::future::Future;

use futures::future::BoxFuture;
use offsite_core::{MachineName, RepositoryId};

use super::{DamagedPart, Error, Result};
use crate::JobName;

/// A side of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Side {
    /// The side that is read: the source of a copy, the repository of a restore, an export that is imported.
    Source,
    /// The side that is written: the target of a copy, the repository of a backup, the file of an export.
    Target,
    /// A disk image outside of the repositories: the input of a backup, or the output of a restore.
    Image,
}

/// Where an error happened, as far as it is known and the variant does not say it.
///
/// The accessors of [`Error`] read it, for example [`Error::side`].
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ErrorPlace(Option<Box<Known>>);

#[derive(Debug, Clone, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
struct Known {
    side: Option<Side>,
    location: Option<String>,
    repository: Option<RepositoryId>,
    key: Option<String>,
    job: Option<JobName>,
    machine: Option<MachineName>,
}

/// A repository. Its id tells the sides of an operation apart, as two repositories may have the same words.
#[derive(Debug, Clone)]
pub(crate) struct Located {
    pub(crate) location: String,
    pub(crate) id: Option<RepositoryId>,
}

impl From<String> for Located {
    fn from(location: String) -> Self {
        Self { location, id: None }
    }
}

impl ErrorPlace {
    /// A repository of which only this is known.
    pub(crate) fn of(repository: impl Into<Located>) -> Self {
        let Located { location, id } = repository.into();
        Self(Some(Box::new(Known { location: Some(location), repository: id, ..Known::default() })))
    }

    pub(super) fn location(&self) -> Option<&str> {
        self.0.as_ref()?.location.as_deref()
    }

    fn known(&mut self) -> &mut Known {
        self.0.get_or_insert_default()
    }
}

/// The place in an error, borrowed as `$error` is. An error that has none of its own has that of its cause.
macro_rules! place_in {
    ($error:expr, $deeper:ident) => {
        match $error {
            Error::Repository { at, .. }
            | Error::Damaged { at, .. }
            | Error::NoRoom { at, .. }
            | Error::UnknownJob { at, .. }
            | Error::UnknownMachine { at, .. }
            | Error::UnknownPoint { at, .. }
            | Error::UnknownDisk { at, .. }
            | Error::NothingYet { at, .. }
            | Error::Incomplete { at, .. }
            | Error::Busy { at, .. }
            | Error::Fenced { at, .. }
            | Error::CommitUnknown { at, .. }
            | Error::SnapshotExpired { at, .. }
            | Error::Stopped { at, .. }
            | Error::Image { at, .. }
            | Error::ExportFile { at, .. }
            | Error::PathTaken { at, .. }
            | Error::InRepository { at, .. }
            | Error::InUse { at, .. }
            | Error::DeviceTooSmall { at, .. }
            | Error::NoMachine { at, .. }
            | Error::NoSource { at, .. }
            | Error::Io { at, .. }
            | Error::InvalidSetting { at, .. }
            | Error::Defect { at, .. } => Some(at),
            Error::MachineDamaged { source, .. } | Error::Torn { source, .. } => source.$deeper(),
            Error::NotARepository { .. }
            | Error::NotEmpty { .. }
            | Error::AlreadyARepository { .. }
            | Error::NamesNotExclusive { .. }
            | Error::SameRepository { .. }
            | Error::OtherOrigin { .. }
            | Error::JobHasPoints { .. }
            | Error::WrongKindOfJob { .. }
            | Error::NameTaken { .. } => None,
        }
    };
}

impl Error {
    /// The side of the operation on which the error happened.
    ///
    /// `None` if it is unknown.
    #[must_use]
    pub fn side(&self) -> Option<Side> {
        let told = match self {
            Self::NoSource { .. } | Self::OtherOrigin { .. } => Some(Side::Source),
            Self::NoRoom { .. } | Self::JobHasPoints { .. } | Self::WrongKindOfJob { .. } | Self::NameTaken { .. } => {
                Some(Side::Target)
            }
            Self::Image { .. }
            | Self::PathTaken { .. }
            | Self::InUse { .. }
            | Self::DeviceTooSmall { .. }
            | Self::NoMachine { .. } => Some(Side::Image),
            Self::ExportFile { .. } => Some(Side::Target),
            Self::Damaged { part: DamagedPart::Export | DamagedPart::Seed, .. } => Some(Side::Source),
            Self::MachineDamaged { source, .. } | Self::Torn { source, .. } => source.side(),
            _ => None,
        };
        told.or_else(|| self.place()?.0.as_ref()?.side)
    }

    /// The repository in words, or the path of a file.
    ///
    /// `None` if it is unknown.
    #[must_use]
    pub fn location(&self) -> Option<&str> {
        let told = match self {
            Self::NotARepository { location }
            | Self::NotEmpty { location, .. }
            | Self::AlreadyARepository { location }
            | Self::NamesNotExclusive { location, .. }
            | Self::SameRepository { target_location: location, .. }
            | Self::NoRoom { location, .. }
            | Self::UnknownJob { location, .. }
            | Self::OtherOrigin { location, .. }
            | Self::Busy { location, .. }
            | Self::JobHasPoints { location, .. }
            | Self::WrongKindOfJob { location, .. }
            | Self::NameTaken { location, .. } => Some(location.as_str()),
            Self::Image { path, .. }
            | Self::ExportFile { path, .. }
            | Self::PathTaken { path, .. }
            | Self::InRepository { path, .. }
            | Self::InUse { path, .. }
            | Self::DeviceTooSmall { path, .. }
            | Self::Torn { path, .. } => path.to_str(),
            Self::MachineDamaged { source, .. } => source.location(),
            _ => None,
        };
        told.or_else(|| self.place()?.location())
    }

    /// The key of the object at which the error happened.
    ///
    /// `None` if there is none.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Damaged { part, object, .. } if part.is_object() => Some(object),
            Self::MachineDamaged { source, .. } | Self::Torn { source, .. } => source.key(),
            _ => self.place()?.0.as_ref()?.key.as_deref(),
        }
    }

    /// The name of the job in which the error happened.
    ///
    /// `None` if it is unknown.
    #[must_use]
    pub fn job(&self) -> Option<&str> {
        let told = match self {
            Self::UnknownJob { job, .. } => Some(job.as_str()),
            Self::UnknownPoint { job, .. }
            | Self::OtherOrigin { job, .. }
            | Self::Busy { job, .. }
            | Self::Fenced { job, .. }
            | Self::CommitUnknown { job, .. }
            | Self::NoMachine { job, .. }
            | Self::JobHasPoints { job, .. }
            | Self::WrongKindOfJob { job, .. }
            | Self::NameTaken { job, .. }
            | Self::SnapshotExpired { job, .. }
            | Self::Stopped { job, .. } => Some(job.as_str()),
            Self::MachineDamaged { source, .. } | Self::Torn { source, .. } => source.job(),
            _ => None,
        };
        told.or_else(|| Some(self.place()?.0.as_ref()?.job.as_ref()?.as_str()))
    }

    /// The name of the machine that the error is about.
    ///
    /// `None` if there is none.
    #[must_use]
    pub fn machine(&self) -> Option<&str> {
        let told = match self {
            Self::UnknownMachine { machine, .. }
            | Self::OtherOrigin { machine, .. }
            | Self::MachineDamaged { machine, .. }
            | Self::UnknownDisk { machine, .. }
            | Self::Incomplete { machine, .. } => Some(machine.as_str()),
            Self::Damaged { part: DamagedPart::Block { machine, .. }, .. } => Some(machine.as_str()),
            Self::Torn { source, .. } => source.machine(),
            _ => None,
        };
        told.or_else(|| Some(self.place()?.0.as_ref()?.machine.as_ref()?.as_str()))
    }

    /// Sets the side, unless it is known already.
    pub(crate) fn on(mut self, side: Side) -> Self {
        if self.side().is_none()
            && let Some(place) = self.place_mut()
        {
            place.known().side = Some(side);
        }
        self
    }

    /// Sets the repository, unless a place is known already.
    pub(crate) fn at<L: Into<Located>>(mut self, repository: impl FnOnce() -> L) -> Self {
        let Located { location, id } = repository().into();
        let is_it = self.location().is_none_or(|known| known == location);
        if let Some(place) = self.place_mut().filter(|_| is_it) {
            let known = place.known();
            known.location.get_or_insert(location);
            known.repository = known.repository.or(id);
        }
        self
    }

    /// Sets the object, unless one is known already.
    pub(crate) fn of_object(mut self, key: &offsite_repository::Key) -> Self {
        if self.key().is_none()
            && let Some(place) = self.place_mut()
        {
            place.known().key = Some(key.to_string());
        }
        self
    }

    /// Sets the job, unless one is known already.
    pub(crate) fn in_job(mut self, job: &JobName) -> Self {
        if self.job().is_none()
            && let Some(place) = self.place_mut()
        {
            place.known().job = Some(job.clone());
        }
        self
    }

    /// Sets the machine, unless one is known already.
    pub(crate) fn of_machine(mut self, machine: &MachineName) -> Self {
        if self.machine().is_none()
            && let Some(place) = self.place_mut()
        {
            place.known().machine = Some(machine.clone());
        }
        self
    }

    /// Sets the side of an operation that reads from `sources` and writes to `target`, by the repository in which the error
    /// happened. An error without a place belongs to the target.
    pub(crate) fn between(self, sources: impl IntoIterator<Item = Located>, target: &Located) -> Self {
        let own = self.place().and_then(|place| place.0.as_ref()?.repository);
        let is_there = |there: &Located| match (own, there.id) {
            (Some(own), Some(id)) => own == id,
            _ => self.location().is_some_and(|location| location == there.location),
        };
        let is_nowhere = own.is_none() && self.location().is_none();
        match (is_nowhere || is_there(target), sources.into_iter().any(|source| is_there(&source))) {
            // Those that are called the same, where nothing else tells.
            (true, true) => self,
            (true, false) => self.on(Side::Target).at(|| target.clone()),
            (false, true) => self.on(Side::Source),
            (false, false) => self,
        }
    }

    fn place(&self) -> Option<&ErrorPlace> {
        place_in!(self, place)
    }

    fn place_mut(&mut self) -> Option<&mut ErrorPlace> {
        place_in!(self, place_mut)
    }
}

/// An operation whose errors say where they happened. `tell` adds what the operation knows about that.
pub(crate) fn within<'a, T>(
    tell: impl FnOnce(Error) -> Error + Send + 'a,
    operation: impl Future<Output = Result<T>> + Send + 'a,
) -> BoxFuture<'a, Result<T>> {
    Box::pin(async move { operation.await.map_err(tell) })
}

/// Adds to an error of the engine where it happened. It does not replace what a layer closer to the fault has set.
pub(crate) trait Within<T> {
    fn on(self, side: Side) -> Result<T>;
    fn at<L: Into<Located>>(self, repository: impl FnOnce() -> L) -> Result<T>;
    fn of_object(self, key: &offsite_repository::Key) -> Result<T>;
    fn in_job(self, job: &JobName) -> Result<T>;
}

impl<T> Within<T> for Result<T> {
    fn on(self, side: Side) -> Result<T> {
        self.map_err(|error| error.on(side))
    }

    fn at<L: Into<Located>>(self, repository: impl FnOnce() -> L) -> Result<T> {
        self.map_err(|error| error.at(repository))
    }

    fn of_object(self, key: &offsite_repository::Key) -> Result<T> {
        self.map_err(|error| error.of_object(key))
    }

    fn in_job(self, job: &JobName) -> Result<T> {
        self.map_err(|error| error.in_job(job))
    }
}

/// Adds to an error of a repository what was being done.
pub(crate) trait Context<T> {
    fn while_doing(self, text: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Context<T> for offsite_repository::Result<T> {
    fn while_doing(self, text: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::repository(text(), source))
    }
}
