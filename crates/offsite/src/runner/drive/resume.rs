//! What a runner that starts looks at first.

use std::future::{Future, poll_fn};
use std::task::Poll;

use super::Stop;
use crate::runner::JobRunner;
use crate::runner::event::RunnerEvent;
use crate::runner::memory::Target;
use crate::runner::work::{Failure, target};

/// How often a runner that starts tries to look at the target.
const FIRST_LOOKS: u32 = 4;

pub(super) struct Stopped;

/// The target as it is when the runner starts; none if it cannot be looked at, and nothing depends on it.
///
/// A runner that has no memory, or one of an open interval, should know what the chain has, lest it copies a machine twice in
/// an interval; but an outage is to be reported, and so it does not wait for ever.
pub(super) async fn resumed_target(runner: &JobRunner, stop: &mut Stop<'_>) -> Result<Option<Target>, Stopped> {
    let retry_secs = i64::from(runner.settings.look_every_secs.max(1));
    for look in 1..=FIRST_LOOKS {
        let opened = async {
            let job = runner.host.open().await?;
            target(&job).await.map_err(|error| Failure::of(runner.host.as_ref(), &error))
        };
        let failure: Failure = match until_stopped(opened, stop).await? {
            Ok(target) => return Ok(Some(target)),
            Err(failure) => failure,
        };
        runner.events.tell(&runner.name, RunnerEvent::Failed { why: &failure.why, is_retryable: true });
        if look == FIRST_LOOKS || (runner.memory.last.is_some() && runner.memory.open.is_none()) {
            break;
        }
        let until = runner.clock.now().saturating_add_secs(retry_secs);
        runner.events.tell(&runner.name, RunnerEvent::Waiting { until: Some(until) });
        while runner.clock.now() < until {
            until_stopped(runner.clock.wait_until(until), stop).await?;
        }
    }
    Ok(None)
}

async fn until_stopped<T>(future: impl Future<Output = T>, stop: &mut Stop<'_>) -> Result<T, Stopped> {
    let mut future = std::pin::pin!(future);
    poll_fn(|context| {
        if stop.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(Stopped));
        }
        future.as_mut().poll(context).map(Ok)
    })
    .await
}
