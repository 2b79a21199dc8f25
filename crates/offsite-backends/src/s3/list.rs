//! Listing objects.

use offsite_repository::{Error, ErrorKind, Key, ListPage, ObjectInfo, Prefix, Result};

use super::shared::Shared;

/// S3 lists no more at once.
const PAGE_KEYS_MAX: usize = 1_000;
/// A page is asked to have so many at least: some of them may be hidden.
const PAGE_KEYS_MIN: usize = 8;

pub(super) async fn page(shared: &Shared, prefix: &Prefix, after: Option<&Key>, limit: usize) -> Result<ListPage> {
    let root = shared.bucket.full_name("");
    let folder = match prefix.as_str() {
        "" => root.clone(),
        folder => shared.bucket.full_name(&format!("{folder}/")),
    };
    let limit = limit.clamp(1, PAGE_KEYS_MAX);
    let mut after = after.map(|key| shared.bucket.full_name(key.as_str()));
    loop {
        let (found, more) = shared.bucket.list(&folder, after.clone(), limit.max(PAGE_KEYS_MIN)).await?;
        if !found.is_sorted_by(|left, right| left.location.as_ref() < right.location.as_ref()) {
            let detail = "the store lists objects in no order; buckets of this kind cannot be used";
            return Err(Error::new(ErrorKind::Unsupported, "list")
                .with_location(shared.bucket.location())
                .with_detail(detail));
        }
        let last = found.last().map(|object| object.location.to_string());
        let mut objects: Vec<ObjectInfo> = found
            .into_iter()
            .filter_map(|object| {
                // What has no name of the repository's is hidden, or another program's.
                let key = Key::new(object.location.as_ref().strip_prefix(&root)?).ok()?;
                prefix.contains(&key).then_some(ObjectInfo::new(key, object.size))
            })
            .collect();
        let cut = objects.len() > limit;
        objects.truncate(limit);
        let progress = last.is_some() && last != after;
        if !objects.is_empty() || !more || !progress {
            let more = !objects.is_empty() && (cut || more);
            return Ok(ListPage::new(objects, more));
        }
        after = last;
    }
}
