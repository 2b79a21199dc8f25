//! The past that a new copy job brings.
//!
//! Each moment of the past becomes one increment of the chain, oldest first, and the transforms follow each. The head notes that
//! the past is being brought, so the next run goes on with what is left. A moment has been brought once the chain has its states,
//! or newer ones. So nothing else has to be remembered, and nothing is carried twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use offsite_core::retention::{Flags, Marks, wanted};
use offsite_core::schedule::PointRange;
use offsite_core::selection::Take;
use offsite_core::{BlockMap, Chain, Head, Timestamp};

use super::moment::Moment;
use super::moments::Moments;
use super::outages::Outages;
use super::request::SyncRequest;
use super::selection::copied;
use super::source::Sources;
use super::{CopyJob, latest_state};
use crate::commit::writer::Writer;
use crate::jobs::transform::Transforms;
use crate::reader::indexes::Indexes;
use crate::reader::job_folder::JobFolder;
use crate::report::{HistoryReport, MachineOutcome, MachineReport, Note, SyncOutcome, TransformReport};
use crate::{Activity, Error, Gate, Passage, Result};

/// How much of its sources' past a new copy job brings.
///
/// A copy job is new as long as its chain has no restore point. If a job writes to several places in turn, the points in the
/// others count as well. Once the past is there, the job goes on as with [`History::Newest`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum History {
    /// Nothing: the first restore point has the newest state of each machine.
    #[default]
    Newest,
    /// Every restore point of the sources.
    All,
    /// The restore points that the job's own retention would still keep, had the job run at every one of them.
    Wanted,
}

/// What a sync brought of the past.
pub(super) struct Brought {
    pub(super) report: HistoryReport,
    /// What is told of machines that were cut off. `None` if all is there, and the present follows.
    pub(super) cut_off: Option<Vec<MachineReport>>,
    pub(super) notes: Vec<Note>,
}

impl CopyJob {
    /// The moments of the past that wait, for a chain whose newest state is `latest`, with their flags.
    ///
    /// `None` if the job brings none.
    pub(super) fn past(
        &self,
        sources: &Sources,
        head: Option<(&Head, &BlockMap)>,
        now: Timestamp,
    ) -> Result<Option<Vec<Moment>>> {
        if !self.brings_past(head.map(|(head, _)| head)) {
            return Ok(None);
        }
        let request = SyncRequest::at(now);
        let asked = self.selection_input(&request);
        let had = head.map(|(head, latest)| asked.judged(sources, &copied(head, latest))).unwrap_or_default();
        let mut waiting = Moments::of(&asked, sources, self.target.id(), now).after(&had);
        let newest = head.and_then(|(head, _)| head.chain.latest()).map(|point| point.time);
        // What lies before the newest point was not wanted, or is lost.
        waiting.retain(|moment| newest.is_none_or(|newest| newest <= moment.time));
        let policy = self.transforms.retention.as_ref().filter(|_| self.history == History::Wanted);
        let Some(policy) = policy else { return Ok(Some(waiting)) };
        let chain = match head {
            Some((head, _)) => head.chain.clone(),
            None => {
                let empty = Chain::new(sources.block_size(), Vec::new());
                empty.map_err(|error| Error::defect(error.to_string()))?
            }
        };
        // A point that was cut off is the chain's newest already. It is made again in its place, whatever is wanted after it.
        let cut_off = chain.latest().filter(|point| waiting.first().is_some_and(|moment| moment.time == point.time));
        let cut_off = cut_off.map(|point| waiting.remove(0).with_marks(Marks::new(Flags::NONE, point.flags)));
        let times: Vec<Timestamp> = waiting.iter().map(|moment| moment.time).collect();
        let wanted =
            wanted(&chain, &times, policy, now).map_err(|error| Error::setting("history", error.to_string()))?;
        let mut before = wanted.newest;
        let flagged = wanted.points.iter().filter_map(|point| {
            let marks = Marks::new(std::mem::take(&mut before), point.flags);
            Some(waiting.get(point.position)?.clone().with_marks(marks))
        });
        Ok(Some(cut_off.into_iter().chain(flagged).collect()))
    }

    /// Whether the job brings the past, to a folder with this head.
    fn brings_past(&self, head: Option<&Head>) -> bool {
        let is_new = head.is_none_or(|head| head.chain.all().next().is_none()) && self.transforms.elsewhere.is_empty();
        self.history != History::Newest && (is_new || head.is_some_and(|head| head.brings_history))
    }

    /// What a request asks for while the past waits: states of any age count.
    pub(super) fn of_any_age(request: &SyncRequest) -> SyncRequest {
        let range = PointRange { not_before: Timestamp::MIN, ..request.range };
        SyncRequest { range, take: Take::Newest, joins: None, ..request.clone() }
    }

    /// The request for a moment of the past, for a folder with this head.
    pub(super) fn of_past(&self, request: &SyncRequest, head: &Head, moment: Moment) -> SyncRequest {
        // What was cut off at this moment goes on in its own point.
        let newest = head.chain.latest().filter(|point| point.time == moment.time);
        let joins = newest.map(|point| point.sequence);
        SyncRequest { machines: None, joins, moment: Some(moment), ..Self::of_any_age(request) }
    }

    /// Brings what waits of the past, as far as the gate lets it.
    ///
    /// `None` if nothing waits.
    pub(super) async fn bring_past(
        &self,
        writer: &mut Writer,
        indexes: &mut Indexes,
        sources: &Sources,
        request: &SyncRequest,
        outages: &Outages<'_>,
    ) -> Result<Option<Brought>> {
        if !self.brings_past(Some(writer.head())) {
            writer.bring_history(false);
            return Ok(None);
        }
        let head = writer.head().clone();
        let latest = latest_state(&head, indexes).await?;
        let past = self.past(sources, Some((&head, &latest)), request.now)?.unwrap_or_default();
        drop(latest);
        if past.is_empty() {
            writer.bring_history(false);
            return Ok(None);
        }
        let mut brought = Brought { report: HistoryReport::default(), cut_off: None, notes: Vec::new() };
        writer.bring_history(true);
        if !writer.clock().may_prune() {
            // Without retention on the way, the space that it needs would have no bound.
            brought.report.left = past.len() as u64;
            brought.notes.push(Note::HistoryWaits { clock: writer.clock() });
            brought.cut_off = Some(Vec::new());
            return Ok(Some(brought));
        }
        let gate = Arc::new(Watched { inner: request.gate.clone(), is_stopped: AtomicBool::new(false) });
        let folders: Vec<&JobFolder> = sources.folders().collect();
        let total = past.len() as u64;
        for (moment, done) in past.into_iter().zip(0..) {
            brought.report.left = total - done;
            let time = moment.time;
            let step = self.of_past(request, writer.head(), moment).gate(gate.clone());
            match self.sync_with(writer, indexes, sources, &step, &mut Vec::new(), outages).await {
                Ok(SyncOutcome { sync, machines, notes, .. }) => {
                    brought.report.points.extend(sync);
                    brought.note(notes);
                    if gate.is_stopped.load(Ordering::Acquire) {
                        let is_cut_off =
                            |report: &MachineReport| matches!(report.outcome, MachineOutcome::Incomplete { .. });
                        brought.cut_off = Some(machines.into_iter().filter(is_cut_off).collect());
                        return Ok(Some(brought));
                    }
                }
                // It is not to be had, and the moments after it are.
                Err(error) if error.is_loss() => {
                    brought.note(vec![Note::HistoryPointLost { time, why: (&error).into() }]);
                    continue;
                }
                Err(error) => return Err(error),
            }
            // What retention keeps is judged as it would have been then; the present follows when all is there.
            let settings = Transforms { verify_bytes: None, ..self.transforms.clone() };
            let TransformReport { operations, released, notes, .. } =
                self.transform_with(writer, indexes, &folders, &settings, time, 1).await?;
            brought.report.operations.extend(operations);
            brought.report.released.add(released);
            brought.note(notes);
            // The indexes of points that are gone take memory.
            *indexes = Indexes::new(&self.target, writer.layout(), writer.head().folder);
        }
        brought.report.left = 0;
        writer.bring_history(false);
        Ok(Some(brought))
    }
}

impl Brought {
    fn note(&mut self, notes: Vec<Note>) {
        for note in notes {
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
        }
    }

    /// What a sync came to that brought this, and then came to `present`. `None` if it was cut off before.
    pub(super) fn outcome(self, present: Option<SyncOutcome>) -> SyncOutcome {
        let Self { report, cut_off, notes } = self;
        let mut outcome = present.unwrap_or_default();
        outcome.machines.extend(cut_off.into_iter().flatten());
        // What the present finds unchanged, the past has just brought.
        let brought = report.points.iter().flat_map(|point| &point.machines);
        for copy in brought {
            for report in outcome.machines.iter_mut().filter(|report| report.name == copy.name) {
                if report.outcome == (MachineOutcome::Unchanged { captured: copy.captured }) {
                    report.outcome = MachineOutcome::Complete { captured: copy.captured };
                }
            }
        }
        let mut all = Brought { report, cut_off: None, notes };
        all.note(std::mem::take(&mut outcome.notes));
        outcome.notes = all.notes;
        outcome.history = Some(all.report);
        outcome
    }
}

/// A gate that tells whether it has ended anything.
struct Watched {
    inner: Arc<dyn Gate>,
    is_stopped: AtomicBool,
}

#[async_trait]
impl Gate for Watched {
    async fn pass(&self, activity: &Activity<'_>, bytes: u64) -> Passage {
        let passage = self.inner.pass(activity, bytes).await;
        if passage == Passage::Stop {
            self.is_stopped.store(true, Ordering::Release);
        }
        passage
    }
}
