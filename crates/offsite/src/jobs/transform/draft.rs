//! Operations on a chain, from their plan to their commit.

use std::time::Instant;

use offsite_core::Head;
use offsite_core::plan::{Files, Plan, Reclaiming};
use offsite_core::{BlockMap, Chain, ChainError, MachineName, ObjectId, RestorePoint};
use offsite_repository::{CloneRange, Counts, Repository};

use super::proof::patched_ranges_are_free;
use crate::commit::new_index::{NewIndex, PointIndex, encode_index, number_machines};
use crate::commit::read_back::{Change, Proven, keep_needed, prove};
use crate::commit::release::{prepare, release_too_early};
use crate::commit::writer::Writer;
use crate::folder::disks::Disks;
use crate::folder::findings::Findings;
use crate::folder::links::note_linked;
use crate::mover::{
    Aliases, Checking, FrameSource, Headers, Output, OutputHeader, Way, block_counts, clone_frames, fold, transfer,
};
use crate::reader::indexes::Indexes;
use crate::report::{BlockTraffic, Carriage, Operation, OperationReport, Tally};
use crate::seams::is_broken;
use crate::{Error, OpenRepository, Progress, Result};

/// What an operation is planned on: a chain as it is, or as it will be after operations that are planned already.
pub(crate) struct Drafting<'a> {
    pub(crate) repository: &'a OpenRepository,
    pub(crate) head: &'a Head,
    /// The files as they are stored: where operations are only planned, the head is ahead of them.
    pub(crate) stored: &'a Files,
    pub(crate) indexes: &'a mut Indexes,
    /// Names new objects.
    pub(crate) mint: &'a mut (dyn FnMut() -> ObjectId + Send),
}

/// What points say of the blocks that an operation changes, before and after it; and what others say that it leaves as they are, for
/// the proof that nothing of theirs is let go.
#[derive(Default)]
pub(crate) struct Says<'a> {
    pub(crate) before: Vec<&'a BlockMap>,
    pub(crate) after: Vec<&'a BlockMap>,
    pub(crate) others: Vec<&'a BlockMap>,
}

/// An operation that is planned to the last byte: what carrying it out writes, and what the chain is afterwards.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) operation: Operation,
    pub(crate) plan: Plan,
    /// The new indexes.
    pub(crate) indexes: Vec<NewIndex>,
    /// The chain and its files afterwards.
    pub(crate) proven: Proven,
    /// What the new files say of themselves, where there are any.
    pub(crate) header: Option<OutputHeader>,
    /// Where the moved blocks come from. Empty if that is the chain itself.
    pub(crate) sources: Vec<FrameSource>,
    /// Frames that are those of other blocks there, with the same bytes.
    pub(crate) aliases: Aliases,
}

impl<'a> Drafting<'a> {
    /// What is known to be damaged.
    pub(crate) async fn findings(&mut self) -> Result<Findings> {
        Findings::load(self.repository, self.indexes.layout(), self.head.folder).await
    }

    /// How the repository gives space back.
    pub(crate) fn reclaiming(&self) -> Reclaiming<'a> {
        Reclaiming {
            alignment: self.head.alignment_bytes.into(),
            files: &self.head.files,
            punches: self.repository.backend_granularity().is_some(),
        }
    }

    /// The draft that leads to `chain` by `plan`, with these new indexes, proven to be readable, to let go of nothing that a kept point
    /// needs, and to write over nothing that one needs.
    ///
    /// # Errors
    /// [`Error::Defect`] if it would not be so.
    pub(crate) async fn draft(
        &mut self,
        operation: Operation,
        mut plan: Plan,
        chain: std::result::Result<Chain, ChainError>,
        indexes: Vec<NewIndex>,
        says: Says<'_>,
    ) -> Result<Draft> {
        let chain = chain.map_err(|error| Error::defect(error.to_string()))?;
        plan.retired.indexes = self.head.chain.indexes().map(|index| index.id).collect();
        for index in chain.indexes() {
            plan.retired.indexes.remove(&index.id);
        }
        keep_needed(self.indexes, &chain, &mut plan.retired).await?;
        note_linked(self.repository, self.indexes.layout(), &mut plan.retired).await?;
        let Says { before, after, others } = says;
        if let Some(at) = after.iter().chain(&others).find_map(|map| plan.retired.touches(map)) {
            return Err(Error::defect(format!(
                "the frame at {} of {} is needed and would be released",
                at.offset, at.file
            )));
        }
        let files = plan.files_after(&self.head.files, self.head.alignment_bytes.into());
        let change = Change { head: self.head, chain, files, new: &indexes, before, after };
        let proven = prove(self.indexes, change).await?;
        let draft =
            Draft { operation, plan, indexes, proven, header: None, sources: Vec::new(), aliases: Aliases::new() };
        patched_ranges_are_free(self.head, self.indexes, &draft).await?;
        Ok(draft)
    }

    /// What new files say of themselves that are written for `point`, which has these disks, and hold blocks of these machines.
    pub(crate) fn header<'b>(
        &self,
        point: &RestorePoint,
        disks: Disks,
        machines: impl Iterator<Item = &'b MachineName> + Clone,
    ) -> OutputHeader {
        let (_, numbers) = number_machines(&self.head.machines, machines.clone());
        OutputHeader {
            folder: self.head.folder,
            sequence: point.sequence,
            time: point.time,
            block_size: self.head.chain.block_size(),
            alignment_bytes: self.head.alignment_bytes,
            machines: machines.map(|name| (name.clone(), numbers[name])).collect(),
            disks,
        }
    }

    /// What new files say of themselves that hold blocks of any points and machines: they are written for `newest`, whose disks are told.
    pub(crate) async fn header_of_all(&mut self, newest: &RestorePoint) -> Result<OutputHeader> {
        let steps = self.head.chain.steps_to(newest.sequence).unwrap_or_default();
        let mut disks = match self.indexes.disks_after(&steps).await {
            // What is damaged beside it is no reason to leave the blocks where they are.
            Err(error) if error.is_loss() => Disks::new(),
            disks => disks?,
        };
        disks.retain(|name, _| newest.machine(name).is_some());
        Ok(self.header(newest, disks, self.head.machines.iter()))
    }

    /// How the blocks of a plan that stay in the repository get to their new files.
    pub(crate) fn carriage(&self, plan: &Plan, findings: &Findings) -> Carriage {
        let Some(clone_range) = self.repository.backend().clone_range() else {
            return Carriage::Moved { why: "the repository cannot clone" };
        };
        let alignment = u64::from(self.head.alignment_bytes);
        let granularity = CloneRange::granularity_bytes(clone_range);
        let is_padded = |step: &offsite_core::plan::Move| {
            let end = (step.from.offset + u64::from(step.from.length)).next_multiple_of(alignment);
            self.head.files.get(&step.from.file).is_some_and(|file| end <= file.length)
                && findings.cut.get(&step.from.file).is_none_or(|there| end <= *there)
        };
        match () {
            () if granularity == 0 || !alignment.is_multiple_of(granularity) => {
                Carriage::Moved { why: "the repository clones in larger pieces than blocks are aligned to" }
            }
            () if !plan.moves.iter().all(is_padded) => {
                Carriage::Moved { why: "a backup file ends inside a block's padding" }
            }
            () => Carriage::Cloned,
        }
    }

    /// The index of `point`, encoded, and known from now on as a reader reads it.
    pub(crate) fn index(&mut self, point: PointIndex, files: &Files) -> Result<NewIndex> {
        let index = encode_index(self.head, point, files)?;
        index.open(self.indexes)?;
        Ok(index)
    }
}

/// Does what a draft says, and commits it.
pub(crate) async fn carry_out(writer: &mut Writer, draft: Draft, progress: &dyn Progress) -> Result<OperationReport> {
    let start = Instant::now();
    let before = writer.repository().block_counts();
    let source_before: Counts = block_counts(&draft.sources);
    carry(writer, &draft, progress).await?;
    let Draft { operation, plan, indexes: new_indexes, proven, sources, .. } = draft;
    let mut late = Vec::new();
    for NewIndex { point, bytes, .. } in new_indexes {
        if is_broken!(CommitBeforeIndex) {
            late.push((point.index.id, bytes));
            continue;
        }
        writer.put_index(point.index.id, bytes).await?;
    }
    let planned = plan.cost();
    let retirements = prepare(writer, &plan.retired).await?;
    release_too_early(writer, &retirements).await?;
    writer.commit_chain(proven, |head: &mut Head| head.retired.extend(retirements)).await?;
    for (id, bytes) in late {
        writer.put_index(id, bytes).await?;
    }
    let target = BlockTraffic::between(before, writer.repository().block_counts());
    let source = BlockTraffic::between(source_before, block_counts(&sources));
    let tally = Tally { planned, source, target, duration: start.elapsed() };
    Ok(OperationReport { operation, tally })
}

/// Carries the blocks of a draft to where its plan says, durably.
async fn carry(writer: &mut Writer, draft: &Draft, progress: &dyn Progress) -> Result<()> {
    let plan = &draft.plan;
    let own = || FrameSource::new(writer.repository(), writer.layout(), writer.head());
    if let Some(file) = plan.patched.keys().next() {
        return fold(&plan.moves, plan.alignment, &own(), *file, progress).await;
    }
    if plan.moves.is_empty() {
        return Ok(());
    }
    let Some(header) = draft.header.clone() else {
        return Err(Error::defect("blocks move to files that nothing is known of".to_owned()));
    };
    if plan.cloned {
        let frames = own();
        let scratch = plan.files.keys().map(|_| writer.mint()).collect::<Vec<_>>().into_iter();
        let scratch = scratch.map(|id| writer.layout().scratch(id)).collect::<Result<Vec<_>>>()?;
        return clone_frames(&plan.moves, &frames, &header, &scratch).await;
    }
    let output = Output::new(writer.repository(), writer.layout(), header);
    let aliases = &draft.aliases;
    match &draft.sources[..] {
        [] if aliases.is_empty() => {
            let way = Way { headers: Headers::Verbatim, checking: Checking::Stored, aliases };
            transfer(&plan.moves, &[own()], way, output, progress).await
        }
        sources => {
            let own = [own()];
            let sources = if sources.is_empty() { &own[..] } else { sources };
            let way = Way { headers: Headers::New, checking: Checking::Stored, aliases };
            transfer(&plan.moves, sources, way, output, progress).await
        }
    }
}
