//! From what was typed to an open repository.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use offsite::OpenRepository;
use offsite::core::Timestamp;
use offsite::repository::{Error, ErrorKind, Repository};
use offsite_backends::Local;

use crate::config::Config;
use crate::status::Failure;

/// Opens the repository that `repo` names: a name from the config, or a location.
pub(crate) async fn open(repo: &str, config: &Config) -> Result<OpenRepository, Failure> {
    let path = folder(repo, config)?;
    refuse_file(&path)?;
    let backend = Local::open(&path).await.map_err(|error| no_such_place(&error, repo, &path, config))?;
    Ok(OpenRepository::open(Arc::new(backend)).await?)
}

/// Makes the repository that `repo` names, its folder and the folders above it included.
pub(crate) async fn initialise(repo: &str, config: &Config, now: Timestamp) -> Result<OpenRepository, Failure> {
    let path = folder(repo, config)?;
    refuse_file(&path)?;
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent)
            .map_err(|error| format!("cannot make the folder {}: {error}", parent.display()))?;
    }
    refuse_foreign(&path)?;
    let backend: Arc<dyn Repository> = Arc::new(Local::create(&path).await?);
    Ok(OpenRepository::initialise(backend, now).await?)
}

/// The present.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_unix_secs(jiff::Timestamp::now().as_second()).unwrap_or(Timestamp::MAX)
}

fn folder(repo: &str, config: &Config) -> Result<PathBuf, Failure> {
    let location = config.location(repo).unwrap_or_else(|| repo.to_owned());
    if location.is_empty() {
        return Err(Failure::WrongUse("an empty repository name".to_owned()));
    }
    if location.contains("://") || location.starts_with("removable:") {
        return Err(Failure::WrongUse(format!("{location}: this version stores in folders only")));
    }
    Ok(PathBuf::from(location))
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
        _ => crate::status::chain_of(error),
    })
}

fn refuse_file(path: &Path) -> Result<(), Failure> {
    if path.is_file() {
        return Err(Failure::Failed(format!("{} is a file; a repository is a folder", path.display())));
    }
    Ok(())
}

/// A listing of keys does not show files whose names are no keys; a folder with such files is not empty either.
fn refuse_foreign(path: &Path) -> Result<(), Failure> {
    let Ok(mut entries) = std::fs::read_dir(path) else { return Ok(()) };
    let foreign = entries.find_map(|entry| {
        let name = entry.ok()?.file_name();
        (name != "lost+found" && name != "offsite-repository").then_some(name)
    });
    match foreign {
        Some(name) if !path.join("offsite-repository").exists() => Err(Failure::Failed(format!(
            "{} is not empty and no Offsite repository (it has {name:?}); choose an empty folder",
            path.display()
        ))),
        _ => Ok(()),
    }
}
