//! Giving space back: what the committed head lists as retired, and no reader holds.

use std::collections::BTreeMap;
use std::ops::Range;

use offsite_core::format::records::ReleaseList;
use offsite_core::format::{Kind, decode_record, encode_record};
use offsite_core::plan::Retired;
use offsite_core::{FolderId, ObjectId, RetiredObject, Retirement};
use offsite_repository::{ErrorKind, Repository, RepositoryExt};

use crate::claims::pin::lowest_pinned;
use crate::commit::rules::check_release;
use crate::commit::writer::Writer;
use crate::error::Context;
use crate::folder::layout::Layout;
use crate::report::Released;
use crate::seams::is_broken;
use crate::{Error, OpenRepository, Progress, Result};

/// The longest release list that is read.
const RELEASE_LIST_BYTES_MAX: u64 = 65 << 20;
/// Holes punched between two looks at the head.
const RANGES_PER_CHECK: usize = 4096;

/// Writes the release list that `retired` needs, and returns what the next head is to list.
pub(crate) async fn prepare(writer: &mut Writer, retired: &Retired) -> Result<Vec<Retirement>> {
    let since = writer.head().number + 1;
    let mut retirements: Vec<Retirement> = Vec::new();
    for id in retired.files.keys() {
        retirements.push(Retirement::new(since, RetiredObject::File(*id), retired.file_bytes(*id)));
    }
    for id in &retired.indexes {
        retirements.push(Retirement::new(since, RetiredObject::Index(*id), 0));
    }
    // Where nothing punches and nothing is written into, a range that nobody refers to is of no use to anyone.
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
        writer.put(&writer.layout().release_list(id)?, encoded).await?;
        retirements.push(Retirement::new(since, RetiredObject::Ranges(id), bytes));
    }
    Ok(retirements)
}

/// Releases what the head lists and no reader holds, and commits that it is gone.
///
/// May be cut off anywhere: what was done is done again without harm.
pub(crate) async fn release(writer: &mut Writer) -> Result<Released> {
    let mut released = Released::default();
    if writer.head().retired.is_empty() {
        return Ok(released);
    }
    check_release(writer.head())?;
    // The intent is committed (release rule 1); only now are the readers counted, so each either is seen here or sees the intent.
    let pinned = lowest_pinned(writer.repository(), writer.layout()).await?;
    let held = |retirement: &Retirement| pinned.is_some_and(|pinned| pinned < retirement.since);
    let (holding, mut free): (Vec<_>, Vec<_>) = writer.head().retired.iter().copied().partition(held);
    // Objects last: where there is not a byte for the next commit, deleting them makes room for it, and punching cannot.
    free.sort_by_key(|retirement| !matches!(retirement.what, RetiredObject::Ranges(_)));
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
            RetiredObject::Ranges(id) => {
                let punched = punch(writer, id).await?;
                released.ranges += punched.ranges;
                released.linked_bytes += punched.linked_bytes;
                // What was known to be shared when this was listed is not among its bytes.
                released.bytes += retirement.bytes.min(punched.listed_bytes - punched.linked_bytes);
                continue;
            }
        }
        released.objects += 1;
        released.bytes += retirement.bytes;
    }
    writer.commit(|head| head.retired = holding).await?;
    for retirement in free {
        if let RetiredObject::Ranges(id) = retirement.what {
            writer.delete(&writer.layout().release_list(id)?).await?;
        }
    }
    Ok(released)
}

/// Releases all that no reader holds. The pins of readers that are silent for too long are removed once in a run.
pub(crate) async fn release_all(writer: &mut Writer, progress: &dyn Progress) -> Result<Released> {
    let mut sum = Released::default();
    loop {
        sum.add(release(writer).await?);
        if writer.head().retired.is_empty() || !writer.remove_silent_pins(progress).await? {
            return Ok(sum);
        }
    }
}

/// Known-bad variants: what `retirements` list goes before it is committed that nothing refers to it.
pub(crate) async fn release_too_early(writer: &Writer, retirements: &[Retirement]) -> Result<()> {
    for retirement in retirements {
        match retirement.what {
            RetiredObject::File(id) if is_broken!(ReleaseBeforeCommit) => {
                writer.delete(&writer.layout().backup_file(id)?).await?;
            }
            RetiredObject::Index(id) if is_broken!(ReleaseBeforeCommit) => {
                writer.delete(&writer.layout().index(id)?).await?;
            }
            RetiredObject::Ranges(id) if is_broken!(PunchBeforeCommit) => {
                punch(writer, id).await?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// The ranges of a release list by file; none, if the list is lost, damaged or another folder's.
pub(crate) async fn load_list(
    repository: &OpenRepository,
    layout: &Layout,
    folder: FolderId,
    list: ObjectId,
) -> Result<Option<BTreeMap<ObjectId, Vec<Range<u64>>>>> {
    let bytes = match repository.backend().get(&layout.release_list(list)?, RELEASE_LIST_BYTES_MAX).await {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => return Ok(None),
        answer => answer.while_doing(|| format!("reading what is to be released in {}", repository.location()))?,
    };
    let list = match decode_record::<ReleaseList>(Kind::ReleaseList, &bytes) {
        Ok(list) if list.folder == folder => list,
        _ => return Ok(None),
    };
    let files = list.files.iter().map(|(id, ranges)| Some((ObjectId::from_stored(*id), ascending(ranges)?)));
    Ok(files.collect())
}

/// Ranges given by offset and length; none, if they are empty, out of order, overlap or end nowhere.
fn ascending(ranges: &[(u64, u64)]) -> Option<Vec<Range<u64>>> {
    let mut end = 0;
    let ranges = ranges.iter().map(|(offset, length)| {
        let is_after = *offset >= end && *length > 0;
        end = offset.checked_add(*length)?;
        is_after.then_some(*offset..end)
    });
    ranges.collect()
}

/// What came of a release list.
#[derive(Debug, Default)]
struct Punched {
    /// Holes punched.
    ranges: u64,
    /// The bytes of all its ranges.
    listed_bytes: u64,
    /// Those of them that lie in files that others share.
    linked_bytes: u64,
}

/// Punches the ranges of a release list.
async fn punch(writer: &Writer, list: ObjectId) -> Result<Punched> {
    let mut punched = Punched::default();
    if writer.repository().backend_reclaim().is_none() {
        return Ok(punched);
    }
    // Release rule 7: nothing is released on the word of a list that cannot be read, and no run fails for it; the space comes back when the
    // files go.
    let files = load_list(writer.repository(), writer.layout(), writer.head().folder, list).await?;
    for (id, ranges) in files.unwrap_or_default() {
        let bytes: u64 = ranges.iter().map(|range| range.end - range.start).sum();
        punched.listed_bytes += bytes;
        // A file that was retired as a whole since is on its way out by itself.
        if !writer.head().files.contains_key(&id) {
            continue;
        }
        for batch in ranges.chunks(RANGES_PER_CHECK) {
            check_fence(writer).await?;
            let Some(reclaim) = writer.repository().backend_reclaim() else { return Ok(punched) };
            match reclaim.punch(&writer.layout().backup_file(id)?, batch).await {
                // The file is lost or cut off; verifying tells, and what is intact goes on.
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => break,
                // A hole would be one in a copy by hard links, too.
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
