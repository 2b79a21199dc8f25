//! Plans as `--dry-run --json` prints them.

use std::collections::BTreeMap;

use offsite::MachineName;
use offsite::plan::{BackupPlan, ExportPlan, ImportPlan, MapPlan, PlannedDisk, RestorePlan};
use offsite::report::ExportedMachine;
use serde_json::{Value, json};

use super::{cost, operations, ranges, room};
use crate::words;

pub(crate) fn backup(job: &str, plan: &BackupPlan) -> Value {
    let machines = plan.machines.iter().map(|machine| {
        json!({
            "name": machine.name.as_str(),
            "disks": machine.disks,
            "read_bytes_max": machine.read_bytes_max,
            "is_new": machine.is_new,
        })
    });
    let failed =
        plan.failed.iter().map(|machine| json!({ "name": machine.name.as_str(), "why": words::reason(&machine.why) }));
    json!({
        "job": job,
        "sequence": plan.sequence.0,
        "kind": if plan.full { "full" } else { "increment" },
        "machines": machines.collect::<Vec<_>>(),
        "failed": failed.collect::<Vec<_>>(),
        "operations": operations(&plan.operations),
    })
}

pub(crate) fn restore(machine: &str, plan: &RestorePlan) -> Value {
    let disk = |disk: &PlannedDisk| {
        json!({
            "disk": disk.number.0,
            "name": disk.name.as_str(),
            "path": disk.path.as_ref().map(|path| path.to_string_lossy()),
            "size_bytes": disk.size_bytes,
            "stored_bytes": disk.stored_bytes,
            "data_bytes": disk.data_bytes,
            "lost": ranges(&disk.lost),
            "device_bytes": disk.device_bytes,
        })
    };
    let intact = plan.intact.map(|(point, time)| json!({ "sequence": point.0, "time": time.to_string() }));
    json!({
        "machine": machine,
        "sequence": plan.sequence.0,
        "captured": plan.captured.to_string(),
        "disks": plan.disks.iter().map(disk).collect::<Vec<_>>(),
        "bytes_read": plan.traffic.bytes_read,
        "read_requests": plan.traffic.read_requests,
        "room": { "needed_bytes": plan.needed_bytes(), "free_bytes": plan.free_bytes, "is_enough": plan.fits() },
        "intact": intact,
    })
}

pub(crate) fn export(job: &str, plan: &ExportPlan) -> Value {
    json!({
        "job": job,
        "sequence": plan.sequence.0,
        "time": plan.time.to_string(),
        "machines": machines(&plan.machines),
        "bytes_max": plan.bytes_max,
        "planned": cost(&plan.cost),
        "room": room(&plan.room),
        "lost_blocks": lost(&plan.lost),
    })
}

pub(crate) fn import(job: &str, plan: &ImportPlan) -> Value {
    json!({
        "job": job,
        "exported_from": plan.job,
        "exported_sequence": plan.exported.0,
        "sequence": plan.sequence.0,
        "time": plan.time.to_string(),
        "machines": machines(&plan.machines),
        "bytes": plan.bytes,
        "planned": cost(&plan.cost),
        "room": room(&plan.room),
    })
}

pub(crate) fn map(job: &str, seed_job: &str, plan: &MapPlan) -> Value {
    json!({
        "job": job,
        "seed_job": seed_job,
        "points": plan.points,
        "sequence": plan.sequence.0,
        "time": plan.time.to_string(),
        "planned": cost(&plan.cost),
        "room": room(&plan.room),
        "lost_blocks": lost(&plan.lost),
    })
}

/// Returns the number of blocks that are known to be lost, a value for each machine.
fn lost(lost: &BTreeMap<MachineName, u64>) -> Vec<Value> {
    lost.iter().map(|(machine, blocks)| json!({ "name": machine.as_str(), "blocks": blocks })).collect()
}

fn machines(machines: &[ExportedMachine]) -> Vec<Value> {
    machines.iter().map(super::exported).collect()
}
