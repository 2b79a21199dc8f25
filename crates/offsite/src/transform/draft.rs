//! Operations on a chain, from their plan to their commit.

use std::time::Instant;

use offsite_core::format::head::Head;
use offsite_core::plan::{Files, Plan, Reclaiming};
use offsite_core::{BlockMap, Chain, ChainError, MachineName, ObjectId, RestorePoint};
use offsite_repository::{CloneRange, Counts, Repository};

use crate::indexes::Indexes;
use crate::mover::{Checking, FrameSource, Headers, Output, OutputHeader, block_counts, clone_frames, fold, transfer};
use crate::point::{PointIndex, encode_index, number_machines};
use crate::release::{prepare, release_too_early};
use crate::report::{BlockTraffic, Carriage, Operation, OperationReport, Tally};
use crate::seams::is_broken;
use crate::writer::Writer;
use crate::{Error, OpenRepository, Progress, Result};

/// What an operation is planned on: a chain as it is, or as it will be after operations that are planned already.
pub(crate) struct Drafting<'a> {
    pub(crate) repository: &'a OpenRepository,
    pub(crate) head: &'a Head,
    pub(crate) indexes: &'a mut Indexes,
    /// Names new objects.
    pub(crate) mint: &'a mut (dyn FnMut() -> ObjectId + Send),
}

/// An operation that is planned to the last byte: what carrying it out writes, and what the chain is afterwards.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) operation: Operation,
    pub(crate) plan: Plan,
    /// The new indexes: their ids, their bytes, and what they say.
    pub(crate) indexes: Vec<(ObjectId, Vec<u8>, BlockMap)>,
    pub(crate) chain: Chain,
    pub(crate) files: Files,
    /// What the new files say of themselves, where there are any.
    pub(crate) header: Option<OutputHeader>,
    /// Where the moved blocks come from; none: out of the chain itself.
    pub(crate) sources: Vec<FrameSource>,
}

impl<'a> Drafting<'a> {
    /// How the repository gives space back.
    pub(crate) fn reclaiming(&self) -> Reclaiming<'a> {
        Reclaiming {
            alignment: self.head.alignment_bytes.into(),
            files: &self.head.files,
            punches: self.repository.backend_granularity().is_some(),
        }
    }

    /// The draft that leads to `chain` by `plan`, with these new indexes.
    ///
    /// `kept` is what is known of the points that `chain` keeps.
    ///
    /// # Errors
    /// [`Error::Defect`] if the plan would retire a block that a kept point needs (release rule 4).
    pub(crate) fn draft<'b>(
        &self,
        operation: Operation,
        mut plan: Plan,
        chain: std::result::Result<Chain, ChainError>,
        indexes: Vec<(ObjectId, Vec<u8>, BlockMap)>,
        kept: impl IntoIterator<Item = &'b BlockMap>,
    ) -> Result<Draft> {
        let chain = chain.map_err(|error| Error::Defect(error.to_string()))?;
        plan.retired.indexes = self.head.chain.indexes().map(|index| index.id).collect();
        for index in chain.indexes() {
            plan.retired.indexes.remove(&index.id);
        }
        if let Some(at) = kept.into_iter().find_map(|map| plan.retired.touches(map)) {
            return Err(Error::Defect(format!(
                "the frame at {} of {} is needed and would be released",
                at.offset, at.file
            )));
        }
        let files = plan.files_after(&self.head.files, self.head.alignment_bytes.into());
        Ok(Draft { operation, plan, indexes, chain, files, header: None, sources: Vec::new() })
    }

    /// What new files say of themselves that are written for `point` and hold blocks of these machines.
    pub(crate) fn header<'b>(
        &self,
        point: &RestorePoint,
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
        }
    }

    /// How the blocks of a plan that stay in the repository get to their new files.
    pub(crate) fn carriage(&self, plan: &Plan) -> Carriage {
        let Some(clone_range) = self.repository.backend().clone_range() else {
            return Carriage::Moved { why: "the repository cannot clone" };
        };
        let alignment = u64::from(self.head.alignment_bytes);
        let granularity = CloneRange::granularity_bytes(clone_range);
        let is_padded = |step: &offsite_core::plan::Move| {
            let end = (step.from.offset + u64::from(step.from.length)).next_multiple_of(alignment);
            self.head.files.get(&step.from.file).is_some_and(|file| end <= file.length)
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

    /// The point that `point` describes, its index encoded and known from now on.
    pub(crate) fn index(
        &mut self,
        point: PointIndex,
        files: &Files,
        indexes: &mut Vec<(ObjectId, Vec<u8>, BlockMap)>,
    ) -> Result<RestorePoint> {
        let (id, map) = (point.id, point.map.clone());
        self.indexes.insert_spare(id, point.spare.clone());
        let (point, bytes) = encode_index(self.head, point, files)?;
        indexes.push((id, bytes, map));
        Ok(point)
    }
}

/// Does what a draft says, and commits it.
pub(crate) async fn carry_out(writer: &mut Writer, draft: Draft, progress: &dyn Progress) -> Result<OperationReport> {
    let start = Instant::now();
    let before = writer.repository().block_counts();
    let source_before: Counts = block_counts(&draft.sources);
    carry(writer, &draft, progress).await?;
    let Draft { operation, plan, indexes: new_indexes, chain, files, sources, .. } = draft;
    let mut late = Vec::new();
    for (id, bytes, _) in new_indexes {
        if is_broken!(CommitBeforeIndex) {
            late.push((id, bytes));
            continue;
        }
        writer.put_index(id, bytes).await?;
    }
    let planned = plan.cost();
    let retirements = prepare(writer, &plan.retired).await?;
    release_too_early(writer, &retirements).await?;
    writer
        .commit(|head: &mut Head| {
            head.chain = chain;
            head.files = files;
            head.retired.extend(retirements);
        })
        .await?;
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
        return Err(Error::Defect("blocks move to files that nothing is known of".to_owned()));
    };
    if plan.cloned {
        let frames = own();
        let scratch = plan.files.keys().map(|_| writer.mint()).collect::<Vec<_>>().into_iter();
        let scratch = scratch.map(|id| writer.layout().scratch(id)).collect::<Result<Vec<_>>>()?;
        return clone_frames(&plan.moves, &frames, &header, &scratch).await;
    }
    let output = Output::new(writer.repository(), writer.layout(), header);
    match &draft.sources[..] {
        [] => transfer(&plan.moves, &[own()], Headers::Verbatim, Checking::Stored, output, progress).await,
        sources => transfer(&plan.moves, sources, Headers::New, Checking::Stored, output, progress).await,
    }
}
