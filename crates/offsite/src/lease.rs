//! Signs of life of a writer, and watching for another's.
//!
//! A lease is stale only if no sign of life appeared for a whole lease duration on the observer's own monotonic clock. Clocks of
//! different hosts are never compared. And whoever judges wrongly loses nothing: the commit decides who writes.

use std::time::Duration;

use bytes::Bytes;
use offsite_core::format::head::{Head, Lease};
use offsite_core::format::records::LeaseRenewal;
use offsite_core::format::{Kind, encode_record};
use offsite_repository::{Repository, RepositoryExt};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::error::Context;
use crate::heads::Heads;
use crate::layout::Layout;
use crate::{OpenRepository, Result};

/// Signs of life within one lease duration.
const RENEWALS_PER_DURATION: u32 = 3;

/// A task that gives signs of life until it is stopped or dropped.
#[derive(Debug)]
pub(crate) struct Signs {
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<()>>,
}

impl Signs {
    /// Signs that `give` gives until it is told to end.
    pub(crate) fn start<F>(give: impl FnOnce(oneshot::Receiver<()>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (stop, stopped) = oneshot::channel();
        Self { stop: Some(stop), task: Some(tokio::spawn(give(stopped))) }
    }

    /// Those of the writer of `head`.
    pub(crate) fn of_writer(repository: OpenRepository, layout: Layout, head: &Head, duration: Duration) -> Self {
        let (folder, epoch) = (head.folder, head.epoch);
        Self::start(|stopped| renew(repository, layout, folder, epoch, duration / RENEWALS_PER_DURATION, stopped))
    }

    /// Ends the signs of life and waits for what ends with them.
    pub(crate) async fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The task may have ended by itself.
            let _ = stop.send(());
        }
        if let Some(task) = self.task.take() {
            let _ = task.await;
        }
    }
}

impl Drop for Signs {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn renew(
    repository: OpenRepository,
    layout: Layout,
    folder: [u8; 16],
    epoch: u32,
    pause: Duration,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut previous = None;
    for count in 1.. {
        if timeout(pause, &mut stopped).await.is_ok() {
            break;
        }
        let record = encode_record(Kind::LeaseRenewal, &LeaseRenewal { folder, epoch, count });
        let (Ok(key), Ok(bytes)) = (layout.lease_renewal(epoch, count), record) else { break };
        // A sign that fails is not worth a failed run: should another writer take over, the commit will tell.
        if repository.backend().put(&key, Bytes::from(bytes)).await.is_ok()
            && let Some(previous) = previous.replace(key)
        {
            let _ = repository.backend().delete(&previous).await;
        }
    }
    if let Some(key) = previous {
        let _ = repository.backend().delete(&key).await;
    }
}

/// Watches the holder of `lease` for its whole duration: true if there was no sign of life.
pub(crate) async fn observe(
    repository: &OpenRepository,
    layout: &Layout,
    heads: &Heads,
    head: &Head,
    lease: &Lease,
) -> Result<bool> {
    if heads.numbers().await?.last() != Some(&head.number) {
        return Ok(false);
    }
    is_silent(repository, layout, heads, Duration::from_secs(lease.duration_secs.into())).await
}

/// Watches a job folder for `duration`: true if there was no sign of life of a writer.
pub(crate) async fn is_silent(
    repository: &OpenRepository,
    layout: &Layout,
    heads: &Heads,
    duration: Duration,
) -> Result<bool> {
    let signs = || async {
        let renewals = repository.backend().list_all(&layout.lease_renewals()?).await;
        let renewals = renewals.while_doing(|| format!("watching the lease of job {}", layout.job()))?;
        Result::Ok((renewals, heads.numbers().await?))
    };
    let before = signs().await?;
    let end = Instant::now() + duration;
    while Instant::now() < end {
        sleep((duration / 10).min(Duration::from_secs(2))).await;
        if signs().await? != before {
            return Ok(false);
        }
    }
    Ok(true)
}
