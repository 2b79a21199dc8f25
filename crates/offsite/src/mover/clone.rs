//! Lets the repository make backup files from parts of others.

use std::collections::BTreeMap;
use std::ops::Range;

use offsite_core::ObjectId;
use offsite_core::plan::Move;
use offsite_repository::{Key, Piece, Repository, RepositoryExt};

use super::FrameSource;
use super::output::OutputHeader;
use crate::error::Context;
use crate::{Error, Result};

/// Makes the new files of a plan from the padded ranges of their frames, so that no block passes through this process. Nothing is
/// checked on the way. The frames stay as they are.
///
/// The first piece of a file is its own header. It is stored under a key of `scratch`, one for each new file, and deleted again. If
/// a run is cut off, the next writer deletes it.
pub(crate) async fn clone_frames(
    moves: &[Move],
    frames: &FrameSource,
    header: &OutputHeader,
    scratch: &[Key],
) -> Result<()> {
    let alignment = u64::from(header.alignment_bytes);
    let mut files: BTreeMap<ObjectId, Vec<&Move>> = BTreeMap::new();
    for step in moves {
        files.entry(step.to.file).or_default().push(step);
    }
    if files.len() > scratch.len() {
        return Err(Error::defect(format!("{} keys for {} files", scratch.len(), files.len())));
    }
    for ((file, steps), scratch) in files.into_iter().zip(scratch) {
        let region = header.region(file)?;
        let mut pieces = vec![Piece::new(scratch.clone(), 0..region.len() as u64)];
        let mut end = region.len() as u64;
        for step in steps {
            let start = step.from.offset;
            let range = start..(start + u64::from(step.from.length)).next_multiple_of(alignment);
            if step.to.offset != end {
                return Err(Error::defect(format!("a frame planned at {} would lie at {end}", step.to.offset)));
            }
            end += range.end - range.start;
            add(&mut pieces, frames.layout.backup_file(step.from.file)?, range);
        }
        let while_doing = || format!("cloning into a backup file in {}", frames.repository.location());
        let backend = frames.repository.backend();
        let Some(clone_range) = backend.clone_range() else {
            return Err(Error::defect("a clone where nothing can be cloned".to_owned()));
        };
        backend.put(scratch, region).await.while_doing(while_doing)?;
        let created = clone_range.create_from(&frames.layout.backup_file(file)?, &pieces).await;
        let deleted = backend.delete(scratch).await;
        created.while_doing(while_doing)?;
        deleted.while_doing(while_doing)?;
    }
    Ok(())
}

/// Neighbours in the same object become one piece.
fn add(pieces: &mut Vec<Piece>, key: Key, range: Range<u64>) {
    match pieces.last_mut() {
        Some(last) if last.key == key && last.range.end == range.start => last.range.end = range.end,
        _ => pieces.push(Piece::new(key, range)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_in_one_object_are_one_piece() {
        let key = |name: &str| Key::new(name).unwrap();
        let mut pieces = Vec::new();
        for (name, range) in [("a", 0..4), ("a", 4..9), ("a", 10..12), ("b", 12..13), ("b", 13..20)] {
            add(&mut pieces, key(name), range);
        }
        let found: Vec<_> = pieces.into_iter().map(|piece| (piece.key, piece.range)).collect();
        assert_eq!(found, [(key("a"), 0..9), (key("a"), 10..12), (key("b"), 12..20)]);
    }
}
