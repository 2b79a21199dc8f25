//! Puts lost or damaged indexes back from their second copies, and second copies back from indexes. If both are lost, it makes them
//! again from the frames where the head proves the result.

use offsite_core::format::WireFormat;
use offsite_core::{Digest, FolderId};
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use offsite_core::Head;
use offsite_core::Index;
use offsite_core::format::{Envelope, Kind};
use offsite_core::{IndexReference, ObjectId, RestorePoint};
use offsite_repository::{ErrorKind, Key, Repository, RepositoryExt};

use super::reading::{self, Reading, Readings};
use super::salvage::{Frames, Neighbours};
use super::survey::Survey;
use crate::error::Context;
use crate::reader::indexes::Indexes;
use crate::report::IndexLoss;
use crate::{Progress, Result};

/// The objects that were put back.
#[derive(Debug, Default)]
pub(super) struct Mended {
    /// The objects that were made from their second copies, and the second copies that were made again.
    pub(super) restored: Vec<Key>,
    /// The indexes that were made from frames.
    pub(super) salvaged: Vec<Key>,
}

/// What is there of an index or its second copy.
enum Found {
    /// An index that every reader accepts.
    Good(Bytes, Index),
    /// The right index, but it contradicts itself or is damaged inside.
    Flawed(Reading),
    /// Nothing that is known to be the index.
    Nothing,
}

/// Reads every index that `head` refers to, and its second copy. Puts back what is lost or damaged, and names it in `mended`.
///
/// Returns what the indexes say. An index that can be put back neither from its copy nor from frames is in there with what can be
/// read of it.
pub(super) async fn mend(
    survey: &Survey,
    head: &Head,
    writes: bool,
    mended: &mut Mended,
    progress: &dyn Progress,
) -> Result<Readings> {
    let mut readings = Readings::default();
    let mut indexes = Indexes::new(&survey.repository, &survey.layout, head.folder);
    let mut sequences = BTreeMap::new();
    let mut gone = BTreeSet::new();
    for reference in head.chain.indexes() {
        match put_back_either(survey, reference, head.folder, writes, mended).await? {
            (Some(index), _) => {
                sequences.insert(reference.id, index.sequence);
                indexes.insert(reference.id, index.map.clone());
                readings.insert(*reference, Reading::of(index.map, index.base));
            }
            (None, flawed) => {
                gone.insert(reference.id);
                readings.insert(*reference, flawed);
            }
        }
    }
    if gone.is_empty() {
        return Ok(readings);
    }
    let frames = Frames::of(survey, head, progress).await?;
    for point in head.chain.all() {
        // Of an index that other indexes of its point lie on, the head does not say enough.
        if !point.indexes().filter(|index| gone.contains(&index.id)).eq([&point.index]) {
            continue;
        }
        let is_there = |other: &&RestorePoint| other.indexes().all(|index| !gone.contains(&index.id));
        let beside = Neighbours::of(&mut indexes, head, point, &sequences, is_there).await?;
        let Some((bytes, map)) = frames.salvage(head, point, &beside) else { continue };
        let own = survey.layout.index(point.index.id)?;
        if writes {
            put_new(survey, point.index.id, bytes).await?;
        }
        gone.remove(&point.index.id);
        sequences.insert(point.index.id, point.sequence);
        indexes.insert(point.index.id, map.clone());
        readings.insert(point.index, Reading::of(map, head.chain.base_of(point.sequence, point.kind)));
        mended.salvaged.push(own);
    }
    Ok(readings)
}

/// Puts back each of these indexes or its second copy, where the other of the two is there.
pub(super) async fn mend_copies(
    survey: &Survey,
    references: impl Iterator<Item = &IndexReference>,
    folder: FolderId,
    writes: bool,
    mended: &mut Mended,
) -> Result<()> {
    for reference in references {
        put_back_either(survey, reference, folder, writes, mended).await?;
    }
    Ok(())
}

/// Stores an index and its second copy in place of what is there. If it is cut off between the two, the next repair finds one of
/// them.
pub(super) async fn put_new(survey: &Survey, id: ObjectId, bytes: Bytes) -> Result<()> {
    put_back(survey, &survey.layout.index(id)?, bytes.clone()).await?;
    put_back(survey, &survey.layout.index_second_copy(id)?, bytes).await
}

/// Returns the index if it or its second copy is whole, and puts the other one back. Otherwise returns what can be read.
async fn put_back_either(
    survey: &Survey,
    reference: &IndexReference,
    folder: FolderId,
    writes: bool,
    mended: &mut Mended,
) -> Result<(Option<Index>, Reading)> {
    let (own, second_copy) = (survey.layout.index(reference.id)?, survey.layout.index_second_copy(reference.id)?);
    let found = (load(survey, &own, reference, folder).await?, load(survey, &second_copy, reference, folder).await?);
    let (key, bytes, index) = match found {
        (Found::Good(_, index), Found::Good(..)) => return Ok((Some(index), Reading::default())),
        (Found::Good(bytes, index), _) => (second_copy, bytes, index),
        (_, Found::Good(bytes, index)) => (own, bytes, index),
        (Found::Flawed(reading), _) | (_, Found::Flawed(reading)) => return Ok((None, reading)),
        (Found::Nothing, Found::Nothing) => {
            return Ok((None, Reading::nothing(IndexLoss::NotProven { index: own })));
        }
    };
    if writes {
        put_back(survey, &key, bytes).await?;
    }
    mended.restored.push(key);
    Ok((Some(index), Reading::default()))
}

/// Reads an index, and checks that it is the one that the head refers to.
async fn load(survey: &Survey, key: &Key, reference: &IndexReference, folder: FolderId) -> Result<Found> {
    let bytes = match survey.repository.backend().get(key, reference.length).await {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => return Ok(Found::Nothing),
        answer => answer.while_doing(|| format!("reading {key}"))?,
    };
    // The head knows the digest of what an index says of itself and of its pages. So nothing else is taken for the index.
    let envelope = Envelope::decode(Kind::Index, &bytes);
    let record = envelope.and_then(|envelope| envelope.record(&bytes));
    if record.map(Digest::of) != Ok(reference.digest) {
        return Ok(Found::Nothing);
    }
    let read = reading::read(&bytes, key);
    Ok(match (Index::decode(&bytes), read) {
        (Ok(index), _)
            if index.folder == folder && index.id == reference.id && bytes.len() as u64 == reference.length =>
        {
            Found::Good(bytes, index)
        }
        (Ok(_), _) => Found::Nothing,
        (Err(_), Err(why)) => Found::Flawed(Reading::nothing(why)),
        (Err(_), Ok((directory, reading))) if directory.folder == folder && directory.id == reference.id => {
            Found::Flawed(reading)
        }
        (Err(_), Ok(_)) => Found::Nothing,
    })
}

/// Stores the bytes, in place of the damaged object if there is one.
async fn put_back(survey: &Survey, key: &Key, bytes: Bytes) -> Result<()> {
    let backend = survey.repository.backend();
    let while_doing = || format!("putting {key} back");
    backend.delete(key).await.while_doing(while_doing)?;
    backend.put(key, bytes).await.while_doing(while_doing)
}
