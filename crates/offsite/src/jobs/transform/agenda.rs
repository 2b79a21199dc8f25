//! What a transform phase does, one operation after the other: each is decided on the chain as the one before it left it.

use std::collections::{BTreeSet, VecDeque};

use offsite_core::retention::{ArchiveMethod, Conditions, Due, PolicyChange, Verdict, Zone, due, judge};
use offsite_core::{Head, MachineName, Timestamp};
use tokio::time::Instant;

use super::compact::{self, Bounds};
use super::draft::DraftedOperation;
use super::settings::{Budget, Compact};
use super::{Transforms, flags, independent, machines, merge, remove};
use crate::Result;
use crate::commit::plan_context::PlanContext;
use crate::report::Note;

/// The operations of a transform phase.
pub(super) struct Agenda<'a> {
    settings: &'a Transforms,
    now: Timestamp,
    /// How many points this run has added.
    added: u32,
    /// Files of this epoch and later are this run's.
    epoch: u32,
    stage: Stage,
    due: VecDeque<Due>,
    /// What was drafted last of what retention asks for.
    last: Option<Due>,
    notes: Vec<Note>,
    is_held_back: bool,
    compaction: Compaction,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Machines,
    Flags,
    Verdicts,
    Due,
    Independent,
    Compact,
    Done,
}

/// How far compaction is in this run.
struct Compaction {
    start: Instant,
    written_bytes: u64,
    /// When one on schedule came to its end, before this run.
    last: Option<Timestamp>,
    /// When one on schedule came to its end, in this run.
    ended: Option<Timestamp>,
}

impl<'a> Agenda<'a> {
    pub(super) fn new(settings: &'a Transforms, now: Timestamp, added: u32, head: &Head, epoch: u32) -> Self {
        Self {
            settings,
            now,
            added,
            epoch,
            stage: Stage::Machines,
            due: VecDeque::new(),
            last: None,
            notes: Vec::new(),
            is_held_back: false,
            compaction: Compaction { start: Instant::now(), written_bytes: 0, last: head.compacted, ended: None },
        }
    }

    /// When compaction on schedule came to its end, or its schedule began, if it was in this run.
    pub(super) fn compacted(&self) -> Option<Timestamp> {
        self.compaction.ended
    }

    /// Whether a changed policy would take more than this run gives it.
    pub(super) fn is_held_back(&self) -> bool {
        self.is_held_back
    }

    /// Has the operation that was drafted last drafted anew: it was not done.
    pub(super) fn again(&mut self) {
        self.due.extend(self.last.take());
        self.due.rotate_right(usize::from(!self.due.is_empty()));
    }

    /// What the report is to say of what was not done.
    pub(super) fn notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    /// The next operation.
    pub(super) async fn next(&mut self, context: &mut PlanContext<'_>) -> Result<Option<DraftedOperation>> {
        loop {
            match self.stage {
                Stage::Machines => {
                    self.stage = Stage::Flags;
                    let gone = machines::present(&context.head.chain, &gone(context.head, self.settings, self.now));
                    if !gone.is_empty() {
                        return machines::draft(context, &gone).await.map(Some);
                    }
                }
                // Each leaves an archive less without a flag, or a damaged point less with one, so there is an end.
                Stage::Flags => match flags::draft(context, self.settings).await? {
                    Some(draft) => return Ok(Some(draft)),
                    None => self.stage = Stage::Verdicts,
                },
                Stage::Verdicts => {
                    self.stage = Stage::Due;
                    self.due = self.wanted(context.head);
                }
                Stage::Due => match self.due.pop_front() {
                    Some(due) => {
                        let draft = self.drafted(context, &due).await?;
                        self.last = Some(due);
                        return Ok(Some(draft));
                    }
                    None => {
                        self.last = None;
                        self.stage = Stage::Independent;
                    }
                },
                Stage::Independent => {
                    if self.wants_independent() {
                        let noted = context.noted().await?;
                        if let Some(sequence) = independent::sharing(context, &noted).await? {
                            return independent::draft(context, sequence, &noted).await.map(Some);
                        }
                        self.notes = independent::left_sharing(context, &noted).await?;
                    }
                    self.compaction.start = Instant::now();
                    self.stage = Stage::Compact;
                }
                Stage::Compact => {
                    let settings = self.settings.compact.map(|settings| settings.at(self.now, self.compaction.last));
                    let left = settings.map(|(settings, is_due)| (settings, is_due, self.bytes_left(&settings)));
                    let Some((settings, is_due, Some(bytes))) = left else {
                        self.stage = Stage::Done;
                        continue;
                    };
                    let bounds = Bounds { epoch: self.epoch, bytes };
                    match compact::draft(context, &settings, bounds).await? {
                        compact::Next::Piece(draft) => {
                            self.compaction.written_bytes += draft.draft.plan.cost().bytes_written;
                            return Ok(Some(*draft));
                        }
                        next @ (compact::Next::Nothing | compact::Next::Bounded) => {
                            let is_done = matches!(next, compact::Next::Nothing);
                            let begins = settings.every_days.is_some() && self.compaction.last.is_none();
                            self.compaction.ended = (begins || (is_due && is_done)).then_some(self.now);
                            self.stage = Stage::Done;
                            return Ok(None);
                        }
                    }
                }
                Stage::Done => return Ok(None),
            }
        }
    }

    fn wants_independent(&self) -> bool {
        let gfs = self.settings.retention.as_ref().and_then(|policy| policy.gfs.as_ref());
        gfs.is_some_and(|gfs| gfs.method() == ArchiveMethod::Independent)
    }

    /// What retention asks for now.
    fn wanted(&mut self, head: &Head) -> VecDeque<Due> {
        let Some(policy) = &self.settings.retention else { return VecDeque::new() };
        let conditions = conditions(head, self.settings, self.now, self.added);
        let verdicts = judge(&head.chain, &self.settings.elsewhere, policy, self.now, &conditions);
        self.is_held_back = verdicts.iter().any(Verdict::is_held_back);
        due(&head.chain, &verdicts, self.settings.ageing).into()
    }

    async fn drafted(&self, context: &mut PlanContext<'_>, due: &Due) -> Result<DraftedOperation> {
        match due {
            Due::Merge { increments, archived } => {
                merge::draft(context, increments, *archived, self.settings.merge).await
            }
            Due::RemoveArchive(sequence) => remove::archive(context, *sequence).await,
            Due::RemoveRollbacks(rollbacks) => remove::points(context, rollbacks, &[]).await,
            Due::RemoveChain { points, archived } => remove::points(context, points, archived).await,
        }
    }

    /// How many bytes compaction may still write in this run.
    ///
    /// `None` once its time is up.
    fn bytes_left(&self, settings: &Compact) -> Option<u64> {
        match settings.budget {
            None => Some(u64::MAX),
            Some(Budget::Bytes(bytes)) => Some(bytes.saturating_sub(self.compaction.written_bytes)),
            Some(Budget::Duration(duration)) => (self.compaction.start.elapsed() < duration).then_some(u64::MAX),
        }
    }
}

/// What the points and the policy do not tell of a run at `now` that has added so many points.
pub(crate) fn conditions(head: &Head, settings: &Transforms, now: Timestamp, added: u32) -> Conditions {
    let change = if is_settled(head, settings) { PolicyChange::Settled } else { PolicyChange::Careful { added } };
    Conditions::default().with_change(change).with_merges_carry(true).with_deleted(gone(head, settings, now))
}

/// Whether all that the policy does not keep may go at once.
pub(crate) fn is_settled(head: &Head, settings: &Transforms) -> bool {
    let is_policy = |settled| settings.retention.as_ref().is_none_or(|policy| settled == policy.fingerprint());
    settings.apply_changes_at_once || head.settled_policy.is_none_or(is_policy)
}

/// Whether machines of the chain are due to go that the job did not select when it looked.
pub(crate) fn removes_machines(head: &Head, settings: &Transforms, now: Timestamp) -> bool {
    !machines::present(&head.chain, &gone(head, settings, now)).is_empty()
}

fn gone(head: &Head, settings: &Transforms, now: Timestamp) -> BTreeSet<MachineName> {
    let zone = settings.retention.as_ref().map_or_else(Zone::default, |policy| policy.zone.clone());
    machines::gone(head, settings.deleted_machines, &zone, now)
}
