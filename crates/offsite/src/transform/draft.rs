//! Operations on a chain, from their plan to their commit.

use std::time::Instant;

use offsite_core::format::head::Head;
use offsite_core::plan::{Files, Plan, Reclaiming};
use offsite_core::{BlockMap, Chain, ChainError, ObjectId, RestorePoint};

use crate::indexes::Indexes;
use crate::mover::{FrameSource, fold};
use crate::point::{PointIndex, encode_index};
use crate::release::prepare;
use crate::report::{BlockTraffic, Operation, OperationReport, Tally};
use crate::writer::Writer;
use crate::{Error, OpenRepository, Progress, Result};

/// What an operation is planned on: a chain as it is, or as it will be after operations that are planned already.
pub(crate) struct Drafting<'a> {
    pub(crate) repository: &'a OpenRepository,
    pub(crate) head: &'a Head,
    pub(crate) indexes: &'a mut Indexes,
    /// Names new objects.
    pub(crate) mint: &'a mut dyn FnMut() -> ObjectId,
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
}

impl Drafting<'_> {
    /// How the repository gives space back.
    pub(crate) fn reclaiming(&self) -> Reclaiming<'_> {
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
        Ok(Draft { operation, plan, indexes, chain, files })
    }

    /// The point that `point` describes, its index encoded and known from now on.
    pub(crate) fn index(
        &mut self,
        point: PointIndex,
        files: &Files,
        indexes: &mut Vec<(ObjectId, Vec<u8>, BlockMap)>,
    ) -> Result<RestorePoint> {
        let (id, map) = (point.id, point.map.clone());
        let (point, bytes) = encode_index(self.head, point, files)?;
        indexes.push((id, bytes, map));
        Ok(point)
    }
}

/// Does what a draft says, and commits it.
pub(crate) async fn carry_out(writer: &mut Writer, draft: Draft, progress: &dyn Progress) -> Result<OperationReport> {
    let start = Instant::now();
    let before = writer.repository().block_counts();
    let Draft { operation, plan, indexes: new_indexes, chain, files } = draft;
    if let Some(file) = plan.patched.keys().next() {
        let frames = FrameSource::new(writer.repository(), writer.layout(), writer.head());
        fold(&plan.moves, plan.alignment, &frames, *file, progress).await?;
    }
    for (id, bytes, _) in new_indexes {
        writer.put(&writer.layout().index(id)?, bytes).await?;
    }
    let planned = plan.cost();
    let retirements = prepare(writer, &plan.retired).await?;
    writer
        .commit(|head: &mut Head| {
            head.chain = chain;
            head.files = files;
            head.retired.extend(retirements);
        })
        .await?;
    let target = BlockTraffic::between(before, writer.repository().block_counts());
    let tally = Tally { planned, source: BlockTraffic::default(), target, duration: start.elapsed() };
    Ok(OperationReport { operation, tally })
}
