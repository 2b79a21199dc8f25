//! The maps of restore points, read from their indexes.
//!
//! Each index is read at most once. If an operation needs only a few blocks, only their pages are read.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use offsite_core::format::index::{Directory, Page};
use offsite_core::format::{ENVELOPE_BYTES, Envelope, FormatError, Kind, WireFormat};
use offsite_core::{
    BlockMap, Coverage, FolderId, Head, Index, IndexReference, MachineMap, MachineName, MachineState, ObjectId,
    RestorePoint, Status, Timestamp,
};
use offsite_repository::{ErrorKind, ReadRequest, Repository, RepositoryExt};

use crate::error::{Context, Within};
use crate::folder::disks::{DiskSummary, Disks, disks_of};
use crate::folder::layout::Layout;
use crate::{DamagedPart, Error, OpenRepository, Result};

/// The longest index that is read whole, in bytes. Of longer ones, pages are read.
const WHOLE_BYTES_MAX: u64 = 1 << 20;
/// The largest gap between two pages that are read as one range, in bytes.
const GAP_BYTES_MAX: u64 = 64 << 10;
/// The number of bytes of pages that are kept, about.
const PAGES_BYTES_MAX: u64 = 32 << 20;

/// The indexes of one job folder.
#[derive(Debug)]
pub(crate) struct Indexes {
    repository: OpenRepository,
    layout: Layout,
    folder: FolderId,
    directories: BTreeMap<ObjectId, Arc<Directory>>,
    maps: BTreeMap<ObjectId, Arc<BlockMap>>,
    /// What arrived of incomplete machines.
    spares: BTreeMap<ObjectId, Arc<BlockMap>>,
    /// Pages of long indexes that were read, by where they start, so that what is planned and what is proven read them once.
    pages: BTreeMap<(ObjectId, u64), Bytes>,
    /// Release lists that are only imagined.
    lists: BTreeMap<ObjectId, BTreeMap<ObjectId, Vec<Range<u64>>>>,
}

impl Indexes {
    pub(crate) fn new(repository: &OpenRepository, layout: &Layout, folder: FolderId) -> Self {
        Self {
            repository: repository.clone(),
            layout: layout.clone(),
            folder,
            directories: BTreeMap::new(),
            maps: BTreeMap::new(),
            spares: BTreeMap::new(),
            pages: BTreeMap::new(),
            lists: BTreeMap::new(),
        }
    }

    /// Remembers an index that was decoded already.
    pub(crate) fn insert(&mut self, id: ObjectId, map: BlockMap) {
        self.maps.insert(id, Arc::new(map));
    }

    /// Forgets an index that no point refers to any more.
    pub(crate) fn forget(&mut self, id: ObjectId) {
        self.directories.remove(&id);
        self.maps.remove(&id);
        self.spares.remove(&id);
    }

    /// Remembers a release list that nobody stores, as the operation that retires the ranges is only planned.
    pub(crate) fn imagine_list(&mut self, id: ObjectId, ranges: BTreeMap<ObjectId, Vec<Range<u64>>>) {
        self.lists.insert(id, ranges);
    }

    /// A release list of [`imagine_list`](Self::imagine_list).
    pub(crate) fn imagined_list(&self, id: ObjectId) -> Option<&BTreeMap<ObjectId, Vec<Range<u64>>>> {
        self.lists.get(&id)
    }

    /// Opens the own index of `point` from its bytes, as if they had been read. The index is about to be stored, or only planned.
    ///
    /// # Errors
    /// The same as [`Indexes::step`]: a reader of the stored index gets the same answer.
    pub(crate) fn open(&mut self, point: &RestorePoint, bytes: &[u8]) -> Result<Index> {
        let (directory, index) = self.decode(bytes, &point.index, point)?;
        self.directories.insert(point.index.id, Arc::new(directory));
        self.maps.insert(point.index.id, Arc::new(index.map.clone()));
        self.spares.insert(point.index.id, Arc::new(index.spare.clone()));
        Ok(index)
    }

    /// The spare blocks of the newest point, for the next copy.
    ///
    /// Spare blocks of older points may be gone, as the next copy's commit releases what it does not use. So they count only
    /// while no point was made after theirs, not even one that no longer exists.
    ///
    /// # Errors
    /// As for [`Indexes::step`].
    pub(crate) async fn live_spare(&mut self, head: &Head) -> Result<BlockMap> {
        let is_newest = |point: &&RestorePoint| point.sequence.0.checked_add(1) == Some(head.next_sequence.0);
        let Some(point) = head.chain.latest().filter(is_newest) else { return Ok(BlockMap::empty()) };
        if point.machines.iter().all(MachineState::is_whole) {
            return Ok(BlockMap::empty());
        }
        if !self.spares.contains_key(&point.index.id) {
            self.load(&point.index, point).await?;
        }
        let spare = self.spares.get(&point.index.id).map_or_else(BlockMap::empty, |spare| BlockMap::clone(spare));
        Ok(spare.project(|name| point.machine(name).is_some_and(|machine| !machine.is_whole())))
    }

    /// The map of a point: the state of a full, or the step of any other point.
    ///
    /// # Errors
    /// [`Error::Damaged`] if an index is missing, damaged, or not the one that the head refers to.
    pub(crate) async fn step(&mut self, point: &RestorePoint) -> Result<BlockMap> {
        let mut step = BlockMap::empty();
        for reference in point.indexes() {
            let map = self.map(reference, point).await?;
            step = if step == BlockMap::empty() { BlockMap::clone(&map) } else { step.overlay(&map) };
        }
        Ok(of_machines(step, point))
    }

    /// The part of a point's map that lies in `coverage`.
    ///
    /// # Errors
    /// As for [`Indexes::step`].
    pub(crate) async fn part(&mut self, point: &RestorePoint, coverage: &Coverage) -> Result<BlockMap> {
        let stack: Vec<IndexReference> = point.indexes().copied().collect();
        self.part_of_stack(&stack, point, coverage).await
    }

    /// The part of these indexes' map that lies in `coverage`. They are indexes of a point, one above the other.
    ///
    /// # Errors
    /// As for [`Indexes::step`].
    pub(crate) async fn part_of_stack(
        &mut self,
        references: &[IndexReference],
        point: &RestorePoint,
        coverage: &Coverage,
    ) -> Result<BlockMap> {
        let mut part = BlockMap::empty();
        for reference in references {
            part = part.overlay(&self.part_of(reference, point, coverage).await?);
        }
        Ok(of_machines(part, point))
    }

    /// The state after these steps.
    ///
    /// # Errors
    /// As for [`Indexes::step`].
    pub(crate) async fn state(&mut self, steps: &[&RestorePoint]) -> Result<BlockMap> {
        let mut state = BlockMap::empty();
        for point in steps {
            let step = self.step(point).await?;
            state = if state == BlockMap::empty() { step } else { state.overlay(&step) };
        }
        Ok(state)
    }

    /// The state of one machine after these steps. Of long indexes, only the pages of the machine are read.
    ///
    /// # Errors
    /// As for [`Indexes::step`].
    pub(crate) async fn machine_state(&mut self, steps: &[&RestorePoint], machine: &MachineName) -> Result<BlockMap> {
        let mut all_of_it = BlockMap::empty();
        let no_disks = MachineMap::new(Timestamp::MAX, BTreeMap::new());
        all_of_it.insert(machine.clone(), no_disks);
        let coverage = Coverage::of(&all_of_it);
        let mut state = BlockMap::empty();
        for point in steps {
            state = state.overlay(&self.part(point, &coverage).await?);
        }
        Ok(state)
    }

    /// The map of these indexes of a point, one above the other.
    ///
    /// # Errors
    /// As for [`Indexes::step`].
    pub(crate) async fn rows(&mut self, references: &[IndexReference], point: &RestorePoint) -> Result<BlockMap> {
        let mut rows = BlockMap::empty();
        for reference in references {
            let map = self.map(reference, point).await?;
            rows = rows.overlay(&map);
        }
        Ok(of_machines(rows, point))
    }

    /// The backup files that an index of a point lists, oldest first.
    ///
    /// # Errors
    /// As for [`Indexes::step`].
    pub(crate) async fn files(&mut self, reference: &IndexReference, point: &RestorePoint) -> Result<Vec<ObjectId>> {
        if let Some(map) = self.maps.get(&reference.id) {
            return Ok(map.files().into_iter().collect());
        }
        Ok(self.directory(reference, point).await?.files().collect())
    }

    /// The largest position at which rows of an index can end in a backup file: the length of the file when the index was
    /// written.
    ///
    /// # Errors
    /// As for [`Indexes::step`].
    pub(crate) async fn file_end(
        &mut self,
        reference: &IndexReference,
        point: &RestorePoint,
        file: ObjectId,
    ) -> Result<u64> {
        if let Some(map) = self.maps.get(&reference.id).filter(|_| !self.directories.contains_key(&reference.id)) {
            let ends = map.stored().filter(|(_, _, _, at)| at.file == file);
            return Ok(ends.map(|(_, _, _, at)| at.offset + u64::from(at.length)).max().unwrap_or(0));
        }
        Ok(self.directory(reference, point).await?.file_bytes(file).unwrap_or(0))
    }

    /// The machines of the point for which an index was written. `None` if that cannot be known.
    pub(crate) async fn machines_then(
        &mut self,
        reference: &IndexReference,
        point: &RestorePoint,
    ) -> Option<BTreeSet<MachineName>> {
        let directory = self.directory(reference, point).await.ok()?;
        let whole = directory.machines.iter().filter(|(state, _)| state.status != Status::Incomplete);
        Some(whole.map(|(state, _)| state.name.clone()).collect())
    }

    /// The disks of each machine of a point, as far as its own indexes know. It reads their directories.
    pub(crate) async fn disks(&mut self, point: &RestorePoint) -> Result<Disks> {
        let mut all = Disks::new();
        for reference in point.indexes() {
            if let Some(map) = self.maps.get(&reference.id).filter(|_| !self.directories.contains_key(&reference.id)) {
                let disks = disks_of(map).into_iter();
                all.extend(disks.filter(|(name, _)| point.machine(name).is_some()));
                continue;
            }
            let directory = self.directory(reference, point).await?;
            for (position, (state, _)) in directory.machines.iter().enumerate() {
                if let Some(disks) = directory.disks(position).filter(|_| point.machine(&state.name).is_some()) {
                    let summary = |(number, identity, size_bytes)| DiskSummary { number, identity, size_bytes };
                    all.insert(state.name.clone(), disks.into_iter().map(summary).collect());
                }
            }
        }
        Ok(all)
    }

    /// The disks of each machine in the state after these steps. It reads the directories of their indexes.
    ///
    /// # Errors
    /// As for [`Indexes::step`].
    pub(crate) async fn disks_after(&mut self, steps: &[&RestorePoint]) -> Result<Disks> {
        let mut all = Disks::new();
        for point in steps {
            let disks = self.disks(point).await?.into_iter();
            all.extend(disks.filter(|(name, _)| point.machine(name).is_some_and(MachineState::is_whole)));
        }
        Ok(all)
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    async fn part_of(
        &mut self,
        reference: &IndexReference,
        point: &RestorePoint,
        coverage: &Coverage,
    ) -> Result<BlockMap> {
        if reference.length <= WHOLE_BYTES_MAX || self.maps.contains_key(&reference.id) {
            return Ok(self.map(reference, point).await?.restricted(coverage));
        }
        let directory = self.directory(reference, point).await?;
        let pages = directory.pages(coverage);
        let place = |page: &Page| (reference.id, page.range().start);
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for page in pages.iter().filter(|page| !self.pages.contains_key(&place(page))) {
            match ranges.last_mut() {
                Some(last) if page.range().start <= last.end + GAP_BYTES_MAX => last.end = page.range().end,
                _ => ranges.push(page.range()),
            }
        }
        let buffers = self.ranges(reference, point, &ranges).await?;
        let slice = |range: Range<u64>| slice_of(&ranges, &buffers, range);
        let bytes: Option<Vec<_>> =
            pages.iter().map(|page| self.pages.get(&place(page)).cloned().or_else(|| slice(page.range()))).collect();
        let bytes = bytes.ok_or_else(|| self.damaged(reference, point, None))?;
        if self.pages.values().map(|page| page.len() as u64).sum::<u64>() > PAGES_BYTES_MAX {
            self.pages.clear();
        }
        self.pages.extend(pages.iter().map(&place).zip(bytes.iter().cloned()));
        directory.decode_pages(coverage, &pages, &bytes).map_err(|error| self.damaged(reference, point, Some(error)))
    }

    /// The bytes of these pages of an index, which ascend. They are not remembered.
    ///
    /// # Errors
    /// As for [`Indexes::step`].
    pub(crate) async fn read_pages(
        &self,
        reference: &IndexReference,
        point: &RestorePoint,
        pages: &[&Page],
    ) -> Result<Vec<Bytes>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for range in pages.iter().map(|page| page.range()) {
            match ranges.last_mut() {
                Some(last) if range.start <= last.end + GAP_BYTES_MAX => last.end = range.end,
                _ => ranges.push(range),
            }
        }
        let buffers = self.ranges(reference, point, &ranges).await?;
        let bytes: Option<Vec<Bytes>> = pages.iter().map(|page| slice_of(&ranges, &buffers, page.range())).collect();
        bytes.ok_or_else(|| self.damaged(reference, point, None))
    }

    /// The bytes of these ranges of an index.
    async fn ranges(
        &self,
        reference: &IndexReference,
        point: &RestorePoint,
        ranges: &[Range<u64>],
    ) -> Result<Vec<Bytes>> {
        if ranges.is_empty() {
            return Ok(Vec::new());
        }
        let key = self.layout.index(reference.id)?;
        let read = self.repository.backend().read(&key, ReadRequest::Ranges(ranges)).await;
        self.loaded(read, reference, point)
    }

    /// What an index says but for its blocks.
    ///
    /// # Errors
    /// As for [`Indexes::step`].
    pub(crate) async fn directory(
        &mut self,
        reference: &IndexReference,
        point: &RestorePoint,
    ) -> Result<Arc<Directory>> {
        if let Some(known) = self.directories.get(&reference.id) {
            return Ok(Arc::clone(known));
        }
        let key = self.layout.index(reference.id)?;
        let read = self.repository.backend().get_range(&key, 0..ENVELOPE_BYTES as u64).await;
        let envelope = Envelope::decode(Kind::Index, &self.loaded(read, reference, point)?);
        let envelope = envelope.map_err(|error| self.damaged(reference, point, Some(error)))?;
        let end = ENVELOPE_BYTES as u64 + envelope.record_bytes;
        if end > reference.length {
            return Err(self.damaged(reference, point, None));
        }
        let read = self.repository.backend().get_range(&key, 0..end).await;
        let bytes = self.loaded(read, reference, point)?;
        let directory = Directory::decode(&bytes).map_err(|error| self.damaged(reference, point, Some(error)))?;
        self.check(&directory, &bytes, reference, point)?;
        let directory = Arc::new(directory);
        self.directories.insert(reference.id, Arc::clone(&directory));
        Ok(directory)
    }

    /// The rows of one index, incomplete machines left out.
    ///
    /// # Errors
    /// As for [`Indexes::step`].
    pub(crate) async fn map(&mut self, reference: &IndexReference, point: &RestorePoint) -> Result<Arc<BlockMap>> {
        if let Some(known) = self.maps.get(&reference.id) {
            return Ok(Arc::clone(known));
        }
        self.load(reference, point).await
    }

    async fn load(&mut self, reference: &IndexReference, point: &RestorePoint) -> Result<Arc<BlockMap>> {
        let key = self.layout.index(reference.id)?;
        let read = self.repository.backend().get(&key, reference.length).await;
        let bytes = self.loaded(read, reference, point)?;
        let (_, index) = self.decode(&bytes, reference, point)?;
        let map = Arc::new(index.map);
        self.maps.insert(reference.id, Arc::clone(&map));
        self.spares.insert(reference.id, Arc::new(index.spare));
        Ok(map)
    }

    /// Decodes an index, and checks that it is the one that the point refers to.
    fn decode(&self, bytes: &[u8], reference: &IndexReference, point: &RestorePoint) -> Result<(Directory, Index)> {
        let damaged = |error| self.damaged(reference, point, Some(error));
        let directory = Directory::decode(bytes).map_err(damaged)?;
        self.check(&directory, bytes, reference, point)?;
        let index = Index::decode(bytes).map_err(damaged)?;
        Ok((directory, index))
    }

    /// Checks that an index is the one that the head refers to.
    fn check(
        &self,
        directory: &Directory,
        bytes: &[u8],
        reference: &IndexReference,
        point: &RestorePoint,
    ) -> Result<()> {
        if directory.folder == self.folder && directory.reference(bytes).is_ok_and(|found| found == *reference) {
            return Ok(());
        }
        let why = "it is not the one that the head refers to".to_owned();
        Err(self.damaged(reference, point, Some(FormatError::Invalid { what: "index", why })))
    }

    fn loaded<T>(
        &self,
        answer: offsite_repository::Result<T>,
        reference: &IndexReference,
        point: &RestorePoint,
    ) -> Result<T> {
        match answer {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => {
                Err(self.damaged(reference, point, None))
            }
            answer => answer
                .while_doing(|| format!("reading an index of job {}", self.layout.job()))
                .at(|| self.repository.located())
                .in_job(self.layout.job()),
        }
    }

    pub(crate) fn damaged(
        &self,
        reference: &IndexReference,
        point: &RestorePoint,
        source: Option<FormatError>,
    ) -> Error {
        let key = self.layout.index(reference.id).map_or_else(|_| reference.id.to_string(), |key| key.to_string());
        let part = DamagedPart::Index { sequence: point.sequence };
        let error = Error::damaged(part, key, self.repository.located()).in_job(self.layout.job());
        match source {
            Some(source) => error.because(source),
            None => error,
        }
    }
}

/// The bytes of a range that lies in one of `ranges`, which were read into `buffers`.
fn slice_of(ranges: &[Range<u64>], buffers: &[Bytes], range: Range<u64>) -> Option<Bytes> {
    let position = ranges.partition_point(|whole| whole.end < range.end);
    let (whole, bytes) = ranges.get(position).zip(buffers.get(position))?;
    let start = usize::try_from(range.start.checked_sub(whole.start)?).ok()?;
    let end = usize::try_from(range.end - whole.start).ok()?;
    (end <= bytes.len()).then(|| bytes.slice(start..end))
}

/// The machines that the point has complete.
///
/// An index may still contain others, which were removed from the chain.
fn of_machines(map: BlockMap, point: &RestorePoint) -> BlockMap {
    let has = |name: &MachineName| point.machine(name).is_some_and(|machine| machine.status != Status::Incomplete);
    let is_known = map.machines().keys().all(has);
    if is_known { map } else { map.project(has) }
}

#[cfg(test)]
mod tests {
    use offsite_core::{BlockSize, DiskIdentity, DiskMap, DiskName, DiskNumber, ImageFormat, Run, StoredBlock};

    use super::*;
    use crate::sample::Sample;

    #[tokio::test]
    async fn a_short_index_is_read_whole() {
        let sample = Sample::new(2).await;
        let mut indexes = sample.indexes();
        let coverage = Coverage::of(&sample.state);
        assert_eq!(indexes.part(&sample.point, &coverage).await.unwrap(), sample.state.restricted(&coverage));
        assert!(indexes.maps.contains_key(&sample.point.index.id) && indexes.directories.is_empty());
    }

    /// Of an index with as many pages as this, two that are far apart are two small reads.
    #[tokio::test]
    async fn pages_that_are_far_apart_are_read_alone() {
        const BLOCKS: u32 = 60_000;
        let sample = Sample::new(1).await;
        let at = sample.blocks[0].at;
        let run = |block: u32| {
            let at = StoredBlock { offset: 4096 * (u64::from(block) + 1), length: 4096, ..at };
            Run::Stored { block, at }
        };
        let identity = DiskIdentity::new(DiskName::new("vda").unwrap(), ImageFormat::Raw);
        let size_bytes = u64::from(BLOCKS) * u64::from(BlockSize::KiB256.bytes());
        let disk = DiskMap::new(identity, size_bytes, BLOCKS.into(), 0, (0..BLOCKS).map(run).collect()).unwrap();
        let mut map = sample.state.clone();
        for machine in &sample.point.machines {
            let disks = BTreeMap::from([(DiskNumber(0), disk.clone())]);
            map.insert(machine.name.clone(), offsite_core::MachineMap::new(machine.captured, disks));
        }
        let index = Index {
            folder: sample.head.folder,
            id: ObjectId::new(9, 9),
            sequence: sample.point.sequence,
            time: sample.point.time,
            kind: sample.point.kind,
            is_back_filled: false,
            base: None,
            block_size: BlockSize::KiB256,
            below: Vec::new(),
            files: BTreeMap::from([(at.file, 1 << 40)]),
            machines: sample.point.machines.iter().cloned().zip((0..).map(offsite_core::MachineNumber)).collect(),
            map,
            spare: BlockMap::empty(),
        };
        let bytes = index.encode().unwrap();
        let (length, point) = (bytes.len() as u64, offsite_core::format::index::point(&index, &bytes).unwrap());
        assert!(length > 2 * WHOLE_BYTES_MAX);
        let key = sample.layout.index(index.id).unwrap();
        sample.repository.backend().put(&key, bytes.into()).await.unwrap();
        let far_apart = index.map.picked(|_, _, block, at| [0, 50_000].contains(&block).then_some(at));
        let coverage = Coverage::of(&far_apart);
        let before = sample.repository.counts().bytes_read;
        let part = sample.indexes().part(&point, &coverage).await.unwrap();
        assert_eq!(part, index.map.restricted(&coverage));
        let read = sample.repository.counts().bytes_read - before;
        assert!(read < length / 4, "{read} of {length}");
        let (machine, _) = index.map.machines().first_key_value().unwrap();
        assert_eq!(sample.indexes().machine_state(&[&point], machine).await.unwrap(), index.map);
        let other = MachineName::new("db01").unwrap();
        assert_eq!(sample.indexes().machine_state(&[&point], &other).await.unwrap(), BlockMap::empty());
    }
}
