//! Storing the changed blocks of disk images.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use offsite_core::plan::{Placer, Plan, RetiredFile};
use offsite_core::{
    BlockMap, DiskIdentity, DiskMap, DiskName, DiskNumber, Head, MachineMap, MachineName, MachineNumber, ObjectId,
    StoredBlock, Timestamp, match_disks,
};

use crate::commit::new_index::number_machines;
use crate::commit::point::Abandoned;
use crate::commit::read_back::check_step;
use crate::commit::writer::Writer;
use crate::folder::disks::{DiskSummary, Disks};
use crate::image::{ImageFormat, ImageSource};
use crate::mover::{DEFAULT_LEVEL, IngestDisk, Ingested, Output, OutputHeader, bytes_to_read, ingest};
use crate::progress::{Step, Task};
use crate::report::MachineBackup;
use crate::teller::Control;
use crate::{Error, OpenRepository, Result};

/// The images of a run's machines.
pub(super) struct Images {
    /// Disk by disk, each with its name.
    pub(super) machines: BTreeMap<MachineName, Vec<(DiskName, ImageSource)>>,
    /// Machines with an image that cannot be read.
    pub(super) failed: BTreeMap<MachineName, Error>,
    /// About so many bytes of each machine are to be read.
    pub(super) bytes: BTreeMap<MachineName, u64>,
}

impl Images {
    /// The images without those of machines that have one which cannot be backed up; these have failed. Blocks.
    ///
    /// What can be told of formats is told here, before anything is written: where the user says the format, and of machines that are not
    /// `known`. Without a list of these, any machine may be known.
    pub(super) fn examined(mut self, known: Option<&BTreeSet<MachineName>>) -> Self {
        for (name, images) in std::mem::take(&mut self.machines) {
            let is_new = known.is_some_and(|known| !known.contains(&name));
            let bytes = images.iter().try_fold(0, |bytes: u64, (_, image)| {
                let more = image.examine()?;
                if is_new || image.format_is_told() {
                    image.look(None)?;
                }
                Ok(bytes.saturating_add(more))
            });
            match bytes {
                Ok(bytes) => {
                    self.bytes.insert(name.clone(), bytes);
                    self.machines.insert(name, images);
                }
                Err(error) => {
                    self.failed.insert(name, error);
                }
            }
        }
        self
    }
}

/// What a run has stored.
pub(super) struct StoredStep {
    /// The step from the state before, with its files.
    pub(super) plan: Plan,
    pub(super) machines: Vec<MachineBackup>,
    pub(super) failed: BTreeMap<MachineName, Error>,
    pub(super) abandoned: Abandoned,
}

/// The states of before that a run goes by.
#[derive(Clone, Copy)]
pub(super) struct Before<'a> {
    /// Blocks that are in it are not stored again.
    pub(super) blocks: &'a BlockMap,
    /// By it the disks of each machine are known.
    pub(super) latest: &'a BlockMap,
}

/// Stores the blocks that are not there before.
pub(super) async fn store_blocks(
    repository: &OpenRepository,
    writer: &mut Writer,
    images: Images,
    Before { blocks: previous, latest }: Before<'_>,
    now: Timestamp,
    control: Control<'_>,
) -> Result<StoredStep> {
    let Images { machines, mut failed, bytes } = images;
    let (_, numbers) = number_machines(&writer.head().machines, machines.keys());
    let disks = candidates(&machines, &numbers, Before { blocks: previous, latest })?;
    // Each backup file begins with what its disks are, before their blocks.
    let (disks, unread) = crate::seams::blocking(move || looked_at(disks)).await?;
    failed.extend(unread);
    let head = writer.head();
    let header = OutputHeader {
        folder: head.folder,
        sequence: head.next_sequence,
        time: now,
        block_size: head.chain.block_size(),
        alignment_bytes: head.alignment_bytes,
        machines: machines.keys().map(|name| (name.clone(), numbers[name])).collect(),
        disks: summaries_of(&disks),
    };
    let block_size = header.block_size;
    let alignment = u64::from(header.alignment_bytes);
    let mut placer = Placer::new(header.placement(repository));
    let layout = writer.layout().clone();
    let mut output = Output::new(repository, &layout, header);
    let total_bytes = bytes.values().fold(0, |sum: u64, bytes| sum.saturating_add(*bytes));
    let progress = control.teller(Task::Backup, layout.job()).begin(Step::Transfer, total_bytes);
    let ingested =
        ingest(&disks, block_size, DEFAULT_LEVEL, &mut output, &mut placer, || writer.mint(), &progress).await;
    let ingested = match ingested {
        Ok(ingested) => ingested,
        Err(error) => {
            output.abort().await;
            return Err(error);
        }
    };
    progress.end();
    failed.extend(ingested.failed);
    if ingested.disks.is_empty() {
        output.abort().await;
        if failed.values().any(|error| matches!(error, Error::Stopped { .. })) {
            return Err(Error::stopped(Task::Backup, writer.layout().job()));
        }
        return Err(Error::no_machine(writer.layout().job(), failed));
    }
    output.finish().await?;
    let state = state_of(&ingested.disks, now);
    let index = previous.diff(&state);
    check_step(previous, &index, &state)?;
    let mut plan = Plan { index, files: placer.into_files(), ..Plan::default() };
    let ranges = retire_abandoned(&mut plan, &ingested.abandoned, alignment);
    let abandoned = Abandoned { numbered: machines.into_keys().collect(), ranges };
    Ok(StoredStep { plan, machines: summaries(&ingested.disks), failed, abandoned })
}

/// Returns the disks of these images, as a run knows and numbers them.
fn candidates(
    machines: &BTreeMap<MachineName, Vec<(DiskName, ImageSource)>>,
    numbers: &BTreeMap<MachineName, MachineNumber>,
    Before { blocks, latest }: Before<'_>,
) -> Result<Vec<Candidate>> {
    let mut disks = Vec::new();
    for (machine, images) in machines {
        let known = latest.machine(machine).map(|machine| &machine.disks);
        let named = |(number, disk): (&DiskNumber, &DiskMap)| (*number, disk.identity().name.clone());
        let before: Vec<_> = known.into_iter().flatten().map(named).collect();
        let names: Vec<DiskName> = images.iter().map(|(name, _)| name.clone()).collect();
        let matched = match_disks(&before, &names).ok_or_else(|| {
            Error::setting("machine", format!("machine {machine} has more disks than can be numbered"))
        })?;
        for (disk, (name, source)) in matched.into_iter().zip(images) {
            let stored = blocks.machine(machine).and_then(|machine| machine.disks.get(&disk)).cloned();
            disks.push(Candidate {
                machine: machine.clone(),
                number: numbers[machine],
                disk,
                name: name.clone(),
                source: source.clone(),
                known_format: known.and_then(|disks| disks.get(&disk)).map(|disk| disk.identity().format),
                previous: stored.map(Arc::new),
            });
        }
    }
    Ok(disks)
}

/// Finds out how many bytes of each machine a run reads, if the images stay as they are. It opens them and reads no block.
///
/// Machines with an image that a run could not open have failed then.
pub(super) async fn measured(mut images: Images, head: &Head, before: Before<'_>) -> Result<Images> {
    let (_, numbers) = number_machines(&head.machines, images.machines.keys());
    let disks = candidates(&images.machines, &numbers, before)?;
    let block_size = head.chain.block_size();
    let measure = move || {
        let (disks, mut failed) = looked_at(disks);
        let mut bytes: BTreeMap<MachineName, u64> = BTreeMap::new();
        for disk in disks {
            let machine = disk.machine.clone();
            match bytes_to_read(disk, block_size) {
                Ok(more) => {
                    let sum = bytes.entry(machine).or_default();
                    *sum = sum.saturating_add(more);
                }
                Err(error) => {
                    failed.entry(machine).or_insert(error);
                }
            }
        }
        (bytes, failed)
    };
    let (bytes, failed) = crate::seams::blocking(measure).await?;
    images.bytes = bytes;
    images.bytes.retain(|name, _| !failed.contains_key(name));
    images.machines.retain(|name, _| !failed.contains_key(name));
    images.failed.extend(failed);
    Ok(images)
}

/// A disk to back up whose image was not opened yet.
struct Candidate {
    machine: MachineName,
    number: MachineNumber,
    disk: DiskNumber,
    name: DiskName,
    source: ImageSource,
    known_format: Option<ImageFormat>,
    previous: Option<Arc<DiskMap>>,
}

/// The disks with what their images are, and the machines with one that cannot be read.
///
/// Blocks.
fn looked_at(disks: Vec<Candidate>) -> (Vec<IngestDisk>, BTreeMap<MachineName, Error>) {
    let mut failed = BTreeMap::new();
    let mut looked: Vec<IngestDisk> = Vec::with_capacity(disks.len());
    for Candidate { machine, number, disk, name, source, known_format, previous } in disks {
        if failed.contains_key(&machine) {
            continue;
        }
        match source.look(known_format) {
            Ok((format, size_bytes)) => {
                let identity = DiskIdentity::new(name, format);
                looked.push(IngestDisk { machine, number, disk, source, known_format, identity, size_bytes, previous });
            }
            Err(error) => {
                looked.retain(|other| other.machine != machine);
                failed.insert(machine, error);
            }
        }
    }
    (looked, failed)
}

fn summaries_of(disks: &[IngestDisk]) -> Disks {
    let mut all = Disks::new();
    for IngestDisk { machine, disk: number, identity, size_bytes, .. } in disks {
        let summary = DiskSummary { number: *number, identity: identity.clone(), size_bytes: *size_bytes };
        all.entry(machine.clone()).or_default().push(summary);
    }
    all.values_mut().for_each(|disks| disks.sort_by_key(|disk| disk.number));
    all
}

/// Retires what was stored of machines that failed: new files with nothing else in them as a whole; ranges of the others.
fn retire_abandoned(plan: &mut Plan, frames: &[StoredBlock], alignment: u64) -> BTreeMap<ObjectId, Vec<Range<u64>>> {
    let mut ranges: BTreeMap<ObjectId, Vec<Range<u64>>> = BTreeMap::new();
    for at in frames {
        let range = at.offset..(at.offset + u64::from(at.length)).next_multiple_of(alignment);
        let ranges = ranges.entry(at.file).or_default();
        match ranges.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => ranges.push(range),
        }
    }
    let live = plan.index.files();
    let (kept, dead): (BTreeMap<_, _>, BTreeMap<_, _>) = ranges.into_iter().partition(|(file, _)| live.contains(file));
    for (file, ranges) in dead {
        let bytes = plan.files.get(&file).copied().unwrap_or_default();
        plan.retired.files.insert(file, RetiredFile { bytes, ranges });
    }
    kept
}

fn state_of(ingested: &[Ingested], now: Timestamp) -> BlockMap {
    let mut machines: BTreeMap<MachineName, MachineMap> = BTreeMap::new();
    for disk in ingested {
        let machine = machines.entry(disk.machine.clone()).or_insert_with(|| MachineMap::new(now, BTreeMap::new()));
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
            machines.push(MachineBackup { name, disk_bytes: 0, read_bytes: 0, changed_bytes: 0, warnings: Vec::new() });
        }
        if let Some(machine) = machines.last_mut() {
            machine.disk_bytes += disk.map.size_bytes();
            machine.read_bytes += disk.read_bytes;
            machine.changed_bytes += disk.changed_bytes;
            machine.warnings.extend(disk.warnings.iter().cloned());
        }
    }
    machines
}
