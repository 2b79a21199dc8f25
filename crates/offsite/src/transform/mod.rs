//! The transform phase: the chain becomes what retention asks for, and space comes back.

mod draft;
mod merge;
mod proof;
mod remove;

use std::time::Instant;

use offsite_core::format::head::Head;
use offsite_core::plan::Cost;
use offsite_core::retention::{Ageing, Change, Conditions, Due, Policy, Subject, Verdict, due, verdicts};
use offsite_core::{ObjectId, PointKind, RestorePoint, Timestamp};

use crate::indexes::Indexes;
use crate::release::release;
use crate::report::{Operation, TransformReport};
use crate::writer::Writer;
use crate::{OpenRepository, Progress, Result};

pub(crate) use draft::{Draft, Drafting};

/// How the oldest increments go into the full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum MergeMethod {
    /// As the repository can: adopting where holes can be punched, folding where files can be written into, and else
    /// adopting.
    #[default]
    Auto,
    /// The full takes over the increments' files; no block moves.
    Adopt,
    /// The increments' blocks are written into the full's own file, so that it stays one file.
    Fold,
}

/// What a job's transform phase does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transforms {
    /// What is kept; none: everything, for ever.
    pub retention: Option<Policy>,
    /// How increments are merged.
    pub merge: MergeMethod,
    /// Whether a changed policy may delete all at once that it no longer keeps.
    pub apply_changes_at_once: bool,
    /// How the oldest points go.
    pub ageing: Ageing,
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
}

/// An operation that is planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedOperation {
    /// What it does.
    pub operation: Operation,
    /// What it costs.
    pub cost: Cost,
}

/// What `policy` says of each archive and point of a chain, oldest first, where points `elsewhere` count too.
pub(crate) fn judge(
    head: &Head,
    elsewhere: &[RestorePoint],
    policy: &Policy,
    now: Timestamp,
    change: Change,
) -> Vec<Verdict> {
    let archived = head.chain.archives().iter().map(|point| Subject { archived: true, ..Subject::from(point) });
    let own = archived.chain(head.chain.points().iter().map(Subject::from)).map(|subject| (true, subject));
    // Of a chain elsewhere, its points count one by one, whatever they stand on there.
    let others = elsewhere.iter().map(|point| (false, Subject { kind: PointKind::Increment, ..Subject::from(point) }));
    let mut subjects: Vec<(bool, Subject)> = own.chain(others).collect();
    if !elsewhere.is_empty() {
        subjects.sort_by_key(|(_, subject)| (!subject.archived, subject.time));
    }
    let (is_own, subjects): (Vec<bool>, Vec<Subject>) = subjects.into_iter().unzip();
    let conditions = Conditions { change, merges_carry: true, ..Conditions::default() };
    let verdicts = verdicts(&subjects, policy, now, &conditions).into_iter();
    let mut own: Vec<_> = verdicts.zip(is_own).filter_map(|(verdict, is_own)| is_own.then_some(verdict)).collect();
    own.sort_by_key(|verdict| verdict.sequence);
    own
}

/// What retention asks for now, and whether a changed policy would take more than this run gives it.
fn wanted(head: &Head, settings: &Transforms, now: Timestamp, added: u32) -> (Vec<Due>, bool) {
    let Some(policy) = &settings.retention else { return (Vec::new(), false) };
    let is_settled = head.settled_policy.is_none_or(|settled| settled == policy.fingerprint());
    let change = if is_settled || settings.apply_changes_at_once { Change::Settled } else { Change::Careful { added } };
    let verdicts = judge(head, &settings.elsewhere, policy, now, change);
    let is_held_back = verdicts.iter().any(Verdict::is_held_back);
    (due(&head.chain, &verdicts, settings.ageing), is_held_back)
}

/// Plans what retention asks for, on `head` as if each operation had been done; `head` is then what it would be.
pub(crate) async fn plan(
    repository: &OpenRepository,
    head: &mut Head,
    indexes: &mut Indexes,
    settings: &Transforms,
    now: Timestamp,
    added: u32,
    mint: &mut (dyn FnMut() -> ObjectId + Send),
) -> Result<Vec<PlannedOperation>> {
    let mut planned = Vec::new();
    if now < head.clock {
        return Ok(planned);
    }
    for due in wanted(head, settings, now, added).0 {
        let drafting = Drafting { repository, head, indexes, mint: &mut *mint };
        let draft = drafted(drafting, &due, settings).await?;
        planned.push(PlannedOperation { operation: draft.operation, cost: draft.plan.cost() });
        (head.chain, head.files) = (draft.chain, draft.files);
    }
    Ok(planned)
}

async fn drafted(mut drafting: Drafting<'_>, due: &Due, settings: &Transforms) -> Result<Draft> {
    let draft = match due {
        Due::Merge { increments, archived } => {
            merge::draft(&mut drafting, increments, *archived, settings.merge).await?
        }
        Due::RemoveArchive(sequence) => remove::archive(&mut drafting, *sequence).await?,
        Due::RemoveRollbacks(rollbacks) => remove::points(&mut drafting, rollbacks, &[]).await?,
        Due::RemoveChain { points, archived } => remove::points(&mut drafting, points, archived).await?,
    };
    for (id, _, map) in &draft.indexes {
        drafting.indexes.insert(*id, map.clone());
    }
    proof::files_are_dead(drafting.indexes, &draft).await?;
    Ok(draft)
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
    let clock = writer.head().clock;
    if now < clock {
        // A clock that ran back makes every point look newer than it is; nothing is lost by waiting.
        report.notes.push(format!("the clock says {now} and has said {clock} before: nothing was pruned"));
    } else {
        let (wanted, is_held_back) = wanted(writer.head(), settings, now, added);
        for due in wanted {
            let head = writer.head().clone();
            let repository = writer.repository().clone();
            let draft = {
                let mut mint = || writer.mint();
                let drafting =
                    Drafting { repository: &repository, head: &head, indexes: &mut *indexes, mint: &mut mint };
                drafted(drafting, &due, settings).await?
            };
            report.operations.push(draft::carry_out(writer, draft, progress).await?);
        }
        if is_held_back {
            let note = "the policy changed: this run lets go of one generation, the next ones of the rest";
            report.notes.push(note.to_owned());
        } else {
            writer.settle(settings.retention.as_ref().map(Policy::fingerprint));
        }
    }
    let start = Instant::now();
    report.released = release(writer).await?;
    report.release_duration = start.elapsed();
    Ok(report)
}
