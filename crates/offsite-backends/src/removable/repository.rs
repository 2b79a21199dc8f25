//! The medium as a repository: how it is made, opened and ejected.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use offsite_repository::{Error, ErrorKind, Limits, Prefix, Repository, RepositoryExt, Result};

use super::catalogue::MediaCatalogue;
use super::ejected::EjectedMedium;
use super::guard::{Guard, Look};
use super::known::{KnownMedium, MediumAbilities};
use super::marker::{MARKER, Marked, Medium};
use super::options::RemovableOptions;
use super::remember::RememberOptions;
use super::search::{find, is_mounted, medium_at};
use crate::Local;
use crate::local::{blocking, fault};

/// Where holes cannot be punched, space comes back with whole objects only, so these should be small; and FAT ends at 4 GiB.
const PART_BYTES_MAX: u64 = 1 << 30;

/// A repository on a medium that can be taken away: a [`Local`] folder whose medium has an identity.
///
/// - The identity is a small file at the medium's root. [`Removable::prepare`] makes it. A folder without it is no medium, so an
///   empty mount point is none. A folder with it is no medium either, if nothing is mounted there.
/// - Before each call, and before an object becomes visible, it looks whether the medium is still there: by its path, its device
///   and its identity. Once the medium was away, all clones and writers fail for ever, also when it is back: with `WrongMedia` if
///   another medium took its place, else with `MediaAbsent`. It never writes to another medium, as all goes through the folder
///   that it opened.
/// - Errors name the medium by its label, and the way out.
/// - FAT and exFAT will do. Where it cannot punch holes, objects have at most 1 GiB.
/// - A [`MediaCatalogue`] tells what is on media that are away.
#[derive(Debug, Clone)]
pub struct Removable {
    pub(super) guard: Arc<Guard>,
    pub(super) can: Abilities,
}

/// What the medium's file system can do; it does not change while it is mounted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Abilities {
    pub(super) limits: Limits,
    pub(super) beyond: MediumAbilities,
}

impl Removable {
    /// Gives the drive that is mounted at `path` an identity. What else is on it stays.
    ///
    /// # Errors
    /// `MediaAbsent` if nothing is mounted there; `AlreadyExists` if it has an identity already; `NotFound` if nothing is at
    /// `path`; `Unsupported` for a label that nobody can read from a sticker; whatever hinders writing.
    pub async fn prepare(path: impl Into<PathBuf>, label: &str) -> Result<Medium> {
        Self::mark(path.into(), Medium::new(label)?, false).await
    }

    /// Gives the folder at `path` an identity, so that it stands for a drive. Nobody asks whether anything is mounted there, now or
    /// later. For tests.
    ///
    /// # Errors
    /// As for [`Removable::prepare`], but for `MediaAbsent`.
    pub async fn prepare_folder(path: impl Into<PathBuf>, label: &str) -> Result<Medium> {
        Self::mark(path.into(), Medium::new(label)?, true).await
    }

    /// Gives the medium at `path` back the identity that it has lost. What else is on it stays.
    ///
    /// # Errors
    /// As for [`Removable::prepare`], but for `MediaAbsent`: if nothing is mounted there, it is a folder that stands for a drive.
    pub async fn mark_again(path: impl Into<PathBuf>, medium: Medium) -> Result<Medium> {
        let path = path.into();
        let is_folder = !is_mounted(&path);
        Self::mark(path, medium, is_folder).await
    }

    /// Whether something is mounted at `path`: it is on another device than the folder above it.
    #[must_use]
    pub fn is_mounted(path: &Path) -> bool {
        is_mounted(path)
    }

    async fn mark(path: PathBuf, medium: Medium, is_folder: bool) -> Result<Medium> {
        let marked = Marked { medium, is_folder };
        let local = Local::open(&path).await?;
        blocking("prepare", move || {
            let place = path.display().to_string();
            if !is_folder && !is_mounted(&path) {
                let error = Error::new(ErrorKind::MediaAbsent, "prepare").with_location(place);
                return Err(error.with_detail("nothing is mounted there: mount the drive"));
            }
            if let Some(Marked { medium: known, .. }) = medium_at(&path)? {
                let error = Error::new(ErrorKind::AlreadyExists, "prepare").with_location(place);
                return Err(error.with_detail(format!("it is medium {known} already: open it")));
            }
            local.put_hidden(MARKER, &marked.to_marker()?)?;
            Ok(marked.medium)
        })
        .await
    }

    /// Opens the medium at `path`.
    ///
    /// # Errors
    /// `MediaAbsent` if none is.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self> {
        Self::open_with(RemovableOptions::default().with_places(vec![path.into()])).await
    }

    /// Looks for a medium, and opens the first that is expected.
    ///
    /// # Errors
    /// `MediaAbsent` if there is no medium. `WrongMedia` if there are only others, or if two have one identity. `Corrupt`
    /// if the identity of the only one is damaged.
    pub async fn open_with(options: RemovableOptions) -> Result<Self> {
        let bound = options.object_bytes_max;
        let (path, medium) = blocking("open", move || find(&options)).await?;
        let mut local = Local::open(path).await?;
        if local.reclaim().is_none() {
            local.bound_objects(PART_BYTES_MAX);
        }
        if let Some(bytes) = bound {
            local.bound_objects(bytes);
        }
        let can = Abilities {
            limits: local.limits(),
            beyond: MediumAbilities {
                punch_granularity_bytes: local.reclaim().map(|reclaim| reclaim.punch_granularity_bytes()),
                clone_granularity_bytes: local.clone_range().map(|cloner| cloner.clone_granularity_bytes()),
                patches: local.patch().is_some(),
            },
        };
        let guard = blocking("open", move || Guard::new(local, medium)).await?;
        Ok(Self { guard: Arc::new(guard), can })
    }

    /// The medium.
    #[must_use]
    pub fn medium(&self) -> &Medium {
        &self.guard.medium
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.guard.path
    }

    /// Writes down in `catalogue` what is on the medium now, and copies the objects that `what` names.
    ///
    /// # Errors
    /// Whatever hinders reading the medium or writing the catalogue. What the catalogue knew before stays then.
    pub async fn remember(&self, catalogue: &MediaCatalogue, what: &RememberOptions) -> Result<()> {
        let mut objects = self.list_all(&Prefix::root()).await?;
        objects.sort_by(|left, right| left.key.cmp(&right.key));
        let known = KnownMedium {
            medium: self.medium().clone(),
            seen_unix_secs: what.seen_unix_secs,
            object_bytes_max: self.can.limits.object_bytes_max,
            abilities: self.can.beyond,
            objects,
        };
        catalogue.keep(self, known, what).await
    }

    /// Makes everything on the medium durable and lets go of it. Then a person can unmount it and take it out. All clones fail
    /// from then on.
    ///
    /// # Errors
    /// `Unavailable` while a writer is at work; whatever hinders flushing. Then it is not safe to take the medium out.
    pub async fn eject(&self) -> Result<EjectedMedium> {
        let guard = Arc::clone(&self.guard);
        let work = move || {
            let local = guard.enter("eject", Look::Cheap)?;
            let failed = |errno| guard.explain("eject", fault("eject", guard.path.display(), errno));
            local.flush_all().map_err(failed)?;
            drop(local);
            drop(guard.enter("eject", Look::Fresh)?);
            guard.release()?;
            Ok(EjectedMedium { medium: guard.medium.clone(), path: guard.path.clone() })
        };
        blocking("eject", work).await.map_err(|error| error.with_location(self.location()))
    }
}
