//! The state that a snapshot and its readers share.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use offsite_core::{BlockSize, MachineName, Sequence, Timestamp};
use tokio::sync::Mutex;

use super::cache::Cache;
use crate::claims::pin::Pin;
use crate::folder::disks::DiskSummary;
use crate::mover::{FrameSource, Wanted, load};
use crate::reader::indexes::Indexes;
use crate::reader::job_folder::JobFolder;
use crate::{Error, Result};

/// A machine in a [`Snapshot`](crate::Snapshot).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineSnapshot {
    /// The name of the machine.
    pub name: MachineName,
    /// The number of the restore point that its state comes from.
    pub sequence: Sequence,
    /// The time at which the machine was in that state.
    pub captured: Timestamp,
    /// The disks of the machine, sorted by number.
    pub disks: Vec<DiskSummary>,
}

/// The state that a snapshot and its readers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(super) folder: JobFolder,
    pub(super) frames: FrameSource,
    pub(super) machines: BTreeMap<MachineName, MachineSnapshot>,
    pub(super) indexes: Mutex<Indexes>,
    pub(super) cache: Arc<Cache>,
    /// `None` if the repository cannot be written to, and after the snapshot was closed.
    pub(super) pin: Mutex<Option<Pin>>,
}

impl Shared {
    pub(crate) fn block_size(&self) -> BlockSize {
        self.folder.chain().block_size()
    }

    /// The bytes of a block of a disk with `size_bytes` bytes, decoded and checked.
    pub(crate) async fn block(self: &Arc<Self>, wanted: Wanted, size_bytes: u64) -> Result<Bytes> {
        let place = (wanted.at.file, wanted.at.offset);
        let load = || {
            let shared = Arc::clone(self);
            async move {
                match load(wanted, &shared.frames, (shared.block_size(), size_bytes)).await {
                    Err(error) => Err(shared.judged(error).await),
                    answer => answer,
                }
            }
        };
        self.cache.get(place, load).await
    }

    /// Judges the error of a block that is not there as it was stored: the block was either freed or is damaged.
    pub(crate) async fn judged(&self, error: Error) -> Error {
        if !error.is_loss() {
            return error;
        }
        match self.folder.is_expired().await {
            Ok(false) => error,
            // It is unknown whether it is damage. It is certain that the repository cannot be read.
            Err(outage) => outage,
            Ok(true) => match self.pin.lock().await.as_ref() {
                Some(pin) if pin.is_held().await => error,
                _ => Error::expired(self.folder.job()),
            },
        }
    }
}
