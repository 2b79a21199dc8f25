//! The activities of a job: each opens the job anew, and ends with what there is to tell.

use std::collections::BTreeSet;
use std::sync::Arc;

use offsite_core::schedule::PointRange;
use offsite_core::selection::Take;
use offsite_core::{MachineName, Timestamp};

use super::passage::WindowGate;
use crate::reader::job_folder::JobFolder;
use crate::report::{MachineReport, SyncOutcome, TransformReport};
use crate::runner::clock::Clock;
use crate::runner::failure::Failure;
use crate::runner::job::OpenJob;
use crate::runner::memory::{Arrived, OpenInterval, Target, newest_states};
use crate::runner::slots::Slots;
use crate::runner::status::Wait;
use crate::runner::tell::Teller;
use crate::{CopyJob, Error, Look, SyncRequest};

/// What a look found.
pub(super) struct Looked {
    /// At the sources.
    pub(super) look: Result<Look, Failure>,
    /// At the target, after that.
    pub(super) target: Target,
}

/// What a sync came to: what it says, and, where it says nothing or failed, what the chain says.
pub(super) struct Synced {
    pub(super) result: Result<SyncOutcome, Failure>,
    pub(super) arrived: Option<Arrived>,
    /// What a sync that failed had found of machines that could not be copied.
    pub(super) left_out: Vec<MachineReport>,
}

impl Synced {
    /// A sync that failed before it looked at machines.
    fn failed(failure: Failure) -> Self {
        Self { result: Err(failure), arrived: None, left_out: Vec::new() }
    }
}

/// An activity that is done.
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and it is moved once")]
pub(super) enum Done {
    Synced(Synced),
    Transformed(Result<TransformReport, Failure>),
    PostJob(Vec<String>),
}

/// The target of a job.
pub(super) async fn target(job: &CopyJob) -> Result<Target, Error> {
    let folder = match JobFolder::open(job.target(), job.name()).await {
        Err(Error::UnknownJob { .. }) => None,
        folder => Some(folder?),
    };
    let elsewhere = newest_states(job.elsewhere().iter(), |_| true);
    Ok(Target { id: job.target().id(), folder, elsewhere })
}

pub(super) async fn look(
    open: Arc<dyn OpenJob<CopyJob>>,
    now: Timestamp,
    range: PointRange,
    take: Take,
) -> Result<Looked, Failure> {
    let job = open.open().await?;
    let look = job.look(&SyncRequest::at(now).range(range).take(take)).await;
    let look = look.map_err(|error| Failure::of(open.as_ref(), &error));
    // How old the copies are is to be told above all when nothing comes any more.
    match (target(&job).await, look) {
        (Ok(target), look) => Ok(Looked { look, target }),
        (Err(_), Err(failure)) => Err(failure),
        (Err(error), Ok(_)) => Err(Failure::of(open.as_ref(), &error)),
    }
}

/// What a sync is to do.
pub(super) struct SyncOrder {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) range: PointRange,
    pub(super) take: Take,
    pub(super) machines: BTreeSet<MachineName>,
    /// The interval that is open.
    pub(super) interval: OpenInterval,
    pub(super) gate: Arc<WindowGate>,
}

pub(super) async fn sync(open: Arc<dyn OpenJob<CopyJob>>, order: SyncOrder) -> Synced {
    let gate = order.gate.clone();
    if !gate.enter().await {
        // Stopped before it had begun.
        return Synced { result: Ok(SyncOutcome::default()), arrived: None, left_out: Vec::new() };
    }
    let synced = match open.open().await {
        Err(failure) => Synced::failed(failure.into()),
        Ok(job) => sync_opened(open.as_ref(), &job, order).await,
    };
    gate.leave();
    synced
}

async fn sync_opened(open: &dyn OpenJob<CopyJob>, job: &CopyJob, order: SyncOrder) -> Synced {
    let SyncOrder { clock, range, take, machines, interval, gate } = order;
    let joins = match target(job).await {
        Ok(target) => target.arrived(&interval).point,
        Err(error) => return Synced::failed(Failure::of(open, &error)),
    };
    let request = SyncRequest::at(clock.now()).range(range).take(take).machines(machines).joins(joins).gate(gate);
    let mut left_out = Vec::new();
    match job.sync_telling(&request, &mut left_out).await {
        Ok(outcome) => Synced { result: Ok(outcome), arrived: None, left_out: Vec::new() },
        // It may have committed what came before the failure; or the commit's answer was lost. The chain tells.
        Err(error) => {
            let arrived = target(job).await.ok().map(|target| target.arrived(&interval));
            Synced { result: Err(Failure::of(open, &error)), arrived, left_out }
        }
    }
}

pub(super) async fn transform(
    open: Arc<dyn OpenJob<CopyJob>>,
    slots: Slots,
    teller: Arc<Teller>,
    clock: Arc<dyn Clock>,
    added: u32,
) -> Done {
    teller.waits_for(Some(Wait::Slot));
    let _slot = slots.take().await;
    teller.waits_for(None);
    let transformed = async {
        let job = open.open().await?;
        job.transform(clock.now(), added).await.map_err(|error| Failure::of(open.as_ref(), &error))
    };
    Done::Transformed(transformed.await)
}
