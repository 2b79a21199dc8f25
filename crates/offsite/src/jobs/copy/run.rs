//! What a run does, one after the other.

use offsite_core::{BlockSize, Timestamp};

use super::CopyJob;
use super::outages::Outages;
use super::request::SyncRequest;
use super::source::Sources;
use crate::commit::writer::Writer;
use crate::reader::indexes::Indexes;
use crate::reader::job_folder::JobFolder;
use crate::report::{CopyReport, MachineReport, SyncOutcome};
use crate::{Gate, Result};

impl CopyJob {
    pub(super) fn outages<'a>(&'a self, gate: &'a dyn Gate) -> Outages<'a> {
        Outages::new(self.retry, &self.name, self.progress.as_ref(), gate)
    }

    pub(super) async fn pinned(&self, outages: &Outages<'_>) -> Result<Sources> {
        loop {
            if let Some(answer) = outages.judged(Sources::pinned(self).await).await {
                return answer;
            }
        }
    }

    pub(super) async fn patient_writer(
        &self,
        block_size: BlockSize,
        now: Timestamp,
        outages: &Outages<'_>,
    ) -> Result<Writer> {
        loop {
            if let Some(answer) = outages.judged(self.writer(block_size, now).await).await {
                return answer;
            }
        }
    }

    pub(super) async fn run_pinned(
        &self,
        sources: &Sources,
        request: &SyncRequest,
        outages: &Outages<'_>,
    ) -> Result<CopyReport> {
        let mut writer = self.patient_writer(sources.block_size(), request.now, outages).await?;
        let result = self.run_with(&mut writer, sources, request, outages).await;
        outages.close(writer, result).await
    }

    pub(super) async fn run_with(
        &self,
        writer: &mut Writer,
        sources: &Sources,
        request: &SyncRequest,
        outages: &Outages<'_>,
    ) -> Result<CopyReport> {
        let mut indexes = Indexes::new(&self.target, writer.layout(), writer.head().folder);
        let now = request.now;
        let synced = self.past_and_present(writer, &mut indexes, sources, request, &mut Vec::new(), outages).await?;
        let added = synced.added();
        let folders: Vec<&JobFolder> = sources.folders().collect();
        let mut transform = self.transform_with(writer, &mut indexes, &folders, &self.transforms, now, added).await?;
        let SyncOutcome { sync, history, filled, machines, notes, doubts } = synced;
        transform.operations.splice(0..0, filled);
        Ok(CopyReport { sync, history, machines, transform, notes, doubts })
    }

    /// Brings what waits of the past, and then copies what is new.
    pub(super) async fn past_and_present(
        &self,
        writer: &mut Writer,
        indexes: &mut Indexes,
        sources: &Sources,
        request: &SyncRequest,
        left_out: &mut Vec<MachineReport>,
        outages: &Outages<'_>,
    ) -> Result<SyncOutcome> {
        let mut outcome = match self.bring_past(writer, indexes, sources, request, outages).await? {
            None => self.sync_with(writer, indexes, sources, request, left_out, outages).await?,
            Some(brought) if brought.cut_off.is_some() => return Ok(brought.outcome(None)),
            Some(brought) => {
                let request = Self::of_any_age(request);
                brought.outcome(Some(self.sync_with(writer, indexes, sources, &request, left_out, outages).await?))
            }
        };
        let filled = self.back_fill_slots(writer, indexes, sources, request).await?;
        outcome.filled = filled.operations;
        outcome.notes.extend(filled.notes);
        Ok(outcome)
    }
}
