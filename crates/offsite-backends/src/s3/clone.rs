//! Objects made of ranges of others.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use offsite_repository::{CloneRange, Error, ErrorKind, Key, Piece, Result};

use super::bucket::random_name;
use super::options::PART_BYTES_MIN;
use super::read;
use super::repository::S3;
use super::shared::Shared;
use super::upload::{Upload, too_large};
use super::writer::store;

/// The store copies at most so much by one request: it may, up to 5 GiB, but one after the other.
const COPY_BYTES_MAX: u64 = 256 << 20;

/// Ranges of 5 MiB and more are copied by the store. What is shorter cannot be a part of an upload: it is read, together
/// with as much of its neighbours as it takes, and written anew.
#[async_trait]
impl CloneRange for S3 {
    fn clone_granularity_bytes(&self) -> u64 {
        1
    }

    async fn create_from(&self, key: &Key, pieces: &[Piece]) -> Result<()> {
        self.shared.named(Some(key), create_from(&self.shared, key, pieces).await)
    }
}

async fn create_from(shared: &Arc<Shared>, key: &Key, pieces: &[Piece]) -> Result<()> {
    shared.check_writable(key)?;
    check(shared, pieces).await?;
    let length: u64 = pieces.iter().map(|piece| piece.range.end - piece.range.start).sum();
    if length > shared.limits().object_bytes_max {
        return Err(too_large(key.as_str(), shared.limits()));
    }
    let word = random_name()?;
    let parts = parts(pieces);
    if !parts.iter().any(|part| matches!(part, Part::Copy(_))) {
        let mut bytes = Vec::new();
        for part in &parts {
            bytes.extend(part.fetch(shared).await?);
        }
        return store(shared, key, bytes.into_iter().collect(), &word).await;
    }
    let (shared, key) = (Arc::clone(shared), key.clone());
    let name = key.to_string();
    // In a task of its own, as the finish of any writer.
    let ended = tokio::spawn(async move {
        let mut upload = Upload::begin(&shared, &key, &word).await?;
        match add_all(&shared, &mut upload, &parts).await {
            Ok(()) => upload.finish().await,
            Err(error) => upload.give_up(error).await,
        }
    });
    ended.await.unwrap_or_else(|error| {
        Err(Error::new(ErrorKind::Indeterminate, "clone").with_subject(name).with_source(error))
    })
}

async fn add_all(shared: &Arc<Shared>, upload: &mut Upload, parts: &[Part]) -> Result<()> {
    for part in parts {
        match part {
            Part::Copy(piece) => upload.add_copy(&piece.key, piece.range.clone()).await?,
            Part::Fetch(_) => upload.add(part.fetch(shared).await?.into_iter().collect()).await?,
        }
    }
    Ok(())
}

/// Whether all pieces are there: the store would tell late, and in its own words.
async fn check(shared: &Shared, pieces: &[Piece]) -> Result<()> {
    let mut known: Vec<(&Key, u64)> = Vec::new();
    for piece in pieces {
        let length = match known.iter().find(|(key, _)| *key == &piece.key) {
            Some((_, length)) => *length,
            None => match shared.bucket.describe("clone", piece.key.as_str()).await? {
                Some(object) => object.length,
                None => return Err(Error::new(ErrorKind::NotFound, "clone").with_key(&piece.key)),
            },
        };
        known.push((&piece.key, length));
        if piece.range.start > piece.range.end || piece.range.end > length {
            let detail = format!("a piece goes past its end at {length}");
            return Err(Error::new(ErrorKind::Corrupt, "clone").with_key(&piece.key).with_detail(detail));
        }
    }
    Ok(())
}

/// A part of the new object.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// The store copies it.
    Copy(Piece),
    /// It passes through here.
    Fetch(Vec<Piece>),
}

impl Part {
    async fn fetch(&self, shared: &Arc<Shared>) -> Result<Vec<Bytes>> {
        let Self::Fetch(pieces) = self else { return Ok(Vec::new()) };
        let mut bytes = Vec::with_capacity(pieces.len());
        for piece in pieces {
            bytes.extend(read::ranges(shared, &piece.key, std::slice::from_ref(&piece.range)).await?);
        }
        Ok(bytes)
    }
}

/// Whether each store understands which object is meant: some decode the name of a copy's source twice (Ceph 16), so that
/// another object could be copied.
fn is_plain(key: &Key) -> bool {
    !key.as_str().contains(['%', '+'])
}

fn part_of(piece: &Piece, range: Range<u64>) -> Piece {
    Piece::new(piece.key.clone(), range)
}

/// Cuts the pieces into parts of 5 MiB at least, but for the last one.
fn parts(pieces: &[Piece]) -> Vec<Part> {
    let mut parts = Vec::new();
    let (mut fetch, mut fetch_bytes) = (Vec::new(), 0);
    for piece in pieces {
        let Range { mut start, end } = piece.range;
        while start < end {
            let left = end - start;
            if fetch_bytes == 0 && left >= PART_BYTES_MIN && is_plain(&piece.key) {
                // What remains after a cut must be large enough, too.
                let length = match left {
                    left if left <= COPY_BYTES_MAX => left,
                    left => COPY_BYTES_MAX.min(left - PART_BYTES_MIN),
                };
                parts.push(Part::Copy(part_of(piece, start..start + length)));
                start += length;
                continue;
            }
            let length = left.min(PART_BYTES_MIN - fetch_bytes);
            fetch.push(part_of(piece, start..start + length));
            fetch_bytes += length;
            start += length;
            if fetch_bytes == PART_BYTES_MIN {
                parts.push(Part::Fetch(std::mem::take(&mut fetch)));
                fetch_bytes = 0;
            }
        }
    }
    if !fetch.is_empty() {
        parts.push(Part::Fetch(fetch));
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: u64 = PART_BYTES_MIN;

    fn piece(name: &str, range: Range<u64>) -> Piece {
        Piece::new(Key::new(name).unwrap(), range)
    }

    fn lengths(parts: &[Part]) -> Vec<(bool, u64)> {
        let length = |piece: &Piece| piece.range.end - piece.range.start;
        let of = |part: &Part| match part {
            Part::Copy(piece) => (true, length(piece)),
            Part::Fetch(pieces) => (false, pieces.iter().map(length).sum()),
        };
        parts.iter().map(of).collect()
    }

    #[test]
    fn large_pieces_are_copied_and_small_ones_gathered() {
        assert_eq!(parts(&[]), []);
        assert_eq!(lengths(&parts(&[piece("a", 3..3 + MIN)])), [(true, MIN)]);
        assert_eq!(lengths(&parts(&[piece("a", 0..MIN - 1)])), [(false, MIN - 1)]);
        // A small one takes what it lacks from its neighbour.
        assert_eq!(lengths(&parts(&[piece("a%2Fb", 0..MIN + 1)])), [(false, MIN), (false, 1)]);
        let mixed = [piece("a", 0..1_000), piece("b", 0..3 * MIN), piece("c", 7..9), piece("d", 0..MIN)];
        assert_eq!(lengths(&parts(&mixed)), [(false, MIN), (true, 2 * MIN + 1_000), (false, MIN), (false, 2)]);
    }

    #[test]
    fn every_part_but_the_last_is_large_enough_and_nothing_is_lost() {
        for left in [COPY_BYTES_MAX + 1, COPY_BYTES_MAX + MIN - 1, 3 * COPY_BYTES_MAX + 5, 7 * MIN + 3] {
            let made = parts(&[piece("a", 10..30), piece("b", 0..left), piece("b", left..left + 11)]);
            let made = lengths(&made);
            assert_eq!(made.iter().map(|(_, length)| length).sum::<u64>(), left + 31);
            assert!(
                made[..made.len() - 1].iter().all(|(_, length)| (MIN..=COPY_BYTES_MAX).contains(length)),
                "{made:?}"
            );
        }
    }
}
