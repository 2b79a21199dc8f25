//! A first copy that is carried: made at one site onto a drive, mapped at the other, which goes on with increments.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::process::Command;

use offsite_cli::workload::Disk;
use support::{COPY_JOB, Offsite, assert_same_bytes, copy_sparse, repository};

const JOB: &str = "Offsite Copy";
const SIZE_MIB: u64 = 8;

/// Two hosts, each with a folder of its own. The far one reads the near one's backups, as over a network.
struct Sites {
    near: Offsite,
    far: Offsite,
    /// Mapping goes by the clock of the host, so the days before it are past, and those after it to come.
    start: jiff::Timestamp,
}

impl Sites {
    fn new() -> Self {
        let (near, far) = (Offsite::with_copy_job(), Offsite::new());
        let primary = near.path("primary");
        far.config(&COPY_JOB.replace("location = \"primary\"", &format!("location = {:?}", primary.display())));
        far.ok(["init", "second"]);
        let start = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(3 * 24 + 12);
        Self { near, far, start: jiff::Timestamp::from_second(start.as_second()).unwrap() }
    }

    /// A day's evening; four of them lie before the seed is mapped.
    fn day(&self, number: u32) -> String {
        (self.start + jiff::SignedDuration::from_hours(i64::from(number) * 24)).to_string()
    }

    /// The evening's backup, with a copy of the disk for later.
    fn back_up(&self, number: u32, method: &str) {
        let image = self.near.path("web01.img");
        Disk::new("web01", 9, SIZE_MIB).write_full(&image, number).unwrap();
        copy_sparse(&image, &self.near.path(&format!("day{number}.img")));
        let at = self.day(number);
        self.near.ok([
            "backup",
            "--repo",
            "primary",
            "--job",
            "nightly",
            "--method",
            method,
            "--at",
            &at,
            "web01=web01.img",
        ]);
    }

    /// Takes a folder of the near site to the far one.
    fn carry(&self, folder: &str) {
        fs::create_dir(self.far.path("drive")).unwrap();
        offsite_tests::run(Command::new("cp").arg("-a").arg(self.near.path(folder)).arg(self.far.path("drive")));
    }

    /// Every point of the far chain restores to what the disk was on its evening; how many there are.
    fn check(&self) -> usize {
        let points = self.far.json(["points", "second", JOB])["points"].as_array().unwrap().clone();
        for point in &points {
            let captured = point["machines"][0]["captured"].as_str().unwrap();
            let number = (0..).find(|number| self.day(*number) == captured).unwrap();
            let restored =
                self.far.restore("second", JOB, "web01", point["sequence"].as_u64().unwrap(), "restored.img");
            assert_same_bytes(&restored, &self.near.path(&format!("day{number}.img")));
            fs::remove_file(restored).unwrap();
        }
        points.len()
    }

    /// Runs the far job on the evenings of days, and holds that each copies one increment of what changed.
    fn go_on(&self, days: std::ops::Range<u32>, method: &str) {
        for number in days {
            self.back_up(number, method);
            let ran = self.far.json(["run", "--now", &self.day(number)]);
            assert_eq!(ran["syncs"][0]["kind"], "increment", "{ran:#}");
            assert_eq!(ran["syncs"][0]["io"]["as_planned"], true);
            for operation in ran["transform"]["operations"].as_array().unwrap() {
                assert_eq!(operation["io"]["as_planned"], true, "{operation:#}");
            }
            assert!(self.check() >= 3);
        }
        assert_eq!(self.check(), 3, "retention counts what was mapped, too");
        repository::assert_tidy(&self.far.path("second/Offsite Copy"));
        self.far.ok(["verify", "second", "--read-data"]);
    }
}

#[test]
fn a_copy_on_a_drive_is_mapped_and_gone_on_with() {
    let sites = Sites::new();
    for number in 0..3 {
        sites.back_up(number, "forever-forward");
        sites.near.ok(["run", "--now", &sites.day(number)]);
    }
    sites.carry("second");
    sites.back_up(3, "forever-forward");
    // The drive lies at the far site, which has no copy yet.
    let mapped = sites.far.json(["map", "second", JOB, "drive/second"]);
    assert_eq!(mapped["points"], 3);
    assert_eq!(mapped["io"]["as_planned"], true);
    assert_eq!(sites.check(), 3);
    // What is on the drive is not needed any more.
    fs::remove_dir_all(sites.far.path("drive")).unwrap();
    sites.go_on(4..8, "forever-forward");
}

/// A reverse-incremental chain of the backup job itself: a full with the rollbacks that lead back from it.
#[test]
fn a_reverse_incremental_chain_is_mapped_and_gone_on_with() {
    let sites = Sites::new();
    for number in 0..4 {
        sites.back_up(number, "reverse");
    }
    sites.carry("primary");
    let mapped = sites.far.json(["map", "second", JOB, "drive/primary/nightly"]);
    assert_eq!(mapped["points"], 4);
    assert_eq!(sites.check(), 4);
    fs::remove_dir_all(sites.far.path("drive")).unwrap();
    sites.go_on(4..9, "reverse");
}
