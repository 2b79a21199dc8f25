//! Opens repositories from the names and locations that were typed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use offsite::model::{Sequence, Timestamp};
use offsite::repository::{Error, ErrorKind, Repository, StreamShare, Streamed};
use offsite::{FlowName, JobName, OpenRepository, PointSelector};
use offsite_backends::{Local, S3, S3Checksum, S3CredentialSource, S3Location, S3Options};

use crate::config::{ChecksumConfig, Config, RepositoryConfig};
use crate::error_text::chain_of;
use crate::media::{MediaSet, Preparation, View};
use crate::recover::recover_at;
use crate::signals::Stop;
use crate::status::{Failure, Status};
use crate::stoppable::Stoppable;
use crate::when::When;

/// Where a repository lies.
enum Place {
    Folder(PathBuf),
    Bucket(Box<S3Options>),
    Media(MediaSet),
}

/// Opens the repository `repo`: a name from the config, or a location.
pub(crate) async fn open(repo: &str, config: &Config) -> Result<OpenRepository, Failure> {
    let repository = OpenRepository::open(backend(repo, config).await?).await?;
    Ok(under_rules(&repository, repo, config))
}

/// Opens the repository that `repo` names for a job of the config.
pub(crate) async fn open_in_job(repo: &str, config: &Config, job: &JobName) -> Result<OpenRepository, Failure> {
    let repository = OpenRepository::open(backend(repo, config).await?).await?;
    let name = FlowName::new(config.repository_name(repo)).in_job(job.clone());
    Ok(repository.with_traffic(&config.traffic, name))
}

/// The repository that `repo` names, under the rules of the config about traffic.
fn under_rules(repository: &OpenRepository, repo: &str, config: &Config) -> OpenRepository {
    repository.with_traffic(&config.traffic, FlowName::new(config.repository_name(repo)))
}

/// Opens the repository `repo`, even if its marker is lost or damaged. It gets a new marker then. Returns whether it did.
pub(crate) async fn recover(repo: &str, config: &Config) -> Result<(OpenRepository, bool), Failure> {
    if let Place::Media(set) = place(repo, config)? {
        return set.recover(now()).await;
    }
    recover_at(backend(repo, config).await?, now()).await
}

/// Whether the place `repo` has the marker of a repository, or may have it. Opening the repository reports other errors.
pub(crate) async fn is_marked(repo: &str, config: &Config) -> Result<bool, Failure> {
    let backend: Arc<dyn Repository> = match place(repo, config)? {
        Place::Media(set) => Arc::new(set.inserted().await?.0),
        _ => backend(repo, config).await?,
    };
    Ok(!matches!(OpenRepository::open(backend).await, Err(offsite::Error::Damaged { .. })))
}

/// Opens the place `repo`, whether it is an Offsite repository or not.
pub(crate) async fn backend(repo: &str, config: &Config) -> Result<Arc<dyn Repository>, Failure> {
    Ok(match place(repo, config)? {
        Place::Folder(path) => {
            refuse_file(&path)?;
            let folder = Local::open(&path).await.map_err(|error| no_such_place(&error, repo, &path, config))?;
            Arc::new(Streamed::new(Arc::new(folder), config.stream_share(repo)))
        }
        Place::Bucket(options) => Arc::new(open_bucket(*options).await?),
        Place::Media(set) => Arc::new(Streamed::new(Arc::new(set.open().await?.removable), config.stream_share(repo))),
    })
}

/// Returns the folder of `repo`. `None` if it is no folder.
pub(crate) fn folder(repo: &str, config: &Config) -> Result<Option<PathBuf>, Failure> {
    Ok(match place(repo, config)? {
        Place::Folder(path) => Some(path),
        _ => None,
    })
}

/// Returns the set of media of `repo`. `None` if it is on no medium.
pub(crate) fn media(repo: &str, config: &Config) -> Result<Option<MediaSet>, Failure> {
    Ok(match place(repo, config)? {
        Place::Media(set) => Some(set),
        _ => None,
    })
}

/// Opens `repo` to look at it. For a set of media, this includes those that are away. It prints which media cannot be looked at,
/// and returns a status with warnings then.
pub(crate) async fn views(repo: &str, config: &Config) -> Result<(Vec<View>, Status), Failure> {
    match media(repo, config)? {
        Some(set) => set.views().await,
        None => Ok((vec![View { repository: open(repo, config).await?, medium: None }], Status::Done)),
    }
}

/// Opens the repository `repo` to read from it, until the command is told to stop.
pub(crate) async fn open_until(repo: &str, config: &Config, stop: &Stop) -> Result<OpenRepository, Failure> {
    let repository = backend(repo, config).await?;
    let repository = OpenRepository::open(Arc::new(Stoppable { repository, stop: stop.clone() })).await?;
    Ok(under_rules(&repository, repo, config))
}

/// Makes the repository `repo`, with its folder and the folders above it.
pub(crate) async fn initialise(repo: &str, config: &Config, now: Timestamp) -> Result<OpenRepository, Failure> {
    let backend: Arc<dyn Repository> = match place(repo, config)? {
        Place::Folder(path) => {
            refuse_file(&path)?;
            if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                std::fs::create_dir_all(parent)
                    .map_err(|error| format!("cannot make the folder {}: {error}", parent.display()))?;
            }
            refuse_foreign(&path)?;
            let folder = Local::create(&path).await?;
            // What an earlier call left that was cut off as it tried the place.
            folder.sweep().await?;
            Arc::new(folder)
        }
        Place::Bucket(options) => Arc::new(open_bucket(*options).await?),
        Place::Media(set) => return Ok(set.initialise(Preparation::default(), now).await?.repository),
    };
    Ok(OpenRepository::initialise(backend, now).await?)
}

async fn open_bucket(options: S3Options) -> Result<S3, Failure> {
    let endpoint = options.endpoint.clone();
    S3::open(options).await.map_err(|error| {
        let mut text = chain_of(&error);
        if let Some(endpoint) = endpoint.filter(|_| error.kind() == ErrorKind::Unavailable) {
            text.push_str(&format!("\n  the endpoint is {endpoint}"));
        }
        Failure::Failed(text)
    })
}

/// Returns the restore point of `--at` or `--point`, of a job in the repository `repo`.
pub(crate) fn point(
    (at, number): (Option<When>, Option<u64>),
    repo: &str,
    job: &JobName,
    config: &Config,
) -> Result<PointSelector, Failure> {
    Ok(match (at, number) {
        (Some(when), _) => {
            PointSelector::At(when.in_zone(&config.zone_of(repo, job), now()).map_err(Failure::WrongUse)?)
        }
        (None, Some(number)) => PointSelector::Sequence(Sequence(number)),
        (None, None) => PointSelector::Latest,
    })
}

/// Returns the present time.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_unix_secs(jiff::Timestamp::now().as_second()).unwrap_or(Timestamp::MAX)
}

fn place(repo: &str, config: &Config) -> Result<Place, Failure> {
    let location = config.location(repo).unwrap_or_else(|| repo.to_owned());
    if location.is_empty() {
        return Err(Failure::WrongUse(match repo.is_empty() {
            true => "an empty repository name".to_owned(),
            false => {
                format!("repository {repo}: location is empty; set it to a folder, an s3:// URL or removable:NAME")
            }
        }));
    }
    if location.starts_with("s3://") {
        return Ok(Place::Bucket(Box::new(bucket(
            &location,
            config.repositories.get(repo),
            config.stream_share(repo),
        )?)));
    }
    if let Some(name) = location.strip_prefix("removable:") {
        let Some((places, catalogue, file_bytes_max)) = config.media(repo, name) else {
            return Err(Failure::WrongUse(format!(
                "{location}: where media show up is for the config to say: add [repositories.NAME] with this location and places"
            )));
        };
        return Ok(Place::Media(MediaSet {
            repo: repo.to_owned(),
            places,
            catalogue,
            file_bytes_max,
            streams: config.stream_share(repo),
        }));
    }
    if location.contains("://") {
        return Err(Failure::WrongUse(format!(
            "{location}: this version stores in folders, in buckets (s3://bucket/prefix) and on drives (removable:NAME) only"
        )));
    }
    // Locations in the config were checked when it was read, and start at its folder.
    if config.location(repo).is_none()
        && let Some(why) = crate::config::path::location_fault(&location)
    {
        return Err(Failure::WrongUse(why));
    }
    Ok(Place::Folder(PathBuf::from(location)))
}

/// Returns how to open a bucket. The environment says what the config does not, in the variables that other tools use.
fn bucket(location: &str, config: Option<&RepositoryConfig>, streams: StreamShare) -> Result<S3Options, Failure> {
    let variable =
        |names: &[&str]| names.iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    let location = S3Location::parse(location).map_err(|error| Failure::WrongUse(error.to_string()))?;
    let file = config.and_then(|config| config.credentials_file.clone());
    let profile = config.and_then(|config| config.profile.clone());
    let credentials = S3CredentialSource::standard().with_file(file).with_profile(profile);
    let mut options = S3Options::new(location, credentials).with_streams(streams);
    let endpoint = config.and_then(|config| config.endpoint.clone());
    options.endpoint = endpoint.or_else(|| variable(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]));
    let region = config.and_then(|config| config.region.clone());
    if let Some(region) = region.or_else(|| variable(&["AWS_REGION", "AWS_DEFAULT_REGION"])) {
        options.region = region;
    }
    options.checksum = match config.and_then(|config| config.checksum) {
        Some(ChecksumConfig::Crc64Nvme) => S3Checksum::Crc64Nvme,
        Some(ChecksumConfig::Sha256) | None => S3Checksum::Sha256,
    };
    options.single_writer = config.is_some_and(|config| config.single_writer);
    Ok(options)
}

fn no_such_place(error: &Error, repo: &str, path: &Path, config: &Config) -> Failure {
    let path = path.display();
    Failure::Failed(match (error.kind(), config.location(repo)) {
        (ErrorKind::NotFound, Some(_)) => format!(
            "repository {repo}: there is no folder {path}; mount what it is on, or make it with `offsite init {repo}`"
        ),
        (ErrorKind::NotFound, None) => format!(
            "there is no folder {path}, and no repository of that name in the config; make one with `offsite init {path}`"
        ),
        _ => chain_of(error),
    })
}

fn refuse_file(path: &Path) -> Result<(), Failure> {
    if path.is_file() {
        return Err(Failure::Failed(format!("{} is a file; a repository is a folder", path.display())));
    }
    Ok(())
}

/// Refuses a folder with files whose names are no keys. A listing of keys does not show them, but the folder is not empty.
fn refuse_foreign(path: &Path) -> Result<(), Failure> {
    let Ok(mut entries) = std::fs::read_dir(path) else { return Ok(()) };
    let foreign = entries.find_map(|entry| {
        let name = entry.ok()?.file_name();
        let is_own = name == "offsite-repository" || name.to_str().is_some_and(Local::is_left_over);
        (name != "lost+found" && !is_own).then_some(name)
    });
    match foreign {
        Some(name) if !path.join("offsite-repository").exists() => Err(Failure::Failed(format!(
            "{} is not empty and is not an Offsite repository (it has {name:?}); choose an empty folder",
            path.display()
        ))),
        _ => Ok(()),
    }
}
