//! Gives space back: releases what the committed head lists as retired, if no reader holds it.

use std::collections::BTreeMap;
use std::ops::Range;

use offsite_core::format::records::ReleaseList;
use offsite_core::format::{Kind, decode_record, encode_record};
use offsite_core::plan::Retired;
use offsite_core::{Digest, FolderId, ObjectId, RetiredObject, Retirement};
use offsite_repository::{ErrorKind, Repository, RepositoryExt};

use crate::claims::pin::lowest_pinned;
use crate::commit::rules::check_release;
use crate::commit::writer::Writer;
use crate::error::Context;
use crate::folder::layout::Layout;
use crate::report::Released;
use crate::seams::is_broken;
use crate::{Error, OpenRepository, Progress, Result};

/// The greatest length of a release list that is read, in bytes.
const RELEASE_LIST_BYTES_MAX: u64 = 65 << 20;
/// The number of holes that are punched between two looks at the head.
const RANGES_PER_CHECK: usize = 4096;

/// Writes the release list that `retired` needs. Returns what the next head lists.
pub(crate) async fn prepare(writer: &mut Writer, retired: &Retired) -> Result<Vec<Retirement>> {
    let since = writer.head().number + 1;
    let mut retirements: Vec<Retirement> = Vec::new();
    for id in retired.files.keys() {
        retirements.push(Retirement::new(since, RetiredObject::File(*id), retired.file_bytes(*id)));
    }
    for id in &retired.indexes {
        retirements.push(Retirement::new(since, RetiredObject::Index(*id), 0));
    }
    // If the repository can neither punch holes nor write into files, a range that nothing refers to is of no use.
    let backend = writer.repository().backend();
    if !retired.ranges.is_empty() && (retired.punches || backend.patch().is_some()) {
        let id = writer.mint();
        let pairs =
            |ranges: &Vec<Range<u64>>| ranges.iter().map(|range| (range.start, range.end - range.start)).collect();
        let list = ReleaseList {
            folder: writer.head().folder,
            files: retired.ranges.iter().map(|(file, ranges)| (file.stored(), pairs(ranges))).collect(),
        };
        let bytes = retired.range_bytes();
        let encoded = encode_record(Kind::ReleaseList, &list).map_err(|error| Error::defect(error.to_string()))?;
        let what = RetiredObject::Ranges { list: id, digest: Digest::of(&encoded) };
        writer.put(&writer.layout().release_list(id)?, encoded).await?;
        retirements.push(Retirement::new(since, what, bytes));
    }
    Ok(retirements)
}

/// Releases what the head lists and no reader holds, and commits that it is gone.
///
/// If it is cut off, it can be done again without harm.
pub(crate) async fn release(writer: &mut Writer) -> Result<Released> {
    let mut released = Released::default();
    if writer.head().retired.is_empty() {
        return Ok(released);
    }
    check_release(writer.head())?;
    // The intent is committed (release rule 1). The readers are counted only now, so each is seen here, or sees the intent.
    let pinned = lowest_pinned(writer.repository(), writer.layout()).await?;
    let held = |retirement: &Retirement| pinned.is_some_and(|pinned| pinned < retirement.since);
    let (holding, mut free): (Vec<_>, Vec<_>) = writer.head().retired.iter().copied().partition(held);
    // Objects come last. If the repository is full, deleting them makes space for the next commit, and punching does not.
    free.sort_by_key(|retirement| !matches!(retirement.what, RetiredObject::Ranges { .. }));
    released.held_bytes = holding.iter().map(|retirement| retirement.bytes).sum();
    if free.is_empty() {
        return Ok(released);
    }
    for retirement in &free {
        check_fence(writer).await?;
        match retirement.what {
            RetiredObject::File(id) => writer.delete(&writer.layout().backup_file(id)?).await?,
            RetiredObject::Index(id) => {
                writer.delete(&writer.layout().index(id)?).await?;
                writer.delete(&writer.layout().index_second_copy(id)?).await?;
            }
            RetiredObject::Ranges { list, digest } => {
                let punched = punch(writer, (list, digest)).await?;
                released.ranges += punched.ranges;
                released.linked_bytes += punched.linked_bytes;
                // Ranges that were known to be shared when they were listed are not in these bytes.
                released.bytes += retirement.bytes.min(punched.listed_bytes - punched.linked_bytes);
                continue;
            }
        }
        released.objects += 1;
        released.bytes += retirement.bytes;
    }
    writer.commit(|head| head.retired = holding).await?;
    for retirement in free {
        if let RetiredObject::Ranges { list, .. } = retirement.what {
            writer.delete(&writer.layout().release_list(list)?).await?;
        }
    }
    Ok(released)
}

/// Releases everything that no reader holds. Once in a run, it removes the pins of readers that are silent for too long.
pub(crate) async fn release_all(writer: &mut Writer, progress: &dyn Progress) -> Result<Released> {
    let mut sum = Released::default();
    loop {
        sum.add(release(writer).await?);
        if writer.head().retired.is_empty() || !writer.remove_silent_pins(progress).await? {
            return Ok(sum);
        }
    }
}

/// A known-bad variant: it releases what `retirements` list, before a commit says that nothing refers to it.
pub(crate) async fn release_too_early(writer: &Writer, retirements: &[Retirement]) -> Result<()> {
    for retirement in retirements {
        match retirement.what {
            RetiredObject::File(id) if is_broken!(ReleaseBeforeCommit) => {
                writer.delete(&writer.layout().backup_file(id)?).await?;
            }
            RetiredObject::Index(id) if is_broken!(ReleaseBeforeCommit) => {
                writer.delete(&writer.layout().index(id)?).await?;
            }
            RetiredObject::Ranges { list, digest } if is_broken!(PunchBeforeCommit) => {
                punch(writer, (list, digest)).await?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Returns the ranges of a release list by file. Returns none if the list is lost or damaged, or is another one than the head names by
/// its digest.
pub(crate) async fn load_list(
    repository: &OpenRepository,
    layout: &Layout,
    folder: FolderId,
    (list, digest): (ObjectId, Digest),
) -> Result<Option<BTreeMap<ObjectId, Vec<Range<u64>>>>> {
    let bytes = match repository.backend().get(&layout.release_list(list)?, RELEASE_LIST_BYTES_MAX).await {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => return Ok(None),
        answer => answer.while_doing(|| format!("reading what is to be released in {}", repository.location()))?,
    };
    let list = match decode_record::<ReleaseList>(Kind::ReleaseList, &bytes) {
        Ok(list) if list.folder == folder && Digest::of(&bytes) == digest => list,
        _ => return Ok(None),
    };
    let files = list.files.iter().map(|(id, ranges)| Some((ObjectId::from_stored(*id), ascending(ranges)?)));
    Ok(files.collect())
}

/// Returns ranges that are given by offset and length in bytes. `None` if they are empty, not in order, overlap, or end beyond all
/// numbers.
fn ascending(ranges: &[(u64, u64)]) -> Option<Vec<Range<u64>>> {
    let mut end = 0;
    let ranges = ranges.iter().map(|(offset, length)| {
        let is_after = *offset >= end && *length > 0;
        end = offset.checked_add(*length)?;
        is_after.then_some(*offset..end)
    });
    ranges.collect()
}

/// What was done with a release list.
#[derive(Debug, Default)]
struct Punched {
    /// The number of punched holes.
    ranges: u64,
    /// The bytes of all its ranges.
    listed_bytes: u64,
    /// The bytes of those ranges that lie in shared files.
    linked_bytes: u64,
}

/// Punches the ranges of a release list.
async fn punch(writer: &Writer, list: (ObjectId, Digest)) -> Result<Punched> {
    let mut punched = Punched::default();
    if writer.repository().backend_reclaim().is_none() {
        return Ok(punched);
    }
    // Release rule 7: a list that cannot be read releases nothing. The run does not fail because of it. The space comes back when
    // the files are deleted.
    let files = load_list(writer.repository(), writer.layout(), writer.head().folder, list).await?;
    for (id, ranges) in files.unwrap_or_default() {
        let bytes: u64 = ranges.iter().map(|range| range.end - range.start).sum();
        punched.listed_bytes += bytes;
        // A file that was retired completely since is released by itself.
        if !writer.head().files.contains_key(&id) {
            continue;
        }
        for batch in ranges.chunks(RANGES_PER_CHECK) {
            check_fence(writer).await?;
            let Some(reclaim) = writer.repository().backend_reclaim() else { return Ok(punched) };
            match reclaim.punch(&writer.layout().backup_file(id)?, batch).await {
                // The file is lost or cut off. Verification finds that, and the run goes on with what is intact.
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => break,
                // A hole in this file would be a hole in a copy by hard links as well.
                Err(error) if error.kind() == ErrorKind::Linked => {
                    punched.linked_bytes += bytes;
                    break;
                }
                answer => {
                    answer.while_doing(|| format!("giving space back in {}", writer.repository().location()))?;
                }
            }
            punched.ranges += batch.len() as u64;
        }
    }
    Ok(punched)
}

/// Release rule 3: only the writer of the newest head releases.
async fn check_fence(writer: &Writer) -> Result<()> {
    if is_broken!(FenceNotChecked) || writer.is_newest().await? {
        Ok(())
    } else {
        Err(Error::fenced(writer.layout().job()))
    }
}

#[cfg(test)]
mod tests {
    use super::ascending;

    #[test]
    fn ranges_that_are_none_are_told() {
        assert_eq!(ascending(&[(0, 5), (5, 1), (9, 1)]), Some(vec![0..5, 5..6, 9..10]));
        assert_eq!(ascending(&[]), Some(vec![]));
        for wrong in [&[(3, 0)][..], &[(0, 5), (4, 1)], &[(5, 1), (0, 1)], &[(u64::MAX, 1)], &[(2, u64::MAX)]] {
            assert_eq!(ascending(wrong), None, "{wrong:?}");
        }
    }
}
