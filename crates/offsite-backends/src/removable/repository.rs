//! A medium as a repository: how to prepare, open and eject it.

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

/// The bound for objects where holes cannot be punched: space comes back only with whole objects, so they should be small. FAT
/// also ends at 4 GiB.
const PART_BYTES_MAX: u64 = 1 << 30;

/// A repository on a removable medium: a [`Local`] folder whose medium has an identity.
///
/// - *Identity.* [`Removable::prepare`] writes a small marker file at the root of the medium. A folder without the marker is not
///   a medium, so an empty mount point is not taken for one. A folder with the marker is not a medium either if nothing is
///   mounted there.
/// - *Removal.* Before each call, and before an object becomes visible, it checks that the medium is still there, by its path,
///   its device and its identity. After the medium was away, all clones and writers fail for ever, even when it is back: with
///   `WrongMedia` if another medium took its place, otherwise with `MediaAbsent`. It never writes to another medium, as it uses
///   only the folder that it has opened.
/// - *Errors* name the medium by its label, and the way out.
/// - *File systems.* FAT and exFAT work. If the medium cannot punch holes, objects have at most 1 GiB.
/// - *Absence.* A [`MediaCatalogue`] knows what is on media that are away.
#[derive(Debug, Clone)]
pub struct Removable {
    pub(super) guard: Arc<Guard>,
    pub(super) can: Abilities,
}

/// What the file system of the medium can do. It does not change while the medium is mounted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Abilities {
    pub(super) limits: Limits,
    pub(super) beyond: MediumAbilities,
}

impl Removable {
    /// Gives the drive that is mounted at `path` an identity.
    ///
    /// Its content stays.
    ///
    /// # Errors
    /// `MediaAbsent` if nothing is mounted there. `AlreadyExists` if it already has an identity. `NotFound` if nothing exists at
    /// `path`. `Unsupported` for a label that cannot be read from a sticker. Any error that prevents writing.
    pub async fn prepare(path: impl Into<PathBuf>, label: &str) -> Result<Medium> {
        Self::mark(path.into(), Medium::new(label)?, false).await
    }

    /// Gives the folder at `path` an identity, so that it stands for a drive.
    ///
    /// Nothing need be mounted there, now or later. It is for tests.
    ///
    /// # Errors
    /// The same as [`Removable::prepare`], except `MediaAbsent`.
    pub async fn prepare_folder(path: impl Into<PathBuf>, label: &str) -> Result<Medium> {
        Self::mark(path.into(), Medium::new(label)?, true).await
    }

    /// Gives the medium at `path` the identity back that it has lost.
    ///
    /// Its content stays.
    ///
    /// # Errors
    /// The same as [`Removable::prepare`], except `MediaAbsent`: if nothing is mounted there, it is taken for a folder that
    /// stands for a drive.
    pub async fn mark_again(path: impl Into<PathBuf>, medium: Medium) -> Result<Medium> {
        let path = path.into();
        let is_folder = !is_mounted(&path);
        Self::mark(path, medium, is_folder).await
    }

    /// Returns `true` if something is mounted at `path`: it is on another device than its parent folder.
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
    /// `MediaAbsent` if there is no medium.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self> {
        Self::open_with(RemovableOptions::default().with_places(vec![path.into()])).await
    }

    /// Looks for the expected media, and opens the first that it finds.
    ///
    /// # Errors
    /// `MediaAbsent` if there is no medium. `WrongMedia` if there are only others, or if two have the same identity. `Corrupt` if
    /// the identity of the only one is damaged.
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

    /// The opened medium.
    #[must_use]
    pub fn medium(&self) -> &Medium {
        &self.guard.medium
    }

    /// The folder at which it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.guard.path
    }

    /// Writes into `catalogue` what is on the medium now, and copies the objects that `what` names.
    ///
    /// # Errors
    /// Any error that prevents reading the medium or writing the catalogue. The catalogue is then unchanged.
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

    /// Makes everything on the medium durable, and closes it.
    ///
    /// A person can then unmount it and take it out.
    ///
    /// All clones fail from then on.
    ///
    /// # Errors
    /// `Unavailable` while a writer is at work, and any error of the flush. It is then not safe to take the medium out.
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
