//! The newest restore point in which a machine is intact, as far as that is known without reading its blocks.

use offsite_core::{MachineName, Sequence, Timestamp};

use super::target::find_disk;
use crate::reader::disk_selector::DiskSelector;
use crate::reader::job_folder::JobFolder;
use crate::reader::known_losses::KnownLosses;
use crate::{PointSelector, Result};

impl KnownLosses {
    /// The newest point in which nothing of the machine, or of that disk of it, is known to be lost.
    pub(super) async fn newest_intact(
        &self,
        folder: &JobFolder,
        machine: &MachineName,
        disk: Option<&DiskSelector>,
    ) -> Result<Option<(Sequence, Timestamp)>> {
        let mut indexes = folder.indexes();
        for point in folder.chain().all().rev() {
            let is_whole = folder.point_of(machine, PointSelector::Sequence(point.sequence)).is_ok();
            if !is_whole {
                continue;
            }
            let state = match indexes.state(&folder.chain().steps_to(point.sequence).unwrap_or_default()).await {
                Err(error) if error.is_loss() => continue,
                answer => answer?,
            };
            let Ok(mut map) = folder.machine_in(&state, machine, point) else { continue };
            if let Some(wanted) = disk {
                let Ok(chosen) = find_disk(machine, &map.disks, wanted) else { continue };
                map.disks.retain(|number, _| *number == chosen);
            }
            if !map.disks.values().any(|disk| disk.stored().any(|(_, at)| self.has(&at))) {
                return Ok(Some((point.sequence, point.time)));
            }
        }
        Ok(None)
    }
}
