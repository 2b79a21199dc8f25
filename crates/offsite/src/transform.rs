//! The transform phase: what retention no longer asks for is merged away, and its space comes back.

use std::collections::BTreeMap;
use std::time::Instant;

use offsite_core::format::head::{FileState, Head};
use offsite_core::plan::{Absorbed, Plan, Reclaiming, adopt};
use offsite_core::retention::{Simple, simple};
use offsite_core::{BlockMap, MachineState, PointKind, RestorePoint, Status, Timestamp};

use crate::folder::load_index;
use crate::point::{PointIndex, store_index};
use crate::release::{prepare, release};
use crate::report::{BlockTraffic, MergeReport, Tally, TransformReport};
use crate::writer::Writer;
use crate::{Error, Result};

/// Points of a chain and what their indexes say.
pub(crate) type Steps = Vec<(RestorePoint, BlockMap)>;

/// A merge that is due.
#[derive(Debug, Clone)]
pub(crate) struct MergePlan {
    /// How many increments go into the full.
    pub(crate) increments: usize,
    /// What that takes.
    pub(crate) plan: Plan,
}

/// Which merge `policy` asks for, if any.
///
/// # Errors
/// [`Error::Defect`] if the plan would retire a block that a kept point needs (release rule 4).
pub(crate) fn plan_merge(
    steps: &Steps,
    policy: Option<Simple>,
    reclaiming: Reclaiming<'_>,
    now: Timestamp,
) -> Result<Option<MergePlan>> {
    let Some(policy) = policy else { return Ok(None) };
    let points: Vec<RestorePoint> = steps.iter().map(|(point, _)| point.clone()).collect();
    let increments = simple(&points, policy, now).iter().take_while(|verdict| !verdict.keeps()).count();
    let Some(((full_point, full), rest)) =
        steps.split_first().filter(|(_, rest)| 0 < increments && increments <= rest.len())
    else {
        return Ok(None);
    };
    let full = Absorbed { index: full_point.index.id, step: full };
    let absorbed: Vec<_> =
        rest[..increments].iter().map(|(point, step)| Absorbed { index: point.index.id, step }).collect();
    let plan = adopt(full, &absorbed, reclaiming);
    let kept = std::iter::once(&plan.index).chain(rest[increments..].iter().map(|(_, step)| step));
    if let Some(at) = kept.into_iter().find_map(|step| plan.retired.touches(step)) {
        return Err(Error::Defect(format!(
            "the frame at {} of {} is needed and would be released",
            at.offset, at.file
        )));
    }
    Ok(Some(MergePlan { increments, plan }))
}

/// The indexes of all points of the writer's chain.
pub(crate) async fn load_steps(writer: &Writer) -> Result<Steps> {
    let head = writer.head();
    let mut steps = Vec::with_capacity(head.chain.points().len());
    for point in head.chain.points() {
        let index = load_index(writer.repository(), writer.layout(), head, point).await?;
        steps.push((point.clone(), index.map));
    }
    Ok(steps)
}

/// Merges what `policy` asks for, then releases what the head lists.
pub(crate) async fn transform(
    writer: &mut Writer,
    steps: &Steps,
    policy: Option<Simple>,
    now: Timestamp,
) -> Result<TransformReport> {
    let mut report = TransformReport::default();
    let clock = writer.head().clock;
    if now < clock {
        // A clock that ran back makes every point look newer than it is; nothing is lost by waiting.
        report.notes.push(format!("the clock says {now} and has said {clock} before: nothing was pruned"));
    } else {
        let lengths = writer.head().file_lengths();
        let reclaiming = Reclaiming {
            alignment: writer.head().alignment_bytes.into(),
            lengths: &lengths,
            punches: writer.repository().backend_granularity().is_some(),
        };
        if let Some(merge) = plan_merge(steps, policy, reclaiming, now)? {
            report.merge = Some(commit_merge(writer, steps, merge).await?);
        }
    }
    let start = Instant::now();
    report.released = release(writer).await?;
    report.release_duration = start.elapsed();
    Ok(report)
}

async fn commit_merge(writer: &mut Writer, steps: &Steps, merge: MergePlan) -> Result<MergeReport> {
    let start = Instant::now();
    let before = writer.repository().block_counts();
    let MergePlan { increments, plan } = merge;
    let absorbed = &steps[..=increments];
    let (last, _) = &absorbed[increments];
    let id = writer.mint();
    let lengths = writer.head().file_lengths();
    let machines = merged_machines(absorbed);
    let index = PointIndex {
        id,
        sequence: last.sequence,
        time: last.time,
        kind: PointKind::Full,
        origin: last.origin,
        machines,
        map: plan.index.clone(),
    };
    let planned = plan.cost();
    let point = store_index(writer, index, &lengths).await?;
    let retirements = prepare(writer, &plan.retired).await?;
    let retired_files = plan.retired.files;
    let chain = writer.head().chain.merged(increments, point).map_err(|error| Error::Defect(error.to_string()))?;
    writer
        .commit(|head: &mut Head| {
            head.chain = chain;
            head.files.retain(|id, _: &mut FileState| !retired_files.contains_key(id));
            head.retired.extend(retirements);
        })
        .await?;
    let target = BlockTraffic::between(before, writer.repository().block_counts());
    Ok(MergeReport {
        absorbed: absorbed[..increments].iter().map(|(point, _)| point.sequence).collect(),
        full: last.sequence,
        tally: Tally { planned, source: BlockTraffic::default(), target, duration: start.elapsed() },
    })
}

/// The machines of merged points: each with its newest state; those that the last point does not have are carried.
fn merged_machines(absorbed: &[(RestorePoint, BlockMap)]) -> Vec<MachineState> {
    let mut machines: BTreeMap<_, MachineState> = BTreeMap::new();
    for (position, (point, _)) in absorbed.iter().enumerate() {
        for machine in point.machines.iter().filter(|machine| machine.status != Status::Incomplete) {
            let status = if position + 1 == absorbed.len() { machine.status } else { Status::Carried };
            machines.insert(machine.name.clone(), MachineState { status, ..machine.clone() });
        }
    }
    machines.into_values().collect()
}
