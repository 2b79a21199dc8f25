//! The jobs of a repository, and the other folders beside them.

use futures::future::BoxFuture;
use offsite_core::ObjectId;
use offsite_repository::{ErrorKind, Key, Prefix, Repository, RootFolder};

use crate::error::Context;
use crate::folder::layout::{
    Layout, head_number, head_second_copy_number, index_second_copy_id, is_removed, marker_key,
};
use crate::report::ErrorSummary;
use crate::{Error, JobName, OpenRepository, Result};

/// The largest number of names in a folder that are looked at to tell whose folder it is. Others may have put a few of their own
/// there.
const LOOKED_AT: usize = 16;

/// The job folders of a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct JobFolders {
    /// The names of the jobs, sorted.
    pub jobs: Vec<JobName>,
    /// The names of folders that have backup files or indexes but no head. Nothing says which restore points they have.
    /// [`Repair`](crate::Repair) repairs such a folder.
    pub headless: Vec<JobName>,
    /// The folders that cannot be listed. They may be folders of jobs.
    pub closed: Vec<ClosedFolder>,
}

/// A folder that cannot be listed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ClosedFolder {
    /// The name of the folder.
    pub name: String,
    /// The reason.
    pub why: ErrorSummary,
}

impl OpenRepository {
    /// Returns the jobs of this repository that can be read.
    ///
    /// There may be others. [`OpenRepository::job_folders`] names them.
    ///
    /// # Errors
    /// Errors of the repository.
    pub fn jobs(&self) -> BoxFuture<'_, Result<Vec<JobName>>> {
        Box::pin(async move { Ok(self.job_folders().await?.jobs) })
    }

    /// Returns the job folders of this repository, and the folders that cannot be listed.
    ///
    /// Other folders are left out, for example those of file systems and their tools, and other repositories.
    ///
    /// # Errors
    /// Errors of the repository, if it cannot be read at all.
    pub fn job_folders(&self) -> BoxFuture<'_, Result<JobFolders>> {
        Box::pin(JobFolders::of(self))
    }

    /// Returns what to keep of the repository, to see its restore points and to plan runs while it is away.
    ///
    /// These are single objects, and the folders whose objects are all needed. Block data is not among them.
    ///
    /// # Errors
    /// Errors of the repository.
    pub fn overview(&self) -> BoxFuture<'_, Result<(Vec<Key>, Vec<Prefix>)>> {
        Box::pin(async move {
            let mut folders = Vec::new();
            let JobFolders { jobs, headless, .. } = self.job_folders().await?;
            for job in jobs.into_iter().chain(headless) {
                let layout = Layout::new(job);
                folders.extend([layout.heads()?, layout.indexes()?]);
            }
            Ok((vec![marker_key()?], folders))
        })
    }
}

impl JobFolders {
    pub(crate) async fn of(repository: &OpenRepository) -> Result<Self> {
        let mut folders = Self::default();
        for (job, closed) in entries(repository).await? {
            if let Some(error) = closed {
                folders.close(&job, ErrorSummary::of_repository(&error));
                continue;
            }
            let layout = Layout::new(job.clone());
            let looked = match look(repository, &layout).await {
                Ok(Look::Removed) => Ok(None),
                Ok(Look::Job) => Ok(Some(&mut folders.jobs)),
                Ok(Look::NoHead) => is_headless(repository, &layout)
                    .await
                    .map(|is_headless| is_headless.then_some(&mut folders.headless)),
                Err(error) => Err(error),
            };
            match looked {
                Ok(Some(kind)) => kind.push(job),
                Ok(None) => {}
                Err(error) if is_outage(&error) => return Err(error),
                Err(error) => folders.close(&job, (&error).into()),
            }
        }
        Ok(folders)
    }

    fn close(&mut self, folder: &JobName, why: ErrorSummary) {
        self.closed.push(ClosedFolder { name: folder.to_string(), why });
    }
}

/// Returns the names of the folders, whoever made them.
pub(crate) async fn names(repository: &OpenRepository) -> Result<Vec<JobName>> {
    Ok(entries(repository).await?.into_iter().map(|(name, _)| name).collect())
}

/// Returns the folders that may be of jobs, with the reason if a folder cannot be listed. Folders that belong to file systems by
/// their names are left out.
async fn entries(repository: &OpenRepository) -> Result<Vec<(JobName, Option<offsite_repository::Error>)>> {
    let while_doing = || format!("listing the jobs of {}", repository.location());
    Ok(match repository.backend().root_folders().await.while_doing(while_doing)? {
        Some(folders) => {
            let named = |folder: RootFolder| Some((JobName::new(&folder.name).ok()?, folder.closed));
            folders.into_iter().filter_map(named).collect()
        }
        None => listed(repository).await?.into_iter().map(|name| (name, None)).collect(),
    })
}

/// Returns the folders that a listing shows.
async fn listed(repository: &OpenRepository) -> Result<Vec<JobName>> {
    let mut names: Vec<JobName> = Vec::new();
    let mut after: Option<Key> = None;
    loop {
        let page = repository.backend().list(&Prefix::root(), after.as_ref(), 1).await;
        let page = page.while_doing(|| format!("listing the jobs of {}", repository.location()))?;
        let Some(object) = page.objects.first() else { return Ok(names) };
        let mut components = object.key.as_str().split('/');
        let folder = components.next().unwrap_or_default();
        let is_folder = components.next().is_some();
        if let (true, Ok(name)) = (is_folder, JobName::new(folder)) {
            names.push(name);
        }
        // Skip the other objects of the folder: the byte after the slash is 0.
        let skip = if is_folder { Key::new(format!("{folder}0")).ok() } else { None };
        after = Some(skip.unwrap_or_else(|| object.key.clone()));
    }
}

/// Whether a folder without a head has what only the folder of a job has.
pub(crate) async fn is_headless(repository: &OpenRepository, layout: &Layout) -> Result<bool> {
    let is_ours = |key: &Key| {
        ObjectId::parse(key.name()).is_some()
            || index_second_copy_id(key).is_some()
            || head_second_copy_number(key).is_some()
    };
    let blocks = first_keys(repository, layout, &layout.backup_files()?).await?;
    Ok(blocks.iter().any(is_ours) || first_keys(repository, layout, &layout.indexes()?).await?.iter().any(is_ours))
}

/// What the heads of a folder say about it.
enum Look {
    Job,
    /// The job was removed.
    Removed,
    NoHead,
}

async fn look(repository: &OpenRepository, layout: &Layout) -> Result<Look> {
    let keys = first_keys(repository, layout, &layout.heads()?).await?;
    Ok(match keys.iter().any(|key| head_number(key).is_some()) {
        _ if keys.iter().any(is_removed) => Look::Removed,
        true => Look::Job,
        false => Look::NoHead,
    })
}

/// Whether the job of a folder with heads was removed.
pub(crate) async fn is_removed_job(repository: &OpenRepository, layout: &Layout) -> Result<bool> {
    Ok(matches!(look(repository, layout).await?, Look::Removed))
}

/// Returns the first objects directly below `prefix`.
async fn first_keys(repository: &OpenRepository, layout: &Layout, prefix: &Prefix) -> Result<Vec<Key>> {
    let page = repository.backend().list(prefix, None, LOOKED_AT).await;
    let page = page.while_doing(|| format!("looking into the folder {} of {}", layout.job(), repository.location()))?;
    Ok(page.objects.into_iter().map(|object| object.key).filter(|key| key.folder() == *prefix).collect())
}

/// Whether the whole repository is out of reach, and not only one folder.
fn is_outage(error: &Error) -> bool {
    matches!(error.repository_kind(), Some(ErrorKind::Unavailable | ErrorKind::MediaAbsent))
}
