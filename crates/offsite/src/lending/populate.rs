//! Fills a block cache from a repository.

use std::sync::Arc;

use futures::future::BoxFuture;
use offsite_core::plan::Amount;

use super::search::{Indexed, Searched, Wanted, live};
use crate::cache::{CacheRun, Keeper};
use crate::claims::pin::Pin;
use crate::error::within;
use crate::gate::Passage;
use crate::mover::{FrameSource, Wanted as Block, fill};
use crate::progress::{Step, Task};
use crate::reader::indexes::Indexes;
use crate::reader::job_folder::JobFolder;
use crate::report::{ErrorSummary, PopulateReport, Unfilled};
use crate::teller::{Control, Running};
use crate::{BlockCache, Gate, OpenGate, OpenRepository, Progress, Result, Silent};

/// The number of pages of an index that are looked at together.
const PAGES_AT_ONCE: usize = 32;

/// Fills a block cache from a repository, before the first copy.
///
/// It reads the blocks of all restore points, those of the newest points first, until the cache is full. It reads no block that the cache
/// has. So a later run goes on where one was stopped.
pub struct Populate {
    cache: BlockCache,
    from: OpenRepository,
    progress: Arc<dyn Progress>,
    gate: Arc<dyn Gate>,
}

impl Populate {
    /// Fills `cache` from the repository `from`.
    #[must_use]
    pub fn new(cache: &BlockCache, from: &OpenRepository) -> Self {
        Self { cache: cache.clone(), from: from.clone(), progress: Arc::new(Silent), gate: Arc::new(OpenGate) }
    }

    /// Reports the progress to `progress`.
    #[must_use]
    pub fn progress(mut self, progress: Arc<dyn Progress>) -> Self {
        self.progress = progress;
        self
    }

    /// Passes the block data through `gate`. If the gate ends the run, the cache keeps what it has got.
    #[must_use]
    pub fn gate(mut self, gate: Arc<dyn Gate>) -> Self {
        self.gate = gate;
        self
    }

    /// Fills the cache.
    ///
    /// # Errors
    /// Errors of the repository, if it cannot be read at all. What is damaged in it, or cannot be looked into, is in the report.
    pub fn run(&self) -> BoxFuture<'_, Result<PopulateReport>> {
        within(|error| error.at(|| self.from.located()), async move {
            let mut report = PopulateReport::default();
            let mut folders: Vec<(JobFolder, Option<Pin>)> = Vec::new();
            for job in self.from.jobs().await? {
                match JobFolder::pinned(&self.from, &job).await {
                    Ok(opened) => folders.push(opened),
                    Err(error) => report.unfilled.push(Unfilled { job, why: (&error).into() }),
                }
            }
            let run = self.cache.run().await;
            let mut keeper = Keeper::new(run.clone());
            let mut result = self.fill(&folders, &run, &mut keeper, &mut report).await;
            let kept = keeper.finish().await;
            report.kept = kept.amount();
            report.is_full = kept.is_full;
            report.failure = kept.failure;
            for (folder, pin) in folders {
                result = folder.unpin(pin, result).await;
            }
            result.map(|()| report)
        })
    }

    async fn fill(
        &self,
        folders: &[(JobFolder, Option<Pin>)],
        run: &CacheRun,
        keeper: &mut Keeper,
        report: &mut PopulateReport,
    ) -> Result<()> {
        let searched: Vec<Searched<'_>> = folders.iter().map(|(folder, _)| Searched::of(folder)).collect();
        let mut indexes: Vec<(usize, Indexed<'_>)> = Vec::new();
        for (number, searched) in searched.iter().enumerate() {
            indexes.extend(searched.indexes().into_iter().map(|indexed| (number, indexed)));
        }
        // Those of the newest points first, whichever job made them.
        indexes.sort_by_key(|(_, (_, points))| std::cmp::Reverse(points.first().map(|point| point.time)));
        for (number, indexed) in indexes {
            let Some((searched, (folder, _))) = searched.get(number).zip(folders.get(number)) else { continue };
            let filled = self.fill_index(folder, searched, &indexed, run, keeper, report).await;
            match filled {
                Ok(Passage::Go) if !keeper.is_full() => {}
                Ok(Passage::Go) => break,
                Ok(Passage::Stop) => {
                    report.is_stopped = true;
                    break;
                }
                Err(error) if error.is_loss() => {
                    report.unfilled.push(Unfilled { job: folder.job().clone(), why: ErrorSummary::from(&error) });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn fill_index(
        &self,
        folder: &JobFolder,
        searched: &Searched<'_>,
        (reference, points): &Indexed<'_>,
        run: &CacheRun,
        keeper: &mut Keeper,
        report: &mut PopulateReport,
    ) -> Result<Passage> {
        let Some(point) = points.first() else { return Ok(Passage::Go) };
        let control = Control::new(self.progress.as_ref(), self.gate.as_ref());
        let source = FrameSource::new(folder.repository(), folder.layout(), folder.head());
        let mut indexes = Indexes::new(searched.repository, searched.layout, searched.folder);
        let directory = indexes.directory(reference, point).await?;
        for pages in directory.all_pages().chunks(PAGES_AT_ONCE) {
            let pages: Vec<_> = pages.iter().collect();
            let bytes = indexes.read_pages(reference, point, &pages).await?;
            let mut rows = Vec::new();
            for (page, bytes) in pages.iter().zip(&bytes) {
                let read = directory.rows(page, bytes);
                rows.extend(read.map_err(|error| indexes.damaged(reference, point, Some(error)))?);
            }
            let mut digests: Vec<_> =
                rows.iter().map(|row| row.at.digest).filter(|digest| !keeper.has(digest)).collect();
            digests.sort_unstable();
            digests.dedup();
            let mut wanted = Wanted::new(digests);
            let mut had = Amount::default();
            run.find(|at, _| {
                let is_there = wanted.take(&at.digest);
                if is_there {
                    had = Amount::new(had.blocks + 1, had.bytes + u64::from(at.length));
                }
                is_there
            })
            .await;
            report.had = Amount::new(report.had.blocks + had.blocks, report.had.bytes + had.bytes);
            rows.retain(|row| wanted.lacks(&row.at.digest));
            let found = live(&mut indexes, reference, points, &directory, rows, &mut wanted).await?;
            let mut blocks: Vec<Block> = found.into_iter().map(|(address, at)| Block { address, at }).collect();
            blocks.sort_by_key(|block| (block.at.file, block.at.offset));
            let total = blocks.iter().map(|block| u64::from(block.at.length)).sum();
            let progress: Running<'_> = control.teller(Task::Populate, folder.job()).begin(Step::Transfer, total);
            let (damaged, passage) = fill(&blocks, &source, keeper, &progress).await?;
            report.damaged_blocks += damaged;
            progress.end();
            if passage == Passage::Stop || keeper.is_full() {
                return Ok(passage);
            }
        }
        Ok(Passage::Go)
    }
}

impl std::fmt::Debug for Populate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Populate").field("from", &self.from.location()).finish_non_exhaustive()
    }
}
