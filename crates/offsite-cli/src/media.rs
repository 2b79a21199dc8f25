//! Media that come and go: which of a set is there, and what is known of those that are away.

mod prepare;

use std::path::PathBuf;
use std::sync::Arc;

use offsite::model::{RestorePoint, Timestamp};
use offsite::report::{ErrorSummary, Unseen};
use offsite::repository::{Error, ErrorKind, StreamShare, Streamed};
use offsite::{JobFolder, JobName, OpenRepository};
use offsite_backends::{KnownMedium, MediaCatalogue, Medium, MediumId, RememberOptions, Removable, RemovableOptions};
use serde_json::{Value, json};

use crate::advice::text_of;
use crate::error_text::{chain_of, one_line};
use crate::print;
use crate::recover::recover_at;
use crate::status::{Failure, Status};

pub(crate) use prepare::Preparation;

/// The greatest length of objects that are kept for when a medium is away, in bytes. The index of a full of several TiB is shorter.
const REMEMBERED_BYTES_MAX: u64 = 256 << 20;

/// Drives that are used in turn.
#[derive(Debug)]
pub(crate) struct MediaSet {
    /// The name that the user gives the set.
    pub(crate) repo: String,
    /// Where a drive of the set may be mounted.
    pub(crate) places: Vec<PathBuf>,
    /// The folder of the catalogue.
    pub(crate) catalogue: PathBuf,
    /// The greatest length of a file on the drives, in bytes. `None` if the config does not set it.
    pub(crate) file_bytes_max: Option<u64>,
    /// The requests to a drive that the job may have under way at once.
    pub(crate) streams: StreamShare,
}

/// A drive of a set that is there.
#[derive(Debug)]
pub(crate) struct Inserted {
    pub(crate) removable: Removable,
    pub(crate) repository: OpenRepository,
    catalogue: MediaCatalogue,
}

/// A repository to look at. A set of media has one for each medium, wherever it is.
pub(crate) struct View {
    pub(crate) repository: OpenRepository,
    /// The medium that it is on. `None` if it is on no medium.
    pub(crate) medium: Option<Seen>,
}

/// A medium, and when it was seen.
pub(crate) struct Seen {
    pub(crate) medium: Medium,
    /// When it was last seen. `None` if it is there.
    away_since: Option<Timestamp>,
}

impl MediaSet {
    /// Opens the known medium that is there.
    pub(crate) async fn open(&self) -> Result<Inserted, Failure> {
        let (removable, catalogue) = self.inserted().await?;
        let streamed = Streamed::new(Arc::new(removable.clone()), self.streams.clone());
        let repository = OpenRepository::open(Arc::new(streamed)).await?;
        Ok(Inserted { removable, repository, catalogue })
    }

    /// Opens the known medium that is there, even if the marker of its repository is lost or damaged. Returns whether the
    /// repository got a new marker.
    pub(crate) async fn recover(&self, now: Timestamp) -> Result<(OpenRepository, bool), Failure> {
        let (removable, catalogue) = self.inserted().await?;
        let (repository, is_new) = recover_at(Arc::new(removable.clone()), now).await?;
        let inserted = Inserted { removable, repository, catalogue };
        if is_new {
            // The catalogue keeps an object while its name and length stay the same.
            inserted.catalogue.forget(inserted.removable.medium().id).await?;
            inserted.remember(now).await?;
        }
        Ok((inserted.repository, is_new))
    }

    /// Returns the known medium that is there, and the catalogue.
    pub(crate) async fn inserted(&self) -> Result<(Removable, MediaCatalogue), Failure> {
        let (catalogue, known) = self.known().await?;
        match self.find(&catalogue, &known).await {
            Ok(removable) => Ok((removable, catalogue)),
            Err(error) => Err(Failure::Failed(self.explain(&error, &known).await)),
        }
    }

    /// Returns all media of the set: first the one that is there, then those that are away, as they were when they were last seen.
    pub(crate) async fn views(&self) -> Result<(Vec<View>, Status), Failure> {
        let (catalogue, known) = self.known().await?;
        let mut status = Status::Done;
        let inserted = match self.find(&catalogue, &known).await {
            Ok(removable) => Some(removable),
            Err(error) if error.kind() == ErrorKind::MediaAbsent => None,
            Err(error) => {
                print::warning(self.explain(&error, &known).await);
                status = Status::Warnings;
                None
            }
        };
        let mut views = Vec::new();
        let id = inserted.as_ref().map(|removable| removable.medium().id);
        if let Some(removable) = inserted {
            let medium = Seen { medium: removable.medium().clone(), away_since: None };
            match OpenRepository::open(Arc::new(removable)).await {
                Ok(repository) => views.push(View { repository, medium: Some(medium) }),
                Err(error) => status = status.and(unseen(&medium.medium, &text_of(&error))),
            }
        }
        for KnownMedium { medium, seen_unix_secs, .. } in known {
            if Some(medium.id) != id {
                let repository = match catalogue.absent_medium(medium.id).await {
                    Ok(absent) => OpenRepository::open(Arc::new(absent)).await.map_err(|error| text_of(&error)),
                    Err(error) => Err(chain_of(&error)),
                };
                let away_since = Some(Timestamp::from_unix_secs(seen_unix_secs).unwrap_or(Timestamp::MAX));
                match repository {
                    Ok(repository) => views.push(View { repository, medium: Some(Seen { medium, away_since }) }),
                    Err(why) => status = status.and(unseen(&medium, &why)),
                }
            }
        }
        Ok((views, status))
    }

    /// Forgets a known medium. `medium` is its label or its id.
    pub(crate) async fn forget(&self, medium: &str) -> Result<Medium, Failure> {
        let (catalogue, known) = self.known().await?;
        let known: Vec<Medium> = known.into_iter().map(|known| known.medium).collect();
        let list = |media: &[&Medium]| media.iter().map(|medium| format!("\n  {medium}")).collect::<String>();
        let meant: Vec<&Medium> =
            known.iter().filter(|known| known.label == medium || known.id.to_string() == medium).collect();
        match meant[..] {
            [meant] => {
                catalogue.forget(meant.id).await?;
                Ok(meant.clone())
            }
            [] => Err(Failure::Failed(format!(
                "repository {} knows no drive {medium:?}; it knows:{}",
                self.repo,
                list(&known.iter().collect::<Vec<_>>())
            ))),
            _ => Err(Failure::Failed(format!(
                "several drives have the label {medium:?}; name one by its id:{}",
                list(&meant)
            ))),
        }
    }

    /// Returns the restore points of `job` on all media other than `here`, as they were when they were last seen, and the media
    /// that cannot be read.
    pub(crate) async fn elsewhere(
        &self,
        here: MediumId,
        job: &JobName,
    ) -> Result<(Vec<RestorePoint>, Vec<Unseen>), Failure> {
        let (catalogue, known) = self.known().await?;
        let (mut points, mut untold) = (Vec::new(), Vec::new());
        for KnownMedium { medium, .. } in known.into_iter().filter(|known| known.medium.id != here) {
            let repository = match catalogue.absent_medium(medium.id).await {
                Ok(absent) => OpenRepository::open(Arc::new(absent)).await.map_err(|error| text_of(&error)),
                Err(error) => Err(chain_of(&error)),
            };
            let why = match &repository {
                Ok(repository) => match JobFolder::open(repository, job).await {
                    Ok(folder) => {
                        points.extend(folder.chain().all().cloned());
                        continue;
                    }
                    Err(offsite::Error::UnknownJob { .. }) => continue,
                    Err(error) => text_of(&error),
                },
                Err(why) => why.clone(),
            };
            // This only keeps more here.
            let why = ErrorSummary::new(one_line(&why), true);
            untold.push(Unseen::Elsewhere { name: format!("medium {medium}"), why });
        }
        Ok((points, untold))
    }

    /// Returns the catalogue, and the media that it has.
    async fn known(&self) -> Result<(MediaCatalogue, Vec<KnownMedium>), Failure> {
        let catalogue = self.catalogue().await?;
        let known = catalogue.media().await?;
        if known.is_empty() {
            let (repo, places) = (&self.repo, self.looked_at());
            return Err(Failure::Failed(format!(
                "repository {repo} has no medium yet; mount one at {places} and make it the first with `offsite init {repo}`"
            )));
        }
        Ok((catalogue, known))
    }

    async fn catalogue(&self) -> Result<MediaCatalogue, Failure> {
        std::fs::create_dir_all(&self.catalogue)
            .map_err(|error| format!("cannot make the folder {}: {error}", self.catalogue.display()))?;
        Ok(MediaCatalogue::open(&self.catalogue).await?)
    }

    async fn find(&self, catalogue: &MediaCatalogue, known: &[KnownMedium]) -> Result<Removable, Error> {
        let options = RemovableOptions::default()
            .with_places(self.places.clone())
            .with_expected(known.iter().map(|known| known.medium.id).collect())
            .with_catalogue(catalogue.clone())
            .with_object_bytes_max(self.file_bytes_max);
        Removable::open_with(options).await
    }

    /// Says why no medium could be opened, with the way out.
    async fn explain(&self, error: &Error, known: &[KnownMedium]) -> String {
        let repo = &self.repo;
        match error.kind() {
            ErrorKind::MediaAbsent => {
                let seen = |known: &KnownMedium| {
                    let time = Timestamp::from_unix_secs(known.seen_unix_secs).unwrap_or(Timestamp::MAX);
                    format!("\n  {:?}, last seen {time}", known.medium.label)
                };
                format!(
                    "repository {repo}: no medium is at {}; insert and mount one of:{}{}",
                    self.looked_at(),
                    known.iter().map(seen).collect::<String>(),
                    self.unmounted()
                )
            }
            ErrorKind::WrongMedia if self.has_stranger(known).await => {
                format!("{}\n  or take the one that is there into the set, with `offsite init {repo}`", chain_of(error))
            }
            ErrorKind::Corrupt => {
                format!("{}\n  (`offsite init {repo}` then gives the drive its marker back)", chain_of(error))
            }
            _ => chain_of(error),
        }
    }

    /// Whether a medium is there that the catalogue does not know.
    async fn has_stranger(&self, known: &[KnownMedium]) -> bool {
        for place in &self.places {
            if let Ok(removable) = Removable::open(place).await
                && !known.iter().any(|known| known.medium.id == removable.medium().id)
            {
                return true;
            }
        }
        false
    }

    /// Returns the places that exist but have nothing mounted, one per line.
    fn unmounted(&self) -> String {
        let is_unmounted = |place: &&PathBuf| place.is_dir() && !Removable::is_mounted(place);
        let line = |place: &PathBuf| format!("\n  nothing is mounted at {}", place.display());
        self.places.iter().filter(is_unmounted).map(line).collect()
    }

    fn looked_at(&self) -> String {
        self.places.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(" or ")
    }
}

/// Prints that a medium cannot be looked at.
fn unseen(medium: &Medium, why: &dyn std::fmt::Display) -> Status {
    print::problem(format_args!("medium {medium} cannot be looked at: {why}"));
    Status::Failed
}

impl Inserted {
    /// Writes down in the catalogue what is on the medium at `now`.
    pub(crate) async fn remember(&self, now: Timestamp) -> Result<(), Failure> {
        let (keys, prefixes) = self.repository.overview().await?;
        let what = RememberOptions::new(now.unix_secs())
            .with_prefixes(prefixes)
            .with_keys(keys)
            .with_object_bytes_max(REMEMBERED_BYTES_MAX);
        Ok(self.removable.remember(&self.catalogue, &what).await?)
    }
}

impl Seen {
    /// Returns when a drive that is away was last seen. `None` if it is there.
    pub(crate) const fn away_since(&self) -> Option<Timestamp> {
        self.away_since
    }

    pub(crate) fn is_away(&self) -> bool {
        self.away_since.is_some()
    }

    /// Returns a sentence about where the medium is.
    pub(crate) fn words(&self) -> String {
        match self.away_since {
            Some(time) => format!("medium {} is away; as of {time}", self.medium),
            None => format!("medium {} is there", self.medium),
        }
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "id": self.medium.id.to_string(),
            "label": self.medium.label,
            "is_away": self.is_away(),
            "as_of": self.away_since.map(|time| time.to_string()),
        })
    }
}
