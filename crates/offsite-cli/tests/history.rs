//! The past that a new copy job brings, and what fills the slots that it missed, by the built command.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::process::Stdio;

use serde_json::{Value, json};
use support::{Offsite, day, repository};

const POLICY: &str = "keep = 7\ngfs = { weekly = 4, monthly = 2 }\n";

/// Repositories, a copy job with this policy and these keys, and a source with daily points.
fn with_days(days: i64, keys: &str, policy: &str) -> Offsite {
    let offsite = Offsite::in_memory();
    configure(&offsite, keys, policy);
    offsite.ok(["init", "primary"]);
    offsite.ok(["init", "second"]);
    (0..days).for_each(|number| backup(&offsite, number));
    offsite
}

fn configure(offsite: &Offsite, keys: &str, policy: &str) {
    offsite.config(&format!(
        "[repositories.primary]\nlocation = \"primary\"\n[repositories.second]\nlocation = \"second\"\n\
         [jobs.\"Offsite Copy\"]\nsource = {{ repository = \"primary\", job = \"nightly\" }}\ntarget = \"second\"\n{keys}\
         [jobs.\"Offsite Copy\".retention]\n{policy}"
    ));
    fs::write(offsite.path("policy.toml"), policy.replace(", backfill = true", "")).unwrap();
}

/// A disk of eight blocks, of which each day changes one.
fn backup(offsite: &Offsite, number: i64) {
    let image = offsite.path("web01.img");
    let mut bytes =
        fs::read(&image).unwrap_or_else(|_| (0..8 << 18).map(|at: u32| (at >> 7) as u8 ^ at as u8).collect());
    let block = usize::try_from(number).unwrap() % 8;
    bytes[(block << 18)..][..8].copy_from_slice(&(number + 1).to_le_bytes());
    fs::write(&image, bytes).unwrap();
    let at = day(number);
    offsite.ok([
        "backup",
        "--repo",
        "primary",
        "--job",
        "nightly",
        "--block-size",
        "256KiB",
        "--keep",
        "400",
        "--at",
        &at,
        "web01=web01.img",
    ]);
}

fn run(offsite: &Offsite, number: i64) -> Value {
    offsite.json(["run", "--now", &day(number)])
}

/// What an operation was to cost, by a plan or by a report.
fn planned_of(operation: &Value) -> &Value {
    if operation["planned"].is_null() { &operation["io"]["planned"] } else { &operation["planned"] }
}

/// The archives and points of the copy: their times and flags.
fn kept(offsite: &Offsite) -> (Vec<Value>, Vec<Value>) {
    let chain = offsite.json(["chain", "second", "Offsite Copy"]);
    let points = chain["points"].as_array().unwrap().iter();
    let of = |point: &Value| json!({ "time": point["time"], "flags": point["flags"] });
    let is_archive = |point: &&Value| point["archived"] == true;
    (
        points.clone().filter(is_archive).map(of).collect(),
        points.filter(|point| point["archived"] != true).map(of).collect(),
    )
}

/// What the policy leaves if a job runs on every day.
fn simulated(offsite: &Offsite, days: i64) -> (Vec<Value>, Vec<Value>) {
    fs::write(offsite.path("points.txt"), (0..days).map(|number| day(number) + "\n").collect::<String>()).unwrap();
    let ran = offsite.ok(["simulate", "--policy", "policy.toml", "--points", "points.txt", "--json"]);
    let last: Value = serde_json::from_str(ran.out.lines().last().unwrap()).unwrap();
    let of = |point: &Value| json!({ "time": point["time"], "flags": point["flags"] });
    let all = |key: &str| last[key].as_array().unwrap().iter().map(of).collect();
    (all("archive"), all("chain"))
}

fn restored(offsite: &Offsite) {
    offsite.ok(["restore", "second", "Offsite Copy", "web01", "--to", "restored.img"]);
    assert!(fs::read(offsite.path("restored.img")).unwrap() == fs::read(offsite.path("web01.img")).unwrap());
    fs::remove_file(offsite.path("restored.img")).unwrap();
    assert_eq!(offsite.json(["verify", "second", "--read-data"])["damage"], json!([]));
}

#[test]
fn a_new_job_brings_what_its_retention_wants_of_sixty_days() {
    let offsite = with_days(60, "history = \"wanted\"\n", POLICY);
    let plan = offsite.json(["run", "--dry-run", "--now", &day(59)]);
    let ran = run(&offsite, 59);
    let (archives, points) = kept(&offsite);
    assert_eq!((archives.clone(), points.clone()), simulated(&offsite, 60));
    let expected = archives.len() + points.len();
    assert_eq!(ran["history"], json!({ "points": expected, "left": 0 }));
    let planned: Vec<&Value> = plan["history"].as_array().unwrap().iter().map(|past| &past["time"]).collect();
    assert_eq!(planned, archives.iter().chain(&points).map(|point| &point["time"]).collect::<Vec<_>>());
    for (past, sync) in plan["history"].as_array().unwrap().iter().zip(ran["syncs"].as_array().unwrap()) {
        assert_eq!(past["sync"]["planned"], sync["io"]["planned"], "{past} {sync}");
    }
    restored(&offsite);
    // Nothing is carried twice, and then the job goes on as any other.
    assert_eq!(run(&offsite, 59)["syncs"], json!([]));
    for number in 60..63 {
        backup(&offsite, number);
        assert_eq!(run(&offsite, number)["syncs"].as_array().unwrap().len(), 1);
        assert_eq!(kept(&offsite), simulated(&offsite, number + 1));
    }
    repository::assert_tidy(&offsite.path("second/Offsite Copy"));
}

#[test]
fn a_run_that_is_killed_leaves_the_rest_of_the_past_to_the_next() {
    let offsite = with_days(40, "history = \"all\"\n", "keep = 7\n");
    let heads = offsite.path("second/Offsite Copy/head");
    for killed_after in [3, 20] {
        let mut command = offsite.command(["run", "--now", &day(39)]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let newest = || {
            let names = fs::read_dir(&heads).into_iter().flatten().flatten();
            names.filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok()).max().unwrap_or(0)
        };
        let start = newest();
        while newest() < start + killed_after && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        let _ = child.kill();
        child.wait().unwrap();
    }
    let before: Vec<u64> = sequences(&offsite);
    let ran = run(&offsite, 39);
    assert_eq!(ran["history"]["left"], 0, "{ran}");
    assert_eq!(kept(&offsite), simulated(&offsite, 40));
    // Each day has one restore point, so their numbers tell that none was carried twice.
    assert!(before.len() <= 8, "the transforms went along: {before:?}");
    assert_eq!(sequences(&offsite).last(), Some(&40));
    restored(&offsite);
    repository::assert_tidy(&offsite.path("second/Offsite Copy"));
}

fn sequences(offsite: &Offsite) -> Vec<u64> {
    let chain = offsite.json(["chain", "second", "Offsite Copy"]);
    chain["points"].as_array().unwrap().iter().map(|point| point["sequence"].as_u64().unwrap()).collect()
}

#[test]
fn a_plan_says_what_the_past_costs() {
    let offsite = with_days(12, "history = \"all\"\n", "keep = 3\n");
    let plan = offsite.ok(["run", "--dry-run", "--now", &day(11)]).out;
    assert!(plan.contains("would first bring 12 restore points of the source's past, oldest first"), "{plan}");
    assert!(plan.contains("\n  all       "), "{plan}");
    let ran = offsite.ok(["run", "--now", &day(11)]).out;
    assert!(ran.contains("12 restore points of the source's past, beside the one of the interval"), "{ran}");
}

#[test]
fn settings_that_cannot_be_are_named() {
    let offsite = with_days(1, "", "keep = 3\n");
    for (keys, words) in [
        ("history = \"some\"\n", &["line 8", "history", "\"newest\"", "\"all\"", "\"wanted\""][..]),
        ("history = \"all\"\nlookup = \"forward\"\n", &["lookup", "history = \"all\"", "leave one of them out"]),
    ] {
        configure(&offsite, keys, "keep = 3\n");
        offsite.run(["run", "--now", &day(0)]).expect(2).says(words);
    }
}

/// Paused for a month: the weeks and months that were missed are filled, and once the chain has turned over, the archives are those
/// of a job that never paused.
#[test]
fn a_job_that_comes_back_fills_the_slots_that_it_missed() {
    let policy = "keep = 3\ngfs = { weekly = 4, monthly = 2, backfill = true }\n";
    let offsite = with_days(0, "at = \"12:00\"\n", policy);
    for number in 0..10 {
        backup(&offsite, number);
        run(&offsite, number);
    }
    (10..45).for_each(|number| backup(&offsite, number));
    let plan = offsite.ok(["run", "--dry-run", "--trust-clock", "--now", &day(44)]).out;
    assert!(plan.contains("  fill      the missed slot (weekly) with #"), "{plan}");
    let planned = offsite.json(["run", "--dry-run", "--trust-clock", "--now", &day(44)]);
    let ran = offsite.json(["run", "--trust-clock", "--now", &day(44)]);
    let filled = |operations: &Value| -> Vec<Value> {
        let is_filling = |operation: &&Value| operation["operation"] == "back-fill";
        let of = |operation: &Value| json!({ "time": operation["time"], "tiers": operation["tiers"], "planned": planned_of(operation) });
        operations.as_array().unwrap().iter().filter(is_filling).map(of).collect()
    };
    assert_eq!(filled(&planned["operations"]), filled(&ran["transform"]["operations"]));
    assert!(filled(&planned["operations"]).len() >= 3, "{planned}");
    assert!(offsite.ok(["chain", "second", "Offsite Copy"]).out.contains("archive, back-filled"));
    restored(&offsite);
    for number in 45..50 {
        backup(&offsite, number);
        let ran = run(&offsite, number);
        assert_eq!(filled(&ran["transform"]["operations"]), Vec::<Value>::new());
    }
    assert_eq!(kept(&offsite), simulated(&offsite, 50));
    restored(&offsite);
    repository::assert_tidy(&offsite.path("second/Offsite Copy"));
    configure(&offsite, "", "gfs = { weekly = 4, method = \"active\", backfill = true }\n");
    offsite.run(["run", "--now", &day(50)]).expect(2).says(&["backfill", "method", "leave backfill out"]);
}
