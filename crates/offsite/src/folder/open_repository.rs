//! Repositories that Offsite has made its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use offsite_core::Timestamp;
use offsite_core::format::records::RepositoryMarker;
use offsite_core::format::{FormatError, Kind, decode_record, encode_record};
use offsite_repository::{
    Counts, CreateIfAbsent, ErrorKind, Key, Prefix, Reclaim, Recording, Repository, RepositoryExt, probe_create,
};

use crate::error::Context;
use crate::folder::job_folders::JobFolders;
use crate::folder::layout::{BLOCKS, Layout, MARKER, PROBE, class_of};
use crate::{Error, JobName, Result};

/// The longest marker that is read.
const MARKER_BYTES_MAX: u64 = 8 << 10;
/// What is to be done about a marker that is lost or damaged.
const MARKER_ADVICE: &str = "the restore points are untouched: `offsite repair REPO JOB` makes it anew";

/// A repository that is open: a place that stores objects, with Offsite's marker in it.
///
/// Cloning is cheap, and clones share their counts.
#[derive(Debug, Clone)]
pub struct OpenRepository {
    id: [u8; 16],
    backend: Recording<Arc<dyn Repository>>,
}

impl OpenRepository {
    /// Makes an empty place a repository.
    ///
    /// # Errors
    /// [`Error::AlreadyARepository`], or [`Error::NotEmpty`] if anything is there.
    pub fn initialise(backend: Arc<dyn Repository>, now: Timestamp) -> BoxFuture<'static, Result<Self>> {
        Box::pin(async move {
            let location = backend.location();
            let key = marker_key()?;
            let listing = |text: &str| format!("{text} {location}");
            let page = backend.list(&Prefix::root(), None, 1).await.while_doing(|| listing("looking into"))?;
            if let Some(object) = page.objects.first() {
                // The marker need not be the first key, so ask for it by name.
                return Err(match backend.get(&key, MARKER_BYTES_MAX).await {
                    Ok(_) => Error::AlreadyARepository { location },
                    Err(error) if error.kind() == ErrorKind::NotFound => {
                        Error::NotEmpty { location, found: object.key.to_string() }
                    }
                    Err(source) => Error::Repository { while_doing: listing("looking into"), source },
                });
            }
            let marker = RepositoryMarker { id: random_id()?, created_unix_secs: now.unix_secs() };
            let bytes = encode_record(Kind::Repository, &marker).map_err(|error| Error::Defect(error.to_string()))?;
            match backend.put(&key, Bytes::from(bytes)).await {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(Error::AlreadyARepository { location }),
                answer => {
                    answer.while_doing(|| listing("making a repository of"))?;
                    Ok(Self::new(marker.id, backend))
                }
            }
        })
    }

    /// Opens a repository.
    ///
    /// # Errors
    /// [`Error::NotARepository`] if it has no marker, [`Error::Damaged`] if the marker cannot be read.
    pub fn open(backend: Arc<dyn Repository>) -> BoxFuture<'static, Result<Self>> {
        Box::pin(async move {
            let location = backend.location();
            let bytes = match backend.get(&marker_key()?, MARKER_BYTES_MAX).await {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    return Err(Self::without_marker(location, backend).await);
                }
                // It is longer than any marker.
                Err(error) if error.kind() == ErrorKind::Corrupt => return Err(damaged_marker(location, None)),
                answer => answer.while_doing(|| format!("opening repository {location}"))?,
            };
            match decode_record::<RepositoryMarker>(Kind::Repository, &bytes) {
                Ok(marker) => Ok(Self::new(marker.id, backend)),
                Err(source) => Err(damaged_marker(location, Some(source))),
            }
        })
    }

    /// Why a place without a marker is no repository: it never was one, or the marker is lost.
    async fn without_marker(location: String, backend: Arc<dyn Repository>) -> Error {
        match Self::new([0; 16], backend).job_folders().await {
            Ok(JobFolders { jobs, headless, .. }) if !(jobs.is_empty() && headless.is_empty()) => {
                damaged_marker(location, None)
            }
            _ => Error::NotARepository { location },
        }
    }

    /// Opens a repository whose marker may be lost or damaged: one without a marker that can be read gets a new one, and with it a
    /// new identity.
    ///
    /// # Errors
    /// [`Error::NotARepository`] if no folder of a job is there either; those of the repository.
    pub fn recover(backend: Arc<dyn Repository>, now: Timestamp) -> BoxFuture<'static, Result<Self>> {
        Box::pin(async move {
            match Self::open(Arc::clone(&backend)).await {
                Err(Error::NotARepository { .. } | Error::Damaged { .. }) => {}
                answer => return answer,
            }
            let location = backend.location();
            let marker = RepositoryMarker { id: random_id()?, created_unix_secs: now.unix_secs() };
            let repository = Self::new(marker.id, backend);
            let JobFolders { jobs, headless, .. } = repository.job_folders().await?;
            if jobs.is_empty() && headless.is_empty() {
                return Err(Error::NotARepository { location });
            }
            let bytes = encode_record(Kind::Repository, &marker).map_err(|error| Error::Defect(error.to_string()))?;
            let while_doing = || format!("making {location} a repository again");
            repository.backend.delete(&marker_key()?).await.while_doing(while_doing)?;
            repository.backend.put(&marker_key()?, Bytes::from(bytes)).await.while_doing(while_doing)?;
            Ok(repository)
        })
    }

    /// Finds out, on the place itself, whether it keeps writers of one name apart, on which all else rests; and refuses it if not.
    ///
    /// It is for repositories that no conformance suite has seen where they are deployed. It writes a few small objects below the folder
    /// `offsite-probe`, some at once, and deletes them; one that is dropped half-way leaves them. What it sees is what
    /// [`probe_create`](offsite_repository::probe_create) sees, which can be asked before anything is at a place.
    ///
    /// # Errors
    /// [`Error::NamesNotExclusive`]; those of the repository, `PermissionDenied` if it may only be read.
    pub fn probe(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let name: String = random_id()?.iter().map(|byte| format!("{byte:02x}")).collect();
            let folder = Prefix::new(format!("{PROBE}/{name}")).map_err(|error| Error::Defect(error.to_string()))?;
            let seen = probe_create(&self.backend, &folder).await;
            match seen.while_doing(|| format!("trying whether {} keeps writers apart", self.location()))? {
                CreateIfAbsent::Kept => Ok(()),
                seen => Err(Error::NamesNotExclusive { location: self.location(), seen }),
            }
        })
    }

    fn new(id: [u8; 16], backend: Arc<dyn Repository>) -> Self {
        Self { id, backend: Recording::classified(backend, class_of) }
    }

    /// The repository's identity, which no other has.
    #[must_use]
    pub fn id(&self) -> [u8; 16] {
        self.id
    }

    /// The place in words.
    #[must_use]
    pub fn location(&self) -> String {
        self.backend.location()
    }

    /// How many bytes can still be stored, where the place tells.
    pub(crate) async fn free_bytes(&self) -> offsite_repository::Result<Option<u64>> {
        self.backend.free_bytes().await
    }

    /// The jobs of this repository that can be read. Others may be there: [`OpenRepository::job_folders`] names them.
    ///
    /// # Errors
    /// Those of the repository.
    pub fn jobs(&self) -> BoxFuture<'_, Result<Vec<JobName>>> {
        Box::pin(async move { Ok(self.job_folders().await?.jobs) })
    }

    /// Every folder of a job here, and those that cannot be looked into. What others have put beside them is no job, and is left
    /// out: folders of file systems and their tools, other repositories.
    ///
    /// # Errors
    /// Those of the repository, if it cannot be looked at as a whole.
    pub fn job_folders(&self) -> BoxFuture<'_, Result<JobFolders>> {
        Box::pin(JobFolders::of(self))
    }

    /// What to keep of the repository to see its restore points, and to plan, while it is away: single objects, and the folders
    /// of all others. Block data is not among them.
    ///
    /// # Errors
    /// Those of the repository.
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

    /// The objects below a folder, and their lengths.
    pub(crate) async fn list(&self, folder: &Prefix) -> Result<BTreeMap<Key, u64>> {
        let objects = self.backend.list_all(folder).await;
        let objects = objects.while_doing(|| format!("listing {}", self.location()))?;
        Ok(objects.into_iter().map(|object| (object.key, object.length)).collect())
    }

    pub(crate) fn backend(&self) -> &Recording<Arc<dyn Repository>> {
        &self.backend
    }

    /// Punching holes, if the repository can.
    pub(crate) fn backend_reclaim(&self) -> Option<&dyn Reclaim> {
        self.backend.reclaim()
    }

    /// The granularity of punched holes, if the repository can punch.
    pub(crate) fn backend_granularity(&self) -> Option<u32> {
        let reclaim = self.backend.reclaim()?;
        u32::try_from(reclaim.punch_granularity_bytes()).ok().filter(|bytes| bytes.is_power_of_two())
    }

    /// What was read from and written to backup files so far.
    #[must_use]
    pub fn block_counts(&self) -> Counts {
        self.backend.counts_of(BLOCKS)
    }

    /// All calls so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.backend.counts()
    }
}

/// 16 random bytes.
pub(crate) fn random_id() -> Result<[u8; 16]> {
    crate::seams::random_bytes()
}

fn damaged_marker(location: String, source: Option<FormatError>) -> Error {
    Error::Damaged { object: MARKER.to_owned(), location, advice: MARKER_ADVICE.to_owned(), source }
}

fn marker_key() -> Result<Key> {
    Key::new(MARKER).map_err(|error| Error::Defect(error.to_string()))
}
