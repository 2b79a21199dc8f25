//! What `offsite backup` reads of disk images: the words and statuses that an operator sees.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Output, Stdio};

use offsite_tests::qemu::{self, Format};
use serde_json::json;
use support::{Offsite, Ran, assert_same_bytes, day};

const BACKUP: [&str; 5] = ["backup", "--repo", "primary", "--job", "nightly"];

fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..bytes).map(|_| next()).collect()
}

fn backup<'a>(offsite: &Offsite, more: impl IntoIterator<Item = &'a str>) -> Ran {
    offsite.run(BACKUP.into_iter().chain(more))
}

/// The command with at most so many open files, which it cannot raise.
fn limited(offsite: &Offsite, files: u32, arguments: &[&str]) -> Ran {
    let own = offsite.command(arguments);
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -n {files}; exec \"$0\" \"$@\"")]).arg(own.get_program()).args(own.get_args());
    command.current_dir(offsite.root()).env_remove("RUST_BACKTRACE");
    let output: Output = command.output().unwrap();
    Ran::new(&own, &output)
}

#[test]
fn the_last_bytes_of_a_disk_are_in_its_qcow2_image() {
    let offsite = Offsite::with_copy_job();
    fs::write(offsite.path("disk"), noise(1, 513)).unwrap();
    offsite.backup(&day(0), &["web01=disk"]);
    offsite.ok(["restore", "primary", "nightly", "web01", "--to", "back.qcow2", "--format", "qcow2"]);
    qemu::convert(&offsite.path("back.qcow2"), Format::Qcow2, &offsite.path("back"), Format::Raw);
    let back = fs::read(offsite.path("back")).unwrap();
    assert_eq!((back.len(), &back[..513]), (1024, &noise(1, 513)[..]));
}

/// More machines than files may be open, through all that reads them.
#[test]
fn more_machines_than_open_files() {
    const MACHINES: usize = 150;
    const FILES: u32 = 64;
    let offsite = Offsite::with_copy_job();
    let mut arguments: Vec<String> = BACKUP.map(str::to_owned).to_vec();
    fs::create_dir(offsite.path("disks")).unwrap();
    for number in 0..MACHINES {
        fs::write(offsite.path(&format!("disks/{number}")), noise(number as u64, 700 + number)).unwrap();
        arguments.push(format!("m{number:03}=disks/{number}"));
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    limited(&offsite, FILES, &arguments).expect(0);
    limited(&offsite, FILES, &["run"]).expect(0);
    for repo in ["primary", "second"] {
        limited(&offsite, FILES, &["verify", repo, "--read-data"]).expect(0);
    }
    let back = offsite.restore("second", "Offsite Copy", "m149", 1, "back");
    assert_eq!(fs::read(back).unwrap(), noise(149, 849));
    // As many disks of one machine are written at once: there the limit is met, and named.
    let disks: Vec<String> = (0..MACHINES).map(|number| format!("disks/{number}")).collect();
    let machine = format!("wide={}", disks.join(","));
    limited(&offsite, FILES, &["backup", "--repo", "primary", "--job", "wide", &machine]).expect(0);
    fs::create_dir(offsite.path("to")).unwrap();
    let restore = ["restore", "primary", "wide", "wide", "--to", "to"];
    limited(&offsite, FILES, &restore)
        .expect(1)
        .says(&["too many files are open", "way out: raise the limit of open files (ulimit -n)"]);
    assert_eq!(fs::read_dir(offsite.path("to")).unwrap().count(), 0);
    limited(&offsite, 1024, &restore).expect(0);
    assert_eq!(fs::read_dir(offsite.path("to")).unwrap().count(), MACHINES);
}

/// The soft limit is what a shell sets; the command raises its own.
#[test]
fn the_soft_limit_of_open_files_is_raised() {
    let offsite = Offsite::with_copy_job();
    fs::create_dir(offsite.path("to")).unwrap();
    let disks: Vec<String> = (0..80)
        .map(|number| {
            fs::write(offsite.path(&format!("{number}.img")), noise(number, 600)).unwrap();
            format!("{number}.img")
        })
        .collect();
    offsite.backup(&day(0), &[&format!("wide={}", disks.join(","))]);
    let own = offsite.command(["restore", "primary", "nightly", "wide", "--to", "to"]);
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -Sn 64; exec \"$0\" \"$@\""]).arg(own.get_program()).args(own.get_args());
    Ran::new(&own, &command.current_dir(offsite.root()).output().unwrap()).expect(0);
    assert_eq!(fs::read_dir(offsite.path("to")).unwrap().count(), 80);
}

#[test]
fn a_guest_that_writes_a_qcow2_header_changes_nothing_but_its_disk() {
    let offsite = Offsite::with_copy_job();
    let mut disk = noise(1, 3 << 20);
    disk[..4096].fill(0);
    fs::write(offsite.path("disk"), &disk).unwrap();
    offsite.backup(&day(0), &["web01=disk"]);
    qemu::create(&offsite.path("inner"), Format::Qcow2, 8 << 20);
    let inner = fs::read(offsite.path("inner")).unwrap();
    disk[..inner.len()].copy_from_slice(&inner);
    fs::write(offsite.path("disk"), &disk).unwrap();
    backup(&offsite, ["web01=disk"]).expect(3).says(&["warning", "begins like a qcow2 image", "--format"]);
    assert_same_bytes(&offsite.restore("primary", "nightly", "web01", 2, "back"), &offsite.path("disk"));
    let points = offsite.json(["points", "primary", "nightly"]);
    let disks = json!([{ "number": 0, "name": "disk", "format": "raw", "size_bytes": 3 << 20 }]);
    for point in points["points"].as_array().unwrap() {
        assert_eq!(point["machines"][0]["disks"], disks, "{point}");
    }
    // A word for this disk, for this machine, or for all ends the warning; a word for another machine is a mistake.
    for format in ["web01:disk:raw", "web01:raw", "raw"] {
        backup(&offsite, ["web01=disk", "--format", format]).expect(0);
    }
    backup(&offsite, ["web01=disk", "--format", "web02:raw"]).expect(2).says(&["web02", "no such machine or disk"]);
    // The word for the disk counts more than that for its machine, and that more than that for all.
    let formats = ["--format", "web01:disk:qcow2", "--format", "web01:raw", "--format", "raw"];
    backup(&offsite, ["web01=disk"].into_iter().chain(formats)).expect(0);
    let points = offsite.json(["points", "primary", "nightly"]);
    let newest = points["points"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(newest["machines"][0]["disks"][0]["format"], "qcow2");
    assert_eq!(newest["machines"][0]["disks"][0]["size_bytes"], 8 << 20);
}

#[test]
fn a_machine_that_fails_is_named_and_the_others_are_backed_up() {
    let offsite = Offsite::with_copy_job();
    fs::write(offsite.path("good"), noise(1, 5000)).unwrap();
    let ran = backup(&offsite, ["a=missing", "b=good", "--json"]).expect(3);
    let ran = ran.says(&["machine a was not backed up: disk image missing: there is no such file"]);
    assert_eq!(ran.json()["failed"][0]["name"], "a");
    assert_eq!(ran.json()["machines"][0]["name"], "b");
    assert_same_bytes(&offsite.restore("primary", "nightly", "b", 1, "back"), &offsite.path("good"));
    backup(&offsite, ["a=missing", "b=missing too"]).expect(1).says(&[
        "no machine of job nightly",
        "\n  a: ",
        "\n  b: ",
    ]);
}

#[test]
fn disks_have_names() {
    let offsite = Offsite::with_copy_job();
    for (seed, name) in (1..).zip(["a.img", "b.img", "c=d.img"]) {
        fs::write(offsite.path(name), noise(seed, 5000)).unwrap();
    }
    offsite.backup(&day(0), &["web01=vda=a.img,vdb=b.img,./c=d.img"]);
    let report = offsite.backup(&day(1), &["web01=./c=d.img,vdb=b.img"]);
    assert_eq!(report["stored_blocks"], 0);
    let points = offsite.json(["points", "primary", "nightly"]);
    let name = |disk: &serde_json::Value| (disk["number"].as_u64().unwrap(), disk["name"].as_str().unwrap().to_owned());
    let names = |point: usize| -> Vec<(u64, String)> {
        points["points"][point]["machines"][0]["disks"].as_array().unwrap().iter().map(name).collect()
    };
    let expected =
        |names: &[(u64, &str)]| names.iter().map(|(number, name)| (*number, (*name).to_owned())).collect::<Vec<_>>();
    assert_eq!(names(0), expected(&[(0, "vda"), (1, "vdb"), (2, "c=d.img")]));
    assert_eq!(names(1), expected(&[(1, "vdb"), (2, "c=d.img")]));
    backup(&offsite, ["web01=vda=a.img,vda=b.img"]).expect(1).says(&["two disks of machine web01 are called vda"]);
    backup(&offsite, ["web01=a/b\\c=a.img"]).expect(1);
    backup(&offsite, ["web01= =a.img"]).expect(2).says(&["no disk name"]);
}

/// An image that a QEMU process has open until it is told to end.
struct InUse {
    process: Child,
    input: Option<ChildStdin>,
}

impl InUse {
    fn new(image: &Path, arguments: &[&str]) -> Self {
        let program = offsite_tests::find("qemu-io", "qemu-utils");
        let mut command = Command::new(program);
        command.args(arguments).arg(image).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut input = process.stdin.take().unwrap();
        // What it answers, it answers once the image is open.
        writeln!(input, "read 0 512").unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("512 bytes")), "qemu-io has read");
        Self { process, input: Some(input) }
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.process.wait();
    }
}

#[test]
fn an_image_that_qemu_writes_to_is_refused_unless_it_is_meant() {
    let offsite = Offsite::with_copy_job();
    for format in [Format::Qcow2, Format::Raw] {
        let image = offsite.path(format.name());
        qemu::create(&image, format, 1 << 20);
        let given = format!("web01={}", format.name());
        let in_use = InUse::new(&image, &["-f", format.name()]);
        backup(&offsite, [given.as_str()]).expect(1).says(&["it is in use", "--force-share", format.name()]);
        backup(&offsite, [given.as_str(), "--force-share", "--full", "--format", format.name()]).expect(0);
        drop(in_use);
        // Who only reads is in nobody's way, and an image that nobody has open is free.
        let reader = InUse::new(&image, &["-r", "-f", format.name()]);
        backup(&offsite, [given.as_str()]).expect(0);
        drop(reader);
        backup(&offsite, [given.as_str()]).expect(0);
    }
    // What lies below a snapshot is written to by nobody, but by a commit.
    let (base, top) = (offsite.path("qcow2"), offsite.path("top"));
    qemu::create_overlay(&top, &base, Format::Qcow2);
    let in_use = InUse::new(&base, &["-f", "qcow2"]);
    backup(&offsite, ["web02=top", "--allow-backing-files"]).expect(1).says(&["it is in use", "qcow2"]);
    drop(in_use);
    let in_use = InUse::new(&top, &["-f", "qcow2"]);
    backup(&offsite, ["web02=qcow2"]).expect(0);
    drop(in_use);
}

#[test]
fn an_image_that_was_not_closed_tells_how_to_repair_it() {
    let offsite = Offsite::with_copy_job();
    qemu::create(&offsite.path("disk"), Format::Qcow2, 1 << 20);
    fs::OpenOptions::new().write(true).open(offsite.path("disk")).unwrap().write_all_at(&[1], 79).unwrap();
    backup(&offsite, ["web01=disk"]).expect(1).says(&["not closed in order", "qemu-img check -r all disk"]);
    offsite_tests::run(Command::new("qemu-img").args(["check", "-q", "-r", "all"]).arg(offsite.path("disk")));
    backup(&offsite, ["web01=disk"]).expect(0);
}

#[test]
fn a_qcow2_image_in_a_block_device_is_one() {
    let offsite = Offsite::with_copy_job();
    fs::write(offsite.path("raw"), noise(1, 1 << 20)).unwrap();
    qemu::convert(&offsite.path("raw"), Format::Raw, &offsite.path("volume"), Format::Qcow2);
    fs::OpenOptions::new().write(true).open(offsite.path("volume")).unwrap().set_len(4 << 20).unwrap();
    let device = match offsite_tests::LoopDevice::over(&offsite.path("volume")) {
        Ok(device) => device,
        Err(reason) => return println!("skipped, loop device: {reason}"),
    };
    backup(&offsite, [format!("web01={}", device.path().display()).as_str()]).expect(0);
    assert_same_bytes(&offsite.restore("primary", "nightly", "web01", 1, "back"), &offsite.path("raw"));
}
