//! The transform phase: the chain becomes what retention asks for, and space comes back.

mod agenda;
mod compact;
mod damage;
mod draft;
mod flags;
mod heal;
mod independent;
mod machines;
mod merge;
mod outlook;
mod proof;
mod remove;
mod room;
mod stack;
pub(crate) mod whole;

use std::time::Instant;

use offsite_core::plan::{Cost, Files, Retired};
use offsite_core::retention::{Ageing, DeletedMachines, Policy};
use offsite_core::schedule::Schedule;
use offsite_core::{Head, RetiredObject, Retirement};
use offsite_core::{ObjectId, RestorePoint, Timestamp};

use crate::claims::lease::sealed_when_taken;
use crate::commit::clock_rule::ClockRule;
use crate::commit::release::release;
use crate::commit::writer::Writer;
use crate::folder::findings::Findings;
use crate::reader::indexes::Indexes;
use crate::report::KnownDamage;
use crate::report::MergeMethod;
use crate::report::Released;
use crate::report::{Operation, OperationReport, TransformReport};
use crate::{OpenRepository, Progress, Result, Verify};

use agenda::Agenda;
use draft::carry_out;

pub(crate) use agenda::removes_machines;

pub use compact::{Budget, Compact, LiveShare, LiveShareError};
pub(crate) use draft::{Draft, Drafting};
pub(crate) use heal::{heal, plan_healing};

/// What a job's transform phase does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transforms {
    /// What is kept. `None` keeps everything, for ever.
    pub retention: Option<Policy>,
    /// How increments are merged.
    pub merge: MergeMethod,
    /// Whether a changed policy may delete all at once that it no longer keeps.
    pub apply_changes_at_once: bool,
    /// How the oldest points go.
    pub ageing: Ageing,
    /// When machines go that the job no longer selects. `None` keeps them.
    pub deleted_machines: Option<DeletedMachines>,
    /// When files that are mostly superseded are emptied. `None` disables compaction.
    pub compact: Option<Compact>,
    /// How many bytes of blocks are read and compared with their digests after everything else, going on where the run before
    /// ended. `None` disables verification.
    pub verify_bytes: Option<u64>,
    /// How far ahead of all that the job has known the clock may be before nothing is pruned by it, in seconds. `None` stands for a hundred days. See
    /// [`Schedule::ahead_max_secs`] for a job with a schedule.
    pub clock_ahead_max_secs: Option<i64>,
    /// Whether the clock is right, whatever the job has known before: somebody has looked at it. The job's latest known time goes back with
    /// it, if need be.
    pub trusts_clock: bool,
    /// The job's restore points in other repositories, where it writes to several in turn (removable drives): they are counted
    /// by retention, and not touched.
    pub elsewhere: Vec<RestorePoint>,
}

impl Transforms {
    /// Keeps what `policy` says.
    #[must_use]
    pub fn keeping(policy: Policy) -> Self {
        Self { retention: Some(policy), ..Self::default() }
    }

    /// What the clock is judged by. Of a drive that comes back after months, the points elsewhere tell that these have passed.
    pub(crate) fn clock(&self) -> ClockRule {
        let ahead_max_secs = self.clock_ahead_max_secs.unwrap_or_else(|| Schedule::Immediate.ahead_max_secs());
        let known = self.elsewhere.iter().map(|point| point.time).max();
        ClockRule { ahead_max_secs, known, is_trusted: self.trusts_clock }
    }
}

/// An operation that is planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedOperation {
    /// What it does.
    pub operation: Operation,
    /// What it costs.
    pub cost: Cost,
}

/// Where operations are only planned.
#[derive(Clone, Copy)]
pub(crate) struct Planning<'a> {
    pub(crate) repository: &'a OpenRepository,
    /// The files before all that is only planned.
    pub(crate) stored: &'a Files,
}

/// Plans what retention asks for, on `head` as if each operation had been done; `head` is then what it would be.
pub(crate) async fn plan(
    Planning { repository, stored }: Planning<'_>,
    head: &mut Head,
    indexes: &mut Indexes,
    settings: &Transforms,
    now: Timestamp,
    added: u32,
    mint: &mut (dyn FnMut() -> ObjectId + Send),
) -> Result<Vec<PlannedOperation>> {
    let mut planned = Vec::new();
    if !settings.clock().judge(head.clock, now).may_prune() {
        return Ok(planned);
    }
    head.sealed_epoch = sealed_when_taken(head);
    // The run itself will be of the next epoch.
    let mut agenda = Agenda::new(settings, now, added, head, head.epoch.saturating_add(1));
    loop {
        let mut drafting = Drafting { repository, head, stored, indexes, mint: &mut *mint };
        let Some(draft) = agenda.next(&mut drafting).await? else { return Ok(planned) };
        planned.push(imagine(head, indexes, &mut *mint, draft));
    }
}

/// Heals what the chain itself has intact elsewhere, and then does as [`transform`].
pub(crate) async fn heal_and_transform(
    writer: &mut Writer,
    indexes: &mut Indexes,
    settings: &Transforms,
    now: Timestamp,
    added: u32,
    progress: &dyn Progress,
) -> Result<TransformReport> {
    let healed = heal(writer, indexes, &[], progress).await?;
    let mut report = transform(writer, indexes, settings, now, added, progress).await?;
    report.operations.splice(0..0, healed.operations);
    report.notes.splice(0..0, healed.notes);
    Ok(report)
}

/// Lists in `head` the ranges that would be retired: until they are released, nothing is written into them.
pub(crate) fn imagine_retired(
    head: &mut Head,
    indexes: &mut Indexes,
    mut mint: impl FnMut() -> ObjectId,
    retired: &Retired,
) {
    if !retired.ranges.is_empty() {
        let list = mint();
        indexes.imagine_list(list, retired.ranges.clone());
        let what = RetiredObject::Ranges(list);
        head.retired.push(Retirement::new(head.number, what, retired.range_bytes()));
    }
}

/// Makes of `head` what it would be if `draft` were carried out.
pub(crate) fn imagine(
    head: &mut Head,
    indexes: &mut Indexes,
    mint: impl FnMut() -> ObjectId,
    draft: Draft,
) -> PlannedOperation {
    let cost = draft.plan.cost();
    imagine_retired(head, indexes, mint, &draft.plan.retired);
    if agenda::releases(&draft.operation) {
        head.retired.retain(|retirement| match retirement.what {
            RetiredObject::Ranges(list) => indexes.imagined_list(list).is_none(),
            RetiredObject::File(_) | RetiredObject::Index(_) => true,
        });
    }
    (head.chain, head.files) = draft.proven.into_parts();
    PlannedOperation { operation: draft.operation, cost }
}

/// Does what `settings` ask for, then releases what the head lists. `added` is how many points this run has added.
pub(crate) async fn transform(
    writer: &mut Writer,
    indexes: &mut Indexes,
    settings: &Transforms,
    now: Timestamp,
    added: u32,
    progress: &dyn Progress,
) -> Result<TransformReport> {
    let mut report = TransformReport::default();
    let clock = writer.clock();
    if clock.may_prune() {
        let mut agenda = Agenda::new(settings, now, added, writer.head(), writer.head().epoch);
        loop {
            let head = writer.head().clone();
            let repository = writer.repository().clone();
            let draft = {
                let mut mint = || writer.mint();
                let indexes = &mut *indexes;
                let (repository, stored) = (&repository, &head.files);
                let mut drafting = Drafting { repository, head: &head, stored, indexes, mint: &mut mint };
                agenda.next(&mut drafting).await?
            };
            let Some(draft) = draft else { break };
            let Some(done) = carried_out(writer, draft, progress).await? else {
                agenda.again();
                continue;
            };
            if agenda::releases(&done.operation) {
                // The next piece may need the room that this one leaves.
                give_back(writer, &mut report, progress).await?;
            }
            report.operations.push(done);
        }
        report.notes.append(&mut agenda.notes());
        writer.compacted(agenda.compacted());
        if agenda.is_held_back() {
            let note = "the policy changed: this run lets go of one generation, the next ones of the rest";
            report.notes.push(note.to_owned());
        } else {
            writer.settle(settings.retention.as_ref().map(Policy::fingerprint));
        }
    } else {
        // By a clock that is wrong, every point looks newer or older than it is; nothing is lost by waiting.
        report.notes.push(clock.to_string());
    }
    give_back(writer, &mut report, progress).await?;
    if let Some(bytes) = settings.verify_bytes {
        verify(writer, bytes, &mut report).await;
    }
    let head = writer.head();
    let findings = Findings::load_and_tidy(writer.repository(), writer.layout(), head.folder).await?;
    let steps = |sequence| head.chain.steps_to(sequence).unwrap_or_default();
    report.damage = KnownDamage::of(head.chain.all(), steps, indexes, &findings).await?;
    Ok(report)
}

/// Does what a draft says, and commits it; none, if blocks that it was to move are damaged: that is noted, and what is planned from now
/// on leaves them where they are.
pub(crate) async fn carried_out(
    writer: &mut Writer,
    draft: Draft,
    progress: &dyn Progress,
) -> Result<Option<OperationReport>> {
    let own = draft.sources.is_empty();
    let moves = if own { draft.plan.moves.clone() } else { Vec::new() };
    match carry_out(writer, draft, progress).await {
        Err(error) if error.is_loss() && own => match damage::note(writer, &moves, progress).await? {
            0 => Err(error),
            _ => Ok(None),
        },
        answer => answer.map(Some),
    }
}

/// Verifies a share of the chain. What the phase has done stays done, whatever comes of it.
async fn verify(writer: &Writer, bytes: u64, report: &mut TransformReport) {
    let share = Verify::new(writer.repository(), writer.layout().job().clone()).budget_bytes(bytes);
    let found = match share.run().await {
        Ok(found) => found,
        Err(error) => return report.notes.push(format!("the chain was not verified: {error}")),
    };
    if !found.damage.is_empty() {
        report.notes.push(format!(
            "verification found damage in {} places: `offsite verify` tells what it touches; the next run puts back what a source or \
             another restore point has intact",
            found.damage.len()
        ));
    }
    report.notes.extend(found.notes.iter().cloned());
    report.verification = Some(found);
}

/// Releases what no reader holds.
async fn give_back(writer: &mut Writer, report: &mut TransformReport, progress: &dyn Progress) -> Result<()> {
    let start = Instant::now();
    loop {
        let Released { bytes, ranges, objects, held_bytes, linked_bytes } = release(writer).await?;
        report.released.bytes += bytes;
        report.released.ranges += ranges;
        report.released.objects += objects;
        report.released.held_bytes = held_bytes;
        report.released.linked_bytes += linked_bytes;
        if writer.head().retired.is_empty() || !writer.remove_silent_pins(progress).await? {
            break;
        }
    }
    report.release_duration += start.elapsed();
    Ok(())
}
