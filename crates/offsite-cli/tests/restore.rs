//! Restores to where people need them.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test fails by panicking")]

mod support;

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::symlink;
use std::process::Stdio;

use offsite_tests::LoopDevice;
use serde_json::{Value, json};
use support::golden::Transcript;
use support::{COPY_JOB, Offsite, Ran, assert_equal_bytes, assert_same_bytes, day, repository};

const RESTORE: [&str; 4] = ["restore", "primary", "nightly", "db01"];

#[test]
fn what_is_said_of_restores() {
    let offsite = Offsite::with_three_backups();
    let mut transcript = Transcript::default();
    let mut restore = |status, arguments: &[&'static str]| {
        transcript.run(&offsite, status, RESTORE.into_iter().chain(arguments.iter().copied()));
    };
    restore(0, &["--to", "new/folder"]);
    restore(0, &["--disk", "1", "--to", "data.raw"]);
    restore(1, &["--disk", "2", "--to", "data.raw"]);
    restore(1, &["--to", "data.raw"]);
    restore(1, &["--disk", "0", "--to", "data.raw"]);
    restore(0, &["--disk", "0", "--to", "data.raw", "--overwrite"]);
    restore(1, &["--disk", "0", "--to", "/dev/null", "--overwrite"]);
    restore(1, &["--to", "-"]);
    restore(1, &["--disk", "0", "--format", "qcow2", "--to", "-"]);
    restore(1, &["--at", "2026-10-31", "--to", "old"]);
    restore(2, &["--at", "the day before", "--to", "old"]);
    transcript.compare(&offsite, "restore.txt");
    assert_same_bytes(&offsite.path("data.raw"), &offsite.path("system.img"));
    assert_same_bytes(&offsite.path("new/folder/db01-disk1.raw"), &offsite.path("data.img"));
    assert!(!offsite.path("old").exists());
}

/// The disk on standard output, the words on standard error.
#[test]
fn a_disk_is_streamed_to_standard_output() {
    let offsite = Offsite::with_three_backups();
    let mut command = offsite.command(RESTORE.into_iter().chain(["--disk", "1", "--to", "-", "--json"]));
    let output = command.output().unwrap();
    assert!(output.status.success());
    assert_equal_bytes(&output.stdout, &fs::read(offsite.path("data.img")).unwrap(), "disk 1");
    let last = output.stderr.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty()).unwrap();
    let report: Value = serde_json::from_slice(last).unwrap();
    assert_eq!(report["event"], "report");
    assert_eq!(report["disks"][0]["disk"], 1);
    assert_eq!(report["disks"][0]["path"], json!(null));
    let mut command = offsite.command(RESTORE.into_iter().chain(["--disk", "1", "--to", "-"]));
    let output = command.stdout(File::create(offsite.path("streamed")).unwrap()).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("db01: as of"));
    assert_same_bytes(&offsite.path("streamed"), &offsite.path("data.img"));
}

#[test]
fn a_reader_that_goes_is_told_of() {
    let offsite = Offsite::with_three_backups();
    let mut command = offsite.command(RESTORE.into_iter().chain(["--disk", "1", "--to", "-"]));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut start = [0; 10_000];
    child.stdout.take().unwrap().read_exact(&mut start).unwrap();
    let output = child.wait_with_output().unwrap();
    let ran = Ran::new(&command, &output).expect(1).says(&["writing the disk failed", "Broken pipe"]);
    assert_eq!(ran.err.lines().count(), 2, "{ran}");
    assert!(fs::read(offsite.path("data.img")).unwrap().starts_with(&start));
}

/// A time is one of the job's zone, in the repository it copies to and in the one it copies from, by name and by path.
#[test]
fn times_are_those_of_the_jobs_zone() {
    let offsite = Offsite::with_three_backups();
    offsite.ok(["run", "--now", &day(2)]);
    // The evenings are 22:00 UTC: in Kiritimati noon of the next day, in Los Angeles early in the afternoon.
    let restored = |repo: &str, job: &str, at: &str| {
        let to = offsite.path("out");
        let ran = offsite.json(["restore", repo, job, "db01", "--disk", "0", "--at", at, "--overwrite", "--to", "out"]);
        assert!(to.exists());
        ran["captured"].as_str().unwrap().to_owned()
    };
    assert_eq!(restored("primary", "nightly", "2026-11-02"), day(1), "the zone of a job is UTC if it names none");
    for (zone, at, number) in [
        ("Pacific/Kiritimati", "2026-11-02", 0),
        ("Pacific/Kiritimati", "2026-11-03 11:59", 0),
        ("Pacific/Kiritimati", "2026-11-03T12:00:00", 1),
        ("America/Los_Angeles", "2026-11-02", 1),
        ("America/Los_Angeles", "2026-11-02 13:59", 0),
    ] {
        offsite.config(
            &COPY_JOB.replace("target = \"second\"\n", &format!("target = \"second\"\ntime_zone = {zone:?}\n")),
        );
        for repo in ["primary", "./primary"] {
            assert_eq!(restored(repo, "nightly", at), day(number), "{at} in {zone}, {repo}");
        }
    }
    // Whatever else lies in a repository has no zone of its own.
    offsite.ok(["backup", "--repo", "primary", "--job", "other", "--at", &day(0), "db01=system.img"]);
    assert_eq!(restored("primary", "other", "2026-11-01T22:00"), day(0));
    // The newest that there is before a day that is past.
    assert_eq!(restored("primary", "other", "2027-01-01"), day(0));
    assert_eq!(restored("second", "Offsite Copy", &day(2)), day(2));
    let exported = |at: &str| {
        let _ = fs::remove_file(offsite.path("export"));
        offsite.json(["export", "primary", "nightly", "--at", at, "--to", "export"])["sequence"].clone()
    };
    assert_eq!(exported("2026-11-02 13:59"), 1);
    assert_eq!(exported("2026-11-02"), 2);
}

/// What lies in a repository is its own: nothing is written over a file of it or beside it, be it through a link.
#[test]
fn nothing_is_restored_or_exported_into_a_repository() {
    let offsite = Offsite::with_three_backups();
    let before = repository::contents(&offsite.path("primary"));
    let name = repository::names(&offsite.path("primary/nightly"), "blocks").pop_first().unwrap();
    let file = format!("primary/nightly/blocks/{name}");
    symlink(offsite.path(&file), offsite.path("link")).unwrap();
    let texts = ["lies in the Offsite repository", "primary", "choose another target"];
    for to in [file.as_str(), "link", "primary/nightly/new.raw", "primary/offsite-repository"] {
        let plain: &[&str] = &[];
        for more in [plain, &["--overwrite"], &["--overwrite", "--format", "qcow2"]] {
            let restore = ["--disk", "0", "--to", to];
            offsite.run(RESTORE.iter().chain(&restore).chain(more)).expect(1).says(&texts);
        }
        offsite.run(["export", "primary", "nightly", "--to", to]).expect(1).says(&texts);
    }
    // By way of a folder that a restore makes.
    offsite.run(RESTORE.into_iter().chain(["--to", "new/../primary/nightly/"])).expect(1).says(&texts);
    let inside = ["backup", "--repo", "primary/nightly", "--job", "other", "db01=data.img"];
    offsite.run(inside).expect(1).says(&["primary/nightly is not an Offsite repository"]);
    assert!(!offsite.path("new").exists());
    assert!(repository::contents(&offsite.path("primary")) == before, "a file of the repository was changed");
    // Beside the jobs, as on a drive that is one repository.
    offsite.run(RESTORE.into_iter().chain(["--to", "primary/beside/"])).expect(0);
}

/// Damage: the way out is named, and what is left can be had.
#[test]
fn what_is_damaged_is_salvaged_and_told_of() {
    let offsite = Offsite::with_three_backups();
    let blocks = offsite.path("primary/nightly/blocks");
    let newest = repository::names(&offsite.path("primary/nightly"), "blocks").pop_last().unwrap();
    // The newest point's file holds blocks of both disks, those of the first disk first.
    let length = fs::metadata(blocks.join(&newest)).unwrap().len();
    File::options().write(true).open(blocks.join(&newest)).unwrap().set_len(length / 4).unwrap();
    let mut transcript = Transcript::default();
    transcript.run(&offsite, 1, RESTORE.into_iter().chain(["--to", "all"]));
    assert!(!offsite.path("all").exists());
    transcript.run(&offsite, 0, RESTORE.into_iter().chain(["--point", "2", "--to", "older"]));
    transcript.run(&offsite, 3, RESTORE.into_iter().chain(["--salvage", "--to", "all"]));
    let report = offsite.run(RESTORE.into_iter().chain(["--salvage", "--to", "json", "--json"])).expect(3).json();
    for (number, image) in ["system.img", "data.img"].into_iter().enumerate() {
        let mut expected = fs::read(offsite.path(image)).unwrap();
        for range in report["disks"][number]["lost"].as_array().unwrap() {
            let at = |key: &str| usize::try_from(range[key].as_u64().unwrap()).unwrap();
            expected[at("start_bytes")..at("end_bytes")].fill(0);
        }
        let restored = fs::read(offsite.path("all").join(format!("db01-disk{number}.raw"))).unwrap();
        assert_equal_bytes(&restored, &expected, image);
    }
    // A disk that is streamed has its list on standard error.
    let mut command = offsite.command(RESTORE.into_iter().chain(["--disk", "1", "--salvage", "--to", "-"]));
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).contains("lost"));
    assert_equal_bytes(&output.stdout, &fs::read(offsite.path("all/db01-disk1.raw")).unwrap(), "disk 1");
    transcript.compare(&offsite, "salvage.txt");
}

#[test]
fn a_device_is_written_over_if_that_is_said() {
    let offsite = Offsite::with_three_backups();
    let Some(device) = LoopDevice::new_or_say((6 << 20) + 512 * 9, 0x55) else { return };
    let path = device.path().to_str().unwrap().to_owned();
    let restore = |arguments: &[&str]| {
        let to = ["--disk", "0", "--to", &path];
        offsite.run(RESTORE.iter().chain(&to).chain(arguments))
    };
    restore(&[]).expect(1).says(&["it is a block device", "--overwrite"]);
    let ran = restore(&["--overwrite"]).expect(0);
    assert!(ran.out.contains("the rest zeros; 4.5 KiB of the device beyond it are as they were"), "{ran}");
    let image = fs::read(offsite.path("system.img")).unwrap();
    assert_equal_bytes(&device.content()[..image.len()], &image, "the device");
    assert_eq!(restore(&["--overwrite", "--json"]).json()["disks"][0]["device_bytes"], (6 << 20) + 512 * 9);
    let Some(small) = LoopDevice::new_or_say(1 << 20, 0x55) else { return };
    let small = small.path().to_str().unwrap().to_owned();
    let ran = offsite.run(RESTORE.into_iter().chain(["--disk", "0", "--overwrite", "--to", &small]));
    ran.expect(1).says(&["1048576 bytes", "6291456"]);
}
