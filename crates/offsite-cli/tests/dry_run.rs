//! What commands say that they would do: they do nothing of it, and then exactly that.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};
use support::golden::Transcript;
use support::{Offsite, day, repository};

const RESTORE: [&str; 4] = ["restore", "primary", "nightly", "db01"];
const EXPORT: [&str; 3] = ["export", "primary", "nightly"];
const IMPORT: [&str; 5] = ["import", "second", "imported", "--from", "db01.export"];
const MAP: [&str; 4] = ["map", "second", "mapped", "primary/nightly"];

/// A machine with two disks, backed up on three evenings and exported.
fn prepared() -> Offsite {
    let offsite = Offsite::with_three_backups();
    offsite.ok(EXPORT.into_iter().chain(["--to", "db01.export"]));
    offsite
}

/// A backup of the evening after, of a machine more and with one that has no image.
fn backup() -> impl Iterator<Item = String> {
    let fixed = ["backup", "--repo", "primary", "--job", "nightly", "--keep", "3", "--at"].map(str::to_owned);
    let machines = ["db01=system.img,data.img", "web01=system.img"].map(str::to_owned);
    fixed.into_iter().chain([day(3)]).chain(machines)
}

/// All that is in the folder of the test.
fn everything(offsite: &Offsite) -> BTreeMap<String, Vec<u8>> {
    repository::contents(offsite.root())
}

/// What `--dry-run --json` prints, after which everything is as it was.
#[track_caller]
fn planned<'a>(offsite: &Offsite, arguments: impl IntoIterator<Item = &'a str>) -> Value {
    let before = everything(offsite);
    let planned = offsite.json(arguments.into_iter().chain(["--dry-run"]));
    assert!(before == everything(offsite), "a dry run writes: {planned:#}");
    planned
}

#[test]
fn what_is_said_of_what_would_be_done() {
    let offsite = prepared();
    offsite.ok(["run", "--now", &day(2)]);
    fs::write(offsite.path("cut.export"), &fs::read(offsite.path("db01.export")).unwrap()[..100_000]).unwrap();
    let before = everything(&offsite);
    let mut transcript = Transcript::default();
    let mut dry_run = |status, arguments: &[&str], more: &[&str]| {
        let arguments = arguments.iter().chain(more).copied().chain(["--dry-run"]);
        transcript.run(&offsite, status, arguments);
    };
    let backup: Vec<String> = backup().collect();
    let backup: Vec<&str> = backup.iter().map(String::as_str).collect();
    dry_run(0, &backup, &[]);
    dry_run(3, &backup, &["gone=none.img"]);
    dry_run(0, &RESTORE, &["--to", "new/folder"]);
    dry_run(0, &RESTORE, &["--point", "1", "--disk", "1", "--to", "-"]);
    dry_run(0, &RESTORE, &["--disk", "0", "--to", "data.img", "--overwrite"]);
    dry_run(1, &RESTORE, &["--disk", "0", "--to", "data.img"]);
    dry_run(0, &EXPORT, &["--to", "new.export"]);
    dry_run(0, &EXPORT, &["--to", "-"]);
    dry_run(1, &EXPORT, &["--to", "db01.export"]);
    dry_run(1, &EXPORT, &["--to", "new/db01.export"]);
    dry_run(0, &IMPORT, &[]);
    dry_run(1, &["import", "second", "Offsite Copy", "--from", "db01.export"], &[]);
    dry_run(1, &["import", "second", "imported", "--from", "cut.export"], &[]);
    dry_run(2, &["import", "second", "imported", "--from", "-"], &[]);
    dry_run(0, &MAP, &[]);
    dry_run(0, &["repair", "second", "Offsite Copy"], &[]);
    assert!(before == everything(&offsite), "a dry run writes");
    transcript.compare(&offsite, "dry-run.txt");
}

#[test]
fn what_would_be_done_is_done() {
    let offsite = prepared();
    let backup: Vec<String> = backup().collect();
    let backup = || backup.iter().map(String::as_str);
    let (plan, done) = (planned(&offsite, backup()), offsite.json(backup()));
    for same in ["job", "sequence", "kind"] {
        assert_eq!(plan[same], done[same], "{same}");
    }
    let restore = || RESTORE.into_iter().chain(["--to", "restored/"]);
    let (plan, done) = (planned(&offsite, restore()), offsite.json(restore()));
    for same in ["machine", "sequence", "captured", "bytes_read"] {
        assert_eq!(plan[same], done[same], "{same}");
    }
    for (plan, done) in plan["disks"].as_array().unwrap().iter().zip(done["disks"].as_array().unwrap()) {
        for same in ["disk", "name", "path", "size_bytes", "data_bytes", "lost", "device_bytes"] {
            assert_eq!(plan[same], done[same], "{same}");
        }
    }
    assert_eq!((&plan["intact"], &plan["room"]["is_enough"]), (&json!(null), &json!(true)));
    let export = || EXPORT.into_iter().chain(["--to", "again.export"]);
    for (plan, done, same) in [
        (planned(&offsite, export()), offsite.json(export()), &["job", "sequence", "time", "machines"][..]),
        (planned(&offsite, IMPORT), offsite.json(IMPORT), &["job", "exported_from", "sequence", "time"]),
        (planned(&offsite, MAP), offsite.json(MAP), &["job", "seed_job", "points", "sequence", "time"]),
    ] {
        for same in same {
            assert_eq!(plan[same], done[same], "{same}");
        }
        assert_eq!((&plan["planned"], &done["io"]["as_planned"]), (&done["io"]["planned"], &json!(true)));
    }
}

#[test]
fn known_damage_is_told_before_a_restore() {
    let offsite = prepared();
    let blocks = offsite.path("primary/nightly/blocks");
    let newest = repository::names(&offsite.path("primary/nightly"), "blocks");
    let newest = newest.iter().rfind(|name| !name.contains('.')).unwrap();
    fs::remove_file(blocks.join(newest)).unwrap();
    let before = everything(&offsite);
    let ran = offsite.run(RESTORE.into_iter().chain(["--to", "new/", "--dry-run"])).expect(3);
    assert!(ran.out.contains("DAMAGED") && ran.out.contains("intact    #2"), "{ran}");
    let ran = offsite.run(RESTORE.into_iter().chain(["--to", "new/", "--dry-run", "--json"])).expect(3);
    let plan = ran.json();
    assert_eq!(plan["intact"]["sequence"], 2);
    assert!(!plan["disks"][0]["lost"].as_array().unwrap().is_empty(), "{plan:#}");
    assert!(before == everything(&offsite));
}

/// The commands fail on damage that a verification has noted, and their dry runs tell of it.
#[test]
fn known_damage_is_told_before_an_export_and_a_map() {
    let offsite = prepared();
    let blocks = offsite.path("primary/nightly/blocks");
    let newest = repository::names(&offsite.path("primary/nightly"), "blocks");
    let newest = newest.iter().rfind(|name| !name.contains('.')).unwrap();
    fs::remove_file(blocks.join(newest)).unwrap();
    for command in [EXPORT.iter().chain(&["--to", "lost.export"]), MAP.iter().chain(&[])] {
        let ran = offsite.run(command.clone().copied().chain(["--dry-run"])).expect(3);
        assert!(ran.out.contains("DAMAGED"), "{ran}");
        offsite.run(command.copied()).expect(1);
    }
}

/// A selection of a machine that nobody has is a warning of the run, and of its dry run.
#[test]
fn a_dry_run_of_a_name_that_nobody_has_ends_as_the_run() {
    let offsite = prepared();
    let config = fs::read_to_string(offsite.path("offsite.toml")).unwrap();
    let selecting = config.replacen("target = ", "select = { machines = [\"zz\"] }\ntarget = ", 1);
    assert_ne!(selecting, config);
    fs::write(offsite.path("offsite.toml"), selecting).unwrap();
    offsite.run(["run", "--now", &day(2), "--dry-run"]).expect(3);
    offsite.run(["run", "--now", &day(2)]).expect(3);
}

/// An `init` that was cut off leaves the file by which it tried the place.
#[test]
fn an_init_that_was_cut_off_is_done_again() {
    let offsite = prepared();
    let left = offsite.path("third/.staged-0123456789abcdef0123456789abcdef");
    fs::create_dir(offsite.path("third")).unwrap();
    fs::write(&left, "").unwrap();
    offsite.ok(["init", "third"]);
    assert!(!left.exists(), "it stays");
    fs::create_dir(offsite.path("fourth")).unwrap();
    fs::write(offsite.path("fourth/.staged-notes"), "of somebody else").unwrap();
    offsite.run(["init", "fourth"]).expect(1);
    assert!(offsite.path("fourth/.staged-notes").exists());
}
