//! A medium that is away, as the catalogue knows it.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use offsite_repository::{
    CloneRange, Error, ErrorKind, Extent, Key, Limits, Links, ListPage, ObjectInfo, ObjectWriter, Patch, Piece, Prefix,
    ReadRequest, Reclaim, Repository, Result, Retain, RootFolder,
};

use super::known::KnownMedium;
use crate::Local;

/// A read-only repository with what a medium held when it was last seen.
///
/// [`MediaCatalogue::absent_medium`](super::MediaCatalogue::absent_medium) makes it.
///
/// It lists all objects of the medium, and reads those of which the catalogue has a copy. Every other call fails with
/// `MediaAbsent`, and the error names the medium to insert. It has the limits and the capabilities of the medium, so that a run
/// can be planned.
#[derive(Debug, Clone)]
pub struct AbsentMedium {
    known: KnownMedium,
    copies: Option<Local>,
}

impl AbsentMedium {
    pub(super) fn new(known: KnownMedium, copies: Option<Local>) -> Self {
        Self { known, copies }
    }

    /// What the catalogue knows of the medium.
    #[must_use]
    pub fn known(&self) -> &KnownMedium {
        &self.known
    }

    /// The error of a call about the medium as a whole.
    fn away(&self, action: &'static str) -> Error {
        let error = Error::new(ErrorKind::MediaAbsent, action).with_location(self.location());
        error.with_detail(format!("insert medium {}", self.known.medium))
    }

    /// The error of a call about an object.
    fn error(&self, action: &'static str, key: &Key) -> Error {
        self.away(action).with_key(key)
    }

    fn find(&self, key: &Key) -> Option<&ObjectInfo> {
        let objects = &self.known.objects;
        objects.binary_search_by(|object| object.key.cmp(key)).ok().and_then(|position| objects.get(position))
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Repository for AbsentMedium {
    fn location(&self) -> String {
        format!("medium {}, which is away", self.known.medium)
    }

    fn limits(&self) -> Limits {
        Limits::new(self.known.object_bytes_max)
    }

    async fn create(&self, key: &Key) -> Result<Box<dyn ObjectWriter>> {
        Err(self.error("create", key))
    }

    async fn read(&self, key: &Key, what: ReadRequest<'_>) -> Result<Vec<Bytes>> {
        if self.find(key).is_none() {
            return Err(Error::new(ErrorKind::NotFound, "read").with_key(key).with_location(self.location()));
        }
        let Some(copies) = &self.copies else { return Err(self.error("read", key)) };
        match copies.read(key, what).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Err(self.error("read", key)),
            other => other,
        }
    }

    async fn list(&self, prefix: &Prefix, after: Option<&Key>, limit: usize) -> Result<ListPage> {
        let start = after.map_or(0, |after| self.known.objects.partition_point(|object| object.key <= *after));
        let rest = self.known.objects.get(start..).unwrap_or_default();
        let mut below = rest.iter().filter(|object| prefix.contains(&object.key)).cloned();
        let objects = below.by_ref().take(limit.max(1)).collect();
        Ok(ListPage::new(objects, below.next().is_some()))
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        Err(self.error("delete", key))
    }

    async fn root_folders(&self) -> Result<Option<Vec<RootFolder>>> {
        Ok(None)
    }

    async fn sweep(&self) -> Result<()> {
        Err(self.away("sweep"))
    }

    async fn free_bytes(&self) -> Result<Option<u64>> {
        // What it is when the medium is back nobody knows.
        Ok(None)
    }

    fn links(&self) -> Option<&dyn Links> {
        // What is away cannot be looked at.
        None
    }

    fn reclaim(&self) -> Option<&dyn Reclaim> {
        self.known.abilities.punch_granularity_bytes.map(|_| self as &dyn Reclaim)
    }

    fn clone_range(&self) -> Option<&dyn CloneRange> {
        self.known.abilities.clone_granularity_bytes.map(|_| self as &dyn CloneRange)
    }

    fn patch(&self) -> Option<&dyn Patch> {
        self.known.abilities.patches.then_some(self)
    }

    fn retain(&self) -> Option<&dyn Retain> {
        None
    }
}

#[async_trait]
impl Reclaim for AbsentMedium {
    fn punch_granularity_bytes(&self) -> u64 {
        self.known.abilities.punch_granularity_bytes.unwrap_or(1)
    }

    async fn punch(&self, key: &Key, _: &[Range<u64>]) -> Result<()> {
        Err(self.error("punch holes into", key))
    }

    async fn allocated_bytes(&self, key: &Key) -> Result<u64> {
        Err(self.error("measure", key))
    }
}

#[async_trait]
impl CloneRange for AbsentMedium {
    fn clone_granularity_bytes(&self) -> u64 {
        self.known.abilities.clone_granularity_bytes.unwrap_or(1)
    }

    async fn create_from(&self, key: &Key, _: &[Piece]) -> Result<()> {
        Err(self.error("clone", key))
    }
}

#[async_trait]
impl Patch for AbsentMedium {
    async fn write_extents(&self, key: &Key, _: Vec<Extent>) -> Result<()> {
        Err(self.error("patch", key))
    }
}
