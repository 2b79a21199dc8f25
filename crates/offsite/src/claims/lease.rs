//! Who holds a job folder: signs of life of its writer, and watching for another's.
//!
//! A lease is stale only if no sign of life appeared for a whole lease duration on the observer's own monotonic clock. Clocks of
//! different hosts are never compared. And whoever judges wrongly loses nothing: the commit decides who writes.

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

/// Signs of life within one lease duration.
const RENEWALS_PER_DURATION: u32 = 3;

/// Those of the writer of `head`, until they are stopped.
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

/// A known-bad variant: what the clocks of two hosts say of a lease.
pub(crate) fn is_over_by_wall_clock(head: &Head, now: Timestamp) -> bool {
    let duration = head.lease.as_ref().map_or(0, |lease| lease.duration_secs);
    now.unix_secs() > head.clock.unix_secs() + i64::from(duration)
}

/// Returns if the lease in `head` is free: the epoch up to which files are sealed from then on.
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

/// The epoch up to which files will be sealed for a writer that takes over from `head` now, as far as that can be told without waiting: a
/// holder that cannot be asked is taken for silent.
pub(crate) fn sealed_when_taken(head: &Head) -> u32 {
    let is_unknown = head.lease.as_ref().is_some_and(|lease| life_of(&lease.holder) == Life::Unknown);
    if is_unknown { head.epoch } else { head.sealed_epoch }
}

/// Whether somebody holds a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Its holder lives.
    Held,
    /// It was given back, or its holder is dead by the kernel's word.
    Free,
    /// No sign of life was seen for its duration. Its holder may yet wake up.
    Silent,
}

/// Whether the lease in `head` is held. Of a holder that cannot be asked, signs of life are waited for.
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

/// The error for a run that came second.
pub(crate) async fn busy(repository: &OpenRepository, layout: &Layout, heads: &Heads) -> Result<Error> {
    let newest = heads.newest().await?;
    Ok(busy_with(repository, layout, newest.and_then(|newest| newest.head.lease).as_ref()))
}

pub(crate) fn busy_with(repository: &OpenRepository, layout: &Layout, lease: Option<&Lease>) -> Error {
    let holder = lease.map_or_else(|| "it has just ended".to_owned(), |lease| describe(&lease.holder));
    Error::Busy { job: layout.job().clone(), location: repository.location(), holder, at: ErrorPlace::default() }
}

/// Watches the holder of `lease` for its whole duration: true if there was no sign of life.
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
        sleep((duration / 10).min(Duration::from_secs(2)).max(duration / 360)).await;
        if signs().await? != before {
            return Ok(false);
        }
    }
    Ok(true)
}
