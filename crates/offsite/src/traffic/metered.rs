//! A decorator that reads and writes at the rate that the rules allow.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use offsite_repository::{
    CloneRange, Endpoint, Error, ErrorKind, Extent, Key, Limits, Links, ListPage, ObjectWriter, Patch, Prefix,
    ReadRequest, Reclaim, Repository, Result, Retain, RootFolder,
};

use super::flow::Flow;
use super::name::FlowName;
use super::registry::Traffic;
use super::route::Direction;

/// A repository under rules about traffic.
///
/// It waits before a request, never inside one. So the time-outs of the repository do not count the wait.
///
/// Objects that `waits` names are read and written in pieces as large as the grants. All other objects are small. They pass at
/// once, as signs of life do not wait for block data, and later requests make up for them.
pub(crate) struct Metered {
    place: Arc<dyn Repository>,
    reading: Arc<Flow>,
    writing: Arc<Flow>,
    waits: fn(&Key) -> bool,
}

impl Metered {
    pub(crate) fn new(place: Arc<dyn Repository>, traffic: &Traffic, name: FlowName, waits: fn(&Key) -> bool) -> Self {
        let flow = |direction| {
            let flow = traffic.flow(name.clone(), direction);
            flow.set_endpoint(place.endpoint());
            Arc::new(flow)
        };
        let (reading, writing) = (flow(Direction::Reading), flow(Direction::Writing));
        Self { place, reading, writing, waits }
    }

    /// Reads ranges of an object that waits.
    async fn read_ranges(&self, key: &Key, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let mut left = ranges.iter().fold(0, |sum: u64, range| sum.saturating_add(length_of(range)));
        let mut granted = grant(&self.reading, &*self.place, left).await;
        if granted >= left {
            return self.place.read(key, ReadRequest::Ranges(ranges)).await;
        }
        let mut buffers: Vec<BytesMut> = ranges.iter().map(|_| BytesMut::new()).collect();
        let mut cut = Cut { ranges, next: 0, done: 0 };
        loop {
            let pieces = cut.take(granted);
            let asked: Vec<Range<u64>> = pieces.iter().map(|(_, range)| range.clone()).collect();
            let read = self.place.read(key, ReadRequest::Ranges(&asked)).await?;
            if read.len() != pieces.len() {
                let error = Error::new(ErrorKind::Corrupt, "read").with_key(key).with_location(self.place.location());
                return Err(error.with_detail("the repository returned another number of buffers"));
            }
            for ((number, _), bytes) in pieces.iter().zip(&read) {
                buffers[*number].extend_from_slice(bytes);
            }
            left = left.saturating_sub(granted);
            if left == 0 {
                return Ok(buffers.into_iter().map(BytesMut::freeze).collect());
            }
            granted = grant(&self.reading, &*self.place, left).await;
        }
    }
}

/// Waits until the flow may carry some of `wanted` bytes, and returns how many.
async fn grant(flow: &Flow, place: &dyn Repository, wanted: u64) -> u64 {
    flow.set_endpoint(place.endpoint());
    flow.grant(wanted).await
}

impl fmt::Debug for Metered {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Metered").field("place", &self.place).finish_non_exhaustive()
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Repository for Metered {
    fn location(&self) -> String {
        self.place.location()
    }

    fn limits(&self) -> Limits {
        self.place.limits()
    }

    fn endpoint(&self) -> Endpoint {
        self.place.endpoint()
    }

    async fn create(&self, key: &Key) -> Result<Box<dyn ObjectWriter>> {
        let writer = self.place.create(key).await?;
        let (place, flow) = (Arc::clone(&self.place), Arc::clone(&self.writing));
        Ok(Box::new(MeteredWriter { writer, place, flow, key: key.clone(), waits: (self.waits)(key), is_torn: false }))
    }

    async fn read(&self, key: &Key, what: ReadRequest<'_>) -> Result<Vec<Bytes>> {
        match what {
            ReadRequest::Ranges(ranges) if (self.waits)(key) => self.read_ranges(key, ranges).await,
            ReadRequest::Ranges(_) | ReadRequest::Whole { .. } => {
                let read = self.place.read(key, what).await?;
                self.reading.owe(bytes_of(&read));
                Ok(read)
            }
        }
    }

    async fn list(&self, prefix: &Prefix, after: Option<&Key>, limit: usize) -> Result<ListPage> {
        self.place.list(prefix, after, limit).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.place.delete(key).await
    }

    async fn root_folders(&self) -> Result<Option<Vec<RootFolder>>> {
        self.place.root_folders().await
    }

    async fn sweep(&self) -> Result<()> {
        self.place.sweep().await
    }

    async fn free_bytes(&self) -> Result<Option<u64>> {
        self.place.free_bytes().await
    }

    fn links(&self) -> Option<&dyn Links> {
        self.place.links()
    }

    fn reclaim(&self) -> Option<&dyn Reclaim> {
        self.place.reclaim()
    }

    fn clone_range(&self) -> Option<&dyn CloneRange> {
        self.place.clone_range()
    }

    fn patch(&self) -> Option<&dyn Patch> {
        self.place.patch().map(|_| self as &dyn Patch)
    }

    fn retain(&self) -> Option<&dyn Retain> {
        self.place.retain()
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Patch for Metered {
    async fn write_extents(&self, key: &Key, extents: Vec<Extent>) -> Result<()> {
        let patch = self.place.patch().ok_or_else(|| {
            let error = Error::new(ErrorKind::Unsupported, "patch").with_key(key).with_location(self.place.location());
            error.with_detail("the repository no longer offers it")
        })?;
        let mut extents: VecDeque<Extent> = extents.into();
        let mut left = extents.iter().map(|extent| bytes_of(&extent.chunks)).fold(0, u64::saturating_add);
        loop {
            let granted = grant(&self.writing, &*self.place, left).await;
            if granted >= left {
                return patch.write_extents(key, extents.into()).await;
            }
            patch.write_extents(key, split_extents(&mut extents, granted)).await?;
            left -= granted;
        }
    }
}

struct MeteredWriter {
    writer: Box<dyn ObjectWriter>,
    place: Arc<dyn Repository>,
    flow: Arc<Flow>,
    key: Key,
    waits: bool,
    /// A call was dropped, or failed, with a part of its bytes written.
    is_torn: bool,
}

impl MeteredWriter {
    fn check(&self, action: &'static str) -> Result<()> {
        if !self.is_torn {
            return Ok(());
        }
        let error = Error::new(ErrorKind::Unavailable, action).with_key(&self.key).with_location(self.place.location());
        Err(error.with_detail("an earlier call of this writer was cut off"))
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ObjectWriter for MeteredWriter {
    async fn write(&mut self, chunks: Vec<Bytes>) -> Result<()> {
        self.check("write")?;
        let mut left = bytes_of(&chunks);
        if !self.waits {
            self.flow.owe(left);
            return self.writer.write(chunks).await;
        }
        let mut granted = grant(&self.flow, &*self.place, left).await;
        if granted >= left {
            return self.writer.write(chunks).await;
        }
        let mut chunks: VecDeque<Bytes> = chunks.into();
        self.is_torn = true;
        loop {
            self.writer.write(split_chunks(&mut chunks, granted)).await?;
            left = left.saturating_sub(granted);
            if left == 0 {
                break;
            }
            granted = grant(&self.flow, &*self.place, left).await;
        }
        self.is_torn = false;
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<()> {
        self.check("finish")?;
        self.writer.finish().await
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        self.writer.abort().await
    }
}

/// Ranges that are read piece by piece.
struct Cut<'a> {
    ranges: &'a [Range<u64>],
    /// The range that is next.
    next: usize,
    /// How much of it was taken.
    done: u64,
}

impl Cut<'_> {
    /// The next `budget` bytes of the ranges, each with the number of its range. Ranges without bytes come along.
    fn take(&mut self, mut budget: u64) -> Vec<(usize, Range<u64>)> {
        let mut pieces = Vec::new();
        while let Some(range) = self.ranges.get(self.next) {
            let left = length_of(range) - self.done;
            let taken = left.min(budget);
            if left > 0 && taken == 0 {
                break;
            }
            let start = range.start + self.done;
            pieces.push((self.next, if left == 0 { range.clone() } else { start..start + taken }));
            budget -= taken;
            self.done += taken;
            if taken == left {
                (self.next, self.done) = (self.next + 1, 0);
            }
        }
        pieces
    }
}

/// Takes the first `bytes` bytes of the chunks.
fn split_chunks(chunks: &mut VecDeque<Bytes>, bytes: u64) -> Vec<Bytes> {
    let mut left = usize::try_from(bytes).unwrap_or(usize::MAX);
    let mut taken = Vec::new();
    while left > 0 {
        let Some(mut chunk) = chunks.pop_front() else { break };
        if chunk.len() > left {
            let rest = chunk.split_off(left);
            chunks.push_front(rest);
        }
        left -= chunk.len();
        taken.push(chunk);
    }
    taken
}

/// Takes the first `bytes` bytes of the extents.
fn split_extents(extents: &mut VecDeque<Extent>, bytes: u64) -> Vec<Extent> {
    let mut left = bytes;
    let mut taken = Vec::new();
    while left > 0 {
        let Some(extent) = extents.pop_front() else { break };
        let length = bytes_of(&extent.chunks);
        if length <= left {
            left -= length;
            taken.push(extent);
            continue;
        }
        let mut chunks: VecDeque<Bytes> = extent.chunks.into();
        let first = split_chunks(&mut chunks, left);
        extents.push_front(Extent::new(extent.offset + left, chunks.into()));
        taken.push(Extent::new(extent.offset, first));
        left = 0;
    }
    taken
}

fn bytes_of(chunks: &[Bytes]) -> u64 {
    chunks.iter().map(|chunk| chunk.len() as u64).sum()
}

fn length_of(range: &Range<u64>) -> u64 {
    range.end.saturating_sub(range.start)
}

#[cfg(test)]
mod tests {
    use offsite_repository::RepositoryExt;
    use offsite_repository::testing::{Memory, MemoryOptions};
    use tokio::time::{Duration, Instant, timeout};

    use super::super::rule::TrafficRule;
    use super::*;

    const MIB: usize = 1 << 20;

    /// A repository at an address, and the same under a rule of 1 MiB/s. Objects below `long` wait.
    fn scene() -> (Memory, Metered) {
        let here = Endpoint::Address([127, 0, 0, 1].into());
        let memory = Memory::with_options(MemoryOptions::default().with_endpoint(here));
        let traffic = Traffic::new();
        traffic.set_rules(vec![TrafficRule::of_repository("dr", 1 << 20).unwrap()]).unwrap();
        let waits = |key: &Key| key.as_str().starts_with("long/");
        let metered = Metered::new(Arc::new(memory.clone()), &traffic, FlowName::new("dr"), waits);
        (memory, metered)
    }

    fn key(text: &str) -> Key {
        Key::new(text).unwrap()
    }

    fn content(bytes: usize) -> Bytes {
        (0..bytes).map(|at| u8::try_from(at % 251).unwrap()).collect::<Vec<_>>().into()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_read_and_written_in_pieces_is_the_same() {
        let (memory, metered) = scene();
        let (long, all) = (key("long/a"), content(5 * MIB));
        let begun = Instant::now();
        let mut writer = metered.create(&long).await.unwrap();
        writer.write(vec![all.slice(..3), all.slice(3..3), all.slice(3..4 * MIB), all.slice(4 * MIB..)]).await.unwrap();
        writer.finish().await.unwrap();
        assert_eq!(begun.elapsed().as_secs(), 4, "the first MiB was there");
        assert_eq!(memory.get(&long, u64::MAX).await.unwrap(), all);
        let end = 5 * MIB as u64;
        let ranges = [7..7, 0..end, 100..200, 3 * (1 << 20)..end, end..end];
        let expected = memory.read(&long, ReadRequest::Ranges(&ranges)).await.unwrap();
        assert_eq!(metered.read(&long, ReadRequest::Ranges(&ranges)).await.unwrap(), expected);
        let past = metered.read(&long, ReadRequest::Ranges(&[0..end, 5..end + 1])).await.unwrap_err();
        assert_eq!(past.kind(), ErrorKind::Corrupt);
        let extents = vec![
            Extent::new(5, vec![content(10), content(0), content(2 * MIB)]),
            Extent::new(end - 1, vec![content(MIB)]),
        ];
        metered.patch().unwrap().write_extents(&long, extents.clone()).await.unwrap();
        let other = key("long/b");
        memory.put(&other, all).await.unwrap();
        memory.patch().unwrap().write_extents(&other, extents).await.unwrap();
        assert_eq!(memory.get(&long, u64::MAX).await.unwrap(), memory.get(&other, u64::MAX).await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn short_objects_pass_and_long_ones_make_up_for_them() {
        let (_, metered) = scene();
        let begun = Instant::now();
        for name in ["a", "b", "c"] {
            metered.put(&key(name), content(MIB)).await.unwrap();
        }
        metered.get(&key("a"), u64::MAX).await.unwrap();
        assert_eq!(begun.elapsed(), Duration::ZERO);
        metered.put(&key("long/a"), content(MIB)).await.unwrap();
        assert_eq!(begun.elapsed().as_secs(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_writer_whose_call_was_cut_off_is_dead() {
        let (memory, metered) = scene();
        let mut writer = metered.create(&key("long/a")).await.unwrap();
        assert!(timeout(Duration::from_millis(1_500), writer.write(vec![content(4 * MIB)])).await.is_err());
        assert!(writer.write(vec![content(1)]).await.is_err());
        assert!(writer.finish().await.is_err());
        assert_eq!(memory.get(&key("long/a"), u64::MAX).await.unwrap_err().kind(), ErrorKind::NotFound);
        // One that was cut off before anything was written goes on.
        let mut writer = metered.create(&key("long/b")).await.unwrap();
        assert!(timeout(Duration::from_millis(1), writer.write(vec![content(MIB)])).await.is_err());
        writer.write(vec![content(3)]).await.unwrap();
        writer.finish().await.unwrap();
    }
}
