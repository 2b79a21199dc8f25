//! The main job as a user runs it: real file systems in disk images, backed up for days, copied, merged, verified, restored, and
//! judged by other people's programs.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::PathBuf;

use offsite_tests::Tree;
use offsite_tests::ext4::FileSystem;
use offsite_tests::qemu::{self, Format};
use serde_json::{Value, json};
use support::{Offsite, assert_same_bytes, copy_sparse, day, repository, seed};

const SIZE_MIB: u64 = 24;
const FILE_BYTES_MAX: usize = 60_000;
const DAYS: i64 = 7;
const KEEP: i64 = 3;
const COPY: &str = "Offsite Copy";

/// A machine with one disk, and what it held on each evening.
struct Machine {
    name: &'static str,
    system: FileSystem,
    tree: Tree,
    /// The image and the files of each day.
    evenings: Vec<(PathBuf, Tree)>,
}

impl Machine {
    fn new(offsite: &Offsite, name: &'static str, seed: u64) -> Self {
        let tree = Tree::random(seed, 60, FILE_BYTES_MAX);
        let system = FileSystem::create(&offsite.path(&format!("{name}.img")), &tree, SIZE_MIB);
        Self { name, system, tree, evenings: Vec::new() }
    }

    /// A day of work, and a copy of the disk in the evening.
    fn work(&mut self, offsite: &Offsite, seed: u64) {
        let changes = self.tree.random_changes(seed, FILE_BYTES_MAX);
        self.system.change(&changes);
        self.tree.apply(&changes);
        self.keep_copy(offsite);
    }

    fn keep_copy(&mut self, offsite: &Offsite) {
        let copy = offsite.path(&format!("{}-of-day-{}.img", self.name, self.evenings.len()));
        copy_sparse(self.system.image(), &copy);
        self.evenings.push((copy, self.tree.clone()));
    }

    /// Restores a point as raw and as qcow2, and holds that both are the disk of that evening.
    fn assert_restores(&self, offsite: &Offsite, repo: &str, job: &str, sequence: i64) {
        let (image, tree) = &self.evenings[usize::try_from(sequence - 1).unwrap()];
        let point = sequence.to_string();
        let (raw, qcow2) = (offsite.path("restored.img"), offsite.path("restored.qcow2"));
        for (to, format) in [(&raw, "raw"), (&qcow2, "qcow2")] {
            let to = to.to_str().unwrap();
            let report =
                offsite.json(["restore", repo, job, self.name, "--point", &point, "--to", to, "--format", format]);
            assert_eq!(report["machine"], self.name);
            assert_eq!(report["sequence"], sequence);
            assert_eq!(report["captured"], day(sequence - 1));
            assert_eq!(report["disks"][0]["path"], to);
            assert_eq!(report["disks"][0]["size_bytes"], SIZE_MIB << 20);
        }
        qemu::assert_same(image, Format::Raw, &raw, Format::Raw);
        qemu::check(&qcow2);
        qemu::assert_same(image, Format::Raw, &qcow2, Format::Qcow2);
        let allocated = qemu::info(&raw, Format::Raw).allocated_bytes;
        assert!(allocated < SIZE_MIB << 20, "{allocated}: the restored image is sparse");
        let restored = FileSystem::open(&raw);
        restored.check();
        assert!(restored.tree() == *tree, "the files of {} at #{sequence} in {repo}", self.name);
        fs::remove_file(raw).unwrap();
        fs::remove_file(qcow2).unwrap();
    }
}

/// Every kept point of both chains holds each machine as it was that evening; and the copies still do when the source is gone.
#[test]
fn a_week_of_two_machines() {
    let seed = seed();
    let offsite = Offsite::with_copy_job();
    let mut web = Machine::new(&offsite, "web01", seed);
    let mut db = Machine::new(&offsite, "db01", seed + 1);
    let qcow2 = offsite.path("db01.qcow2");
    for number in 0..DAYS {
        if number == 0 {
            web.keep_copy(&offsite);
            db.keep_copy(&offsite);
        } else {
            web.work(&offsite, seed + 100 + number as u64);
            db.work(&offsite, seed + 200 + number as u64);
        }
        // The same disk in another file each evening: compressed clusters, small clusters, usual ones.
        let options: &[&str] = [&["-c"][..], &["-o", "cluster_size=4k"], &[]][number as usize % 3];
        qemu::convert_with(db.system.image(), Format::Raw, &qcow2, Format::Qcow2, options);

        let backup = offsite.backup(&day(number), &["web01=web01.img", "db01=db01.qcow2"]);
        assert_backup(&backup, number);
        let planned = planned_without_a_trace(&offsite, number);
        let report = offsite.json(["run", "--now", &day(number)]);
        assert_copy(&report, number);
        assert_as_planned(&planned, &report);
        for sequence in kept(number) {
            let to = offsite.restore("second", COPY, "web01", sequence as u64, "again.img");
            assert_same_bytes(&to, &web.evenings[sequence as usize - 1].0);
            fs::remove_file(to).unwrap();
        }
        repository::assert_tidy(&offsite.path("primary/nightly"));
        repository::assert_tidy(&offsite.path("second/Offsite Copy"));
    }
    assert_listings(&offsite);
    for sequence in 1..=DAYS {
        let to = offsite.restore("primary", "nightly", "db01", sequence as u64, "again.img");
        assert_same_bytes(&to, &db.evenings[sequence as usize - 1].0);
        fs::remove_file(to).unwrap();
    }
    for sequence in kept(DAYS - 1) {
        web.assert_restores(&offsite, "second", COPY, sequence);
        db.assert_restores(&offsite, "second", COPY, sequence);
    }

    fs::remove_dir_all(offsite.path("primary")).unwrap();
    for sequence in kept(DAYS - 1) {
        web.assert_restores(&offsite, "second", COPY, sequence);
        db.assert_restores(&offsite, "second", COPY, sequence);
    }
    assert_verified(&offsite, "second", COPY, KEEP);
    offsite.run(["run"]).expect(1).says(&["job Offsite Copy", "primary"]);
    assert_verified(&offsite, "second", COPY, KEEP);
}

/// The sequences that the copy keeps after the run of a day.
fn kept(day: i64) -> impl Iterator<Item = i64> {
    (day + 2 - KEEP).max(1)..=day + 1
}

#[track_caller]
fn assert_backup(report: &Value, number: i64) {
    assert_eq!(report["job"], "nightly");
    assert_eq!(report["sequence"], number + 1);
    assert_eq!(report["time"], day(number));
    assert_eq!(report["kind"], if number == 0 { "full" } else { "increment" });
    for (machine, name) in report["machines"].as_array().unwrap().iter().zip(["db01", "web01"]) {
        assert_eq!(machine["name"], name);
        assert_eq!(machine["disk_bytes"], SIZE_MIB << 20);
        let (read, changed) = (machine["read_bytes"].as_u64().unwrap(), machine["changed_bytes"].as_u64().unwrap());
        assert!(0 < changed && changed <= read && read <= SIZE_MIB << 20, "{machine}");
        assert!(number == 0 || changed < read, "a day changes a part of the disk: {machine}");
    }
    assert!(report["stored_bytes"].as_u64().unwrap() > 0);
    assert_eq!(report["transform"]["operations"], json!([]), "a backup job keeps everything");
}

/// What a dry run says. It writes nothing, neither there nor here.
#[track_caller]
fn planned_without_a_trace(offsite: &Offsite, number: i64) -> Value {
    let before = ["primary", "second"].map(|repo| repository::contents(&offsite.path(repo)));
    let planned = offsite.json(["run", "--dry-run", "--now", &day(number)]);
    let after = ["primary", "second"].map(|repo| repository::contents(&offsite.path(repo)));
    assert!(before == after, "a dry run writes nothing");
    planned
}

#[track_caller]
fn assert_copy(report: &Value, number: i64) {
    let sync = &report["syncs"][0];
    assert_eq!(report["job"], COPY);
    assert_eq!(sync["sequence"], number + 1);
    assert_eq!(sync["time"], day(number));
    assert_eq!(sync["kind"], if number == 0 { "full" } else { "increment" });
    let machine = |name: &str| {
        json!({
            "name": name,
            "captured": day(number),
            "source_location": "primary",
            "source_job": "nightly",
            "source_sequence": number + 1,
        })
    };
    assert_eq!(sync["machines"], json!([machine("db01"), machine("web01")]));
    assert_eq!(sync["io"]["as_planned"], true, "{sync}");
    let operations = report["transform"]["operations"].as_array().unwrap();
    if number < KEEP {
        assert!(operations.is_empty());
    } else {
        let [merge] = &operations[..] else { panic!("{report}") };
        assert_eq!((&merge["operation"], &merge["method"]), (&json!("merge"), &json!("adoption")));
        assert_eq!(merge["absorbed"], json!([number + 1 - KEEP]));
        assert_eq!(merge["full"], number + 2 - KEEP);
        assert_eq!(merge["io"]["as_planned"], true, "{merge}");
        let untouched = json!({ "bytes_read": 0, "bytes_written": 0, "read_requests": 0 });
        assert_eq!(
            merge["io"]["counted"],
            json!({ "source": untouched, "target": untouched }),
            "adoption moves no block"
        );
        assert!(report["transform"]["released_bytes"].as_u64().unwrap() > 0, "{report}");
    }
    assert_eq!(report["transform"]["held_bytes"], 0);
    assert_eq!(report["transform"]["notes"], json!([]));
    assert!(report["machines"].as_array().unwrap().iter().all(|machine| machine["outcome"] == "complete"), "{report}");
}

/// What was planned is what was done and counted.
#[track_caller]
fn assert_as_planned(planned: &Value, report: &Value) {
    let (sync, done) = (&planned["sync"], &report["syncs"][0]);
    assert_eq!(sync["kind"], done["kind"]);
    assert_eq!(sync["machines"], json!(["db01", "web01"]));
    assert_eq!(sync["planned"], done["io"]["planned"]);
    let counted = &done["io"]["counted"];
    assert_eq!(sync["planned"]["bytes_read"], counted["source"]["bytes_read"]);
    assert_eq!(sync["planned"]["read_requests"], counted["source"]["read_requests"]);
    assert_eq!(sync["planned"]["bytes_written"], counted["target"]["bytes_written"]);
    let (planned, done) = (&planned["operations"], &report["transform"]["operations"]);
    assert_eq!(planned.as_array().unwrap().len(), done.as_array().unwrap().len());
    for (planned, done) in planned.as_array().unwrap().iter().zip(done.as_array().unwrap()) {
        assert_eq!(planned["absorbed"], done["absorbed"]);
        assert_eq!(planned["planned"], done["io"]["planned"]);
    }
}

#[track_caller]
fn assert_listings(offsite: &Offsite) {
    let points = offsite.json(["points", "second"])["points"].clone();
    let points = points.as_array().unwrap();
    assert_eq!(points.len() as i64, KEEP);
    for (point, sequence) in points.iter().zip(kept(DAYS - 1)) {
        assert_eq!(point["job"], COPY);
        assert_eq!(point["sequence"], sequence);
        assert_eq!(point["time"], day(sequence - 1));
        assert_eq!(point["kind"], if sequence == DAYS + 1 - KEEP { "full" } else { "increment" });
        let machine = |name, image, format| {
            let disk = json!({ "number": 0, "name": image, "format": format, "size_bytes": SIZE_MIB << 20 });
            json!({
                "name": name,
                "status": "complete",
                "captured": day(sequence - 1),
                "done_bytes": 0,
                "left_bytes": 0,
                "damaged_blocks": 0,
                "disks": [disk],
            })
        };
        let expected = json!([machine("db01", "db01.qcow2", "qcow2"), machine("web01", "web01.img", "raw")]);
        assert_eq!(point["machines"], expected);
        assert!(point["stored_bytes"].as_u64().unwrap() > 0 && point["stored_blocks"].as_u64().unwrap() > 0, "{point}");
    }
    let chain = offsite.json(["chain", "second", COPY]);
    assert_eq!(chain["job"], COPY);
    assert_eq!(chain["block_bytes"], 1 << 20);
    // Points of a chain share nothing, so that is what they refer to, with the padding between frames.
    let stored: u64 = points.iter().map(|point| point["stored_bytes"].as_u64().unwrap()).sum();
    assert!(chain["stored_bytes"].as_u64().unwrap() >= stored);

    assert_eq!(chain["files"], repository::names(&offsite.path("second/Offsite Copy"), "blocks").len());
    for (in_chain, listed) in chain["points"].as_array().unwrap().iter().zip(points) {
        assert_eq!(in_chain["keep"], true, "{in_chain}");
        assert!(!in_chain["reasons"].as_array().unwrap().is_empty(), "{in_chain}");
        for field in ["sequence", "time", "kind", "stored_bytes", "stored_blocks"] {
            assert_eq!(in_chain[field], listed[field], "{field}");
        }
        // The disks of each are listed with the points alone.
        let mut machines = listed["machines"].clone();
        machines
            .as_array_mut()
            .unwrap()
            .iter_mut()
            .for_each(|machine| drop(machine.as_object_mut().unwrap().remove("disks")));
        assert_eq!(in_chain["machines"], machines);
    }
    assert_eq!(offsite.json(["points", "primary", "nightly"])["points"].as_array().unwrap().len() as i64, DAYS);
    assert_verified(offsite, "primary", "nightly", DAYS);
    assert_verified(offsite, "second", COPY, KEEP);
}

#[track_caller]
fn assert_verified(offsite: &Offsite, repo: &str, job: &str, points: i64) {
    for (arguments, reads) in [(&["verify", repo, job][..], false), (&["verify", repo, job, "--read-data"], true)] {
        let report = offsite.json(arguments.iter().copied());
        assert_eq!(report["job"], job);
        assert_eq!(report["points"], points);
        assert_eq!(report["damage"], json!([]));
        assert!(report["files"].as_u64().unwrap() > 0 && report["blocks"].as_u64().unwrap() > 0, "{report}");
        assert_eq!(report["bytes_read"].as_u64().unwrap() > 0, reads);
    }
}
