//! The end of what writers that are gone have left.

use offsite_repository::{ErrorKind, Result};

use super::bucket::HIDDEN;
use super::claim;
use super::record::{CLAIMS, PROBE, RECORD_BYTES_MAX, UPLOADS, parse_record};
use super::shared::Shared;

/// What a page of hidden objects has at most.
const PAGE_KEYS: usize = 1_000;

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
        } else if folder == CLAIMS {
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
