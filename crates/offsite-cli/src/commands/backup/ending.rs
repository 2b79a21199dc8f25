//! How a backup ends when the command is told to stop.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use offsite::{Activity, Gate, Passage, Progress, Step, Task, Wait};
use tokio::time::timeout;

use crate::signals::{GRACE, Stop};
use crate::status::Failure;

/// Follows a backup, and ends what comes after its commit once the command is to stop.
///
/// While images are read, the backup is cut off as a whole, so that no restore point has only some of the machines.
pub(super) struct Ending {
    stop: Stop,
    bars: Arc<dyn Progress>,
    /// Whether all images are read. From then on, a restore point may be committed.
    is_read: AtomicBool,
}

impl Ending {
    pub(super) fn new(stop: Stop, bars: Arc<dyn Progress>) -> Self {
        Self { stop, bars, is_read: AtomicBool::new(false) }
    }

    /// Does a backup. Once the command is to stop, a backup that still reads images is cut off. Another one is carried to its end,
    /// without the transforms that move data.
    pub(super) async fn end<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        self.end_within(GRACE, work).await
    }

    async fn end_within<T>(
        &self,
        grace: Duration,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let mut work = pin!(work);
        let signal = tokio::select! {
            biased;
            done = &mut work => return done,
            signal = self.stop.wait() => signal,
        };
        let what = if self.is_read.load(Ordering::Relaxed) {
            match timeout(grace, work).await {
                Ok(done) => return done,
                Err(_) => "it did not end in time; `offsite points` tells whether a restore point was made",
            }
        } else {
            "no restore point was made; the next backup clears away what had been written"
        };
        Err(Failure::Stopped { signal, what: what.to_owned() })
    }
}

#[async_trait]
impl Gate for Ending {
    async fn pass(&self, activity: &Activity<'_>, _bytes: u64) -> Passage {
        if activity.task != Task::Backup && self.stop.is_set() { Passage::Stop } else { Passage::Go }
    }
}

impl Progress for Ending {
    fn begin(&self, activity: &Activity<'_>) {
        self.bars.begin(activity);
    }

    fn advance(&self, activity: &Activity<'_>) {
        self.bars.advance(activity);
    }

    fn end(&self, activity: &Activity<'_>) {
        if (activity.task, activity.step) == (Task::Backup, Step::Transfer) {
            self.is_read.store(true, Ordering::Relaxed);
        }
        self.bars.end(activity);
    }

    fn wait(&self, wait: &Wait<'_>) {
        self.bars.wait(wait);
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use offsite::Silent;

    use super::*;
    use crate::stop_signal::StopSignal;

    fn ending(is_read: bool) -> Ending {
        let ending = Ending::new(Stop::asked(StopSignal::Terminate), Arc::new(Silent));
        ending.is_read.store(is_read, Ordering::Relaxed);
        ending
    }

    #[tokio::test]
    async fn a_backup_that_reads_is_cut_off() {
        let stopped = ending(false).end(pending::<Result<(), Failure>>()).await;
        assert!(matches!(stopped, Err(Failure::Stopped { what, .. }) if what.starts_with("no restore point was made")));
        assert!(ending(false).end(ready(Ok(()))).await.is_ok());
    }

    /// Nothing says that there is no restore point where there may be one.
    #[tokio::test]
    async fn a_backup_that_has_read_is_carried_to_its_end() {
        let committed = async {
            tokio::task::yield_now().await;
            Ok(())
        };
        assert!(ending(true).end(committed).await.is_ok());
        let stopped = ending(true).end_within(Duration::ZERO, pending::<Result<(), Failure>>()).await;
        assert!(matches!(stopped, Err(Failure::Stopped { what, .. }) if what.contains("`offsite points` tells")));
    }
}
