//! Operations on a chain, from their plan to their commit.

use std::time::Instant;

use offsite_core::plan::Plan;
use offsite_core::{Chain, ChainError, MachineName, RestorePoint};
use offsite_repository::{Counts, Repository};

use super::PlannedOperation;
use super::proof::patched_ranges_are_free;
use crate::commit::draft::{BlockViews, Draft, Outline, commit};
use crate::commit::dry_run::DryRun;
use crate::commit::new_index::{NewIndex, number_machines};
use crate::commit::plan_context::PlanContext;
use crate::commit::writer::Writer;
use crate::folder::disks::Disks;
use crate::folder::verification_notes::VerificationNotes;
use crate::mover::{
    Aliases, Checking, FrameSource, Headers, Output, OutputHeader, Way, block_counts, clone_frames, fold, transfer,
};
use crate::progress::Task;
use crate::report::{BlockTraffic, Carriage, MoveReason, Operation, OperationReport, Tally};
use crate::teller::Control;
use crate::{Error, Result};

/// An operation that is planned to the last byte.
#[derive(Debug)]
pub(crate) struct DraftedOperation {
    pub(crate) operation: Operation,
    pub(crate) draft: Draft,
    /// What the new files say of themselves, where there are any.
    pub(crate) header: Option<OutputHeader>,
    /// Where the moved blocks come from. Empty if that is the chain itself.
    pub(crate) sources: Vec<FrameSource>,
    /// Frames that are those of other blocks there, with the same bytes.
    pub(crate) aliases: Aliases,
}

impl PlanContext<'_> {
    /// What is known to be damaged.
    pub(crate) async fn noted(&mut self) -> Result<VerificationNotes> {
        VerificationNotes::load(self.repository, self.indexes.layout(), self.head.folder).await
    }

    /// The draft of an operation that leads to `chain` by `plan`, with these new indexes. It is also proven to write over nothing that a
    /// point needs.
    ///
    /// # Errors
    /// As for [`PlanContext::draft`].
    pub(crate) async fn draft_operation(
        &mut self,
        operation: Operation,
        plan: Plan,
        chain: std::result::Result<Chain, ChainError>,
        indexes: Vec<NewIndex>,
        views: BlockViews<'_>,
    ) -> Result<DraftedOperation> {
        let draft = self.draft(Outline::new(plan, chain, indexes, views)).await?;
        patched_ranges_are_free(self.head, self.indexes, &draft.plan).await?;
        Ok(DraftedOperation { operation, draft, header: None, sources: Vec::new(), aliases: Aliases::new() })
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
    pub(crate) fn carriage(&self, plan: &Plan, noted: &VerificationNotes) -> Carriage {
        let Some(clone_range) = self.repository.backend().clone_range() else {
            return Carriage::Moved { why: MoveReason::CannotClone };
        };
        let alignment = u64::from(self.head.alignment_bytes);
        let granularity = clone_range.clone_granularity_bytes();
        let is_padded = |step: &offsite_core::plan::Move| {
            let end = (step.from.offset + u64::from(step.from.length)).next_multiple_of(alignment);
            self.head.files.get(&step.from.file).is_some_and(|file| end <= file.length)
                && noted.cut.get(&step.from.file).is_none_or(|there| end <= *there)
        };
        match () {
            () if granularity == 0 || !alignment.is_multiple_of(granularity) => {
                Carriage::Moved { why: MoveReason::LargerPieces }
            }
            () if !plan.moves.iter().all(is_padded) => Carriage::Moved { why: MoveReason::EndsInPadding },
            () => Carriage::Cloned,
        }
    }
}

/// Goes on as if the operation had been carried out.
pub(crate) fn imagine(dry_run: &mut DryRun<'_>, drafted: DraftedOperation) -> PlannedOperation {
    let DraftedOperation { operation, draft, .. } = drafted;
    let cost = dry_run.imagine(draft);
    if releases(&operation) {
        dry_run.imagine_released();
    }
    PlannedOperation { operation, cost }
}

/// Whether what was done gives space back that the next operation may need.
pub(super) fn releases(operation: &Operation) -> bool {
    matches!(operation, Operation::Compact { .. })
}

/// Does what a draft says, and commits it.
pub(crate) async fn carry_out(
    writer: &mut Writer,
    drafted: DraftedOperation,
    control: Control<'_>,
) -> Result<OperationReport> {
    let start = Instant::now();
    let before = writer.repository().block_counts();
    let source_before: Counts = block_counts(&drafted.sources);
    carry(writer, &drafted, control).await?;
    let DraftedOperation { operation, draft, sources, .. } = drafted;
    let planned = draft.plan.cost();
    commit(writer, draft).await?;
    let target = BlockTraffic::between(before, writer.repository().block_counts());
    let source = BlockTraffic::between(source_before, block_counts(&sources));
    let tally = Tally { planned, source, target, duration: start.elapsed() };
    Ok(OperationReport { operation, tally })
}

/// What a listener is told of an operation.
fn task(operation: &Operation) -> Task {
    match operation {
        Operation::Heal { .. } => Task::Heal,
        Operation::Merge { .. } => Task::Merge,
        Operation::MakeIndependent { .. } => Task::MakeIndependent,
        Operation::MakeFull { .. } => Task::MakeFull,
        Operation::BackFill { .. } => Task::Copy,
        Operation::Compact { .. } => Task::Compact,
        _ => Task::Transform,
    }
}

/// Carries the blocks of a draft to where its plan says, durably.
async fn carry(writer: &mut Writer, drafted: &DraftedOperation, control: Control<'_>) -> Result<()> {
    let plan = &drafted.draft.plan;
    let layout = writer.layout().clone();
    let progress = control.teller(task(&drafted.operation), layout.job());
    let own = || FrameSource::new(writer.repository(), writer.layout(), writer.head());
    if let Some(file) = plan.patched.keys().next() {
        return fold(&plan.moves, plan.alignment, &own(), *file, progress).await;
    }
    if plan.moves.is_empty() {
        return Ok(());
    }
    let Some(header) = drafted.header.clone() else {
        return Err(Error::defect("blocks move to files that nothing is known of".to_owned()));
    };
    if plan.cloned {
        let frames = own();
        let scratch = plan.files.keys().map(|_| writer.mint()).collect::<Vec<_>>().into_iter();
        let scratch = scratch.map(|id| writer.layout().scratch(id)).collect::<Result<Vec<_>>>()?;
        return clone_frames(&plan.moves, &frames, &header, &scratch).await;
    }
    let output = Output::new(writer.repository(), writer.layout(), header);
    let aliases = &drafted.aliases;
    match &drafted.sources[..] {
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
