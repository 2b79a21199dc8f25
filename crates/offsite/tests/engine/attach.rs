//! A place that does not keep writers apart is refused where the user asks for it.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use offsite::{Error, OpenRepository};
use offsite_repository::testing::{Fault, Faulty, Memory};
use offsite_repository::{
    CreateIfAbsent, ErrorKind, Key, Limits, ListPage, ObjectWriter, Prefix, ReadRequest, Repository, RepositoryExt,
    Result,
};

use crate::support::{day, memory_repository};

/// A memory in which who comes last wins.
#[derive(Debug, Clone)]
struct LastWins(Memory);

struct Writer {
    place: Memory,
    key: Key,
    bytes: Vec<u8>,
}

#[async_trait]
impl Repository for LastWins {
    fn location(&self) -> String {
        "the attic".to_owned()
    }

    fn limits(&self) -> Limits {
        self.0.limits()
    }

    async fn create(&self, key: &Key) -> Result<Box<dyn ObjectWriter>> {
        Ok(Box::new(Writer { place: self.0.clone(), key: key.clone(), bytes: Vec::new() }))
    }

    async fn read(&self, key: &Key, what: ReadRequest<'_>) -> Result<Vec<Bytes>> {
        self.0.read(key, what).await
    }

    async fn list(&self, prefix: &Prefix, after: Option<&Key>, limit: usize) -> Result<ListPage> {
        self.0.list(prefix, after, limit).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.0.delete(key).await
    }
}

#[async_trait]
impl ObjectWriter for Writer {
    async fn write(&mut self, chunks: Vec<Bytes>) -> Result<()> {
        chunks.iter().for_each(|chunk| self.bytes.extend_from_slice(chunk));
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<()> {
        self.place.remove(&self.key);
        self.place.put(&self.key, self.bytes.into()).await
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_place_where_the_last_writer_wins_is_refused() {
    let memory = Memory::new();
    let repository = OpenRepository::initialise(Arc::new(LastWins(memory.clone())), day(0)).await.unwrap();
    let before = memory.contents();
    let error = repository.probe().await.unwrap_err();
    assert!(matches!(error, Error::NamesNotExclusive { seen: CreateIfAbsent::IgnoredInTurn, .. }), "{error:?}");
    for word in ["the attic", "a name that was taken was created again", "choose another place", "AlreadyExists"] {
        assert!(error.to_string().contains(word), "{error}");
    }
    assert_eq!(memory.contents(), before, "the refused probe left something");
}

#[tokio::test]
async fn a_place_that_keeps_writers_apart_is_attached_and_stays_as_it_was() {
    let (memory, repository) = memory_repository().await;
    let before = memory.contents();
    repository.probe().await.unwrap();
    assert_eq!(memory.contents(), before);
    // A probe that was cut off, or is at work, is no job.
    memory.put(&Key::new("offsite-probe/0/late").unwrap(), Bytes::from_static(b"first")).await.unwrap();
    assert_eq!(repository.jobs().await.unwrap(), []);
    repository.probe().await.unwrap();
}

#[tokio::test]
async fn a_place_that_cannot_be_tried_says_why() {
    let (memory, _) = memory_repository().await;
    let faulty = Faulty::new(Arc::new(memory));
    let repository = OpenRepository::open(Arc::new(faulty.clone())).await.unwrap();
    faulty.inject(Fault::after_calls(0, ErrorKind::PermissionDenied).for_ever());
    let error = repository.probe().await.unwrap_err();
    assert_eq!(error.repository_kind(), Some(ErrorKind::PermissionDenied), "{error}");
    assert!(error.to_string().contains("trying whether"), "{error}");
}
