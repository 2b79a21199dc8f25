//! What an operation makes of a folder, before any of it is committed.
//!
//! Every operation makes a [`Draft`]. [`commit`] is the only way from a draft to a head. A dry run stops before it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use offsite_core::plan::{Plan, Retired};
use offsite_core::{BlockMap, Chain, ChainError, Head, MachineName, ObjectId, Sequence};

use crate::commit::new_index::NewIndex;
use crate::commit::plan_context::PlanContext;
use crate::commit::read_back::{Change, Proven, keep_needed, prove};
use crate::commit::release::{prepare, release_too_early};
use crate::commit::writer::Writer;
use crate::folder::links::note_linked;
use crate::seams::is_broken;
use crate::{Error, Result};

/// What an operation means to do.
pub(crate) struct Outline<'a> {
    pub(crate) plan: Plan,
    /// The chain afterwards.
    pub(crate) chain: std::result::Result<Chain, ChainError>,
    /// The new indexes.
    pub(crate) indexes: Vec<NewIndex>,
    /// What points say before and afterwards.
    pub(crate) views: BlockViews<'a>,
    /// The machines of the folder afterwards, by number. `None` if they stay the same.
    pub(crate) machines: Option<Vec<MachineName>>,
    /// The number of the next restore point afterwards. `None` if it stays the same.
    pub(crate) next_sequence: Option<Sequence>,
    /// Whether points say afterwards what the plan's own index says.
    pub(crate) shows_step: bool,
    /// Ranges of new files that nothing ever refers to.
    pub(crate) abandoned: BTreeMap<ObjectId, Vec<Range<u64>>>,
}

/// What points say of the blocks that an operation changes, before and after it. The proof also needs what other, unchanged points
/// say, so that nothing of theirs is released.
#[derive(Default)]
pub(crate) struct BlockViews<'a> {
    pub(crate) before: Vec<&'a BlockMap>,
    pub(crate) after: Vec<&'a BlockMap>,
    pub(crate) others: Vec<&'a BlockMap>,
}

/// An operation that is planned to the last byte: what it writes, and what the folder is afterwards.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) plan: Plan,
    /// The new indexes.
    pub(crate) indexes: Vec<NewIndex>,
    /// The chain and its files afterwards.
    pub(crate) proven: Proven,
    /// What is released afterwards.
    retired: Retired,
    machines: Vec<MachineName>,
    next_sequence: Sequence,
}

impl<'a> Outline<'a> {
    /// An operation that makes `chain` with `plan` and these new indexes.
    pub(crate) fn new(
        plan: Plan,
        chain: std::result::Result<Chain, ChainError>,
        indexes: Vec<NewIndex>,
        views: BlockViews<'a>,
    ) -> Self {
        Self {
            plan,
            chain,
            indexes,
            views,
            machines: None,
            next_sequence: None,
            shows_step: false,
            abandoned: BTreeMap::new(),
        }
    }
}

impl PlanContext<'_> {
    /// Makes the draft of `outline`. It is proven to be readable, and to release nothing that a kept point needs.
    ///
    /// # Errors
    /// [`Error::Defect`] if the proof fails. The same as [`prove`](crate::commit::read_back::prove) otherwise.
    pub(crate) async fn draft(&mut self, outline: Outline<'_>) -> Result<Draft> {
        let Outline { mut plan, chain, indexes, views, machines, next_sequence, shows_step, abandoned } = outline;
        let chain = chain.map_err(|error| Error::defect(error.to_string()))?;
        let kept: BTreeSet<ObjectId> = chain.indexes().map(|index| index.id).collect();
        let before = self.head.chain.indexes().map(|index| index.id);
        plan.retired.indexes = before.filter(|id| !kept.contains(id)).collect();
        plan.retired.punches |= self.repository.backend_granularity().is_some();
        keep_needed(self.indexes, &chain, &mut plan.retired).await?;
        note_linked(self.repository, self.indexes.layout(), &mut plan.retired).await?;
        let BlockViews { before, mut after, others } = views;
        after.extend(shows_step.then_some(&plan.index));
        if let Some(at) = after.iter().chain(&others).find_map(|map| plan.retired.touches(map)) {
            return Err(Error::defect(format!(
                "the frame at {} of {} is needed and would be released",
                at.offset, at.file
            )));
        }
        let files = plan.files_after(&self.head.files, self.head.alignment_bytes.into());
        let change = Change { head: self.head, chain, files, new: &indexes, before, after };
        let proven = prove(self.indexes, change).await?;
        let mut retired = plan.retired.clone();
        for (file, ranges) in abandoned {
            retired.ranges.entry(file).or_default().extend(ranges);
        }
        let machines = machines.unwrap_or_else(|| self.head.machines.clone());
        let next_sequence = next_sequence.unwrap_or(self.head.next_sequence);
        Ok(Draft { plan, indexes, proven, retired, machines, next_sequence })
    }
}

impl Draft {
    /// Changes `head` to the head after the commit. Returns what is to be released, which the caller lists.
    pub(crate) fn apply(self, head: &mut Head) -> Retired {
        (head.chain, head.files) = self.proven.into_parts();
        head.machines = self.machines;
        head.next_sequence = self.next_sequence;
        self.retired
    }
}

/// Commits a draft: stores its indexes, lists what it releases, and creates the head. The blocks that its plan moves must be
/// durable by now.
///
/// # Errors
/// The same as [`Writer::commit_chain`].
pub(crate) async fn commit(writer: &mut Writer, draft: Draft) -> Result<()> {
    let Draft { indexes, proven, retired, machines, next_sequence, .. } = draft;
    let is_late = is_broken!(CommitBeforeIndex);
    for NewIndex { point, bytes, .. } in indexes.iter().filter(|_| !is_late) {
        writer.put_index(point.index.id, bytes.clone()).await?;
    }
    let retirements = prepare(writer, &retired).await?;
    release_too_early(writer, &retirements).await?;
    let change = |head: &mut Head| {
        head.machines = machines;
        head.next_sequence = next_sequence;
        head.retired.extend(retirements);
    };
    writer.commit_chain(proven, change).await?;
    for NewIndex { point, bytes, .. } in indexes.iter().filter(|_| is_late) {
        writer.put_index(point.index.id, bytes.clone()).await?;
    }
    Ok(())
}
