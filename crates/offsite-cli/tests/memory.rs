//! Memory does not grow with the disk: backup, copy and restore of a disk of 2 GiB.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use offsite_cli::workload::{Disk, Profile};
use support::Offsite;

const LIMIT_KIB: u64 = 256 << 10;

#[test]
fn a_large_disk_takes_no_more_memory() {
    let time = Path::new("/usr/bin/time");
    if !time.exists() {
        println!("skipped: this test needs /usr/bin/time: apt-get install time");
        return;
    }
    let offsite = Offsite::with_copy_job();
    // More data than the limit several times over, most of which does not compress; the rest of the disk is a hole.
    let profile = Profile { zero: 0.7, incompressible: 0.25, ..Profile::default() };
    let disk = Disk { profile, ..Disk::new("web01", 6, 2048) };
    disk.write_full(&offsite.path("web01.img"), 0).unwrap();
    let backup = ["backup", "--repo", "primary", "--job", "nightly", "web01=web01.img"];
    let restore = ["restore", "primary", "nightly", "web01", "--to", "restored.img"];
    let restore_qcow2 = ["restore", "second", "Offsite Copy", "web01", "--format", "qcow2", "--to", "restored.qcow2"];
    let stream = ["restore", "second", "Offsite Copy", "web01", "--to", "-"];
    for arguments in [&backup[..], &["run"], &["verify", "second", "--read-data"], &restore, &restore_qcow2, &stream] {
        let mut command = Command::new(time);
        command.args(["-f", "%M", "-o", "peak.txt", env!("CARGO_BIN_EXE_offsite")]).args(arguments);
        // The last is a disk.
        command.stdout(fs::File::create(offsite.path("out")).unwrap());
        offsite_tests::run(command.current_dir(offsite.root()));
        let peak = fs::read_to_string(offsite.path("peak.txt")).unwrap();
        let peak_kib: u64 = peak.trim().parse().unwrap();
        println!("{}: {} MiB at most", arguments.join(" "), peak_kib >> 10);
        assert!(peak_kib < LIMIT_KIB, "{}: {peak_kib} KiB", arguments.join(" "));
    }
    for restored in ["restored.img", "out"] {
        offsite_tests::run(Command::new("cmp").args(["web01.img", restored]).current_dir(offsite.root()));
    }
}
