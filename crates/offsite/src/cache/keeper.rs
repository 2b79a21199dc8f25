//! Puts blocks into the cache.

use std::collections::BTreeSet;

use bytes::Bytes;
use offsite_core::{Digest, ObjectId};

use super::block_cache::CacheRun;
use super::list::list_bytes;
use super::pack::Pack;
use crate::Result;
use crate::report::{Amount, ErrorSummary};

/// What a run has put into the cache.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Kept {
    pub(crate) blocks: u64,
    pub(crate) bytes: u64,
    /// Why it stopped to put blocks there.
    pub(crate) failure: Option<ErrorSummary>,
    /// Whether the cache is full of what this run has used.
    pub(crate) is_full: bool,
}

impl Kept {
    pub(crate) fn amount(&self) -> Amount {
        Amount::new(self.blocks, self.bytes)
    }
}

/// Puts the blocks of one run into the cache.
///
/// It never fails: what cannot be kept crosses the link again, some day.
pub(crate) struct Keeper {
    run: CacheRun,
    open: Option<(Pack, u64)>,
    /// What is in the open pack. The cache finds what is in the others.
    digests: BTreeSet<Digest>,
    kept: Kept,
}

impl Keeper {
    pub(crate) fn new(run: CacheRun) -> Self {
        Self { run, open: None, digests: BTreeSet::new(), kept: Kept::default() }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.kept.is_full || self.kept.failure.is_some()
    }

    /// Whether the block is in the pack that is open.
    pub(crate) fn has(&self, digest: &Digest) -> bool {
        self.digests.contains(digest)
    }

    /// Adds a block whose frame has `length` bytes. `frame` makes the frame that has this number in this pack.
    pub(crate) async fn add(&mut self, digest: Digest, length: u32, frame: impl FnOnce(ObjectId, u32) -> [Bytes; 2]) {
        if self.is_full() || self.has(&digest) {
            return;
        }
        match self.append(digest, length, frame).await {
            Ok(true) => {
                self.digests.insert(digest);
                self.kept.blocks += 1;
                self.kept.bytes += u64::from(length);
            }
            Ok(false) => {}
            Err(error) => {
                self.kept.failure = Some((&error).into());
                if let Some((pack, reserved)) = self.open.take() {
                    pack.abort().await;
                    self.run.give_back(reserved).await;
                }
            }
        }
    }

    async fn append(
        &mut self,
        digest: Digest,
        length: u32,
        frame: impl FnOnce(ObjectId, u32) -> [Bytes; 2],
    ) -> Result<bool> {
        let fits =
            |pack: &Pack, bytes: u64| pack.bytes + u64::from(length) + list_bytes(pack.rows.len() as u64 + 1) <= bytes;
        if self.open.as_ref().is_some_and(|(pack, bytes)| !fits(pack, *bytes)) {
            self.close().await?;
        }
        if self.open.is_none() {
            let Some((id, bytes)) = self.run.reserve().await? else {
                self.kept.is_full = true;
                return Ok(false);
            };
            match Pack::begin(&self.run.place, self.run.layout(), id).await {
                Ok(pack) => self.open = Some((pack, bytes)),
                Err(error) => {
                    self.run.give_back(bytes).await;
                    return Err(error);
                }
            }
        }
        let Some((pack, bytes)) = &mut self.open else { return Ok(false) };
        if !fits(pack, *bytes) {
            // One block is longer than a pack.
            return Ok(false);
        }
        let number = u32::try_from(pack.rows.len()).unwrap_or(u32::MAX);
        pack.append(digest, frame(pack.id, number)).await?;
        Ok(true)
    }

    async fn close(&mut self) -> Result<()> {
        let Some((pack, reserved)) = self.open.take() else { return Ok(()) };
        self.digests.clear();
        let finished = match pack.rows.is_empty() {
            true => {
                pack.abort().await;
                Ok(())
            }
            false => match pack.finish().await {
                Ok((id, rows)) => self.run.add(id, &rows).await,
                Err(error) => Err(error),
            },
        };
        self.run.give_back(reserved).await;
        finished
    }

    /// Ends the run. Returns what it has put into the cache.
    pub(crate) async fn finish(mut self) -> Kept {
        if let Err(error) = self.close().await {
            self.kept.failure = Some((&error).into());
        }
        self.run.end().await;
        self.kept
    }
}
