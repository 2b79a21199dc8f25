//! The machines of the demonstration, and what their disks held on each day.

use std::path::{Path, PathBuf};

use offsite::model::MachineName;

use crate::status::Failure;
use crate::workload::Disk;

/// The seed of their content.
const SEED: u64 = 1;
/// The names, with the sizes of their disks in MiB.
const FLEET: [(&str, &[u64]); 3] = [("db01", &[192, 64]), ("mail01", &[96]), ("web01", &[256])];

/// A machine of the demonstration.
pub(super) struct Machine {
    pub(super) name: MachineName,
    pub(super) disks: Vec<Disk>,
}

/// Returns the machines.
pub(super) fn fleet() -> Vec<Machine> {
    let machines = FLEET.into_iter().filter_map(|(name, sizes)| {
        let disks =
            sizes.iter().enumerate().map(|(number, size)| Disk::new(&format!("{name}-disk{number}"), SEED, *size));
        Some(Machine { name: MachineName::new(name).ok()?, disks: disks.collect() })
    });
    machines.collect()
}

impl Machine {
    /// Returns the paths of the images, by disk.
    pub(super) fn paths(&self, folder: &Path) -> Vec<PathBuf> {
        self.disks.iter().map(|disk| folder.join(format!("{}.img", disk.name))).collect()
    }

    /// Makes the images. Returns their size in bytes.
    pub(super) fn create(&self, folder: &Path) -> Result<u64, Failure> {
        for (disk, path) in self.disks.iter().zip(self.paths(folder)) {
            disk.write_full(&path, 0).map_err(|error| super::failed(&path, &error))?;
        }
        Ok(self.disks.iter().map(Disk::size_bytes).sum())
    }

    /// Changes the disks as a day of work does.
    pub(super) fn change(&self, folder: &Path, day: u32) -> Result<(), Failure> {
        for (disk, path) in self.disks.iter().zip(self.paths(folder)) {
            disk.apply(&path, day).map_err(|error| super::failed(&path, &error))?;
        }
        Ok(())
    }
}
