//! The chains that lend frames to a copy, and what they have of what it wants.

use std::collections::{BTreeMap, BTreeSet};

use offsite_core::plan::{Address, Lender, Loan, Loans};
use offsite_core::{BlockMap, Digest, DiskNumber, Head, MachineName, StoredBlock};
use offsite_repository::Counts;

use super::filter::Filter;
use super::search::{Found, Searched, Wanted};
use super::settings::Lending;
use crate::cache::{CacheRun, Keeper, MACHINE};
use crate::claims::pin::Pin;
use crate::folder::layout::Layout;
use crate::mover::FrameSource;
use crate::reader::job_folder::JobFolder;
use crate::report::{ErrorSummary, LookUp, Note};
use crate::{JobName, OpenRepository, Result};

/// What a copy borrows from: its own chain, and chains of other jobs of the target repository.
///
/// While it is held, nothing in those is released. [`release`](Lenders::release) gives the pins back.
#[derive(Debug)]
pub(crate) struct Lenders {
    pub(crate) look_up: LookUp,
    own: Option<FrameSource>,
    others: Vec<(JobFolder, Option<Pin>)>,
    cache: Option<CacheRun>,
    /// The sources that are across a link, by their numbers.
    pub(crate) away: BTreeSet<u32>,
    /// The number of the own chain among the folders of the copy. The others follow.
    first: u32,
    /// Whether the other chains are held by pins.
    with_pins: bool,
    /// What could not be searched.
    pub(crate) notes: Vec<Note>,
}

/// The chain that is copied to.
pub(crate) struct Own<'a> {
    pub(crate) repository: &'a OpenRepository,
    pub(crate) layout: &'a Layout,
    pub(crate) head: &'a Head,
    /// The spare blocks in it.
    pub(crate) spare: &'a BlockMap,
}

impl Lenders {
    /// Nobody yet. Other chains are to be held by pins if `with_pins` is set.
    pub(crate) fn new(with_pins: bool) -> Self {
        let (look_up, notes) = (LookUp::NothingMissing, Vec::new());
        Self { look_up, own: None, others: Vec::new(), cache: None, away: BTreeSet::new(), first: 0, with_pins, notes }
    }

    /// Looks up `digests`, which ascend, and holds what is found. `first` is the number of folders that the copy reads from anyway.
    ///
    /// # Errors
    /// Defects of this library. A chain that cannot be searched is a note: the source has everything.
    pub(crate) async fn find(
        &mut self,
        lending: &Lending,
        own: Own<'_>,
        digests: Vec<Digest>,
        first: u32,
        is_damaged: impl Fn(&StoredBlock) -> bool,
    ) -> Result<Loans> {
        self.first = first;
        self.own = Some(FrameSource::new(own.repository, own.layout, own.head));
        let mut wanted = Wanted::new(digests);
        let mut loans = match self.look_up {
            LookUp::Made => self.search_chains(lending, own, &mut wanted, is_damaged).await?,
            _ => Loans::new(),
        };
        if let Some(cache) = &lending.cache {
            let run = cache.run().await;
            loans.extend(self.search_cache(&run, &mut wanted).await);
            self.cache = Some(run);
        }
        Ok(loans)
    }

    /// What the block cache has.
    async fn search_cache(&self, run: &CacheRun, wanted: &mut Wanted) -> Loans {
        let mut loans = Loans::new();
        let Ok(machine) = MachineName::new(MACHINE) else { return loans };
        let number = self.number_of_next();
        let take = |at: &StoredBlock, block: u32| {
            let is_wanted = wanted.take(&at.digest);
            if is_wanted {
                let address = Address { machine: machine.clone(), disk: DiskNumber(0), block };
                loans.extend([loan(number, Lender::Cache, (address, *at))]);
            }
            is_wanted
        };
        run.find(take).await;
        loans
    }

    /// What the chains of the target repository have. It holds those that lend.
    async fn search_chains(
        &mut self,
        lending: &Lending,
        own: Own<'_>,
        wanted: &mut Wanted,
        is_damaged: impl Fn(&StoredBlock) -> bool,
    ) -> Result<Loans> {
        let first = self.first;
        let mut loans = self.spare(&own, wanted, &is_damaged);
        let filter = lending.filter.as_ref().map(|folder| Filter::new(folder, own.repository.id()));
        let mut needed = Vec::new();
        let searched = Searched {
            repository: own.repository,
            layout: own.layout,
            folder: own.head.folder,
            chain: &own.head.chain,
        };
        needed.extend(own.head.chain.indexes().map(|reference| (own.head.folder, *reference)));
        match searched.search(wanted, filter.as_ref(), is_damaged).await {
            Ok(found) => loans.extend(found.into_iter().map(|found| loan(first, Lender::Chain, found))),
            Err(error) => self.skip(own.layout.job(), own.repository, &error),
        }
        let jobs = match own.repository.job_folders().await {
            Ok(folders) => folders,
            Err(error) => {
                self.skip(own.layout.job(), own.repository, &error);
                return Ok(loans);
            }
        };
        let mut is_all = jobs.closed.is_empty();
        for job in jobs.jobs.iter().filter(|job| *job != own.layout.job()) {
            if wanted.is_empty() {
                // What was not looked into may be needed the next time.
                is_all = false;
                break;
            }
            let opened = match self.with_pins {
                true => JobFolder::pinned(own.repository, job).await,
                false => JobFolder::open(own.repository, job).await.map(|folder| (folder, None)),
            };
            let (folder, pin) = match opened {
                Ok(opened) => opened,
                Err(error) => {
                    is_all = false;
                    self.skip(job, own.repository, &error);
                    continue;
                }
            };
            needed.extend(folder.chain().indexes().map(|reference| (folder.id(), *reference)));
            let searched = Searched {
                repository: own.repository,
                layout: folder.layout(),
                folder: folder.id(),
                chain: folder.chain(),
            };
            let found = searched.search(wanted, filter.as_ref(), |_| false).await;
            let number = self.number_of_next();
            match found {
                Ok(found) if !found.is_empty() => {
                    loans.extend(found.into_iter().map(|found| loan(number, Lender::Job, found)));
                    self.others.push((folder, pin));
                }
                answer => {
                    let _ = folder.unpin(pin, Ok(())).await;
                    if let Err(error) = answer {
                        self.skip(job, own.repository, &error);
                    }
                }
            }
        }
        if let Some(filter) = filter.filter(|_| self.with_pins) {
            filter.sweep(needed, is_all).await?;
        }
        Ok(loans)
    }

    /// What the spare blocks have.
    fn spare(&self, own: &Own<'_>, wanted: &mut Wanted, is_damaged: impl Fn(&StoredBlock) -> bool) -> Loans {
        let mut loans = Loans::new();
        for (machine, disk, block, at) in own.spare.stored() {
            if !is_damaged(&at) && wanted.take(&at.digest) {
                let address = Address { machine: machine.clone(), disk, block };
                loans.extend([loan(self.first, Lender::Spare, (address, at))]);
            }
        }
        loans
    }

    fn skip(&mut self, job: &JobName, repository: &OpenRepository, error: &crate::Error) {
        let (job, location) = (job.clone(), repository.location());
        self.notes.push(Note::LenderNotSearched { job, location, why: error.into() });
    }

    /// What the lent frames are read from, in the order of their numbers.
    pub(crate) fn frames(&self) -> Vec<FrameSource> {
        let others = self.others.iter().map(|(folder, _)| folder);
        let others = others.map(|folder| FrameSource::new(folder.repository(), folder.layout(), folder.head()));
        let cache = self.cache.iter().map(FrameSource::of_cache);
        self.own.iter().cloned().chain(others).chain(cache).collect()
    }

    /// What was read from the block cache so far.
    pub(crate) fn cache_counts(&self) -> Counts {
        self.cache.as_ref().map_or_else(Counts::default, |run| run.place.block_counts())
    }

    /// What puts blocks that come over a link into the cache.
    pub(crate) fn keeper(&self) -> Option<Keeper> {
        self.cache.clone().map(Keeper::new)
    }

    /// The number of the folder that lends next.
    fn number_of_next(&self) -> u32 {
        let others = u32::try_from(self.others.len()).unwrap_or(u32::MAX);
        self.first.saturating_add(1).saturating_add(others)
    }

    /// What of the frames that were lent could not be used, as notes.
    pub(crate) fn unused(&self, unused: &BTreeMap<u32, (u64, ErrorSummary)>) -> Vec<Note> {
        let note = |(folder, (blocks, why)): (&u32, &(u64, ErrorSummary))| Note::ReadElsewhere {
            is_lent: *folder >= self.first && self.own.is_some(),
            blocks: *blocks,
            why: why.clone(),
        };
        unused.iter().map(note).collect()
    }

    /// Gives the pins back.
    pub(crate) async fn release(self) {
        for (folder, pin) in self.others {
            let _ = folder.unpin(pin, Ok(())).await;
        }
    }
}

fn loan(source: u32, lender: Lender, (holder, at): Found) -> (Digest, Loan) {
    (at.digest, Loan { source, at, holder, lender })
}
