//! Storing the changed blocks of disk images.

use std::collections::BTreeMap;
use std::sync::Arc;

use offsite_core::plan::{Placer, Plan};
use offsite_core::{BlockMap, DiskNumber, MachineMap, MachineName, Timestamp};

use crate::image::DiskImage;
use crate::mover::{DEFAULT_LEVEL, IngestDisk, Ingested, Output, OutputHeader, ingest};
use crate::point::number_machines;
use crate::read_back::check_step;
use crate::report::MachineBackup;
use crate::writer::Writer;
use crate::{OpenRepository, Progress, Result};

/// The images of a run's machines, disk by disk.
pub(super) type Images = BTreeMap<MachineName, Vec<Arc<dyn DiskImage>>>;

/// Stores the blocks that are not those of `previous`; the step from there with its files, and what was read.
pub(super) async fn store_blocks(
    repository: &OpenRepository,
    writer: &mut Writer,
    images: &Images,
    previous: &BlockMap,
    now: Timestamp,
    progress: &dyn Progress,
) -> Result<(Plan, Vec<MachineBackup>)> {
    let (_, numbers) = number_machines(&writer.head().machines, images.keys());
    let mut disks = Vec::new();
    for (name, images) in images {
        for (image, number) in images.iter().zip(0..) {
            let disk = DiskNumber(number);
            let before = previous.machine(name).and_then(|machine| machine.disks.get(&disk)).cloned();
            disks.push(IngestDisk {
                machine: name.clone(),
                number: numbers[name],
                disk,
                image: Arc::clone(image),
                previous: before.map(Arc::new),
            });
        }
    }
    let head = writer.head();
    let header = OutputHeader {
        folder: head.folder,
        sequence: head.next_sequence,
        time: now,
        block_size: head.chain.block_size(),
        alignment_bytes: head.alignment_bytes,
        machines: images.keys().map(|name| (name.clone(), numbers[name])).collect(),
    };
    let block_size = header.block_size;
    let mut placer = Placer::new(header.placement(repository));
    let layout = writer.layout().clone();
    let mut output = Output::new(repository, &layout, header);
    let ingested =
        ingest(&disks, block_size, DEFAULT_LEVEL, &mut output, &mut placer, || writer.mint(), progress).await;
    let ingested = match ingested {
        Ok(ingested) => ingested,
        Err(error) => {
            output.abort().await;
            return Err(error);
        }
    };
    output.finish().await?;
    let state = state_of(&ingested, now);
    let index = previous.diff(&state);
    check_step(previous, &index, &state)?;
    Ok((Plan { index, files: placer.into_files(), ..Plan::default() }, summaries(&ingested)))
}

fn state_of(ingested: &[Ingested], now: Timestamp) -> BlockMap {
    let mut machines: BTreeMap<MachineName, MachineMap> = BTreeMap::new();
    for disk in ingested {
        let machine = machines
            .entry(disk.machine.clone())
            .or_insert_with(|| MachineMap { captured: now, disks: BTreeMap::new() });
        machine.disks.insert(disk.disk, disk.map.clone());
    }
    let mut state = BlockMap::empty();
    machines.into_iter().for_each(|(name, machine)| state.insert(name, machine));
    state
}

fn summaries(ingested: &[Ingested]) -> Vec<MachineBackup> {
    let mut machines: Vec<MachineBackup> = Vec::new();
    for disk in ingested {
        if machines.last().is_none_or(|machine| machine.name != disk.machine) {
            let name = disk.machine.clone();
            machines.push(MachineBackup { name, disk_bytes: 0, read_bytes: 0, changed_bytes: 0 });
        }
        if let Some(machine) = machines.last_mut() {
            machine.disk_bytes += disk.map.size_bytes();
            machine.read_bytes += disk.read_bytes;
            machine.changed_bytes += disk.changed_bytes;
        }
    }
    machines
}
