//! The marker of a repository. It is written when a place becomes a repository, and read when the repository is opened.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use offsite_core::format::records::RepositoryMarker;
use offsite_core::format::{Kind, decode_record, encode_record};
use offsite_core::{RepositoryId, Timestamp};
use offsite_repository::{CreateIfAbsent, ErrorKind, Prefix, Repository, RepositoryExt, probe_create};

use crate::error::Context;
use crate::folder::job_folders::JobFolders;
use crate::folder::layout::marker_key;
use crate::folder::open_repository::random_bytes;
use crate::job_name::{MARKER, PROBE};
use crate::{DamagedPart, Error, OpenRepository, Result};

/// The greatest length of a marker that is read, in bytes.
const MARKER_BYTES_MAX: u64 = 8 << 10;

impl OpenRepository {
    /// Makes an empty place a repository.
    ///
    /// # Errors
    /// - [`Error::AlreadyARepository`] if the place is a repository already.
    /// - [`Error::NotEmpty`] if anything else is there.
    /// - Errors of the repository.
    pub fn initialise(backend: Arc<dyn Repository>, now: Timestamp) -> BoxFuture<'static, Result<Self>> {
        Box::pin(async move {
            let location = backend.location();
            let key = marker_key()?;
            let listing = |text: &str| format!("{text} {location}");
            let page = backend.list(&Prefix::root(), None, 1).await.while_doing(|| listing("looking into"))?;
            if let Some(object) = page.objects.first() {
                // The marker need not be the first key, so it is requested by name.
                return Err(match backend.get(&key, MARKER_BYTES_MAX).await {
                    Ok(_) => Error::AlreadyARepository { location },
                    Err(error) if error.kind() == ErrorKind::NotFound => {
                        Error::NotEmpty { location, found: object.key.to_string() }
                    }
                    Err(source) => Error::repository(listing("looking into"), source).at(|| location),
                });
            }
            let marker =
                RepositoryMarker { id: RepositoryId::new(random_bytes()?), created_unix_secs: now.unix_secs() };
            let bytes = encode_record(Kind::Repository, &marker).map_err(|error| Error::defect(error.to_string()))?;
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
    /// - [`Error::NotARepository`] if it has no marker.
    /// - [`Error::Damaged`] if the marker cannot be read.
    /// - Errors of the repository.
    pub fn open(backend: Arc<dyn Repository>) -> BoxFuture<'static, Result<Self>> {
        Box::pin(async move {
            let location = backend.location();
            let bytes = match backend.get(&marker_key()?, MARKER_BYTES_MAX).await {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    return Err(Self::without_marker(location, backend).await);
                }
                // It is longer than any marker.
                Err(error) if error.kind() == ErrorKind::Corrupt => return Err(damaged_marker(location).because(error)),
                answer => answer.while_doing(|| format!("opening repository {location}"))?,
            };
            match decode_record::<RepositoryMarker>(Kind::Repository, &bytes) {
                Ok(marker) => Ok(Self::new(marker.id, backend)),
                Err(source) => Err(damaged_marker(location).because(source)),
            }
        })
    }

    /// Says why a place without a marker is no repository: it never was one, or its marker is lost.
    async fn without_marker(location: String, backend: Arc<dyn Repository>) -> Error {
        match Self::new(RepositoryId::new([0; 16]), backend).job_folders().await {
            Ok(JobFolders { jobs, headless, .. }) if !(jobs.is_empty() && headless.is_empty()) => {
                damaged_marker(location)
            }
            _ => Error::NotARepository { location },
        }
    }

    /// Opens a repository whose marker may be lost or damaged.
    ///
    /// If the marker cannot be read, the repository gets a new marker, and with it a new id.
    ///
    /// # Errors
    /// - [`Error::NotARepository`] if there is no job folder either.
    /// - Errors of the repository.
    pub fn recover(backend: Arc<dyn Repository>, now: Timestamp) -> BoxFuture<'static, Result<Self>> {
        Box::pin(async move {
            match Self::open(Arc::clone(&backend)).await {
                Err(Error::NotARepository { .. } | Error::Damaged { .. }) => {}
                answer => return answer,
            }
            let location = backend.location();
            let marker =
                RepositoryMarker { id: RepositoryId::new(random_bytes()?), created_unix_secs: now.unix_secs() };
            let repository = Self::new(marker.id, backend);
            let JobFolders { jobs, headless, .. } = repository.job_folders().await?;
            if jobs.is_empty() && headless.is_empty() {
                return Err(Error::NotARepository { location });
            }
            let bytes = encode_record(Kind::Repository, &marker).map_err(|error| Error::defect(error.to_string()))?;
            let while_doing = || format!("making {location} a repository again");
            repository.backend().delete(&marker_key()?).await.while_doing(while_doing)?;
            repository.backend().put(&marker_key()?, Bytes::from(bytes)).await.while_doing(while_doing)?;
            Ok(repository)
        })
    }

    /// Checks at the place itself that it keeps *create if absent*, and refuses it if not.
    ///
    /// Everything depends on it: if two writers use one name, only one may succeed. Call it for repositories that no conformance
    /// suite has tested where they are deployed. It writes a few small objects below the folder `offsite-probe`, some of them at
    /// once, and deletes them. If it is dropped before its end, they stay.
    ///
    /// It sees the same as [`probe_create`](offsite_repository::probe_create), which can be called before the place has anything.
    ///
    /// # Errors
    /// - [`Error::NamesNotExclusive`] if the place does not keep it.
    /// - Errors of the repository. `PermissionDenied` means that the repository may only be read.
    pub fn probe(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let name: String = random_bytes()?.iter().map(|byte| format!("{byte:02x}")).collect();
            let folder = Prefix::new(format!("{PROBE}/{name}")).map_err(|error| Error::defect(error.to_string()))?;
            let seen = probe_create(self.backend(), &folder).await;
            match seen.while_doing(|| format!("trying whether {} keeps writers apart", self.location()))? {
                CreateIfAbsent::Kept => Ok(()),
                seen => Err(Error::NamesNotExclusive { location: self.location(), seen }),
            }
        })
    }
}

fn damaged_marker(location: String) -> Error {
    Error::damaged(DamagedPart::Marker, MARKER, location)
}
