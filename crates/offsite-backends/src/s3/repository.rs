//! The bucket as a repository.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use offsite_repository::{
    CloneRange, Endpoint, Key, Limits, ListPage, ObjectWriter, Prefix, ReadRequest, Repository, Result, Retain,
};

use super::bucket::Bucket;
use super::options::S3Options;
use super::shared::{Conditions, Shared};
use super::writer::S3Writer;
use super::{list, probe, read, sweep};

/// A repository in a folder of a bucket: each key is the name of an object below it.
///
/// - *Create if absent* is S3's `If-None-Match: *`. Opening tests whether the store honours it, and refuses a store that does
///   not, unless [`S3Options::single_writer`] asserts that there is one writer. Some stores honour it for storing an object, but
///   not for completing an upload. There, each upload gets a claim object.
/// - *Lost answers.* Each object says who wrote it. If an answer leaves a doubt, the writer reads that back.
/// - *Large objects.* It uploads objects longer than [`S3Options::part_bytes`] in parts, several at once. Each upload has a
///   record below `.offsite/`, a folder that no key can name. [`sweep`](Repository::sweep) uses the records to end the uploads of
///   dead writers.
/// - *Checksums.* The store checks a checksum of each body ([`S3Checksum`](super::S3Checksum)). A whole read of an object that
///   was stored with one request is compared with the CRC-64/NVME in its metadata.
/// - *Retries.* It repeats a request a limited number of times. Each may take as long as its bytes need on a slow link.
/// - *Versions.* In a bucket that keeps versions, it deletes for good.
/// - *Capabilities.* It copies ranges of objects if the store can, and locks objects if the bucket can.
///
/// # Permissions
///
/// It needs permission to get, put, delete and list objects, and to abort uploads. For a bucket with versions, it also needs
/// permission to delete versions. With permission to read only, it opens for reading.
#[derive(Debug, Clone)]
pub struct S3 {
    pub(super) shared: Arc<Shared>,
}

impl S3 {
    /// Opens a bucket.
    ///
    /// About thirty requests below a hidden folder find out what the store can do.
    ///
    /// # Errors
    /// `NotFound` if there is no such bucket. `PermissionDenied` if the store rejects the key, or the key may not read.
    /// `Unsupported` if the store ignores conditions on writes and [`S3Options::single_writer`] is not set, or if an option makes
    /// no sense.
    pub fn open(options: S3Options) -> BoxFuture<'static, Result<Self>> {
        Box::pin(async move {
            let bucket = Bucket::new(options)?;
            let abilities = probe::probe(&bucket).await.map_err(|error| error.with_location(bucket.location()))?;
            Ok(Self { shared: Arc::new(Shared::new(bucket, abilities)) })
        })
    }

    /// Returns `true` if the store itself keeps several writers apart.
    ///
    /// If not, [`S3Options::single_writer`] was needed to open it.
    #[must_use]
    pub fn keeps_writers_apart(&self) -> bool {
        self.shared.abilities.conditions != Conditions::Nowhere
    }

    /// The keys of unfinished uploads, whether their writers are at work or gone.
    ///
    /// A key occurs once for each upload of it. The store charges for their parts. [`sweep`](Repository::sweep) ends the uploads
    /// of writers that are gone.
    ///
    /// # Errors
    /// `Unsupported` if the store cannot list uploads. `PermissionDenied` if this user may not.
    pub async fn unfinished_uploads(&self) -> Result<Vec<Key>> {
        let uploads = self.shared.named(None, self.shared.bucket.uploads().await)?;
        Ok(uploads.into_iter().filter_map(|upload| Key::new(upload.name).ok()).collect())
    }
}

#[async_trait]
impl Repository for S3 {
    fn location(&self) -> String {
        self.shared.bucket.location()
    }

    fn limits(&self) -> Limits {
        self.shared.limits()
    }

    fn endpoint(&self) -> Endpoint {
        self.shared.bucket.peer.address().map_or(Endpoint::Unknown, Endpoint::Address)
    }

    async fn create(&self, key: &Key) -> Result<Box<dyn ObjectWriter>> {
        let begun = self.shared.check_writable(key).and_then(|()| S3Writer::new(Arc::clone(&self.shared), key.clone()));
        Ok(Box::new(self.shared.named(Some(key), begun)?))
    }

    async fn read(&self, key: &Key, what: ReadRequest<'_>) -> Result<Vec<Bytes>> {
        let answer = match what {
            ReadRequest::Whole { limit_bytes } => read::whole(&self.shared, key, limit_bytes).await,
            ReadRequest::Ranges(ranges) => read::ranges(&self.shared, key, ranges).await,
        };
        self.shared.named(Some(key), answer)
    }

    async fn list(&self, prefix: &Prefix, after: Option<&Key>, limit: usize) -> Result<ListPage> {
        self.shared.named(None, list::page(&self.shared, prefix, after, limit).await)
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.shared.named(Some(key), self.shared.remove(key.as_str()).await)
    }

    async fn sweep(&self) -> Result<()> {
        self.shared.named(None, sweep::sweep(&self.shared).await)
    }

    fn clone_range(&self) -> Option<&dyn CloneRange> {
        (self.shared.abilities.writable && self.shared.abilities.copies_parts).then_some(self)
    }

    fn retain(&self) -> Option<&dyn Retain> {
        self.shared.abilities.locks.then_some(self)
    }
}
