//! The machines of the story, and what their disks held on each day.

use std::path::{Path, PathBuf};

use offsite::model::MachineName;

use crate::status::Failure;
use crate::workload::Disk;

/// What their content is derived from.
const SEED: u64 = 1;
/// Names and disks in MiB.
const FLEET: [(&str, &[u64]); 3] = [("db01", &[192, 64]), ("mail01", &[96]), ("web01", &[256])];

/// A machine of the story.
pub(super) struct Machine {
    pub(super) name: MachineName,
    pub(super) disks: Vec<Disk>,
}

/// The machines.
pub(super) fn fleet() -> Vec<Machine> {
    let machines = FLEET.into_iter().filter_map(|(name, sizes)| {
        let disks =
            sizes.iter().enumerate().map(|(number, size)| Disk::new(&format!("{name}-disk{number}"), SEED, *size));
        Some(Machine { name: MachineName::new(name).ok()?, disks: disks.collect() })
    });
    machines.collect()
}

impl Machine {
    /// The images, by disk.
    pub(super) fn paths(&self, folder: &Path) -> Vec<PathBuf> {
        self.disks.iter().map(|disk| folder.join(format!("{}.img", disk.name))).collect()
    }

    /// Makes the images; their size.
    pub(super) fn create(&self, folder: &Path) -> Result<u64, Failure> {
        for (disk, path) in self.disks.iter().zip(self.paths(folder)) {
            disk.write_full(&path, 0).map_err(|error| super::failed(&path, &error))?;
        }
        Ok(self.disks.iter().map(Disk::size_bytes).sum())
    }

    /// A day's work on the disks.
    pub(super) fn change(&self, folder: &Path, day: u32) -> Result<(), Failure> {
        for (disk, path) in self.disks.iter().zip(self.paths(folder)) {
            disk.apply(&path, day).map_err(|error| super::failed(&path, &error))?;
        }
        Ok(())
    }
}
