//! A repository as another host uses it: what that one pins, nobody here can ask the kernel for.

use async_trait::async_trait;
use bytes::Bytes;
use offsite_core::format::Kind;
use offsite_core::format::decode_record;
use offsite_core::format::encode_record;
use offsite_core::format::records;
use offsite_repository::testing::Memory;
use offsite_repository::{Key, Limits, ListPage, ObjectWriter, Prefix, ReadRequest, Repository, Result};

use super::objects::FOREIGN_HOLDER;

/// A memory whose readers are on another host.
#[derive(Debug, Clone)]
pub struct Elsewhere(pub Memory);

#[async_trait]
impl Repository for Elsewhere {
    fn location(&self) -> String {
        self.0.location()
    }

    fn limits(&self) -> Limits {
        self.0.limits()
    }

    async fn create(&self, key: &Key) -> Result<Box<dyn ObjectWriter>> {
        let writer = self.0.create(key).await?;
        Ok(if key.as_str().contains("/pin/") { Box::new(PinWriter { writer, bytes: Vec::new() }) } else { writer })
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

/// Writes a pin in the name of the other host.
struct PinWriter {
    writer: Box<dyn ObjectWriter>,
    bytes: Vec<u8>,
}

#[async_trait]
impl ObjectWriter for PinWriter {
    async fn write(&mut self, chunks: Vec<Bytes>) -> Result<()> {
        chunks.iter().for_each(|chunk| self.bytes.extend_from_slice(chunk));
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<()> {
        let pin: records::Pin = decode_record(Kind::Pin, &self.bytes).unwrap();
        let pin = records::Pin { holder: FOREIGN_HOLDER.to_owned(), ..pin };
        self.writer.write(vec![encode_record(Kind::Pin, &pin).unwrap().into()]).await?;
        self.writer.finish().await
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        self.writer.abort().await
    }
}
