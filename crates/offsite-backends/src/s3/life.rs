//! Signs of life of uploads, and the end of those without.
//!
//! The store forgets no upload by itself, and charges for its parts. So each upload has a record, a small hidden object that
//! names it, from its start to its end; a task of its writer writes the record anew four times within
//! [`abandoned_after`](super::S3Options::abandoned_after). A sweep ends the uploads whose record is older than that, and no
//! others: neither those of other programs nor those of writers at work. Both times, the record's and the present, are of
//! the store's clock. A writer that was suspended for longer finds its upload gone, and says so: nothing is torn by that.

use std::sync::Arc;

use object_store::{PutMode, PutPayload};
use offsite_repository::{ErrorKind, Result};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::Shared;
use super::bucket::HIDDEN;
use super::claim;

/// Signs of life within the time after which an upload counts as abandoned.
const SIGNS: u32 = 4;
/// No record is longer.
const RECORD_BYTES_MAX: u64 = 8 << 10;
/// What a page of hidden objects has at most.
const PAGE_KEYS: usize = 1_000;

/// The folder of the records.
const UPLOADS: &str = "uploads";
/// How the names of probes' folders begin.
pub(super) const PROBE: &str = "probe-";

/// Gives signs of life until it is dropped.
#[derive(Debug)]
pub(super) struct Life {
    record: String,
    task: JoinHandle<()>,
}

impl Life {
    /// For the upload `id` of `name`, named by the word of its writer.
    pub(super) fn begin(shared: &Arc<Shared>, name: &str, id: &str, writer: &str) -> Self {
        let record = format!("{HIDDEN}/{UPLOADS}/{writer}");
        let (shared, place) = (Arc::clone(shared), record.clone());
        let content = format!("{id}\n{name}\n");
        let task = tokio::spawn(async move {
            loop {
                // Without a record the upload is not swept; the next sign may come through.
                let _ = shared.bucket.put(&place, PutPayload::from(content.clone()), &[], PutMode::Overwrite).await;
                sleep(shared.bucket.options.abandoned_after / SIGNS).await;
            }
        });
        Self { record, task }
    }

    /// The record's name.
    pub(super) fn record(&self) -> &str {
        &self.record
    }

    /// The upload has ended: removes the record.
    pub(super) async fn end(mut self, shared: &Shared) {
        self.task.abort();
        // Lest it write the record once more.
        let _ = (&mut self.task).await;
        // A record that stays is removed by a sweep.
        let _ = shared.remove(&self.record).await;
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The upload id and the name in a record or a claim.
pub(super) fn parse_record(bytes: &[u8]) -> Option<(String, String)> {
    let mut lines = std::str::from_utf8(bytes).ok()?.lines();
    Some((lines.next()?.to_owned(), lines.next()?.to_owned()))
}

/// Ends what writers that are gone have left.
pub(super) async fn sweep(shared: &Shared) -> Result<()> {
    for (name, id, record) in shared.take_dropped() {
        shared.bucket.abort_upload(&name, &id).await?;
        shared.remove(&record).await?;
    }
    // Mostly there is nothing, and that costs one request.
    if hidden(shared).await?.is_empty() {
        return Ok(());
    }
    // The store's time from before the listing: what is younger than it looks was written meanwhile.
    let Some(now) = shared.bucket.date().await? else { return Ok(()) };
    let limit = i64::try_from(shared.bucket.options.abandoned_after.as_secs()).unwrap_or(i64::MAX);
    for (name, modified) in hidden(shared).await? {
        if now.saturating_sub(modified) <= limit {
            continue;
        }
        let folder = name.split('/').nth(1).unwrap_or_default();
        if folder == UPLOADS {
            let record = match shared.bucket.read(&name, None, RECORD_BYTES_MAX).await {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                answer => answer?,
            };
            // Damaged ones name nothing that could be ended.
            if let Some((id, object)) = parse_record(&record.bytes) {
                shared.bucket.abort_upload(&object, &id).await?;
            }
            shared.remove(&name).await?;
        } else if folder == claim::CLAIMS {
            claim::sweep(shared, &name).await?;
        } else if folder.starts_with(PROBE) {
            match shared.remove(&name).await {
                // A bucket may lock what is written to it for a time.
                Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
                answer => answer?,
            }
        }
    }
    Ok(())
}

/// All hidden objects, with the time when they were written.
async fn hidden(shared: &Shared) -> Result<Vec<(String, i64)>> {
    let (root, prefix) = (shared.bucket.full_name(""), shared.bucket.full_name(&format!("{HIDDEN}/")));
    let mut found: Vec<(String, i64)> = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let (objects, more) = shared.bucket.list(&prefix, after.clone(), PAGE_KEYS).await?;
        let last = objects.last().map(|object| object.location.to_string());
        found.extend(objects.into_iter().filter_map(|object| {
            let name = object.location.as_ref().strip_prefix(&root)?.to_owned();
            Some((name, object.last_modified.timestamp()))
        }));
        if !more || last.is_none() || last == after {
            return Ok(found);
        }
        after = last;
    }
}
