//! Objects that share the blocks of others.

use async_trait::async_trait;
use offsite_repository::{CloneRange, Error, ErrorKind, Key, Piece, Result};
use rustix::fs::{self, OFlags};
use rustix::io::{Errno, retry_on_intr};

use super::errors::fault;
use super::extents::share;
use super::repository::Local;
use super::root::{Root, past_end};
use super::shared::Shared;
use super::staged::Staged;
use super::writer::publish;

#[async_trait]
impl CloneRange for Local {
    fn clone_granularity_bytes(&self) -> u64 {
        self.shared.abilities.clone_granule.unwrap_or(1)
    }

    async fn create_from(&self, key: &Key, pieces: &[Piece]) -> Result<()> {
        let (pieces, granule) = (pieces.to_vec(), self.clone_granularity_bytes());
        self.run("clone", key, move |shared, key| create_from(shared, key, &pieces, granule)).await
    }
}

fn create_from(shared: &Shared, key: &Key, pieces: &[Piece], granule: u64) -> Result<()> {
    let bytes = pieces.iter().map(|piece| piece.range.end.saturating_sub(piece.range.start)).sum::<u64>();
    if bytes > shared.abilities.object_bytes_max {
        return Err(fault("clone", key, Errno::FBIG));
    }
    let staged = Staged::begin(&shared.root, shared.abilities.create_method, key)?;
    if let Err(error) = fill(&shared.root, &staged, key, pieces, granule) {
        // The first error is the one to report; a sweep removes what this leaves.
        let _ = staged.discard();
        return Err(error);
    }
    publish(&shared.root, &staged, key)
}

fn fill(root: &Root, staged: &Staged, key: &Key, pieces: &[Piece], granule: u64) -> Result<()> {
    let mut filled = 0;
    for (number, Piece { key: source, range, .. }) in (1..).zip(pieces) {
        let (file, stat) = root.open_file(source, OFlags::RDONLY).map_err(|errno| fault("clone", source, errno))?;
        let length = u64::try_from(stat.st_size).unwrap_or(0);
        if range.start > range.end || range.end > length {
            return Err(past_end("clone", source, range, length));
        }
        let is_last = number == pieces.len();
        if !range.start.is_multiple_of(granule) || (!is_last && !range.end.is_multiple_of(granule)) {
            let detail =
                format!("pieces must start and end at multiples of {granule} bytes, but for the end of the last");
            return Err(Error::new(ErrorKind::Unsupported, "clone").with_key(source).with_detail(detail));
        }
        if range.is_empty() {
            continue;
        }
        // The kernel shares whole blocks, or what a file has of its last one. What is too much comes off again.
        let end = range.end.next_multiple_of(granule).min(length);
        retry_on_intr(|| share(&file, &(range.start..end), &staged.file, filled))
            .map_err(|errno| fault("clone", source, errno))?;
        filled += range.end - range.start;
        if end > range.end {
            retry_on_intr(|| fs::ftruncate(&staged.file, filled)).map_err(|errno| fault("clone", key, errno))?;
        }
    }
    Ok(())
}
