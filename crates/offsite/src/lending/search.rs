//! Searches the indexes of one chain for digests.

use std::collections::BTreeMap;
use std::sync::Arc;

use offsite_core::format::index::{Directory, Page, Row};
use offsite_core::plan::Address;
use offsite_core::{Chain, Coverage, Digest, FolderId, IndexReference, MachineState, RestorePoint, Run, StoredBlock};

use super::filter::Filter;
use super::segment::key;
use crate::folder::layout::Layout;
use crate::reader::indexes::Indexes;
use crate::reader::job_folder::JobFolder;
use crate::{OpenRepository, Result};

/// The number of pages that are looked at together: up to 7 MB.
const PAGES_AT_ONCE: usize = 32;

/// The digests that a look-up looks for, and those of them that it has not found yet.
#[derive(Debug)]
pub(super) struct Wanted {
    digests: Vec<Digest>,
    is_found: Vec<bool>,
    found: usize,
    /// The keys of those that are not found, as of `keyed` found ones.
    keys: Arc<Vec<u64>>,
    keyed: usize,
}

impl Wanted {
    /// These digests. They ascend.
    pub(super) fn new(digests: Vec<Digest>) -> Self {
        let keys = Arc::new(digests.iter().map(key).collect());
        Self { is_found: vec![false; digests.len()], digests, found: 0, keys, keyed: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found == self.digests.len()
    }

    /// Whether a digest is wanted and not found yet.
    pub(super) fn lacks(&self, digest: &Digest) -> bool {
        self.digests.binary_search(digest).is_ok_and(|position| !self.is_found[position])
    }

    /// Notes that a digest is found. Returns whether it was wanted.
    pub(super) fn take(&mut self, digest: &Digest) -> bool {
        match self.digests.binary_search(digest) {
            Ok(position) if !self.is_found[position] => {
                self.is_found[position] = true;
                self.found += 1;
                true
            }
            _ => false,
        }
    }

    fn keys(&mut self) -> &Arc<Vec<u64>> {
        if self.keyed != self.found {
            let left = self.digests.iter().zip(&self.is_found).filter(|(_, is_found)| !**is_found);
            self.keys = Arc::new(left.map(|(digest, _)| key(digest)).collect());
            self.keyed = self.found;
        }
        &self.keys
    }
}

/// A chain that is searched.
pub(super) struct Searched<'a> {
    pub(super) repository: &'a OpenRepository,
    pub(super) layout: &'a Layout,
    pub(super) folder: FolderId,
    pub(super) chain: &'a Chain,
}

/// An index, with the points that stand on it.
pub(super) type Indexed<'a> = (IndexReference, Vec<&'a RestorePoint>);

/// A frame that a kept point's state has.
pub(super) type Found = (Address, StoredBlock);

impl<'a> Searched<'a> {
    pub(super) fn of(folder: &'a JobFolder) -> Self {
        let (repository, layout) = (folder.repository(), folder.layout());
        Self { repository, layout, folder: folder.id(), chain: folder.chain() }
    }

    /// Searches the indexes of all points, those of the newest first.
    ///
    /// Each frame that is found is in the state of a point that is kept: rows that a later index hides say nothing. Indexes that are
    /// damaged are left out.
    pub(super) async fn search(
        &self,
        wanted: &mut Wanted,
        filter: Option<&Filter>,
        is_damaged: impl Fn(&StoredBlock) -> bool,
    ) -> Result<Vec<Found>> {
        let mut found = Vec::new();
        for (reference, points) in self.indexes() {
            if wanted.is_empty() {
                break;
            }
            // What was read of one index is not kept for the next.
            let mut indexes = Indexes::new(self.repository, self.layout, self.folder);
            match self.search_index(&mut indexes, &reference, &points, wanted, filter, &is_damaged).await {
                Ok(of_index) => found.extend(of_index),
                Err(error) if error.is_loss() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// The indexes of the chain, each with the points that stand on it.
    pub(super) fn indexes(&self) -> Vec<Indexed<'a>> {
        let mut order = Vec::new();
        let mut points: BTreeMap<_, Vec<&RestorePoint>> = BTreeMap::new();
        for point in self.chain.all().rev() {
            for reference in point.indexes() {
                let standing = points.entry(reference.id).or_default();
                if standing.is_empty() {
                    order.push(*reference);
                }
                standing.push(point);
            }
        }
        order.into_iter().filter_map(|reference| Some((reference, points.remove(&reference.id)?))).collect()
    }

    async fn search_index(
        &self,
        indexes: &mut Indexes,
        reference: &IndexReference,
        points: &[&RestorePoint],
        wanted: &mut Wanted,
        filter: Option<&Filter>,
        is_damaged: &impl Fn(&StoredBlock) -> bool,
    ) -> Result<Vec<Found>> {
        let Some(any) = points.first() else { return Ok(Vec::new()) };
        let candidates = match filter {
            Some(filter) => filter.candidates(self.folder, *reference, wanted.keys()).await?,
            None => None,
        };
        if candidates.as_ref().is_some_and(Vec::is_empty) {
            return Ok(Vec::new());
        }
        let directory = indexes.directory(reference, any).await?;
        let all = directory.all_pages();
        let mut segment =
            filter.filter(|_| candidates.is_none()).and_then(|filter| filter.builder(self.folder, *reference));
        let pages: Vec<(u32, &Page)> = match &candidates {
            Some(numbers) => {
                let page = |number: &u32| Some((*number, all.get(usize::try_from(*number).ok()?)?));
                numbers.iter().filter_map(page).collect()
            }
            None => (0..).zip(&all).collect(),
        };
        let mut found = Vec::new();
        for pages in pages.chunks(PAGES_AT_ONCE) {
            let places: Vec<&Page> = pages.iter().map(|(_, page)| *page).collect();
            let bytes = indexes.read_pages(reference, any, &places).await?;
            let mut hits = Vec::new();
            for ((number, page), bytes) in pages.iter().zip(&bytes) {
                let rows = directory.rows(page, bytes).map_err(|error| indexes.damaged(reference, any, Some(error)))?;
                if let Some(segment) = &mut segment {
                    rows.iter().for_each(|row| segment.note(&row.at.digest, *number));
                }
                hits.extend(rows.into_iter().filter(|row| wanted.lacks(&row.at.digest) && !is_damaged(&row.at)));
            }
            found.extend(live(indexes, reference, points, &directory, hits, wanted).await?);
            if wanted.is_empty() && segment.is_none() {
                break;
            }
        }
        if let Some(segment) = segment {
            segment.finish();
        }
        Ok(found)
    }
}

/// Those of the rows of an index that the state of a point has, one for each digest.
pub(super) async fn live(
    indexes: &mut Indexes,
    reference: &IndexReference,
    points: &[&RestorePoint],
    directory: &Directory,
    mut hits: Vec<Row>,
    wanted: &mut Wanted,
) -> Result<Vec<Found>> {
    let name = |row: &Row| directory.machines.get(row.machine).map(|(state, _)| &state.name);
    let mut found = Vec::new();
    for point in points {
        if hits.is_empty() {
            break;
        }
        let has = |row: &Row| name(row).is_some_and(|name| point.machine(name).is_some_and(MachineState::is_whole));
        // No later index hides what the topmost one says.
        let is_top = point.indexes().last().is_some_and(|top| top.id == reference.id);
        let state = match is_top {
            true => None,
            false => {
                let blocks = hits.iter().filter(|row| has(row));
                let blocks = blocks.filter_map(|row| Some((name(row)?, row.disk, row.block)));
                Some(indexes.part(point, &Coverage::of_blocks(blocks)).await?)
            }
        };
        hits.retain(|row| {
            let Some(machine) = name(row).filter(|_| has(row)) else { return true };
            let is_live = state.as_ref().is_none_or(|state| {
                let disk = state.machine(machine).and_then(|machine| machine.disks.get(&row.disk));
                disk.and_then(|disk| disk.get(row.block)) == Some(Run::Stored { block: row.block, at: row.at })
            });
            if is_live && wanted.take(&row.at.digest) {
                let address = Address { machine: machine.clone(), disk: row.disk, block: row.block };
                found.push((address, row.at));
            }
            !is_live
        });
    }
    Ok(found)
}
