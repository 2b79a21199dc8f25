//! Indexes that are lost or damaged, put back from their second copies, and second copies from indexes; both from the frames, where
//! these prove them.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use offsite_core::format::head::Head;
use offsite_core::format::index::Index;
use offsite_core::format::{Envelope, Kind};
use offsite_core::{IndexReference, RestorePoint};
use offsite_repository::{ErrorKind, Key, Repository, RepositoryExt};

use super::Lost;
use super::salvage::{Frames, Neighbours};
use super::survey::Survey;
use crate::error::Context;
use crate::indexes::Indexes;
use crate::{Progress, Result};

/// What was put back.
#[derive(Debug, Default)]
pub(super) struct Mended {
    /// The objects that were made from their second copies, or the other way round.
    pub(super) restored: Vec<String>,
    /// The indexes that were made from frames.
    pub(super) salvaged: Vec<String>,
}

/// Looks at every index that `head` refers to and at its second copy; what of the two is lost or damaged is put back, and named in
/// `mended`. Returns the points that need an index of which neither is left, and which the frames do not prove.
pub(super) async fn mend(
    survey: &Survey,
    indexes: &mut Indexes,
    head: &Head,
    writes: bool,
    mended: &mut Mended,
    progress: &dyn Progress,
) -> Result<Lost> {
    let mut sequences = BTreeMap::new();
    let mut gone = BTreeSet::new();
    for reference in head.chain.indexes() {
        let (own, twin) = (survey.layout.index(reference.id)?, survey.layout.twin(reference.id)?);
        let found = (load(survey, &own, reference, head).await?, load(survey, &twin, reference, head).await?);
        let (key, (bytes, index)) = match found {
            (Some((_, index)), Some(_)) => {
                sequences.insert(reference.id, index.sequence);
                indexes.insert(reference.id, index.map);
                continue;
            }
            (Some(good), None) => (twin, good),
            (None, Some(good)) => (own, good),
            (None, None) => {
                gone.insert(reference.id);
                continue;
            }
        };
        sequences.insert(reference.id, index.sequence);
        indexes.insert(reference.id, index.map);
        if writes {
            put_back(survey, &key, bytes).await?;
        }
        mended.restored.push(key.to_string());
    }
    if !gone.is_empty() {
        let frames = Frames::of(survey, head, progress).await?;
        for point in head.chain.all() {
            // Of an index that points merely stand on, the head does not say enough.
            if !point.indexes().filter(|index| gone.contains(&index.id)).eq([&point.index]) {
                continue;
            }
            let is_there = |other: &&RestorePoint| other.indexes().all(|index| !gone.contains(&index.id));
            let beside = Neighbours::of(indexes, head, point, &sequences, is_there).await?;
            let Some((bytes, map)) = frames.salvage(head, point, &beside) else { continue };
            let (own, twin) = (survey.layout.index(point.index.id)?, survey.layout.twin(point.index.id)?);
            if writes {
                // Cut off between the two, the next repair finds one of them.
                put_back(survey, &own, bytes.clone()).await?;
                put_back(survey, &twin, bytes).await?;
            }
            gone.remove(&point.index.id);
            sequences.insert(point.index.id, point.sequence);
            indexes.insert(point.index.id, map);
            mended.salvaged.push(own.to_string());
        }
    }
    let mut lost = Lost::new();
    for point in head.chain.all() {
        if let Some(index) = point.indexes().find(|index| gone.contains(&index.id)) {
            let own = survey.layout.index(index.id)?;
            let why = format!("its index {own} is lost, and so is the second copy; the frames alone do not prove it");
            lost.insert(point.sequence, why);
        }
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
