//! What a crash image can do beyond the verbs.

use std::ops::Range;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};

use super::disk::Disk;
use super::image::CrashImage;
use crate::testing::memory::Memory;
use crate::testing::memory_capabilities::granules;
use crate::{CloneRange, Extent, Key, Patch, Piece, Reclaim, Result, Retain};

#[async_trait]
impl Reclaim for CrashImage {
    fn punch_granularity_bytes(&self) -> u64 {
        self.shared.options.granularity_bytes
    }

    async fn punch(&self, key: &Key, ranges: &[Range<u64>]) -> Result<()> {
        self.turn().await;
        let granule = self.punch_granularity_bytes();
        let length = std::cell::Cell::new(0);
        let call = |memory: &Memory| {
            self.now(Reclaim::punch(memory, key, ranges))?;
            length.set(memory.lock().object(key, "punch")?.bytes.len() as u64);
            Ok(())
        };
        let log = |disk: &mut Disk, file| {
            disk.punch(file, ranges.iter().flat_map(|range| granules(range, length.get(), granule)).collect());
        };
        self.change("punch", key, call, log, Disk::flush_data)
    }

    async fn allocated_bytes(&self, key: &Key) -> Result<u64> {
        self.turn().await;
        self.now(Reclaim::allocated_bytes(&self.look("measure", Some(key))?.memory, key))
    }
}

#[async_trait]
impl CloneRange for CrashImage {
    fn clone_granularity_bytes(&self) -> u64 {
        self.shared.options.granularity_bytes
    }

    async fn create_from(&self, key: &Key, pieces: &[Piece]) -> Result<()> {
        self.turn().await;
        self.create_whole(key, "clone into", |memory| self.now(memory.create_from(key, pieces)), None)
    }
}

#[async_trait]
impl Patch for CrashImage {
    async fn write_extents(&self, key: &Key, extents: Vec<Extent>) -> Result<()> {
        self.turn().await;
        let call = |memory: &Memory| self.now(memory.write_extents(key, extents.clone()));
        let log = |disk: &mut Disk, file| {
            for extent in &extents {
                let bytes: BytesMut = extent.chunks.iter().flatten().copied().collect();
                // It was written to memory before, so it is no longer than memory.
                disk.write(file, usize::try_from(extent.offset).unwrap_or(usize::MAX), Bytes::from(bytes));
            }
        };
        self.change("patch", key, call, log, Disk::flush_data)
    }
}

#[async_trait]
impl Retain for CrashImage {
    async fn retain_until(&self, key: &Key, until_unix_secs: i64) -> Result<()> {
        self.turn().await;
        let call = |memory: &Memory| self.now(Retain::retain_until(memory, key, until_unix_secs));
        let log = |disk: &mut Disk, file| disk.retain(file, until_unix_secs);
        self.change("retain", key, call, log, |disk, _| disk.flush_entries())
    }

    async fn retained_until(&self, key: &Key) -> Result<Option<i64>> {
        self.turn().await;
        self.now(Retain::retained_until(&self.look("read the retention of", Some(key))?.memory, key))
    }
}
