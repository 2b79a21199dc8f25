//! A small job folder for unit tests.

use std::sync::Arc;

use offsite_core::{BlockMap, BlockSize, Chain, CommitId, FolderId, Head, MachineName, RestorePoint, Role, Timestamp};
use offsite_repository::testing::{Faulty, Memory};

use crate::folder::layout::Layout;
use crate::mover::{FrameSource, Wanted};
use crate::reader::indexes::Indexes;
use crate::reader::restore::wanted;
use crate::{BackupJob, ImageSource, JobFolder, JobName, OpenRepository};

const BLOCK: usize = 256 << 10;

/// A folder with one restore point of one machine. Its blocks do not shrink, and follow each other in one backup file.
pub(crate) struct Sample {
    pub(crate) memory: Memory,
    /// What the repository goes through.
    pub(crate) faulty: Faulty<Memory>,
    pub(crate) repository: OpenRepository,
    pub(crate) layout: Layout,
    pub(crate) head: Head,
    pub(crate) point: RestorePoint,
    pub(crate) state: BlockMap,
    /// Where its blocks lie, in that order.
    pub(crate) blocks: Vec<Wanted>,
}

impl Sample {
    /// With so many blocks.
    pub(crate) async fn new(blocks: usize) -> Self {
        let now = Timestamp::from_unix_secs(1_793_570_400).unwrap();
        let memory = Memory::new();
        let faulty = Faulty::new(memory.clone());
        let repository = OpenRepository::initialise(Arc::new(faulty.clone()), now).await.unwrap();
        let images = tempfile::tempdir().unwrap();
        let image = images.path().join("disk");
        std::fs::write(&image, noise(blocks * BLOCK)).unwrap();
        let (job, machine) = (JobName::new("nightly").unwrap(), MachineName::new("web01").unwrap());
        let backup = BackupJob::new(&repository, job.clone()).block_size(BlockSize::KiB256);
        backup.machine(machine, vec![ImageSource::new(&image)]).run(now).await.unwrap();
        let folder = JobFolder::open(&repository, &job).await.unwrap();
        let point = folder.chain().latest().unwrap().clone();
        let state = folder.state_at(point.sequence).await.unwrap();
        let machines = state.machines().iter();
        let blocks = machines.flat_map(|(name, machine)| wanted(name, machine.disks.iter())).collect();
        let (layout, head) = (folder.layout().clone(), folder.head().clone());
        Self { memory, faulty, repository, layout, head, point, state, blocks }
    }

    /// Where its frames are read from.
    pub(crate) fn frames(&self) -> FrameSource {
        FrameSource::new(&self.repository, &self.layout, &self.head)
    }

    /// Its indexes, none of them read yet.
    pub(crate) fn indexes(&self) -> Indexes {
        Indexes::new(&self.repository, &self.layout, self.head.folder)
    }
}

/// A head of a copy's folder without a restore point.
pub(crate) fn empty_head() -> Head {
    let (folder, commit) = (FolderId::new([1; 16]), CommitId::new([5; 16]));
    let chain = Chain::new(BlockSize::MiB1, Vec::new()).unwrap();
    let mut head = Head::new(folder, commit, Role::Copy, 4_096, Timestamp::from_unix_secs(7).unwrap(), chain);
    head.number = 5;
    head.ancestry = vec![CommitId::new([4; 16])];
    (head.boundary, head.epoch, head.sealed_epoch) = (1, 3, 1);
    head
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(length).collect()
}
