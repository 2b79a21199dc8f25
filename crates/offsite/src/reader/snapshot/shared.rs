//! What a snapshot and its readers share.

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

/// A machine in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineSnapshot {
    /// Its name.
    pub name: MachineName,
    /// The restore point that its state is taken from.
    pub sequence: Sequence,
    /// When the machine was in that state.
    pub captured: Timestamp,
    /// Its disks, by number.
    pub disks: Vec<DiskSummary>,
}

/// What a snapshot and its readers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(super) folder: JobFolder,
    pub(super) frames: FrameSource,
    pub(super) machines: BTreeMap<MachineName, MachineSnapshot>,
    pub(super) indexes: Mutex<Indexes>,
    pub(super) cache: Arc<Cache>,
    /// None if the repository could not be written to, and once the snapshot is closed.
    pub(super) pin: Mutex<Option<Pin>>,
}

impl Shared {
    pub(crate) fn block_size(&self) -> BlockSize {
        self.folder.chain().block_size()
    }

    /// The plain bytes of a block of a disk of `size_bytes`.
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

    /// What an error is: of a block that is not there as it was stored, whether it was freed, or is damaged.
    pub(crate) async fn judged(&self, error: Error) -> Error {
        if !error.is_loss() {
            return error;
        }
        match self.folder.is_expired().await {
            Ok(false) => error,
            // Nobody knows whether it is damage; that one cannot look is certain.
            Err(outage) => outage,
            Ok(true) => match self.pin.lock().await.as_ref() {
                Some(pin) if pin.is_held().await => error,
                _ => Error::expired(self.folder.job()),
            },
        }
    }
}
