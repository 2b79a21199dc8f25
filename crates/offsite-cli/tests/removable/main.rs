//! The command on drives that are used in turn. Folders stand in for most of them: the place where they show up is a link to
//! the one that is there.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test fails by panicking")]
#![cfg(target_os = "linux")]

mod markers;
#[path = "../support/mod.rs"]
mod support;
mod world;

use std::fs;
use std::path::Path;
use std::process::Stdio;

use offsite_tests::FileSystemKind;
use support::daemons::Daemon;
use support::golden::Transcript;
use support::{Ran, day, hour};
use world::{World, config};

const COPY: &str = "Offsite Copy";
const BACKUP: [&str; 7] = ["backup", "--repo", "primary", "--job", "nightly", "--block-size", "256KiB"];

/// Each drive has a chain of its own; after a swap the copy goes on with one increment; retention counts what is on both, and
/// leaves a drive that comes back after long its newest point; everything restores.
#[test]
fn two_drives_in_turn() {
    let mut world = World::new(8, &["mount"], 4);
    let drives = ["blue", "red"];
    drives.iter().for_each(|drive| world.prepare(drive));
    let mut used = [false; 2];
    for (number, at) in (0..).zip([0, 0, 1, 1, 0, 1, 0, 0, 0, 0, 0, 1]) {
        world.work(number);
        world.insert(drives[at]);
        let away_before = world.points()[drives[1 - at]].1.clone();
        if used[at] {
            let there = world.plan(drives[at], number);
            world.take_out();
            assert_eq!(world.plan(drives[at], number), there, "day {number}: planned alike while the drive is away");
            world.insert(drives[at]);
        }
        let promised = world.promised(drives[at], number);
        let report = world.copy(number);
        let left = &world.points()[drives[at]].1;
        assert!(promised.iter().all(|time| left.contains(time)), "day {number}: {promised:?} were to stay: {left:?}");
        let kind = if used[at] { "increment" } else { "full" };
        assert_eq!(report["syncs"][0]["kind"], kind, "day {number}");
        used[at] = true;
        let points = world.points();
        assert_eq!(points[drives[1 - at]], (true, away_before), "day {number}: what is away is not touched");
        let there = world.check();
        assert_eq!(there.last(), Some(&(number as u32)), "day {number}");
        // Of the last four days, those that came to this drive.
        let expected: &[u32] = match number {
            1 => &[0, 1],
            3 => &[2, 3],
            // One drive alone would keep the oldest, too.
            4 => &[1, 4],
            6 => &[4, 6],
            10 => &[7, 8, 9, 10],
            _ => &there,
        };
        assert_eq!(there, expected, "day {number}");
        if number == 11 {
            assert!(there.len() <= 4, "{there:?}");
        }
        world.take_out();
        assert!(world.points().values().all(|(is_away, _)| *is_away));
    }
    let points = world.points();
    assert_eq!(points["blue"].1.len(), 4, "the catalogue knows it still: {points:?}");
    assert!(!points["red"].1.is_empty(), "{points:?}");
}

/// A daemon copies to the drive that is there, says what to insert while none is, and goes on with the one that comes.
#[test]
fn a_daemon_goes_on_with_the_drive_that_comes() {
    let mut world = World::new(8, &["mount"], 4);
    let target = "target = \"rotation\"\n";
    world
        .offsite
        .config(&config(&["mount"], 4).replace(target, &format!("{target}every = \"1 day\"\nat = \"23:00\"\n")));
    let drives = ["blue", "red"];
    drives.iter().for_each(|drive| world.prepare(drive));
    // All evenings beforehand: a daemon copies no point of the future.
    (0..4).for_each(|number| world.work(number));
    world.insert("blue");
    world.offsite.set_clock(&hour(1));
    let mut daemon = world.offsite.daemon("log");
    let mut left = 0;
    let mut wait_for_the_drive = |daemon: &mut Daemon<'_>| {
        left += 1;
        daemon.wait_for("drive that can be taken out", |offsite| {
            let log = fs::read_to_string(offsite.path("log")).unwrap();
            let is_idle = offsite.status()?["jobs"][0]["phase"] == "idle";
            (log.matches("everything is on medium").count() == left && is_idle).then_some(())
        });
    };
    wait_for_the_drive(&mut daemon);
    world.insert("red");
    world.offsite.set_clock(&hour(25));
    wait_for_the_drive(&mut daemon);
    world.take_out();
    world.offsite.set_clock(&hour(49));
    daemon.wait_for_line("no medium is at mount; insert and mount one of:");
    let failure = daemon.wait_for("failure in the status", |offsite| {
        offsite.status()?["jobs"][0]["last_failure"]["why"].as_str().map(str::to_owned)
    });
    for text in ["\"blue\", last seen 2026-11-01T23:00:00Z", "\"red\", last seen 2026-11-02T23:00:00Z"] {
        assert!(failure.contains(text), "no {text:?} in {failure}");
    }
    world.insert("blue");
    world.offsite.set_clock(&hour(50));
    wait_for_the_drive(&mut daemon);
    world.offsite.set_clock(&hour(73));
    wait_for_the_drive(&mut daemon);
    let (status, log) = daemon.stop("TERM");
    assert_eq!(status.code(), Some(0), "{log}");
    assert_eq!(log.matches("(full)").count(), drives.len(), "{log}");
    assert_eq!(world.check(), [0, 2, 3], "{log}");
    world.insert("red");
    assert_eq!(world.check(), [1], "{log}");
}

/// A rotation in the words of the command.
#[test]
fn a_rotation_in_words() {
    let mut world = World::new(4, &["mount"], 3);
    let mut transcript = Transcript::default();
    transcript.heading("no drive is known yet");
    transcript.run(&world.offsite, 1, ["run", "--now", &day(0)]);
    transcript.run(&world.offsite, 1, ["points", "rotation"]);
    transcript.run(&world.offsite, 1, ["init", "rotation"]);
    transcript.heading("two drives");
    world.insert("blue");
    transcript.run(&world.offsite, 1, ["init", "rotation", "--label", "Blue"]);
    transcript.run(&world.offsite, 0, ["init", "rotation", "--label", "Blue", "--allow-unmounted"]);
    world.insert("red");
    transcript.run(&world.offsite, 0, ["init", "rotation", "--allow-unmounted"]);
    transcript.run(&world.offsite, 1, ["init", "rotation", "--allow-unmounted"]);
    for (number, drive) in [(0, "blue"), (1, "red"), (2, "blue")] {
        world.work(number);
        world.insert(drive);
        transcript.heading(&format!("day {number}, {drive}"));
        transcript.run(&world.offsite, 0, ["run", "--dry-run", "--now", &day(number)]);
        transcript.run(&world.offsite, 0, ["run", "--now", &day(number)]);
    }
    transcript.heading("one is away");
    transcript.run(&world.offsite, 0, ["points", "rotation"]);
    transcript.heading("both are away");
    world.take_out();
    world.work(3);
    transcript.run(&world.offsite, 0, ["points", "rotation"]);
    transcript.run(&world.offsite, 0, ["chain", "rotation", COPY, "--now", &day(3)]);
    transcript.run(&world.offsite, 0, ["chain", "rotation", COPY, "--forecast", "--now", &day(3)]);
    transcript.run(&world.offsite, 1, ["chain", "rotation", "nobody"]);
    transcript.run(&world.offsite, 0, ["run", "--dry-run", "--now", &day(3)]);
    transcript.run(&world.offsite, 1, ["run", "--now", &day(3)]);
    transcript.run(&world.offsite, 1, ["restore", "rotation", COPY, "web01", "--to", "back.img"]);
    transcript.heading("the mount point is there, and empty");
    fs::create_dir(world.offsite.path("mount")).unwrap();
    transcript.run(&world.offsite, 1, ["run", "--now", &day(3)]);
    fs::remove_dir(world.offsite.path("mount")).unwrap();
    transcript.heading("a drive of another set");
    world.offsite.config(&config(&["mount"], 3).replace("removable:weekly", "removable:other"));
    world.insert("green");
    transcript.run(&world.offsite, 0, ["init", "rotation", "--label", "Green", "--allow-unmounted"]);
    world.offsite.config(&config(&["mount"], 3));
    transcript.run(&world.offsite, 1, ["run", "--now", &day(3)]);
    transcript.run(&world.offsite, 1, ["init", "rotation", "--label", "Black"]);
    transcript.run(&world.offsite, 0, ["init", "rotation"]);
    transcript.run(&world.offsite, 0, ["run", "--now", &day(3)]);
    transcript.heading("one is not coming back");
    transcript.run(&world.offsite, 0, ["media", "list"]);
    transcript.run(&world.offsite, 1, ["media", "forget", "rotation", "Blau"]);
    transcript.run(&world.offsite, 0, ["media", "forget", "rotation", "Blue"]);
    transcript.run(&world.offsite, 0, ["media", "list", "rotation"]);
    transcript.run(&world.offsite, 2, ["media", "list", "primary"]);
    transcript.heading("a copy of a drive");
    world.offsite.config(&config(&["mount", "twin"], 3));
    let twin = world.offsite.path("twin");
    fs::create_dir(&twin).unwrap();
    fs::copy(world.offsite.path("green/.offsite-medium"), twin.join(".offsite-medium")).unwrap();
    transcript.run(&world.offsite, 1, ["run", "--now", &day(3)]);
    transcript.compare(&world.offsite, "rotation.txt");
}

/// A run whose drive is exchanged for another one ends, and nothing is written to that one.
#[test]
fn a_drive_that_is_swapped_during_a_run() {
    let mut world = World::new(96, &["mount"], 3);
    ["blue", "red"].iter().for_each(|drive| world.prepare(drive));
    world.work(0);
    world.insert("blue");
    let red_before = support::repository::contents(&world.offsite.path("red"));
    let mut command = world.offsite.command(["run", "--now", &day(0)]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let job = world.offsite.path("blue").join(COPY);
    while support::repository::names(&job, "head").is_empty() {
        assert!(child.try_wait().unwrap().is_none(), "the run is over before it wrote a head");
        std::thread::yield_now();
    }
    signal("STOP", child.id());
    assert!(support::repository::names(&job, "index").is_empty(), "the run was faster than the swap");
    world.insert("red");
    signal("CONT", child.id());
    let ran = Ran::new(&command, &child.wait_with_output().unwrap()).expect(1);
    let mut transcript = Transcript::default();
    transcript.add(&ran);
    let text = transcript.text().to_owned();
    for what in ["medium \"red\"", "took its place", "insert medium \"blue\"", "start anew"] {
        assert!(text.contains(what), "no {what:?} in {text}");
    }
    assert!(!text.contains("take it out"), "{text}");
    assert!(red_before == support::repository::contents(&world.offsite.path("red")), "nothing reached the other");
    // What was half done is no hindrance.
    world.insert("blue");
    world.copy_after_lease();
    assert_eq!(world.check(), [0]);
}

impl World {
    /// A run that takes over from one that could not give its lease back.
    #[track_caller]
    fn copy_after_lease(&self) {
        self.offsite.ok(["run", "--now", &day(1)]);
    }
}

fn signal(name: &str, process: u32) {
    offsite_tests::run(std::process::Command::new("kill").args([&format!("-{name}"), &process.to_string()]));
}

/// Real drives, as far as they can be mounted here: swapped at one mount point, full, write-protected.
#[test]
fn real_drives() {
    for kind in [FileSystemKind::Fat32, FileSystemKind::Exfat, FileSystemKind::Ext4] {
        let Some(mut first) = offsite_tests::Disk::new_or_say(kind) else { continue };
        let Some(second) = offsite_tests::Disk::new_or_say(kind) else { continue };
        println!("{kind:?}");
        let (place, other) = (first.path(), second.path());
        let places = [place.to_str().unwrap()];
        let mut world = World::new(24, &places, 3);
        let offsite = &world.offsite;
        // The disk does not fit into one file.
        offsite.config(&config(&places, 3).replace("places =", "file_mib_max = 8\nplaces ="));
        offsite.ok(["init", "rotation", "--label", "First"]);
        // The second shows up where the first does.
        second.bind_to(&place).unwrap();
        offsite.ok(["init", "rotation", "--label", "Second"]);
        unmount(&place);
        for number in 0..3 {
            world.work(number);
            let is_second = number == 1;
            if is_second {
                second.bind_to(&place).unwrap();
            }
            let report = world.copy(number);
            assert_eq!(report["syncs"][0]["kind"], if number == 2 { "increment" } else { "full" });
            assert_eq!(world.check(), if number == 2 { vec![0, 2] } else { vec![number as u32] }, "{kind:?}");
            if is_second {
                // Nothing holds it.
                unmount(&place);
            }
        }
        world.work(3);
        fill(&place.join("filler"));
        let ran = world.offsite.run(["run", "--now", &day(3)]).expect(1);
        // The driver for FAT does not say that there is no room: it forbids.
        let why =
            if kind == FileSystemKind::Fat32 { "permission denied" } else { "is full: remove what else is on it" };
        ran.says(&["medium \"First\"", why]);
        fs::remove_file(place.join("filler")).unwrap();
        world.copy(3);
        world.check();
        assert_in_parts(&place.join(COPY));
        world.work(4);
        let planned = world.plan("First", 4);
        if kind == FileSystemKind::Ext4 {
            first.remount("ro").unwrap();
            let ran = world.offsite.run(["run", "--now", &day(4)]).expect(1);
            ran.says(&["medium \"First\"", "is write-protected: release its switch, or mount it writable"]);
            world.check();
        }
        first.unmount().unwrap();
        assert_eq!(world.plan("First", 4), planned, "{kind:?}: planned alike while the drive is away");
        assert!(other.join(COPY).is_dir(), "the second has its chain");
        world
            .offsite
            .run(["run", "--now", &day(5)])
            .expect(1)
            .says(&["insert and mount one of", "\"First\", last seen"]);
    }
}

/// Holds that the backup files in a job's folder are several, and none is longer than allowed.
#[track_caller]
fn assert_in_parts(job: &Path) {
    let names = support::repository::names(job, "blocks");
    let files: Vec<(&str, u64)> = names
        .iter()
        .filter(|name| !name.contains('.'))
        .map(|name| (name.as_str(), fs::metadata(job.join("blocks").join(name)).unwrap().len()))
        .collect();
    println!("backup files: {files:?}");
    // What a run writes has the run's epoch in its name.
    let of_one_run = |pair: &[(&str, u64)]| pair[0].0.split('-').next() == pair[1].0.split('-').next();
    assert!(files.windows(2).any(of_one_run), "{files:?}");
    assert!(files.iter().all(|(_, length)| *length <= 8 << 20), "{files:?}");
}

fn unmount(place: &Path) {
    offsite_tests::unmount(place).unwrap_or_else(|why| panic!("{why}"));
}

/// Writes until nothing fits any more.
fn fill(path: &Path) {
    use std::io::Write;
    let mut file = fs::File::create(path).unwrap();
    let mut chunk = vec![0xA5; 1 << 20];
    while !chunk.is_empty() {
        if file.write_all(&chunk).is_err() {
            chunk.truncate(chunk.len() / 16);
        }
    }
    let _ = file.sync_all();
}
