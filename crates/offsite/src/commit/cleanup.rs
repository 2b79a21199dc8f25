//! Removes objects of a job folder that nobody needs, and makes space for a writer in a full repository.

use std::collections::{BTreeMap, BTreeSet};

use offsite_core::{Head, ObjectId, RetiredObject};
use offsite_repository::{Key, Repository};

use crate::claims::pin::lowest_pinned;
use crate::commit::rules::check_release;
use crate::error::Context;
use crate::folder::heads::Heads;
use crate::folder::layout::{Layout, head_second_copy_number, index_second_copy_id};
use crate::seams::is_broken;
use crate::{OpenRepository, Result};

/// Removes the objects that writers of epochs up to `epoch` have left, and that `head`, the newest, does not refer to.
///
/// No later head can refer to them either: their writers can no longer commit, and no id is used twice (release rules 5 and 6). So
/// the listing only proposes, and the head decides.
pub(crate) async fn remove_orphans(
    repository: &OpenRepository,
    layout: &Layout,
    head: &Head,
    epoch: u32,
) -> Result<()> {
    if is_broken!(OrphansKept) {
        return Ok(());
    }
    let mut known: BTreeSet<ObjectId> = head.files.keys().copied().collect();
    known.extend(head.chain.indexes().map(|index| index.id));
    known.extend(head.retired.iter().map(|retirement| match retirement.what {
        RetiredObject::File(id) | RetiredObject::Index(id) | RetiredObject::Ranges { list: id, .. } => id,
    }));
    let blocks = repository.list(&layout.backup_files()?).await?;
    // These are removed first, so that no copy of a head refers to objects that are gone. The newest stays.
    let copies = || blocks.keys().filter_map(|key| head_second_copy_number(key).map(|(writer, _)| (key, writer)));
    let newest = copies().map(|(_, writer)| writer).max();
    for (key, writer) in copies() {
        if writer <= epoch && Some(writer) < newest {
            delete(repository, key).await?;
        }
    }
    let is_orphan = |id: &ObjectId| id.epoch() <= epoch && !known.contains(id);
    let others = [repository.list(&layout.indexes()?).await?, repository.list(&layout.release_lists()?).await?];
    for key in blocks.keys().chain(others.iter().flat_map(BTreeMap::keys)) {
        if ObjectId::parse(key.name()).or_else(|| index_second_copy_id(key)).as_ref().is_some_and(is_orphan) {
            delete(repository, key).await?;
        }
    }
    // These are heads that the commit of the lease left behind its boundary, that a cut-off run did not remove, or that a writer
    // created after it was taken over.
    for number in Heads::new(repository.clone(), layout.clone()).numbers().await? {
        if number <= head.boundary {
            delete(repository, &layout.head(number)?).await?;
        }
    }
    for key in repository.list(&layout.lease_renewals()?).await?.into_keys() {
        if key.name() < layout.lease_renewal(head.epoch, 0)?.name() {
            delete(repository, &key).await?;
        }
    }
    // Counting the readers removes the pins of dead ones.
    lowest_pinned(repository, layout).await.map(drop)
}

/// Makes space in a full repository for the commit of a writer that found `head` the newest, and its lease free.
///
/// Any process that reads that head may delete what it lists and no reader holds, as no id is used twice. It punches no holes.
/// Until this writer has committed, another writer may write into free ranges.
pub(crate) async fn make_room(repository: &OpenRepository, layout: &Layout, head: &Head) -> Result<()> {
    // A writer that gave its lease back has had all its answers. A writer that was cut off may have a commit on its way.
    let ended = if head.lease.is_none() { head.epoch } else { head.epoch.saturating_sub(1) };
    remove_orphans(repository, layout, head, ended).await?;
    check_release(head)?;
    let pinned = lowest_pinned(repository, layout).await?;
    for retirement in &head.retired {
        if pinned.is_some_and(|pinned| pinned < retirement.since) {
            continue;
        }
        match retirement.what {
            RetiredObject::File(id) => delete(repository, &layout.backup_file(id)?).await?,
            RetiredObject::Index(id) => {
                delete(repository, &layout.index_second_copy(id)?).await?;
                delete(repository, &layout.index(id)?).await?;
            }
            RetiredObject::Ranges { .. } => {}
        }
    }
    Ok(())
}

async fn delete(repository: &OpenRepository, key: &Key) -> Result<()> {
    let deleted = repository.backend().delete(key).await;
    deleted.while_doing(|| format!("cleaning up {}", repository.location()))
}
