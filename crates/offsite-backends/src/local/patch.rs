//! Writing into existing objects.

use async_trait::async_trait;
use bytes::Bytes;
use offsite_repository::{Key, Patch, Result};
use rustix::fs::{self, OFlags};
use rustix::io::{Errno, retry_on_intr};

use super::errors::doubt;
use super::root::{Root, past_end};
use super::writer::write_all_at;
use super::{Local, fault};

#[async_trait]
impl Patch for Local {
    async fn patch(&self, key: &Key, offset: u64, chunks: Vec<Bytes>) -> Result<()> {
        let bytes_max = self.shared.abilities.object_bytes_max;
        self.run("patch", key, move |shared, key| patch(&shared.root, key, offset, &chunks, bytes_max)).await
    }
}

fn patch(root: &Root, key: &Key, offset: u64, chunks: &[Bytes], bytes_max: u64) -> Result<()> {
    let (file, stat) = root.open_file(key, OFlags::WRONLY).map_err(|errno| fault("patch", key, errno))?;
    let length = u64::try_from(stat.st_size).unwrap_or(0);
    let end = chunks.iter().fold(offset, |end, chunk| end.saturating_add(chunk.len() as u64));
    if offset > length {
        return Err(past_end("patch", key, &(offset..end), length));
    }
    if end > bytes_max {
        return Err(fault("patch", key, Errno::FBIG));
    }
    write_all_at(&file, chunks, offset).map_err(|errno| fault("patch", key, errno))?;
    retry_on_intr(|| fs::fdatasync(&file)).map_err(|errno| doubt("patch", key, errno, "patch it again"))
}
