//! A multipart upload: parts in parallel, then one name.

use std::collections::BTreeMap;
use std::sync::Arc;

use object_store::PutPayload;
use object_store::multipart::MultipartStore;
use offsite_repository::{Error, ErrorKind, Key, Limits, Result, StreamDirection};
use tokio::task::JoinSet;

use super::finishing::{Finishing, gone};
use super::life::Life;
use super::options::PARTS_MAX;
use super::shared::{Conditions, Shared};
use super::truth::taken;
use super::wire::Trace;
use super::xml::UploadedPart;
use super::{claim, errors};

/// The metadata that object_store calls [`WRITER`](super::bucket::WRITER).
const WRITER_HEADER: &str = "x-amz-meta-offsite-writer";
/// Each part is a stream, however short it is. A copy within the store counts as a part of this length.
const PART_COUNTS_AS_BYTES: u64 = 64 << 10;

/// An upload under way. Dropped, it is ended by this process's next sweep, or by another's when it has shown no sign of
/// life for long enough.
#[derive(Debug)]
pub(super) struct Upload {
    shared: Arc<Shared>,
    finishing: Finishing,
    life: Option<Life>,
    tasks: JoinSet<Result<(usize, UploadedPart)>>,
    parts: BTreeMap<usize, UploadedPart>,
    next: usize,
}

impl Upload {
    pub(super) async fn begin(shared: &Arc<Shared>, key: &Key, writer: &str) -> Result<Self> {
        let name = key.as_str().to_owned();
        let id = shared.bucket.begin_upload(&name, &[(WRITER_HEADER, writer)]).await?;
        let life = Life::begin(shared, &name, &id, writer);
        let finishing = Finishing { name, id, writer: writer.to_owned(), parts: Vec::new() };
        let shared = Arc::clone(shared);
        Ok(Self { shared, finishing, life: Some(life), tasks: JoinSet::new(), parts: BTreeMap::new(), next: 0 })
    }

    /// Begins to upload the next part, once one of those in flight has made room.
    pub(super) async fn add(&mut self, payload: PutPayload) -> Result<()> {
        let (shared, number) = self.next_part().await?;
        let path = shared.bucket.path(&self.finishing.name)?;
        let Finishing { name, id, .. } = self.finishing.clone();
        let bytes = (payload.content_length() as u64).max(PART_COUNTS_AS_BYTES);
        let permit = shared.bucket.options.streams.begin(StreamDirection::Writing, bytes).await;
        self.tasks.spawn(async move {
            let part = shared.bucket.store.put_part(&path, &id, number, payload).await;
            let part = part.map_err(|error| gone(errors::of_store("write", &name, &error, &Trace::default())))?;
            permit.done();
            Ok((number, part.into()))
        });
        Ok(())
    }

    /// As [`Self::add`], of bytes that the store has.
    pub(super) async fn add_copy(&mut self, source: &Key, range: std::ops::Range<u64>) -> Result<()> {
        let (shared, number) = self.next_part().await?;
        let (Finishing { name, id, .. }, source) = (self.finishing.clone(), source.clone());
        // The store works by itself: how long it takes says nothing of the link, and no bytes are in memory.
        let permit = shared.bucket.options.streams.begin(StreamDirection::Writing, PART_COUNTS_AS_BYTES).await;
        self.tasks.spawn(async move {
            let part = shared.bucket.copy_part(&name, &id, number + 1, source.as_str(), range).await;
            drop(permit);
            Ok((number, part.map_err(gone)?))
        });
        Ok(())
    }

    async fn next_part(&mut self) -> Result<(Arc<Shared>, usize)> {
        while let Some(ended) = self.tasks.try_join_next() {
            self.take(ended)?;
        }
        let number = self.next;
        self.next += 1;
        if self.next as u64 > PARTS_MAX {
            return Err(too_large(&self.finishing.name, self.shared.limits()));
        }
        Ok((Arc::clone(&self.shared), number))
    }

    fn take(
        &mut self,
        ended: std::result::Result<Result<(usize, UploadedPart)>, tokio::task::JoinError>,
    ) -> Result<()> {
        let failed =
            |error| Error::new(ErrorKind::Unavailable, "write").with_subject(&self.finishing.name).with_source(error);
        let (number, part) = ended.map_err(failed)??;
        self.parts.insert(number, part);
        Ok(())
    }

    /// Waits for all parts, and makes the object visible if its name is free.
    pub(super) async fn finish(mut self) -> Result<()> {
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = self.take(ended) {
                return self.give_up(error).await;
            }
        }
        self.finishing.parts = std::mem::take(&mut self.parts).into_values().collect();
        let shared = Arc::clone(&self.shared);
        let answer = match shared.abilities.conditions {
            Conditions::Everywhere => self.finishing.complete(&shared, true).await,
            Conditions::OnPut => claim::complete(&shared, &self.finishing).await,
            Conditions::Nowhere => {
                let _turn = shared.turn(&self.finishing.name).await;
                match shared.bucket.describe("finish", &self.finishing.name).await? {
                    Some(_) => Err(taken(&self.finishing.name)),
                    None => self.finishing.complete(&shared, false).await,
                }
            }
        };
        match answer {
            Ok(()) => {
                self.end().await;
                Ok(())
            }
            // It may be completed yet.
            Err(error) if error.kind() == ErrorKind::Indeterminate => Err(error),
            Err(error) => self.give_up(error).await,
        }
    }

    /// Gives up because of `error`, which is the one to report; what stays is swept.
    pub(super) async fn give_up(self, error: Error) -> Result<()> {
        let _ = self.abort().await;
        Err(error)
    }

    /// Gives up.
    pub(super) async fn abort(mut self) -> Result<()> {
        // A part that came after the abort would stay.
        self.tasks.shutdown().await;
        self.shared.bucket.abort_upload(&self.finishing.name, &self.finishing.id).await?;
        self.end().await;
        Ok(())
    }

    async fn end(&mut self) {
        if let Some(life) = self.life.take() {
            life.end(&self.shared).await;
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(life) = self.life.take() {
            self.shared.leave((self.finishing.name.clone(), self.finishing.id.clone(), life.record().to_owned()));
        }
    }
}

pub(super) fn too_large(name: &str, limits: Limits) -> Error {
    let detail = format!("objects have at most {} bytes here", limits.object_bytes_max);
    Error::new(ErrorKind::Unsupported, "write").with_subject(name).with_detail(detail)
}
