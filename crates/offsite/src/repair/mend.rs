//! Indexes that are lost or damaged, put back from their second copies, and second copies from indexes.

use bytes::Bytes;
use offsite_core::format::head::Head;
use offsite_core::format::index::Index;
use offsite_core::format::{Envelope, Kind};
use offsite_core::{IndexReference, RestorePoint};
use offsite_repository::{ErrorKind, Key, Repository, RepositoryExt};

use super::Lost;
use super::survey::Survey;
use crate::Result;
use crate::error::Context;
use crate::indexes::Indexes;

/// Looks at every index that `head` refers to and at its second copy; what of the two is lost or damaged is put back, and named in
/// `restored`. Returns the points that need an index of which neither is left.
pub(super) async fn mend(
    survey: &Survey,
    indexes: &mut Indexes,
    head: &Head,
    writes: bool,
    restored: &mut Vec<String>,
) -> Result<Lost> {
    let mut lost = Lost::new();
    for reference in head.chain.indexes() {
        let (own, twin) = (survey.layout.index(reference.id)?, survey.layout.twin(reference.id)?);
        let found = (load(survey, &own, reference, head).await?, load(survey, &twin, reference, head).await?);
        let (key, (bytes, index)) = match found {
            (Some((_, index)), Some(_)) => {
                indexes.insert(reference.id, index.map);
                continue;
            }
            (Some(good), None) => (twin, good),
            (None, Some(good)) => (own, good),
            (None, None) => {
                let needs = |point: &&RestorePoint| point.indexes().any(|index| index.id == reference.id);
                for point in head.chain.all().filter(needs) {
                    lost.insert(point.sequence, format!("its index {own} is lost, and so is the second copy"));
                }
                continue;
            }
        };
        indexes.insert(reference.id, index.map);
        if writes {
            put_back(survey, &key, bytes).await?;
        }
        restored.push(key.to_string());
    }
    Ok(lost)
}

/// An index, if it is there and the one that is meant.
async fn load(survey: &Survey, key: &Key, reference: &IndexReference, head: &Head) -> Result<Option<(Bytes, Index)>> {
    let bytes = match survey.repository.backend().get(key, reference.length).await {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => return Ok(None),
        answer => answer.while_doing(|| format!("reading {key}"))?,
    };
    let is_meant = |index: &Index| {
        let checksum = Envelope::decode(Kind::Index, &bytes).map(|envelope| envelope.record_checksum);
        index.folder == head.folder
            && index.id == reference.id
            && bytes.len() as u64 == reference.length
            && checksum == Ok(reference.directory_checksum)
    };
    Ok(Index::decode(&bytes).ok().filter(is_meant).map(|index| (bytes, index)))
}

/// Replaces what is damaged, if anything is there.
async fn put_back(survey: &Survey, key: &Key, bytes: Bytes) -> Result<()> {
    let backend = survey.repository.backend();
    let while_doing = || format!("putting {key} back");
    backend.delete(key).await.while_doing(while_doing)?;
    backend.put(key, bytes).await.while_doing(while_doing)
}
