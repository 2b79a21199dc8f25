//! Writing into existing objects.

use async_trait::async_trait;
use offsite_repository::{Extent, Key, Patch, Result};
use rustix::fs::{self, OFlags};
use rustix::io::{Errno, retry_on_intr};

use super::errors::doubt;
use super::root::{Root, past_end};
use super::writer::write_all_at;
use super::{Local, fault};

#[async_trait]
impl Patch for Local {
    async fn patch(&self, key: &Key, extents: Vec<Extent>) -> Result<()> {
        let bytes_max = self.shared.abilities.object_bytes_max;
        self.run("patch", key, move |shared, key| patch(&shared.root, key, &extents, bytes_max)).await
    }
}

fn patch(root: &Root, key: &Key, extents: &[Extent], bytes_max: u64) -> Result<()> {
    let (file, stat) = root.open_file(key, OFlags::WRONLY).map_err(|errno| fault("patch", key, errno))?;
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
        write_all_at(&file, &extent.chunks, extent.offset).map_err(|errno| fault("patch", key, errno))?;
    }
    retry_on_intr(|| fs::fdatasync(&file)).map_err(|errno| doubt("patch", key, errno, "patch it again"))
}
