//! What is lost of a folder is noticed, costs nothing else, and a repair that cannot bring all back leaves a job that goes on.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use offsite_cli::workload::Disk;
use support::{COPY_JOB, Offsite, assert_same_bytes, day};

const COPY: &str = "Offsite Copy";
/// The first day of a site: long past, whenever the tests run.
const FIRST: i64 = -80;

fn date(number: i64) -> String {
    day(FIRST + number)
}

/// A machine whose disk changes each day.
struct Site {
    offsite: Offsite,
    disk: Disk,
}

impl Site {
    fn new(config: &str) -> Self {
        let offsite = Offsite::with_copy_job();
        offsite.config(config);
        let disk = Disk::new("web01", 3, 2);
        disk.write_full(&offsite.path("web01.img"), 0).unwrap();
        Self { offsite, disk }
    }

    fn back_up(&self, number: i64) {
        if let Some(version) = u32::try_from(number).ok().filter(|version| *version > 0) {
            self.disk.apply(&self.offsite.path("web01.img"), version).unwrap();
        }
        self.offsite.backup(&date(number), &["web01=web01.img"]);
    }

    fn run(&self, number: i64) -> support::Ran {
        self.offsite.run(["run", "--now", &date(number)])
    }

    fn live(&self, days: std::ops::Range<i64>) {
        for number in days {
            let ran = self.next(number);
            assert_eq!(ran.status, 0, "{ran}");
        }
    }

    fn next(&self, number: i64) -> support::Ran {
        self.back_up(number);
        self.run(number)
    }

    fn is_copied(&self, number: i64) {
        let to = format!("restored-{number}.img");
        self.offsite.ok(["restore", "second", COPY, "web01", "--to", &to]);
        assert_same_bytes(&self.offsite.path(&to), &self.offsite.path("web01.img"));
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Removes all heads of a job folder, and with them their second copies.
fn lose_heads(folder: &Path, with_copies: bool) {
    let is_copy = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "head");
    let copies = files(&folder.join("blocks")).into_iter().filter(|path| with_copies && is_copy(path));
    files(&folder.join("head")).into_iter().chain(copies).for_each(|path| fs::remove_file(path).unwrap());
}

/// The weekly points of two months stay beside the chain, though the heads that said so are gone.
#[test]
fn archives_outlive_a_repair_without_heads() {
    let site = Site::new(&format!("{COPY_JOB}gfs = {{ weekly = 9 }}\n"));
    site.live(0..45);
    let points = || {
        let listed = site.offsite.json(["points", "second"]);
        listed["points"].as_array().unwrap().iter().map(|point| point["time"].to_string()).collect::<Vec<_>>()
    };
    let before = points();
    assert!(before.len() > 6, "{before:?}");
    lose_heads(&site.offsite.path("second").join(COPY), true);
    let ran = site.offsite.run(["repair", "second", COPY]).expect(0);
    assert!(ran.out.contains("tags and containers were in the heads"), "{ran}");
    assert_eq!(points(), before);
    let ran = site.next(45).expect(0);
    assert!(ran.out.contains("for long-term retention again"), "{ran}");
    let after = points();
    assert!(before[..before.len() - 3].iter().all(|archive| after.contains(archive)), "{before:?} {after:?}");
    site.next(46).expect(0);
    assert!(points().starts_with(&before[..before.len() - 3]));
}

/// All but the oldest archive is lost: the job begins a chain beside it.
#[test]
fn a_job_of_which_only_an_archive_is_left_goes_on() {
    let site = Site::new(&format!("{COPY_JOB}gfs = {{ weekly = 5 }}\n"));
    site.live(0..20);
    let folder = site.offsite.path("second").join(COPY);
    let kept = files(&folder.join("index"))[0].file_name().unwrap().to_str().unwrap().to_owned();
    for index in files(&folder.join("index")).into_iter().skip(1) {
        fs::remove_file(&index).unwrap();
    }
    for file in files(&folder.join("blocks")) {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let is_newer = name.as_str() > kept.as_str() && !name.starts_with(&kept) && !name.ends_with(".head");
        if is_newer {
            fs::remove_file(file).unwrap();
        }
    }
    site.offsite.run(["repair", "second", COPY]).expect(3);
    for version in 20..24 {
        site.next(version).expect(0);
        site.is_copied(version);
    }
}

/// A backup does not begin anew over what a repair can bring back.
#[test]
fn a_backup_refuses_a_folder_whose_heads_are_lost() {
    let site = Site::new(COPY_JOB);
    for number in 0..3 {
        site.back_up(number);
    }
    let folder = site.offsite.path("primary").join("nightly");
    lose_heads(&folder, false);
    let before = files(&folder.join("blocks"));
    let at = date(3);
    let backup = ["backup", "--repo", "primary", "--job", "nightly", "--at", &at, "web01=web01.img"];
    site.offsite.run(backup).expect(1).says(&["offsite repair"]);
    assert_eq!(files(&folder.join("blocks")), before);
    site.offsite.run(["repair", "primary", "nightly"]).expect(0);
    site.offsite.run(backup).expect(0);
    assert_eq!(site.offsite.json(["points", "primary"])["points"].as_array().unwrap().len(), 4);
}

/// The newest heads are lost, and their second copy tells of a point that no head has any more: a repair brings it back, and so does the
/// next run, which would else let go of what it says.
#[test]
fn a_point_that_only_a_second_copy_tells_is_told_and_comes_back() {
    for comes_back_by in ["repair", "run"] {
        let site = Site::new(COPY_JOB);
        site.live(0..3);
        let folder = site.offsite.path("second").join(COPY);
        let points = || site.offsite.json(["points", "second"])["points"].as_array().unwrap().len();
        while points() == 3 {
            fs::remove_file(files(&folder.join("head")).last().unwrap()).unwrap();
        }
        let ran = site.offsite.run(["verify", "second", COPY]).expect(3);
        assert!(ran.out.contains("second copy of head") && ran.out.contains("offsite repair"), "{ran}");
        match comes_back_by {
            "repair" => site.offsite.run(["repair", "second", COPY]).expect(0),
            // It has nothing to copy: the copy that was lost has all.
            _ => site.run(3).expect(0),
        };
        assert_eq!(points(), 3, "{comes_back_by}");
        site.offsite.run(["verify", "second", COPY]).expect(0);
        site.is_copied(3);
        if comes_back_by == "run" {
            site.live(4..6);
            site.is_copied(5);
        }
    }
}

/// The source's host was put back to an earlier day: what it backs up from then on has numbers that were copied before.
#[test]
fn a_source_that_was_put_back_is_copied_on() {
    let site = Site::new(COPY_JOB);
    let (primary, saved) = (site.offsite.path("primary"), site.offsite.path("saved"));
    for number in 0..12 {
        site.live(number..number + 1);
        if number == 5 {
            assert!(std::process::Command::new("cp").arg("-a").args([&primary, &saved]).status().unwrap().success());
        }
    }
    fs::remove_dir_all(&primary).unwrap();
    fs::rename(&saved, &primary).unwrap();
    for number in 12..22 {
        site.back_up(number);
        site.run(number);
        site.is_copied(number);
    }
}

/// Newer points may be behind a head of the source that cannot be read: the run says so, each time.
#[test]
fn a_damaged_head_of_the_source_is_told() {
    let site = Site::new(COPY_JOB);
    site.live(0..2);
    site.back_up(2);
    let heads = files(&site.offsite.path("primary").join("nightly").join("head"));
    for head in &heads[heads.len() - 2..] {
        let mut bytes = fs::read(head).unwrap();
        bytes[80] ^= 0x40;
        fs::write(head, bytes).unwrap();
    }
    for number in 2..4 {
        let ran = site.run(number).expect(3);
        assert!(ran.out.contains("nightly/head") && ran.out.contains("offsite repair"), "{ran}");
    }
}

/// A pin that a power cut tore holds nothing once its reader has given no sign of life; what is no pin holds nothing at all.
#[test]
fn what_cannot_be_read_among_the_pins_holds_no_space_for_ever() {
    let site = Site::new(COPY_JOB);
    site.live(0..4);
    let pins = site.offsite.path("second").join(COPY).join("pin");
    fs::create_dir_all(&pins).unwrap();
    fs::write(pins.join("desktop.ini"), "").unwrap();
    let ran = site.offsite.run(["run", "--now", &date(4)]).expect(0);
    assert!(!ran.out.contains("held"), "{ran}");
}

/// One machine is not taken, as its backup job was made anew: the other one is copied, and the reason is told.
#[test]
fn the_reason_why_a_machine_is_not_taken_is_told_beside_others() {
    let offsite = Offsite::with_copy_job();
    offsite.config(&COPY_JOB.replace("from = \"job\", job = \"nightly\"", "from = \"infrastructure\""));
    Disk::new("web01", 3, 2).write_full(&offsite.path("web01.img"), 0).unwrap();
    let back_up = |number| {
        for job in ["aa", "zz"] {
            let machine = format!("{job}01=web01.img");
            offsite.ok(["backup", "--repo", "primary", "--job", job, "--at", &date(number), &machine]);
        }
    };
    back_up(0);
    offsite.run(["run", "--now", &date(0)]).expect(0);
    fs::remove_dir_all(offsite.path("primary").join("zz")).unwrap();
    back_up(1);
    let ran = offsite.run(["run", "--now", &date(1)]);
    assert_ne!(ran.status, 0, "{ran}");
    assert!(format!("{}{}", ran.out, ran.err).contains("--adopt"), "{ran}");
}

#[test]
fn what_a_shell_would_have_replaced_is_no_path_to_restore_to() {
    let site = Site::new(COPY_JOB);
    site.live(0..1);
    for to in ["--to=~/web01.img", "--to=$HOME/web01.img"] {
        site.offsite.run(["restore", "second", COPY, "web01", to]).expect(2).says(&["in full"]);
        site.offsite.run(["export", "second", COPY, to]).expect(2).says(&["in full"]);
    }
}

/// The target was away for days. A job that copies each point as it appears copies all that wait in its next run, the oldest first.
#[test]
fn an_immediate_job_copies_all_points_that_wait() {
    let site = Site::new(&COPY_JOB.replace("target = \"second\"", "target = \"second\"\nmode = \"immediate\""));
    site.live(0..1);
    (1..5).for_each(|number| site.back_up(number));
    let ran = site.run(5).expect(0);
    assert_eq!(ran.out.matches("restore point #").count(), 4, "{ran}");
    assert_eq!(site.offsite.json(["points", "second"])["points"].as_array().unwrap().len(), 3);
    site.is_copied(4);
    // There is nothing more, and a run ends.
    site.run(6).expect(0);
}

/// Monitoring learns at once what a verification found, and that it is gone.
#[test]
fn what_verify_finds_is_in_the_status_until_it_is_healed() {
    let site = Site::new(COPY_JOB);
    site.live(0..1);
    let check = |status| site.offsite.run(["status", "--check"]).expect(status);
    check(0);
    let file = files(&site.offsite.path("second").join(COPY).join("blocks")).into_iter();
    let file = file.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let intact = fs::read(&file).unwrap();
    let mut damaged = intact.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(&file, &damaged).unwrap();
    site.offsite.run(["verify", "second", "--read-data"]).expect(1);
    let ran = check(2);
    assert!(ran.out.contains("`offsite verify` knows of 1 case of damage"), "{ran}");
    // One that reads no blocks has not found it gone.
    site.offsite.run(["verify", "second"]);
    let ran = check(2);
    assert!(ran.out.contains("web01"), "{ran}");
    let ran = site.offsite.run(["status"]).expect(3);
    assert!(ran.out.contains("damaged"), "{ran}");
    let ran = site.offsite.run(["status", "--json"]).expect(3);
    assert!(ran.out.contains("\"verified\":{\"at\""), "{ran}");
    fs::write(&file, &intact).unwrap();
    site.offsite.run(["verify", "./second", "--read-data"]).expect(0);
    check(0);
}

/// Of a restore point whose index is damaged nothing can be read, and listings say so.
#[test]
fn a_damaged_index_is_told_by_listings_until_it_is_put_back() {
    let site = Site::new(COPY_JOB);
    site.live(0..3);
    let index = files(&site.offsite.path("second").join(COPY).join("index")).pop().unwrap();
    let mut damaged = fs::read(&index).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(&index, &damaged).unwrap();
    site.offsite.run(["verify", "second"]).expect(1);
    for listing in ["points", "chain"] {
        let ran = site.offsite.run([listing, "second", COPY]).expect(3);
        let told = ran.out.lines().filter(|line| line.contains("DAMAGED")).collect::<Vec<_>>();
        assert!(
            matches!(told[..], [line] if line.contains("#3") && line.contains("`offsite repair` brings it back")),
            "{ran}"
        );
        let ran = site.offsite.run([listing, "second", COPY, "--json"]).expect(3);
        assert_eq!(ran.out.matches("\"is_readable\":false").count(), 1, "{ran}");
    }
    // A run meets it, and the status tells what listings do.
    site.next(3).expect(1);
    let ran = site.offsite.run(["status"]).expect(3);
    let told = |ran: &support::Ran| ran.out.lines().filter(|line| line.trim_start().starts_with("damaged")).count();
    assert!(told(&ran) > 0 && !ran.out.contains("0 blocks"), "{ran}");
    assert!(ran.out.contains("index is damaged"), "{ran}");
    site.offsite.ok(["repair", "second", COPY]);
    site.offsite.ok(["points", "second", COPY]);
    site.offsite.ok(["verify", "second", "--read-data"]);
    let ran = site.offsite.run(["status"]);
    assert_eq!(told(&ran), 0, "{ran}");
    site.run(3).expect(0);
    site.is_copied(3);
}

/// A run neither needs nor mends the second copy of an index. Monitoring knows of it until a repair.
#[test]
fn a_damaged_second_copy_is_in_the_status_until_it_is_repaired() {
    let site = Site::new(COPY_JOB);
    site.live(0..2);
    let blocks = site.offsite.path("second").join(COPY).join("blocks");
    let is_copy = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "index");
    let copy = files(&blocks).into_iter().find(is_copy).unwrap();
    fs::write(&copy, "none").unwrap();
    site.offsite.run(["verify", "second"]).expect(3);
    for number in 2..4 {
        let ran = site.offsite.run(["status", "--check"]).expect(2);
        assert!(ran.out.contains("`offsite repair` makes it again from the index"), "{ran}");
        site.next(number).expect(0);
    }
    site.offsite.ok(["repair", "second", COPY]);
    site.offsite.run(["status", "--check"]).expect(0);
}

/// The marker is put back first. What else there is to repair nobody knows before.
#[test]
fn a_repair_tells_of_a_new_marker_and_foresees_it() {
    let site = Site::new(COPY_JOB);
    site.live(0..1);
    let marker = site.offsite.path("second/offsite-repository");
    fs::remove_file(&marker).unwrap();
    let ran = site.offsite.run(["repair", "second", COPY, "--dry-run"]).expect(0);
    assert!(ran.out.contains("a repair makes a new one") && !marker.exists(), "{ran}");
    let ran = site.offsite.run(["repair", "second", COPY, "--dry-run", "--json"]).expect(0);
    assert!(ran.out.contains("\"new_marker\":true") && !marker.exists(), "{ran}");
    let ran = site.offsite.run(["repair", "second", COPY, "--json"]).expect(0);
    assert!(ran.out.contains("\"new_marker\":true") && marker.exists(), "{ran}");
    let ran = site.offsite.run(["repair", "second", COPY, "--json"]).expect(0);
    assert!(ran.out.contains("\"new_marker\":false"), "{ran}");
}

/// Heads are lost and a point cannot be proven: its files stay until somebody says that they may go.
#[test]
fn what_a_repair_leaves_out_goes_when_it_is_told_to() {
    let site = Site::new(COPY_JOB);
    site.live(0..4);
    let folder = site.offsite.path("second").join(COPY);
    // The newest point: its index and the second copy of it, and a part of the file that the index could be made of again.
    let index = files(&folder.join("index")).pop().unwrap();
    let name = index.file_name().unwrap().to_str().unwrap().to_owned();
    let is_file = |path: &PathBuf| path.extension().is_none();
    let file = files(&folder.join("blocks")).into_iter().rfind(is_file).unwrap();
    fs::remove_file(&index).unwrap();
    fs::remove_file(folder.join("blocks").join(format!("{name}.index"))).unwrap();
    let mut bytes = fs::read(&file).unwrap();
    bytes[4_100] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let repair =
        |arguments: &[&str]| site.offsite.run(["repair", "second", COPY].into_iter().chain(arguments.iter().copied()));
    let ran = repair(&[]).expect(3);
    let words = ["LEFT OUT  #4", "kept      1 backup file of what was left out", "--discard` lets them go"];
    words.iter().for_each(|said| assert!(ran.out.contains(said), "{said}: {ran}"));
    let ran = repair(&["--discard", "--dry-run"]).expect(0);
    assert!(ran.out.contains("discarded 1 backup file"), "{ran}");
    let ran = repair(&["--json"]).expect(0);
    assert!(ran.out.contains("\"unneeded\":[{\"bytes\":"), "{ran}");
    repair(&["--discard"]).expect(0);
    assert!(file.exists(), "a reader may need it");
    site.next(5).expect(0);
    assert!(!file.exists());
    site.is_copied(5);
    assert!(!repair(&[]).expect(0).out.contains("left out"));
}

/// The first runs were of a clock that was ten years ahead. Somebody says that it is right now, and retention goes on.
#[test]
fn a_clock_that_was_wrong_in_the_first_run_is_put_right() {
    let site = Site::new(&COPY_JOB.replace("keep = 3", "keep = 2"));
    site.back_up(0);
    site.offsite.run(["run", "--now", "2036-01-01T00:00:00Z"]).expect(0);
    let points = || site.offsite.json(["points", "second"])["points"].as_array().unwrap().len();
    for number in 1..4 {
        site.back_up(number);
        let ran = site.run(number).expect(3);
        assert!(ran.out.contains("--trust-clock"), "{ran}");
    }
    assert_eq!(points(), 4);
    site.back_up(4);
    site.offsite.run(["run", "--trust-clock", "--now", &date(4)]).expect(0);
    assert_eq!(points(), 2);
    site.live(5..8);
    assert_eq!(points(), 2);
    site.is_copied(7);
}

/// A clock that is far ahead in a repair is believed as little as in a run.
#[test]
fn a_repair_does_not_take_the_time_far_ahead() {
    let site = Site::new(COPY_JOB);
    site.live(0..5);
    lose_heads(&site.offsite.path("second").join(COPY), true);
    site.offsite.run(["repair", "second", COPY]).expect(0);
    site.back_up(5);
    // The present is months later, and the repair has not taken it for what the job knows.
    site.live(5..7);
}

/// A repair of the source has lost the tags by which a machine is selected: no copy is removed for that.
#[test]
fn tags_that_a_repair_has_lost_remove_no_copy() {
    let select = "[jobs.\"Offsite Copy\".select]\ntags = [\"gold\"]\n\n[jobs.\"Offsite Copy\".retention]\ndeleted_machines_days = 1";
    let site = Site::new(&COPY_JOB.replace("[jobs.\"Offsite Copy\".retention]", select));
    let backup = |number, tags: &[&str]| {
        let at = date(number);
        let backup = ["backup", "--repo", "primary", "--job", "nightly", "--at", &at, "web01=web01.img"];
        site.offsite.ok(backup.into_iter().chain(tags.iter().copied()));
    };
    backup(0, &["--tag", "web01:gold"]);
    site.run(0).expect(0);
    lose_heads(&site.offsite.path("primary/nightly"), true);
    let ran = site.offsite.run(["repair", "primary", "nightly"]).expect(0);
    assert!(ran.out.contains("--tag"), "{ran}");
    for number in 1..6 {
        backup(number, &[]);
        let ran = site.run(number).expect(3);
        assert!(ran.out.contains("gold"), "{ran}");
    }
    let points = site.offsite.json(["points", "second"]);
    let machines = points["points"].as_array().unwrap().last().unwrap()["machines"].as_array().unwrap().len();
    assert_eq!(machines, 1, "{points}");
    backup(6, &["--tag", "web01:gold"]);
    site.run(6).expect(0);
    site.is_copied(6);
}
