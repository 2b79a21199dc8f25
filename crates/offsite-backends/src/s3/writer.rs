//! Writing an object: one request if it is small, an upload in parts if not.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use object_store::{PutMode, PutPayload};
use offsite_repository::{Error, ErrorKind, Key, ObjectWriter, Result};

use super::bucket::random_name;
use super::claim;
use super::shared::{Conditions, Shared};
use super::truth::taken;
use super::upload::{Upload, too_large};

/// Chunks below this are copied together: each would be a write to the network.
const SMALL_BYTES: usize = 64 << 10;
/// So many bytes of small chunks are copied together.
const TOGETHER_BYTES: usize = 1 << 20;

/// Writes chunks in sequence. Once a call has failed or was dropped half-way, the writer refuses to go on.
pub(super) struct S3Writer {
    shared: Arc<Shared>,
    key: Key,
    /// The random word that marks what this writer wrote.
    word: String,
    pending: Pending,
    upload: Option<Upload>,
    written_bytes: u64,
    dead: bool,
}

impl S3Writer {
    pub(super) fn new(shared: Arc<Shared>, key: Key) -> Result<Self> {
        let word = random_name()?;
        Ok(Self { shared, key, word, pending: Pending::default(), upload: None, written_bytes: 0, dead: false })
    }

    /// Marks the writer dead for the time of a call, so that it stays so if the call fails or is dropped.
    fn enter(&mut self, action: &'static str) -> Result<()> {
        if std::mem::replace(&mut self.dead, true) {
            let detail = "an earlier call failed or was given up; write it anew";
            return Err(Error::new(ErrorKind::Unavailable, action).with_key(&self.key).with_detail(detail));
        }
        Ok(())
    }

    async fn append(&mut self, chunks: Vec<Bytes>) -> Result<()> {
        self.enter("write")?;
        self.written_bytes += chunks.iter().map(|chunk| chunk.len() as u64).sum::<u64>();
        if self.written_bytes > self.shared.limits().object_bytes_max {
            return Err(too_large(self.key.as_str(), self.shared.limits()));
        }
        for chunk in chunks {
            self.pending.push(chunk);
            self.upload_parts().await?;
        }
        self.dead = false;
        Ok(())
    }

    /// Uploads whole parts while more than one waits: what is left may be the object's last.
    async fn upload_parts(&mut self) -> Result<()> {
        let part_bytes = usize::try_from(self.shared.bucket.options.part_bytes).unwrap_or(usize::MAX);
        while self.pending.bytes > part_bytes {
            let upload = match &mut self.upload {
                Some(upload) => upload,
                none => none.insert(Upload::begin(&self.shared, &self.key, &self.word).await?),
            };
            upload.add(self.pending.take(part_bytes)).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl ObjectWriter for S3Writer {
    async fn write(&mut self, chunks: Vec<Bytes>) -> Result<()> {
        let answer = self.append(chunks).await;
        self.shared.named(Some(&self.key), answer)
    }

    async fn finish(mut self: Box<Self>) -> Result<()> {
        let (place, name) = (Arc::clone(&self.shared), self.key.clone());
        place.named(Some(&name), self.enter("finish"))?;
        // In a task of its own: dropped half-way, it would leave its name claimed, or its upload unfinished.
        let ended = tokio::spawn(async move {
            let Self { shared, key, word, mut pending, upload, .. } = *self;
            let rest = pending.bytes;
            match upload {
                None => store(&shared, &key, pending.take(rest), &word).await,
                // An upload is begun only for what is more than a part, so something is left for the last one.
                Some(mut upload) => match upload.add(pending.take(rest)).await {
                    Ok(()) => upload.finish().await,
                    Err(error) => upload.give_up(error).await,
                },
            }
        });
        let ended = ended.await;
        let ended =
            ended.unwrap_or_else(|error| Err(Error::new(ErrorKind::Indeterminate, "finish").with_source(error)));
        place.named(Some(&name), ended)
    }

    async fn abort(mut self: Box<Self>) -> Result<()> {
        match self.upload.take() {
            Some(upload) => self.shared.named(Some(&self.key), upload.abort().await),
            None => Ok(()),
        }
    }
}

/// Stores an object by one request, if its name is free.
pub(super) async fn store(shared: &Arc<Shared>, key: &Key, payload: PutPayload, word: &str) -> Result<()> {
    let name = key.as_str();
    match shared.abilities.conditions {
        Conditions::Everywhere => shared.put_new(name, payload, word, PutMode::Create).await,
        Conditions::OnPut => {
            shared.put_new(name, payload, word, PutMode::Create).await?;
            claim::settle(shared, name, word).await
        }
        Conditions::Nowhere => {
            let _turn = shared.turn(name).await;
            match shared.bucket.describe("finish", name).await? {
                Some(_) => Err(taken(name)),
                None => shared.put_new(name, payload, word, PutMode::Overwrite).await,
            }
        }
    }
}

/// Bytes that wait to be a part.
#[derive(Default)]
struct Pending {
    chunks: VecDeque<Bytes>,
    small: BytesMut,
    bytes: usize,
}

impl Pending {
    fn push(&mut self, chunk: Bytes) {
        self.bytes += chunk.len();
        if chunk.len() >= SMALL_BYTES {
            self.close();
            self.chunks.push_back(chunk);
        } else {
            self.small.extend_from_slice(&chunk);
            if self.small.len() >= TOGETHER_BYTES {
                self.close();
            }
        }
    }

    fn close(&mut self) {
        if !self.small.is_empty() {
            self.chunks.push_back(std::mem::take(&mut self.small).freeze());
        }
    }

    /// The first so many bytes, which must be there.
    fn take(&mut self, bytes: usize) -> PutPayload {
        self.close();
        let mut taken = Vec::new();
        let mut left = bytes;
        while left > 0
            && let Some(mut chunk) = self.chunks.pop_front()
        {
            if chunk.len() > left {
                self.chunks.push_front(chunk.split_off(left));
            }
            left -= chunk.len();
            taken.push(chunk);
        }
        self.bytes -= bytes - left;
        taken.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_cut_where_they_end_and_lose_nothing() {
        let content: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
        for chunk in [1_000, 70_000, 999_999] {
            let mut pending = Pending::default();
            content.chunks(chunk).for_each(|chunk| pending.push(Bytes::copy_from_slice(chunk)));
            let mut parts = Vec::new();
            while pending.bytes > 0 {
                let wanted = pending.bytes.min(700_001);
                let part = pending.take(wanted);
                assert_eq!(part.content_length(), wanted);
                parts.extend(part.iter().flat_map(|chunk| chunk.to_vec()));
            }
            assert!(parts == content, "chunks of {chunk}");
        }
    }
}
