//! The JSON that `--json` prints. Names are stable. Times are in RFC 3339 and UTC. Numbers of bytes are integers.

pub(crate) mod events;
mod interval;
pub(crate) mod planned;

use std::collections::BTreeMap;
use std::ops::Range;

use offsite::model::MachineName;
use offsite::model::PointKind;
use offsite::model::RestorePoint;
use offsite::model::Sequence;
use offsite::model::Status;
use offsite::report::{
    Amount, BackupReport, BlockTraffic, ExportReport, ExportedMachine, ImportReport, LookUp, MachineOutcome,
    MachineReport, MapReport, Operation, PopulateReport, RestoreReport, Savings, Tally, TransformReport,
};
use offsite::repository::Key;
use offsite::retention::Verdict;
use offsite::{
    Basis, Damage, DiskSummary, KnownDamage, PlannedOperation, PlannedPast, PlannedSync, RepairReport, Room, RunPlan,
    VerifyReport,
};
use offsite_backends::EjectedMedium;
use serde::Serialize;
use serde_json::{Value, json};

use crate::status::Failure;
use crate::{operation, print, words};

pub(crate) use interval::{interval, overdue, span};

/// Prints a value on one line.
pub(crate) fn print(value: &impl Serialize) -> Result<(), Failure> {
    print::json(&text(value)?);
    Ok(())
}

/// Returns a value on one line.
pub(crate) fn text(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|error| Failure::Failed(format!("no JSON: {error}")))
}

pub(crate) fn kind(kind: PointKind) -> &'static str {
    match kind {
        PointKind::Full => "full",
        PointKind::Increment => "increment",
        PointKind::Rollback => "rollback",
    }
}

pub(crate) fn status(status: Status) -> &'static str {
    match status {
        Status::Complete => "complete",
        Status::Incomplete => "incomplete",
        Status::Carried => "carried",
    }
}

/// Returns a restore point, with its verdict if a policy is known.
pub(crate) fn point(point: &RestorePoint, known: &KnownDamage, verdict: Option<&Verdict>) -> Value {
    let machines: Vec<Value> = point
        .machines
        .iter()
        .map(|machine| {
            json!({
                "name": machine.name.as_str(),
                "status": status(machine.status),
                "captured": machine.captured.to_string(),
                "done_bytes": machine.transferred.done_bytes,
                "left_bytes": machine.transferred.left_bytes,
                "damaged_blocks": known.blocks(point.sequence, &machine.name),
            })
        })
        .collect();
    let mut value = json!({
        "sequence": point.sequence.0,
        "time": point.time.to_string(),
        "kind": kind(point.kind),
        "flags": point.flags.names().collect::<Vec<_>>(),
        "is_back_filled": point.is_back_filled,
        "machines": machines,
        "stored_blocks": point.stored.blocks,
        "stored_bytes": point.stored.bytes,
        "is_readable": !known.unreadable.contains(&point.sequence),
    });
    if let Some(verdict) = verdict {
        value["keep"] = verdict.keeps().into();
        value["reasons"] = verdict.reasons.iter().map(ToString::to_string).collect::<Vec<_>>().into();
    }
    value
}

/// Adds the disks of its machines to a restore point.
pub(crate) fn add_disks(point: &mut Value, disks: &BTreeMap<MachineName, Vec<DiskSummary>>) {
    for machine in point["machines"].as_array_mut().into_iter().flatten() {
        let known = disks.iter().find(|(name, _)| machine["name"] == name.as_str());
        if let Some((_, disks)) = known {
            let disk = |disk: &DiskSummary| {
                json!({
                    "number": disk.number.0,
                    "name": disk.identity.name.as_str(),
                    "format": disk.identity.format.name(),
                    "size_bytes": disk.size_bytes,
                })
            };
            machine["disks"] = disks.iter().map(disk).collect();
        }
    }
}

pub(crate) fn backup(job: &str, report: &BackupReport) -> Value {
    let machines: Vec<Value> = report
        .machines
        .iter()
        .map(|machine| {
            json!({
                "name": machine.name.as_str(),
                "disk_bytes": machine.disk_bytes,
                "read_bytes": machine.read_bytes,
                "changed_bytes": machine.changed_bytes,
                "warnings": machine.warnings.iter().map(words::image).collect::<Vec<_>>(),
            })
        })
        .collect();
    let failed = report
        .failed
        .iter()
        .map(|machine| json!({ "name": machine.name.as_str(), "why": words::reason(&machine.why) }));
    json!({
        "job": job,
        "sequence": report.sequence.0,
        "time": report.time.to_string(),
        "failed": failed.collect::<Vec<_>>(),
        "kind": if report.full { "full" } else { "increment" },
        "rolled_back": report.rolled_back.map(|sequence| sequence.0),
        "machines": machines,
        "stored_blocks": report.stored_blocks,
        "stored_bytes": report.stored_bytes,
        "io": tally(&report.tally),
        "duration_secs": report.duration.as_secs_f64(),
        "transform": transform(&report.transform),
    })
}

pub(crate) fn plan(job: &str, plan: &RunPlan) -> Value {
    let sync = |sync: &PlannedSync| {
        json!({
            "kind": if sync.full { "full" } else { "increment" },
            "machines": sync.machines.iter().map(|machine| machine.name.as_str()).collect::<Vec<_>>(),
            "planned": cost(&sync.cost),
            "room": room(&sync.room),
            "savings": savings(&sync.savings, sync.look_up),
        })
    };
    let past = |past: &PlannedPast| json!({ "time": past.time.to_string(), "sync": sync(&past.sync), "operations": operations(&past.operations) });
    json!({
        "job": job,
        "history": plan.history.iter().map(past).collect::<Vec<_>>(),
        "sync": plan.sync.as_ref().map(sync),
        "operations": operations(&plan.operations),
        "machines": plan.machines.iter().map(machine).collect::<Vec<_>>(),
        "missing_machines": plan.absent().map(MachineName::as_str).collect::<Vec<_>>(),
        "notes": words::notes(&plan.notes, &plan.doubts),
    })
}

/// Returns what a copy was asked for, what of it came from the source, and why the rest did not.
fn savings(savings: &Savings, look_up: LookUp) -> Value {
    let amounts = [
        ("asked", savings.asked),
        ("sent", savings.sent),
        ("unchanged", savings.unchanged),
        ("zero", savings.zero),
        ("spare", savings.spare),
        ("chain", savings.chain),
        ("other_machine", savings.machine),
        ("other_job", savings.job),
        ("cache", savings.cache),
        ("twice", savings.twice),
        ("left", savings.left),
    ];
    let amounts = amounts.map(|(name, amount)| (name.to_owned(), self::amount(amount)));
    let mut value = Value::Object(amounts.into_iter().collect());
    value["look_up"] = match look_up {
        LookUp::Made => "made",
        LookUp::CacheOnly => "cache_only",
        LookUp::NothingMissing => "nothing_missing",
        LookUp::Off => "off",
        LookUp::SourceIsHere => "source_is_here",
        LookUp::TargetIsAway => "target_is_away",
        _ => "unknown",
    }
    .into();
    value
}

fn amount(amount: Amount) -> Value {
    json!({ "blocks": amount.blocks, "bytes": amount.bytes })
}

pub(crate) fn populate(repository: &str, report: &PopulateReport, used_bytes: u64) -> Value {
    let unfilled = report.unfilled.iter().map(|job| json!({ "job": job.job.as_str(), "why": job.why.to_string() }));
    json!({
        "repository": repository,
        "added": amount(report.kept),
        "there_before": amount(report.had),
        "damaged_blocks": report.damaged_blocks,
        "is_full": report.is_full,
        "used_bytes": used_bytes,
        "failure": report.failure.as_ref().map(ToString::to_string),
        "not_read": unfilled.collect::<Vec<_>>(),
    })
}

fn room(room: &Room) -> Value {
    json!({
        "needed_bytes": room.needed_bytes,
        "free_bytes": room.free_bytes,
        "min_free_bytes": room.min_free_bytes,
        "is_enough": room.is_enough(),
    })
}

/// Returns planned operations.
pub(crate) fn operations(planned: &[PlannedOperation]) -> Vec<Value> {
    planned.iter().map(|planned| with(&planned.operation, "planned", cost(&planned.cost))).collect()
}

/// Says that a medium can be taken out.
pub(crate) fn safe_to_remove(ejected: &EjectedMedium) -> Value {
    json!({
        "event": "safe_to_remove",
        "safe_to_remove": {
            "id": ejected.medium.id.to_string(),
            "label": ejected.medium.label,
            "path": ejected.path.display().to_string(),
        }
    })
}

/// Says what would become of a machine that a copy job selects.
fn machine(report: &MachineReport) -> Value {
    let mut value = json!({ "name": report.name.as_str() });
    let (outcome, captured) = match &report.outcome {
        MachineOutcome::Complete { captured } => ("complete", Some(captured)),
        MachineOutcome::Incomplete { captured, transferred, why } => {
            value["done_bytes"] = transferred.done_bytes.into();
            value["left_bytes"] = transferred.left_bytes.into();
            value["why"] = words::reason(why).into();
            ("incomplete", captured.as_ref())
        }
        MachineOutcome::Unchanged { captured } => ("unchanged", Some(captured)),
        MachineOutcome::Waiting { job } => {
            value["job"] = job.as_ref().map(|job| job.as_str()).into();
            ("waiting", None)
        }
        MachineOutcome::Absent { why } => {
            value["why"] = words::reason(why).into();
            ("absent", None)
        }
    };
    value["outcome"] = outcome.into();
    value["captured"] = captured.map(ToString::to_string).into();
    value
}

pub(crate) fn transform(report: &TransformReport) -> Value {
    let operations = report.operations.iter().map(|report| with(&report.operation, "io", tally(&report.tally)));
    json!({
        "operations": operations.collect::<Vec<_>>(),
        "released_bytes": report.released.bytes,
        "released_ranges": report.released.ranges,
        "released_objects": report.released.objects,
        "held_bytes": report.released.held_bytes,
        "linked_bytes": report.released.linked_bytes,
        "release_secs": report.release_duration.as_secs_f64(),
        "verification": report.verification.as_ref().map(verification),
        "damage": known_damage(&report.damage),
        "notes": words::notes(&report.notes, &[]),
    })
}

/// Returns the known damage, a value for each machine of each restore point. The value has no machine if nothing of the point can
/// be read.
fn known_damage(damage: &KnownDamage) -> Vec<Value> {
    let machines = damage.points.iter().flat_map(|(point, machines)| machines.iter().map(move |entry| (point, entry)));
    let value = |(point, (machine, blocks)): (&Sequence, (&MachineName, &u64))| json!({ "sequence": point.0, "machine": machine.as_str(), "blocks": blocks });
    let unreadable =
        damage.unreadable.iter().map(|point| json!({ "sequence": point.0, "machine": null, "blocks": null }));
    machines.map(value).chain(unreadable).collect()
}

/// Returns an operation with one more field.
fn with(operation: &Operation, name: &str, value: Value) -> Value {
    let mut fields = operation::fields(operation);
    fields[name] = value;
    fields
}

fn tally(tally: &Tally) -> Value {
    json!({
        "planned": cost(&tally.planned),
        "counted": { "source": traffic(&tally.source), "target": traffic(&tally.target) },
        "as_planned": tally.kept_to_plan(),
        "duration_secs": tally.duration.as_secs_f64(),
    })
}

fn cost(cost: &offsite::plan::Cost) -> Value {
    json!({
        "blocks": cost.blocks,
        "bytes_read": cost.bytes_read,
        "bytes_written": cost.bytes_written,
        "bytes_released": cost.bytes_released,
        "bytes_linked": cost.bytes_linked,
        "read_requests": cost.read_requests,
        "peak_extra_bytes": cost.peak_extra_bytes,
    })
}

fn traffic(traffic: &BlockTraffic) -> Value {
    json!({
        "bytes_read": traffic.bytes_read,
        "read_requests": traffic.read_requests,
        "bytes_written": traffic.bytes_written,
    })
}

pub(crate) fn export(job: &str, report: &ExportReport) -> Value {
    json!({
        "job": job,
        "sequence": report.sequence.0,
        "time": report.time.to_string(),
        "machines": report.machines.iter().map(exported).collect::<Vec<_>>(),
        "bytes": report.bytes,
        "io": tally(&report.tally),
    })
}

fn exported(machine: &ExportedMachine) -> Value {
    json!({
        "name": machine.name.as_str(),
        "sequence": machine.sequence.0,
        "captured": machine.captured.to_string(),
    })
}

pub(crate) fn import(job: &str, report: &ImportReport) -> Value {
    json!({
        "job": job,
        "exported_from": report.job,
        "sequence": report.sequence.0,
        "time": report.time.to_string(),
        "machines": names(&report.machines),
        "io": tally(&report.tally),
    })
}

pub(crate) fn map(job: &str, seed_job: &str, report: &MapReport) -> Value {
    json!({
        "job": job,
        "seed_job": seed_job,
        "points": report.points,
        "sequence": report.sequence.0,
        "time": report.time.to_string(),
        "io": tally(&report.tally),
    })
}

fn names(machines: &[MachineName]) -> Vec<&str> {
    machines.iter().map(MachineName::as_str).collect()
}

pub(crate) fn restore(machine: &str, report: &RestoreReport) -> Value {
    let disks: Vec<Value> = report
        .disks
        .iter()
        .map(|disk| {
            json!({
                "disk": disk.number.0,
                "name": disk.name.as_str(),
                "path": disk.path.as_ref().map(|path| path.to_string_lossy()),
                "size_bytes": disk.size_bytes,
                "data_bytes": disk.data_bytes,
                "lost": ranges(&disk.lost),
                "device_bytes": disk.device_bytes,
            })
        })
        .collect();
    json!({
        "machine": machine,
        "sequence": report.sequence.0,
        "captured": report.captured.to_string(),
        "disks": disks,
        "bytes_read": report.traffic.bytes_read,
        "duration_secs": report.duration.as_secs_f64(),
    })
}

fn ranges(ranges: &[Range<u64>]) -> Vec<Value> {
    ranges.iter().map(|range| json!({ "start_bytes": range.start, "end_bytes": range.end })).collect()
}

pub(crate) fn repair(job: &str, report: &RepairReport) -> Value {
    let left_out = report.left_out.iter().map(|left| {
        json!({
            "sequence": left.sequence.0,
            "machine": left.machine.as_ref().map(|machine| machine.as_str()),
            "why": left.reason(),
        })
    });
    let unneeded = report.unneeded.iter().map(|file| json!({ "object": file.object.as_str(), "bytes": file.bytes }));
    json!({
        "job": job,
        "basis": match report.basis {
            Basis::Head => "head",
            Basis::HeadCopy => "head copy",
            Basis::Indexes => "indexes",
        },
        "damaged_heads": keys(&report.damaged_heads),
        "restored": keys(&report.restored),
        "salvaged": keys(&report.salvaged),
        "rewritten": keys(&report.rewritten),
        "points": report.points.iter().map(|sequence| sequence.0).collect::<Vec<_>>(),
        "left_out": left_out.collect::<Vec<_>>(),
        "unneeded": unneeded.collect::<Vec<_>>(),
        "damage": report.damage.iter().map(damage).collect::<Vec<_>>(),
        "notes": words::notes(&report.notes, &[]),
        "head": report.head,
    })
}

pub(crate) fn verify(job: &str, report: &VerifyReport) -> Value {
    let mut value = verification(report);
    value["job"] = job.into();
    value
}

fn damage(damage: &Damage) -> Value {
    let touches: Vec<Value> = damage
        .touches
        .iter()
        .map(|touched| {
            json!({
                "sequence": touched.sequence.0,
                "machine": touched.machine.as_ref().map(|machine| machine.as_str()),
            })
        })
        .collect();
    json!({ "object": damage.object.as_str(), "what": words::damage(&damage.what), "touches": touches })
}

fn keys(keys: &[Key]) -> Vec<&str> {
    keys.iter().map(Key::as_str).collect()
}

fn verification(report: &VerifyReport) -> Value {
    let damage: Vec<Value> = report.damage.iter().map(damage).collect();
    json!({
        "points": report.points,
        "files": report.files,
        "blocks": report.blocks,
        "bytes_read": report.bytes_read,
        "bytes_left": report.bytes_left,
        "damage": damage,
        "notes": words::notes(&report.notes, &[]),
        "duration_secs": report.duration.as_secs_f64(),
    })
}
