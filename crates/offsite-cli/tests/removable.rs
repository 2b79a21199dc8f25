//! The command on drives that are used in turn. Folders stand in for most of them: the place where they show up is a link to
//! the one that is there.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test fails by panicking")]
#![cfg(target_os = "linux")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;

use offsite_cli::workload::{Changes, Disk, Profile};
use offsite_tests::FileSystemKind;
use serde_json::Value;
use support::daemons::Daemon;
use support::golden::Transcript;
use support::{Offsite, Ran, assert_same_bytes, copy_sparse, day, hour};

const COPY: &str = "Offsite Copy";
const BACKUP: [&str; 7] = ["backup", "--repo", "primary", "--job", "nightly", "--block-size", "256KiB"];

/// A copy job from `primary` to the drives that show up at `places`, which keeps `keep` points.
fn config(places: &[&str], keep: u32) -> String {
    format!(
        "[repositories.primary]\nlocation = \"primary\"\n\n[repositories.rotation]\nlocation = \"removable:weekly\"\n\
         places = {places:?}\n\n[jobs.\"{COPY}\"]\nsource = {{ repository = \"primary\", job = \"nightly\" }}\n\
         target = \"rotation\"\n[jobs.\"{COPY}\".retention]\nkeep = {keep}\n"
    )
}

/// A machine whose every day is kept, to compare with what is restored.
struct World {
    offsite: Offsite,
    disk: Disk,
    days: BTreeMap<String, u32>,
    version: u32,
}

impl World {
    fn new(size_mib: u64, places: &[&str], keep: u32) -> Self {
        let offsite = Offsite::new();
        offsite.config(&config(places, keep));
        offsite.ok(["init", "primary"]);
        let profile = Profile { changes: Changes::WholeBlocks(2), ..Profile::default() };
        let disk = Disk { profile, ..Disk::new("web01", 11, size_mib) };
        disk.write_full(&offsite.path("web01.img"), 0).unwrap();
        Self { offsite, disk, days: BTreeMap::new(), version: 0 }
    }

    /// Puts the folder `name` where drives show up.
    fn insert(&self, name: &str) {
        self.take_out();
        let folder = self.offsite.path(name);
        fs::create_dir_all(&folder).unwrap();
        symlink(folder, self.offsite.path("mount")).unwrap();
    }

    fn take_out(&self) {
        let _ = fs::remove_file(self.offsite.path("mount"));
    }

    /// Makes the folder `name` a drive, and takes it out.
    fn prepare(&self, name: &str) {
        self.insert(name);
        self.offsite.ok(["init", "rotation", "--label", name, "--allow-unmounted"]);
        self.take_out();
    }

    /// A day of work, and its backup.
    fn work(&mut self, number: i64) {
        let image = self.offsite.path("web01.img");
        if number > 0 {
            self.version += 1;
            self.disk.apply(&image, self.version).unwrap();
        }
        copy_sparse(&image, &self.offsite.path(&format!("day-{number}.img")));
        self.days.insert(day(number), number as u32);
        let at = day(number);
        self.offsite.ok(BACKUP.into_iter().chain(["web01=web01.img", "--at", &at]));
    }

    /// Runs the copy job; what it reports, in JSON.
    #[track_caller]
    fn copy(&self, number: i64) -> Value {
        let ran = self.offsite.ok(["run", "--json", "--now", &day(number)]);
        let mut lines = ran.out.lines();
        let report = serde_json::from_str(lines.next().unwrap()).unwrap();
        assert!(lines.next().is_some_and(|line| line.starts_with("{\"safe_to_remove\"")), "{ran}");
        report
    }

    /// What a run on the drive of this label would do, wherever it is.
    #[track_caller]
    fn plan(&self, label: &str, number: i64) -> Value {
        let ran = self.offsite.ok(["run", "--dry-run", "--json", "--now", &day(number)]);
        let mut plans = ran.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let mut plan =
            plans.find(|plan| plan["medium"]["label"] == label).unwrap_or_else(|| panic!("no {label}: {ran}"));
        plan.as_object_mut().unwrap().remove("medium");
        // What is free on a drive that is away nobody knows.
        if let Some(room) = plan.get_mut("room").and_then(Value::as_object_mut) {
            room.remove("free_bytes");
        }
        if let Some(room) = plan.pointer_mut("/sync/room").and_then(Value::as_object_mut) {
            room.remove("free_bytes");
        }
        plan
    }

    /// The points of the drive of this label that `chain` says the next run keeps, and not only until one is newer.
    #[track_caller]
    fn promised(&self, label: &str, number: i64) -> Vec<String> {
        let ran = self.offsite.run(["chain", "rotation", COPY, "--json", "--now", &day(number)]);
        let mut chains = ran.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let Some(chain) = chains.find(|chain| chain["medium"]["label"] == label) else { return Vec::new() };
        let stays = |point: &&Value| {
            let reasons = point["reasons"].as_array().unwrap();
            reasons.iter().any(|reason| !reason.as_str().unwrap().ends_with("until 1 newer"))
        };
        let points = chain["points"].as_array().unwrap().iter().filter(stays);
        points.map(|point| point["time"].as_str().unwrap().to_owned()).collect()
    }

    /// What each drive holds, as `points` tells it: its label, whether it is away, and the times.
    #[track_caller]
    fn points(&self) -> BTreeMap<String, (bool, Vec<String>)> {
        let ran = self.offsite.ok(["points", "rotation", "--json"]);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let medium = |line: &str| {
            let value: Value = serde_json::from_str(line).unwrap();
            let times = value["points"].as_array().unwrap().iter().map(|point| text(&point["time"])).collect();
            (text(&value["medium"]["label"]), (value["medium"]["is_away"].as_bool().unwrap(), times))
        };
        ran.out.lines().map(medium).collect()
    }

    /// Restores every point of the drive that is there and compares it with the machine of that day; the numbers of the days.
    #[track_caller]
    fn check(&self) -> Vec<u32> {
        let label = self.points().into_iter().find(|(_, (is_away, _))| !is_away).expect("a drive is there").0;
        let times = &self.points()[&label].1;
        let mut days = Vec::new();
        for time in times {
            let day = self.days[time];
            let to = self.offsite.path("restored.img");
            self.offsite.ok(["restore", "rotation", COPY, "web01", "--at", time, "--to", "restored.img"]);
            assert_same_bytes(&to, &self.offsite.path(&format!("day-{day}.img")));
            fs::remove_file(to).unwrap();
            days.push(day);
        }
        self.offsite.ok(["verify", "rotation", "--read-data"]);
        days
    }
}

/// A drive has two markers: one of the repository, and one that tells it from other drives. Each comes back, and the chain goes on.
#[test]
fn a_drive_that_has_lost_a_marker_gets_it_back() {
    let mut world = World::new(4, &["mount"], 4);
    let drives = ["blue", "red"];
    drives.iter().for_each(|drive| world.prepare(drive));
    for (number, drive) in (0..).zip(drives) {
        world.work(number);
        world.insert(drive);
        world.copy(number);
    }
    let run =
        |world: &World, number: i64, status: i32| world.offsite.run(["run", "--now", &day(number)]).expect(status);
    let is_increment = |report: &Value| report["syncs"][0]["kind"] == "increment";
    // Of the repository: lost or damaged, and put back by a repair.
    for (number, damaged) in [(2, None), (3, Some("no marker"))] {
        world.work(number);
        world.insert("blue");
        let marker = world.offsite.path("blue/offsite-repository");
        match damaged {
            None => fs::remove_file(&marker).unwrap(),
            Some(text) => fs::write(&marker, text).unwrap(),
        }
        let refused = run(&world, number, 1);
        assert!(refused.err.contains("`offsite repair REPO JOB` makes it anew"), "{refused}");
        world.offsite.ok(["repair", "rotation", COPY]);
        assert!(is_increment(&world.copy(number)), "day {number}");
    }
    // Of the drive: damaged, then lost. It is the drive that it was.
    world.work(4);
    world.insert("red");
    let marker = world.offsite.path("red/.offsite-medium");
    let before = fs::read(&marker).unwrap();
    fs::write(&marker, "no marker").unwrap();
    let refused = run(&world, 4, 1);
    for said in ["remove that file", "`offsite init rotation` then gives the drive its marker back"] {
        assert!(refused.err.contains(said), "{said}: {refused}");
    }
    fs::remove_file(&marker).unwrap();
    world.offsite.ok(["init", "rotation", "--allow-unmounted"]);
    assert_eq!(fs::read(&marker).unwrap(), before);
    assert!(is_increment(&world.copy(4)));
    assert_eq!(world.points().into_keys().collect::<Vec<_>>(), drives);
    assert_eq!(world.check(), [1, 4]);
    // Both at once, and one after the other before any run.
    for repairs_first in [true, false] {
        world.insert("red");
        fs::remove_file(world.offsite.path("red/offsite-repository")).unwrap();
        if repairs_first {
            world.offsite.ok(["repair", "rotation", COPY]);
        }
        fs::remove_file(&marker).unwrap();
        world.offsite.ok(["init", "rotation", "--allow-unmounted"]);
        assert_eq!(fs::read(&marker).unwrap(), before, "repaired first: {repairs_first}");
        assert_eq!(world.check(), [1, 4]);
    }
    // Another one that nobody remembers is taken in under a label of its own.
    let stranger = Offsite::new();
    stranger.ok(["init", "elsewhere"]);
    fs::rename(stranger.path("elsewhere"), world.offsite.path("green")).unwrap();
    world.prepare("green");
    assert_eq!(world.points().into_keys().collect::<Vec<_>>(), ["blue", "green", "red"]);
}

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
    offsite_tests::run(std::process::Command::new("umount").arg(place));
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
