//! Writing into existing objects.

use std::num::NonZeroU64;
use std::os::fd::AsFd;

use async_trait::async_trait;
use bytes::Bytes;
use offsite_repository::{Extent, Key, Patch, Result};
use rustix::fs::{self, Advice, OFlags};
use rustix::io::{Errno, retry_on_intr};

use super::errors::doubt;
use super::errors::fault;
use super::links::refuse_linked;
use super::repository::Local;
use super::root::{Root, past_end};
use super::writer::write_all_at;

/// After so much the device is set to work, so that the flush does not have all of it left to do.
const WRITE_BACK_BYTES: u64 = 4 << 20;

#[async_trait]
impl Patch for Local {
    async fn write_extents(&self, key: &Key, extents: Vec<Extent>) -> Result<()> {
        let bytes_max = self.shared.abilities.object_bytes_max;
        self.run("patch", key, move |shared, key| patch(&shared.root, key, &extents, bytes_max)).await
    }
}

fn patch(root: &Root, key: &Key, extents: &[Extent], bytes_max: u64) -> Result<()> {
    let (file, stat) = root.open_file(key, OFlags::WRONLY).map_err(|errno| fault("patch", key, errno))?;
    refuse_linked("patch", key, &stat)?;
    let mut length = u64::try_from(stat.st_size).unwrap_or(0);
    for extent in extents {
        let end = extent.end();
        if extent.offset > length {
            return Err(past_end("patch", key, &(extent.offset..end), length));
        }
        if end > bytes_max {
            return Err(fault("patch", key, Errno::FBIG));
        }
        length = length.max(end);
    }
    for extent in extents {
        for part in parts(extent) {
            write_all_at(&file, part.chunks, part.offset).map_err(|errno| fault("patch", key, errno))?;
            start_write_back(&file, &part);
        }
    }
    retry_on_intr(|| fs::fdatasync(&file)).map_err(|errno| doubt("patch", key, errno, "patch it again"))
}

/// Chunks of an extent that follow each other.
struct Part<'a> {
    offset: u64,
    length: u64,
    chunks: &'a [Bytes],
}

/// An extent in parts of about [`WRITE_BACK_BYTES`].
fn parts(extent: &Extent) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let (mut offset, mut rest) = (extent.offset, &extent.chunks[..]);
    while !rest.is_empty() {
        let (mut count, mut length) = (0, 0);
        while count < rest.len() && length < WRITE_BACK_BYTES {
            length += rest[count].len() as u64;
            count += 1;
        }
        parts.push(Part { offset, length, chunks: &rest[..count] });
        offset += length;
        rest = &rest[count..];
    }
    parts
}

/// Sets the device to work on what was just written, without waiting for it (posix_fadvise(2): what is not needed any more is
/// written back first).
///
/// Where that does not happen, the flush has it all to do.
fn start_write_back(file: impl AsFd, part: &Part<'_>) {
    let _ = fs::fadvise(file, part.offset, NonZeroU64::new(part.length), Advice::DontNeed);
}
