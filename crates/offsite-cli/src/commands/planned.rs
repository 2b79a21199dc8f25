//! Prints plans: what commands would do, in words.

use std::collections::BTreeMap;
use std::path::Path;

use offsite::plan::{BackupPlan, Cost, ExportPlan, ImportPlan, MapPlan, PlannedDisk, RestorePlan};
use offsite::report::ExportedMachine;
use offsite::{MachineName, Room};

use super::{planned_line, requests};
use crate::local_time::LocalTime;
use crate::render;

/// What a command has done that was stopped while it planned.
pub(crate) const NOTHING_WRITTEN: &str = "nothing was written";

pub(crate) fn backup(job: &str, plan: &BackupPlan) -> String {
    let kind = if plan.full { "full" } else { "increment" };
    let mut text = format!("{job}: would make restore point #{} ({kind})\n", plan.sequence);
    let mut rows = vec![["  machine", "disks", "to read at most", ""].map(str::to_owned).to_vec()];
    rows.extend(plan.machines.iter().map(|machine| {
        let new = if machine.is_new { "  new to the job" } else { "" };
        let (disks, bytes) = (machine.disks.to_string(), render::bytes(machine.read_bytes_max));
        vec![format!("  {}", machine.name), disks, bytes, new.to_owned()]
    }));
    text.push_str(&render::table(&rows, &[1, 2]));
    text.push_str("  stored    what has changed, which only reading the images tells\n");
    for planned in &plan.operations {
        text.push_str(&format!("  {}\n", planned_line(planned)));
    }
    text
}

pub(crate) fn restore(machine: &str, plan: &RestorePlan, local: &LocalTime) -> String {
    let captured = local.time(plan.captured);
    let mut text = format!("{machine}: would be as of {captured}, from restore point #{}\n", plan.sequence);
    for disk in &plan.disks {
        text.push_str(&disk_line(disk));
    }
    let data = plan.disks.iter().map(|disk| disk.data_bytes).sum();
    text.push_str(&format!(
        "  restore   {} to read in {}, {} to write\n",
        render::bytes(plan.traffic.bytes_read),
        requests(plan.traffic.read_requests),
        render::bytes(data),
    ));
    if let Some(free) = plan.free_bytes {
        let (needed, free) = (render::bytes(plan.needed_bytes()), render::bytes(free));
        text.push_str(&format!("  room      {needed} at least, {free} free in the target\n"));
    }
    if !plan.fits() {
        text.push_str("  warning   that is not enough\n");
    }
    for disk in plan.disks.iter().filter(|disk| !disk.lost.is_empty()) {
        let lost = disk.lost.iter().map(|range| range.end - range.start).sum();
        text.push_str(&format!("  DAMAGED   {} of disk {} are known to be lost\n", render::bytes(lost), disk.number));
    }
    if let Some((sequence, time)) = plan.intact {
        let time = local.time(time);
        text.push_str(&format!("  intact    #{sequence} of {time} is the newest of which no damage is known\n"));
    }
    text
}

pub(crate) fn export(job: &str, plan: &ExportPlan, to: &Path, local: &LocalTime) -> String {
    format!(
        "{job}: would export restore point #{} of {} to {}\n  machines  {}\n  export    {}; the file gets at most {}\n{}{}",
        plan.sequence,
        local.time(plan.time),
        to.display(),
        exported(&plan.machines, plan.sequence.0, local),
        cost(&plan.cost),
        render::bytes(plan.bytes_max),
        room(&plan.room, "export"),
        lost(&plan.lost, "export"),
    )
}

pub(crate) fn import(job: &str, plan: &ImportPlan, local: &LocalTime) -> String {
    format!(
        "{job}: would make restore point #{} of {}, exported from {} as #{}\n  machines  {}\n  import    {}, of an export of {}\n{}",
        plan.sequence,
        local.time(plan.time),
        plan.job,
        plan.exported,
        exported(&plan.machines, plan.exported.0, local),
        bytes(&plan.cost),
        render::bytes(plan.bytes),
        room(&plan.room, "import"),
    )
}

pub(crate) fn map(job: &str, seed_job: &str, seed: &str, plan: &MapPlan, local: &LocalTime) -> String {
    format!(
        "{job}: would take over {} of {seed_job} in {seed}, the newest #{} of {}\n  map       {}\n{}{}",
        render::count(usize::try_from(plan.points).unwrap_or(usize::MAX), "restore point", "restore points"),
        plan.sequence,
        local.time(plan.time),
        cost(&plan.cost),
        room(&plan.room, "map"),
        lost(&plan.lost, "map"),
    )
}

/// Says which machines have blocks that are known to be lost.
fn lost(lost: &BTreeMap<MachineName, u64>, what: &str) -> String {
    let line = |(machine, blocks): (&MachineName, &u64)| {
        let blocks = render::count(usize::try_from(*blocks).unwrap_or(usize::MAX), "block", "blocks");
        format!("  DAMAGED   {blocks} of {machine} known to be lost: the {what} would fail\n")
    };
    lost.iter().map(line).collect()
}

/// Says how much space an operation needs, and how much there is.
pub(crate) fn room(room: &Room, what: &str) -> String {
    let Some(free) = room.free_bytes else { return String::new() };
    let staying = match room.min_free_bytes {
        0 => String::new(),
        bytes => format!(", {} of them to stay so (min_free)", render::bytes(bytes)),
    };
    let (needed, free) = (render::bytes(room.needed_bytes), render::bytes(free));
    let line = format!("  room      {needed} at the peak, {free} free in the target{staying}\n");
    if room.is_enough() {
        line
    } else {
        line + &format!("  warning   that is not enough: the {what} would not be begun\n")
    }
}

/// Says how many bytes move, and in how many requests.
pub(crate) fn cost(cost: &Cost) -> String {
    let blocks = blocks(cost);
    let (read, written) = (render::bytes(cost.bytes_read), render::bytes(cost.bytes_written));
    format!("{blocks}: {read} to read in {}, {written} to write", requests(cost.read_requests))
}

/// Says how many bytes move, for a source that is read in one pass.
fn bytes(cost: &Cost) -> String {
    let (read, written) = (render::bytes(cost.bytes_read), render::bytes(cost.bytes_written));
    format!("{}: {read} to read, {written} to write", blocks(cost))
}

fn blocks(cost: &Cost) -> String {
    render::count(usize::try_from(cost.blocks).unwrap_or(usize::MAX), "block", "blocks")
}

/// Names the machines of an export. If the state of a machine is not from the newest restore point, it names the point as well.
pub(crate) fn exported(machines: &[ExportedMachine], newest: u64, local: &LocalTime) -> String {
    let machine = |machine: &ExportedMachine| match machine.sequence.0 == newest {
        true => machine.name.to_string(),
        false => format!("{} (of #{}, as of {})", machine.name, machine.sequence, local.time(machine.captured)),
    };
    machines.iter().map(machine).collect::<Vec<_>>().join(", ")
}

fn disk_line(disk: &PlannedDisk) -> String {
    let (size, data) = (render::bytes(disk.size_bytes), render::bytes(disk.data_bytes));
    let place = disk.path.as_ref().map_or_else(|| format!("disk {}", disk.number), |path| path.display().to_string());
    let device =
        disk.device_bytes.map_or_else(String::new, |bytes| format!(", on a device of {}", render::bytes(bytes)));
    format!("  {place}  {size} ({data} of data from {} stored{device})\n", render::bytes(disk.stored_bytes))
}
