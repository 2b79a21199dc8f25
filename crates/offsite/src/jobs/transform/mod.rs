//! The transform phase: it brings the chain to what retention asks for, and gives space back.

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
mod settings;
mod stack;
pub(crate) mod whole;

use std::time::Instant;

use agenda::Agenda;
use draft::carry_out;
use offsite_core::Timestamp;
use offsite_core::retention::Policy;

use crate::Error;
use crate::claims::lease::sealed_when_taken;
use crate::commit::dry_run::DryRun;
use crate::commit::release::release_all;
use crate::commit::writer::Writer;
use crate::folder::verification_notes::VerificationNotes;
use crate::reader::indexes::Indexes;
use crate::report::{KnownDamage, Note, OperationReport, TransformReport};
use crate::teller::Control;
use crate::{Result, Verify};

pub(crate) use agenda::removes_machines;

pub(crate) use draft::{DraftedOperation, imagine};
pub(crate) use heal::{heal, plan_healing};
pub use settings::{Budget, Compact, LiveShare, LiveShareError, PlannedOperation, Transforms};

/// Plans what retention asks for, each operation as if those before it had been done.
pub(crate) async fn plan(
    dry_run: &mut DryRun<'_>,
    settings: &Transforms,
    now: Timestamp,
    added: u32,
) -> Result<Vec<PlannedOperation>> {
    if !settings.clock().judge(dry_run.head.clock, now).may_prune() {
        return Ok(Vec::new());
    }
    plan_at(dry_run, settings, now, added).await
}

/// Plans what retention asks for at `now`, whatever the clock says.
pub(crate) async fn plan_at(
    dry_run: &mut DryRun<'_>,
    settings: &Transforms,
    now: Timestamp,
    added: u32,
) -> Result<Vec<PlannedOperation>> {
    let mut planned = Vec::new();
    let head = &mut dry_run.head;
    head.sealed_epoch = sealed_when_taken(head);
    // The run itself will have the next epoch.
    let mut agenda = Agenda::new(settings, now, added, head, head.epoch.saturating_add(1));
    while let Some(drafted) = agenda.next(&mut dry_run.context()).await? {
        planned.push(imagine(dry_run, drafted));
    }
    Ok(planned)
}

/// Heals what the chain itself has intact elsewhere, then does as [`transform`].
pub(crate) async fn heal_and_transform(
    writer: &mut Writer,
    indexes: &mut Indexes,
    settings: &Transforms,
    now: Timestamp,
    added: u32,
    control: Control<'_>,
) -> Result<TransformReport> {
    let healed = heal(writer, indexes, &[], control).await?;
    let mut report = transform(writer, indexes, settings, now, added, control).await?;
    report.is_stopped |= healed.is_stopped;
    report.operations.splice(0..0, healed.operations);
    report.notes.splice(0..0, healed.notes);
    Ok(report)
}

/// Does what `settings` ask for, then releases what the head lists. `added` is the number of points that this run has added.
pub(crate) async fn transform(
    writer: &mut Writer,
    indexes: &mut Indexes,
    settings: &Transforms,
    now: Timestamp,
    added: u32,
    control: Control<'_>,
) -> Result<TransformReport> {
    let mut report = TransformReport::default();
    let clock = writer.clock();
    if clock.may_prune() {
        let mut agenda = Agenda::new(settings, now, added, writer.head(), writer.head().epoch);
        loop {
            let drafted = agenda.next(&mut writer.plan_context(indexes)).await?;
            let Some(drafted) = drafted else { break };
            let done = match carried_out(writer, drafted, control).await {
                Ok(Some(done)) => done,
                Ok(None) => {
                    agenda.again();
                    continue;
                }
                Err(Error::Stopped { .. }) => {
                    report.is_stopped = true;
                    break;
                }
                Err(error) => return Err(error),
            };
            if draft::releases(&done.operation) {
                // The next piece may need the room that this one leaves.
                give_back(writer, &mut report, control).await?;
            }
            report.operations.push(done);
        }
        report.notes.append(&mut agenda.notes());
        writer.compacted(agenda.compacted());
        if report.is_stopped {
            // The next run continues under the policy of before.
        } else if agenda.is_held_back() {
            report.notes.push(Note::PolicyChanged);
        } else {
            writer.settle(settings.retention.as_ref().map(Policy::fingerprint));
        }
    } else {
        // By a wrong clock, every point looks newer or older than it is. Nothing is lost by waiting.
        report.notes.push(Note::ClockInDoubt { clock });
    }
    give_back(writer, &mut report, control).await?;
    if let Some(bytes) = settings.verify_bytes.filter(|_| !report.is_stopped) {
        verify(writer, bytes, &mut report, control).await;
    }
    let head = writer.head();
    let noted = VerificationNotes::load_and_tidy(writer.repository(), writer.layout(), head.folder).await?;
    let steps = |sequence| head.chain.steps_to(sequence).unwrap_or_default();
    report.damage = KnownDamage::of(head.chain.all(), steps, indexes, &noted).await?;
    Ok(report)
}

/// Carries out a draft, and commits it. `None` if blocks that it has to move are damaged. That is noted, and later plans leave
/// these blocks where they are.
pub(crate) async fn carried_out(
    writer: &mut Writer,
    drafted: DraftedOperation,
    control: Control<'_>,
) -> Result<Option<OperationReport>> {
    let own = drafted.sources.is_empty();
    let moves = if own { drafted.draft.plan.moves.clone() } else { Vec::new() };
    match carry_out(writer, drafted, control).await {
        Err(error) if error.is_loss() && own => match damage::note(writer, &moves, control).await? {
            0 => Err(error),
            _ => Ok(None),
        },
        answer => answer.map(Some),
    }
}

/// Verifies a share of the chain.
///
/// What the phase has done stays done, whatever the verification finds.
async fn verify(writer: &Writer, bytes: u64, report: &mut TransformReport, control: Control<'_>) {
    let share = Verify::new(writer.repository(), writer.layout().job().clone()).budget_bytes(bytes);
    let found = match share.run_through(control.gate).await {
        Ok(found) => found,
        Err(error) => return report.notes.push(Note::NotVerified { why: (&error).into() }),
    };
    if !found.damage.is_empty() {
        report.notes.push(Note::DamageFound { places: found.damage.len() as u64 });
    }
    report.notes.extend(found.notes.iter().cloned());
    report.verification = Some(found);
}

/// Releases what no reader holds.
async fn give_back(writer: &mut Writer, report: &mut TransformReport, control: Control<'_>) -> Result<()> {
    let start = Instant::now();
    report.released.add(release_all(writer, control.progress).await?);
    report.release_duration += start.elapsed();
    Ok(())
}
