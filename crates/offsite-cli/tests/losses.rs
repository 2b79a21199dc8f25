//! What is lost of a folder is noticed, costs nothing else, and a repair that cannot bring all back leaves a job that goes on.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use offsite_cli::workload::Disk;
use support::{COPY_JOB, Offsite, assert_same_bytes, day};

const COPY: &str = "Offsite Copy";
/// The first day of a site. A repair knows the present, so what comes before it has to be in the past.
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
            self.back_up(number);
            let ran = self.run(number);
            assert_eq!(ran.status, 0, "{ran}");
        }
    }

    /// A backup and a run of the present.
    fn today(&self, version: u32) -> support::Ran {
        self.disk.apply(&self.offsite.path("web01.img"), version).unwrap();
        self.offsite.ok(["backup", "--repo", "primary", "--job", "nightly", "web01=web01.img"]);
        self.offsite.run(["run"])
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
    site.offsite.run(["repair", "second", COPY]).expect(0);
    assert_eq!(points(), before);
    let ran = site.today(45).expect(0);
    assert!(ran.out.contains("for long-term retention again"), "{ran}");
    let after = points();
    assert!(before[..before.len() - 3].iter().all(|archive| after.contains(archive)), "{before:?} {after:?}");
    site.today(46).expect(0);
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
        site.today(version).expect(0);
        site.is_copied(version.into());
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
    let backup = ["backup", "--repo", "primary", "--job", "nightly", "web01=web01.img"];
    site.offsite.run(backup).expect(1).says(&["offsite repair"]);
    assert_eq!(files(&folder.join("blocks")), before);
    site.offsite.run(["repair", "primary", "nightly"]).expect(0);
    site.offsite.run(backup).expect(0);
    assert_eq!(site.offsite.json(["points", "primary"])["points"].as_array().unwrap().len(), 4);
}

/// The newest heads are lost, and their second copy tells of a point that no head has any more.
#[test]
fn a_second_copy_that_is_newer_than_the_newest_head_is_told() {
    let site = Site::new(COPY_JOB);
    site.live(0..3);
    let folder = site.offsite.path("second").join(COPY);
    // A head is named by its number, a second copy by the epoch and the number in hexadecimal digits.
    let number = |path: &Path| {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        match name.split_once('-') {
            Some((_, number)) => u64::from_str_radix(number, 16).unwrap(),
            None => name.parse().unwrap(),
        }
    };
    let is_copy = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "head");
    let copy = files(&folder.join("blocks")).into_iter().filter(is_copy).map(|path| number(&path)).max().unwrap();
    let newest = files(&folder.join("head")).into_iter().filter(|path| number(path) >= copy);
    newest.for_each(|path| fs::remove_file(path).unwrap());
    let ran = site.offsite.run(["verify", "second", COPY]).expect(3);
    assert!(ran.out.contains("second copy of head") && ran.out.contains("offsite repair"), "{ran}");
    site.offsite.run(["repair", "second", COPY]).expect(0);
    site.offsite.run(["verify", "second", COPY]).expect(0);
    assert_eq!(site.offsite.json(["points", "second"])["points"].as_array().unwrap().len(), 3);
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
