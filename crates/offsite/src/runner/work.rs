//! The activities of a job: each opens the job anew, and ends with what there is to tell.

use std::collections::BTreeSet;
use std::sync::Arc;

use offsite_core::schedule::PointRange;
use offsite_core::selection::Take;
use offsite_core::{MachineName, Timestamp};

use super::memory::{Arrived, OpenInterval, Target, newest_states};
use super::passage::WindowGate;
use super::{Clock, JobHost, OpenFailure, Slots};
use crate::reader::job_folder::JobFolder;
use crate::report::{ErrorSummary, SyncOutcome, TransformReport};
use crate::{CopyJob, Error, Look, SyncRequest};

/// Why an activity failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) why: ErrorSummary,
    /// Whether another run of the job is at work.
    pub(super) is_busy: bool,
}

impl From<OpenFailure> for Failure {
    fn from(failure: OpenFailure) -> Self {
        Self { why: ErrorSummary::new(failure.why, failure.is_retryable), is_busy: false }
    }
}

impl Failure {
    pub(super) fn of(host: &dyn JobHost, error: &Error) -> Self {
        let is_busy = matches!(error, Error::Busy { .. });
        let why = ErrorSummary::new(host.words(error), error.is_retryable());
        Self { why, is_busy }
    }
}

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
}

/// An activity that is done.
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
    host: Arc<dyn JobHost>,
    now: Timestamp,
    range: PointRange,
    take: Take,
) -> Result<Looked, Failure> {
    let job = host.open().await?;
    let look = job.look(&SyncRequest { range, take, ..SyncRequest::at(now) }).await;
    let look = look.map_err(|error| Failure::of(host.as_ref(), &error));
    // How old the copies are is to be told above all when nothing comes any more.
    match (target(&job).await, look) {
        (Ok(target), look) => Ok(Looked { look, target }),
        (Err(_), Err(failure)) => Err(failure),
        (Err(error), Ok(_)) => Err(Failure::of(host.as_ref(), &error)),
    }
}

/// What a sync is to do.
pub(super) struct SyncOrder {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) range: PointRange,
    pub(super) take: Take,
    pub(super) machines: BTreeSet<MachineName>,
    pub(super) open: OpenInterval,
    pub(super) gate: Arc<WindowGate>,
}

pub(super) async fn sync(host: Arc<dyn JobHost>, order: SyncOrder) -> Synced {
    let gate = order.gate.clone();
    if !gate.enter().await {
        // Stopped before it had begun.
        return Synced {
            result: Ok(SyncOutcome { sync: None, machines: Vec::new(), notes: Vec::new(), doubts: Vec::new() }),
            arrived: None,
        };
    }
    let synced = match host.open().await {
        Err(failure) => Synced { result: Err(failure.into()), arrived: None },
        Ok(job) => sync_opened(host.as_ref(), &job, order).await,
    };
    gate.leave();
    synced
}

async fn sync_opened(host: &dyn JobHost, job: &CopyJob, order: SyncOrder) -> Synced {
    let SyncOrder { clock, range, take, machines, open, gate } = order;
    let joins = match target(job).await {
        Ok(target) => target.arrived(&open).point,
        Err(error) => return Synced { result: Err(Failure::of(host, &error)), arrived: None },
    };
    let request = SyncRequest { now: clock.now(), range, take, machines: Some(machines), joins, gate };
    match job.sync(&request).await {
        Ok(outcome) => Synced { result: Ok(outcome), arrived: None },
        // It may have committed what came before the failure; or the commit's answer was lost. The chain tells.
        Err(error) => {
            let arrived = target(job).await.ok().map(|target| target.arrived(&open));
            Synced { result: Err(Failure::of(host, &error)), arrived }
        }
    }
}

pub(super) async fn transform(host: Arc<dyn JobHost>, slots: Slots, clock: Arc<dyn Clock>, added: u32) -> Done {
    let _slot = slots.take().await;
    let transformed = async {
        let job = host.open().await?;
        job.transform(clock.now(), added).await.map_err(|error| Failure::of(host.as_ref(), &error))
    };
    Done::Transformed(transformed.await)
}
