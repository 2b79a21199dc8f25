//! The lease of a job folder: its writer's signs of life, and how another writer watches them.
//!
//! A lease is stale only if no sign of life appeared for a complete lease duration on the watcher's own monotonic clock. Clocks of
//! different hosts are never compared. A wrong judgement loses nothing, as the commit decides who writes.

use offsite_core::FolderId;
use std::time::Duration;

use bytes::Bytes;
use offsite_core::Timestamp;
use offsite_core::format::records::LeaseRenewal;
use offsite_core::format::{Kind, encode_record};
use offsite_core::{Head, Lease};
use offsite_repository::{Repository, RepositoryExt};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use crate::claims::holder::{Life, describe, life_of};
use crate::claims::signs::Signs;
use crate::error::Context;
use crate::folder::heads::Heads;
use crate::folder::layout::Layout;
use crate::progress::Wait;
use crate::seams::is_broken;
use crate::{Error, ErrorPlace, OpenRepository, Progress, Result};

/// The number of signs of life in one lease duration.
const RENEWALS_PER_DURATION: u32 = 3;

/// Starts the signs of life of the writer of `head`. They go on until they are stopped.
pub(crate) fn signs_of_life(repository: OpenRepository, layout: Layout, head: &Head, duration: Duration) -> Signs {
    let (folder, epoch) = (head.folder, head.epoch);
    Signs::start(|stopped| renew(repository, layout, folder, epoch, duration / RENEWALS_PER_DURATION, stopped))
}

async fn renew(
    repository: OpenRepository,
    layout: Layout,
    folder: FolderId,
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
        // A run does not fail because of a failed sign. If another writer takes over, the commit fails.
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

/// A known-bad variant: it compares the clocks of two hosts to judge a lease.
pub(crate) fn is_over_by_wall_clock(head: &Head, now: Timestamp) -> bool {
    let duration = head.lease.as_ref().map_or(0, |lease| lease.duration_secs);
    now.unix_secs() > head.clock.unix_secs() + i64::from(duration)
}

/// Waits until the lease in `head` is free. Returns the epoch up to which files are sealed from then on. Fails if the lease is
/// held.
pub(crate) async fn wait_for_lease(
    repository: &OpenRepository,
    layout: &Layout,
    heads: &Heads,
    head: &Head,
    progress: &dyn Progress,
) -> Result<u32> {
    match is_held(repository, layout, heads, head, progress).await? {
        Hold::Held => Err(busy_with(repository, layout, head.lease.as_ref())),
        Hold::Free => Ok(head.sealed_epoch),
        Hold::Silent if is_broken!(FilesNotSealed) => Ok(head.sealed_epoch),
        Hold::Silent => Ok(head.epoch),
    }
}

/// Returns the epoch up to which files will be sealed for a writer that takes over from `head` now. It does not wait: a holder that
/// cannot be asked counts as silent.
pub(crate) fn sealed_when_taken(head: &Head) -> u32 {
    let is_unknown = head.lease.as_ref().is_some_and(|lease| life_of(&lease.holder) == Life::Unknown);
    if is_unknown { head.epoch } else { head.sealed_epoch }
}

/// Whether somebody holds a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Its holder lives.
    Held,
    /// It was given back, or the kernel says that its holder is dead.
    Free,
    /// No sign of life was seen for its duration. Its holder may still wake up.
    Silent,
}

/// Returns whether the lease in `head` is held. If the holder cannot be asked, it waits for signs of life.
pub(crate) async fn is_held(
    repository: &OpenRepository,
    layout: &Layout,
    heads: &Heads,
    head: &Head,
    progress: &dyn Progress,
) -> Result<Hold> {
    let Some(lease) = &head.lease else { return Ok(Hold::Free) };
    match life_of(&lease.holder) {
        Life::Dead => Ok(Hold::Free),
        Life::Alive => Ok(Hold::Held),
        Life::Unknown => {
            progress.wait(&Wait::Lease { job: layout.job(), holder: &lease.holder, at_most: lease.silence() });
            let is_silent = observe(repository, layout, heads, head, lease).await?;
            Ok(if is_silent { Hold::Silent } else { Hold::Held })
        }
    }
}

/// Returns the error for a run that came second.
pub(crate) async fn busy(repository: &OpenRepository, layout: &Layout, heads: &Heads) -> Result<Error> {
    let newest = heads.newest().await?;
    Ok(busy_with(repository, layout, newest.and_then(|newest| newest.head.lease).as_ref()))
}

pub(crate) fn busy_with(repository: &OpenRepository, layout: &Layout, lease: Option<&Lease>) -> Error {
    let holder = lease.map_or_else(|| "it has just ended".to_owned(), |lease| describe(&lease.holder));
    Error::Busy { job: layout.job().clone(), location: repository.location(), holder, at: ErrorPlace::default() }
}

/// Watches the holder of `lease` for the complete duration. Returns `true` if there was no sign of life.
async fn observe(
    repository: &OpenRepository,
    layout: &Layout,
    heads: &Heads,
    head: &Head,
    lease: &Lease,
) -> Result<bool> {
    if heads.numbers().await?.last().is_none_or(|newest| *newest > head.number) {
        return Ok(false);
    }
    is_silent(repository, layout, heads, lease.silence()).await
}

/// Watches a job folder for `duration`. Returns `true` if no writer gave a sign of life.
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
        sleep((duration / 10).min(Duration::from_secs(2)).max(duration / 360)).await;
        if signs().await? != before {
            return Ok(false);
        }
    }
    Ok(true)
}
