//! Prepares a new medium for a set.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use offsite::model::{FolderId, Timestamp};
use offsite::repository::ErrorKind;
use offsite::{JobFolder, OpenRepository};
use offsite_backends::{EjectedMedium, KnownMedium, Local, MediaCatalogue, Medium, Removable};

use super::{Inserted, MediaSet};
use crate::recover::recover_at;
use crate::status::Failure;

/// A prepared medium.
pub(crate) struct Prepared {
    pub(crate) repository: OpenRepository,
    /// Whether it was a repository already, and was only added to the set.
    pub(crate) is_adopted: bool,
    pub(crate) ejected: EjectedMedium,
}

/// How to prepare a medium.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Preparation<'a> {
    /// The label on its sticker.
    pub(crate) label: Option<&'a str>,
    /// Whether a folder is accepted at which nothing is mounted.
    pub(crate) allow_unmounted: bool,
}

/// What is at a place.
enum Found {
    /// An empty file system.
    Empty,
    /// A medium that is to become a repository.
    Blank(Removable),
    /// A repository on a medium that has lost its own marker, and perhaps the marker of the repository as well.
    Unmarked(Local),
    /// A repository of a set with another catalogue.
    Stranger(Removable, OpenRepository),
    /// Nothing to make a medium of, with the reason.
    No(String),
}

impl MediaSet {
    /// Makes a repository on the first place with an empty medium, or adds a medium that the catalogue does not know.
    pub(crate) async fn initialise(&self, how: Preparation<'_>, now: Timestamp) -> Result<Prepared, Failure> {
        let Preparation { label, allow_unmounted } = how;
        let catalogue = self.catalogue().await?;
        let known = catalogue.media().await?;
        let mut why_not = String::new();
        for place in &self.places {
            let (removable, repository) = match look(place, &known, allow_unmounted).await? {
                Found::No(why) => {
                    why_not.push_str(&format!("\n  {}: {why}", place.display()));
                    continue;
                }
                Found::Unmarked(local) => {
                    let (repository, _) = recover_at(Arc::new(local), now).await?;
                    let medium = same(&repository, &catalogue, &known).await;
                    match (medium, label) {
                        (Some(medium), Some(label)) if medium.label != label => {
                            return Err(another_label(place, &medium.label, label));
                        }
                        (Some(medium), _) => Removable::mark_again(place, medium).await?,
                        (None, label) => {
                            let label = label.map_or_else(|| self.next_label(&known), str::to_owned);
                            prepare(place, &label).await?
                        }
                    };
                    let removable = Removable::open(place).await?;
                    let repository = OpenRepository::open(Arc::new(removable.clone())).await?;
                    (removable, Some(repository))
                }
                Found::Stranger(removable, repository) => (removable, Some(repository)),
                Found::Blank(removable) => (removable, None),
                Found::Empty => {
                    let label = label.map_or_else(|| self.next_label(&known), str::to_owned);
                    prepare(place, &label).await?;
                    (Removable::open(place).await?, None)
                }
            };
            let found = &removable.medium().label;
            if let Some(label) = label.filter(|label| label != found) {
                return Err(another_label(place, found, label));
            }
            return take_in(removable, repository, catalogue, now).await;
        }
        Err(Failure::Failed(format!("repository {}: there is no empty medium; mount one{why_not}", self.repo)))
    }

    /// Returns a label that no known medium has.
    fn next_label(&self, known: &[KnownMedium]) -> String {
        let free = (1..=known.len() + 1).map(|number| format!("{}-{number}", self.repo));
        let mut free = free.filter(|label| known.iter().all(|known| known.medium.label != *label));
        free.next().unwrap_or_else(|| self.repo.clone())
    }
}

fn another_label(place: &Path, known: &str, label: &str) -> Failure {
    let place = place.display();
    Failure::Failed(format!("the medium at {place} has the label {known:?} already, not {label:?}; leave out --label"))
}

/// Marks the medium at a place with a new id.
async fn prepare(place: &Path, label: &str) -> Result<Medium, Failure> {
    Ok(match Removable::is_mounted(place) {
        true => Removable::prepare(place, label).await?,
        false => Removable::prepare_folder(place, label).await?,
    })
}

/// Returns the known medium that has this repository, or a job folder of it. A repository that lost its marker has another id.
async fn same(repository: &OpenRepository, catalogue: &MediaCatalogue, known: &[KnownMedium]) -> Option<Medium> {
    let folders = folders(repository).await;
    for KnownMedium { medium, .. } in known {
        if let Ok(absent) = catalogue.absent_medium(medium.id).await
            && let Ok(remembered) = OpenRepository::open(Arc::new(absent)).await
            && (remembered.id() == repository.id() || !folders.is_disjoint(&self::folders(&remembered).await))
        {
            return Some(medium.clone());
        }
    }
    None
}

/// Returns the ids of the job folders that can be opened.
async fn folders(repository: &OpenRepository) -> BTreeSet<FolderId> {
    let mut ids = BTreeSet::new();
    for job in repository.jobs().await.unwrap_or_default() {
        ids.extend(JobFolder::open(repository, &job).await.ok().map(|folder| folder.id()));
    }
    ids
}

/// Returns the place if it has a repository without the marker of a medium.
async fn unmarked(place: &Path) -> Option<Local> {
    let local = Local::open(place).await.ok()?;
    match OpenRepository::open(Arc::new(local.clone())).await {
        // There are job folders.
        Ok(_) | Err(offsite::Error::Damaged { .. }) => Some(local),
        Err(_) => None,
    }
}

async fn look(place: &Path, known: &[KnownMedium], allow_unmounted: bool) -> Result<Found, Failure> {
    let removable = match Removable::open(place).await {
        Ok(removable) => removable,
        Err(error) if error.kind() == ErrorKind::MediaAbsent => {
            return Ok(match std::fs::read_dir(place) {
                Err(error) => Found::No(error.to_string()),
                // It would fill the disk below it, and a drive that is mounted there later would hide it.
                Ok(_) if !allow_unmounted && !Removable::is_mounted(place) => {
                    Found::No("nothing is mounted there".to_owned())
                }
                Ok(entries) => match unmarked(place).await {
                    Some(local) => Found::Unmarked(local),
                    // Hidden names belong to no objects, and new drives have some.
                    None => entries
                        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
                        .find(|name| name != "lost+found" && !name.starts_with('.'))
                        .map_or(Found::Empty, |name| Found::No(format!("is not empty, it has {name:?}"))),
                },
            });
        }
        Err(error) => return Err(error.into()),
    };
    let is_known = known.iter().any(|known| known.medium.id == removable.medium().id);
    match OpenRepository::open(Arc::new(removable.clone())).await {
        Ok(_) if is_known => Ok(Found::No(format!("has medium {}, a repository already", removable.medium()))),
        Ok(repository) => Ok(Found::Stranger(removable, repository)),
        Err(offsite::Error::NotARepository { .. }) => Ok(Found::Blank(removable)),
        Err(error) => Err(error.into()),
    }
}

/// Makes a repository of the medium if it is none yet, and writes it down.
async fn take_in(
    removable: Removable,
    repository: Option<OpenRepository>,
    catalogue: MediaCatalogue,
    now: Timestamp,
) -> Result<Prepared, Failure> {
    let is_adopted = repository.is_some();
    let repository = match repository {
        Some(repository) => repository,
        None => OpenRepository::initialise(Arc::new(removable.clone()), now).await?,
    };
    let inserted = Inserted { removable, repository, catalogue };
    inserted.remember(now).await?;
    let ejected = inserted.removable.eject().await?;
    Ok(Prepared { repository: inserted.repository, is_adopted, ejected })
}
