//! What a starting runner looks at first.

use std::sync::Arc;

use offsite_core::phase::Settings;

use super::work::target;
use crate::CopyJob;
use crate::runner::control::until;
use crate::runner::event::RunnerEvent;
use crate::runner::failure::Failure;
use crate::runner::job::OpenJob;
use crate::runner::memory::{Memory, Target};
use crate::runner::setup::{Setup, Stop};
use crate::runner::status::Wait;

/// How often a starting runner tries to look at the target.
const FIRST_LOOKS: u32 = 4;

pub(super) struct Stopped;

/// The target when the runner starts. `None` if it cannot be read, and nothing depends on it.
///
/// A runner without a memory, or with an open interval, should know what the chain has. Otherwise it could copy a machine twice
/// in an interval. But it does not wait for ever, as an outage has to be reported.
pub(super) async fn resumed_target(
    setup: &Setup,
    settings: &Settings,
    open: &Arc<dyn OpenJob<CopyJob>>,
    memory: &Memory,
    stop: &mut Stop<'_>,
) -> Result<Option<Target>, Stopped> {
    let (teller, clock) = (&setup.teller, &setup.clock);
    let retry_secs = i64::from(settings.look_every_secs.max(1));
    for look in 1..=FIRST_LOOKS {
        let opened = async {
            let job = open.open().await?;
            target(&job).await.map_err(|error| Failure::of(open.as_ref(), &error))
        };
        let failure: Failure = match until(opened, stop, &setup.control).await.ok_or(Stopped)? {
            Ok(target) => return Ok(Some(target)),
            Err(failure) => failure,
        };
        teller.tell(RunnerEvent::Failed { why: &failure.why, is_retryable: true });
        if look == FIRST_LOOKS || (memory.last.is_some() && memory.open.is_none()) {
            break;
        }
        let at = clock.now().saturating_add_secs(retry_secs);
        teller.tell(RunnerEvent::Waiting { until: Some(at) });
        teller.waits_for(Some(Wait::Retry));
        teller.show().await;
        while clock.now() < at {
            until(clock.wait_until(at), stop, &setup.control).await.ok_or(Stopped)?;
        }
        teller.waits_for(None);
    }
    Ok(None)
}
