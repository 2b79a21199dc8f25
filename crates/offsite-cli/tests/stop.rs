//! `Ctrl-C` and `SIGTERM`: the first ends a command in order, the second at once.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use offsite_cli::workload::Disk;
use offsite_tests::LoopDevice;
use support::{Offsite, assert_same_bytes, day, repository};

const JOB: &str = "Offsite Copy";
/// How often a process is stopped in the middle of its work. On a busy machine it may be over before.
const TRIES: i64 = 20;

/// A copy job, and a backup of a disk that takes a while to read.
fn prepared() -> Offsite {
    let offsite = Offsite::with_copy_job();
    Disk::new("slow", 5, 96).write_full(&offsite.path("web01.img"), 0).unwrap();
    offsite.backup(&day(0), &["web01=web01.img"]);
    offsite
}

/// A process that ends with the test.
struct Process(Child);

impl Process {
    fn start(offsite: &Offsite, arguments: &[&str]) -> Self {
        let mut command = offsite.command(arguments);
        Self(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    fn signal(&self, name: &str) {
        offsite_tests::run(Command::new("kill").args([&format!("-{name}"), &self.0.id().to_string()]));
    }

    fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }

    /// Sends signals while it stands still; its exit status, and what it said.
    fn end(mut self, signals: &[&str]) -> (Option<i32>, String) {
        self.signal("STOP");
        signals.iter().for_each(|name| self.signal(name));
        self.signal("CONT");
        let status = self.0.wait().unwrap().code();
        let mut said = String::new();
        std::io::Read::read_to_string(&mut self.0.stderr.take().unwrap(), &mut said).unwrap();
        (status, said)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a command until one of its runs is sent `signals` in the middle of it, which `has_begun` tells; what it said.
#[track_caller]
fn stopped(
    offsite: &Offsite,
    mut arguments: impl FnMut(i64) -> Vec<String>,
    has_begun: impl Fn(&Path) -> bool,
    signals: &[&str],
    status: i32,
) -> String {
    let mut seen = Vec::new();
    for number in 1..=TRIES {
        let arguments = arguments(number);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut process = Process::start(offsite, &arguments);
        while !has_begun(offsite.root()) && !process.has_ended() {}
        if process.has_ended() {
            continue;
        }
        let (ended, said) = process.end(signals);
        if ended == Some(status) {
            return said;
        }
        // Its end was nearer than its next block.
        seen.push((ended, said));
    }
    panic!("no run was stopped in the middle: {seen:?}");
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn is_there(folder: &Path, what: &str) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| {
        entries.any(|entry| entry.is_ok_and(|entry| entry.file_name().to_string_lossy().contains(what)))
    })
}

#[test]
fn a_run_keeps_what_has_arrived_and_the_next_goes_on() {
    for (signal, status, name) in [("INT", 130, "Ctrl-C"), ("TERM", 143, "SIGTERM")] {
        let offsite = prepared();
        let folder = offsite.path("second").join(JOB);
        let run = |number| {
            // From the start, as long as none was stopped.
            let _ = fs::remove_dir_all(&folder);
            words(&["run", "--now", &day(number)])
        };
        let has_begun = |root: &Path| is_there(&root.join("second").join(JOB).join("head"), "0");
        let said = stopped(&offsite, run, has_begun, &[signal], status);
        assert!(said.contains(&format!("stopped by {name}")) && said.contains(JOB), "{said}");
        assert!(repository::newest_head(&folder).lease.is_none(), "the lease was given back");
        // What was committed is the last result, as of any other run.
        if let Some(kept) = said.split("is kept in restore point #").nth(1) {
            assert_eq!(last(&offsite)["point"].to_string(), kept.split(',').next().unwrap(), "{said}");
        }
        offsite.ok(["run", "--now", &day(TRIES + 1)]);
        let point =
            offsite.json(["points", "second"])["points"].as_array().unwrap().last().unwrap()["sequence"].as_u64();
        let restored = offsite.restore("second", JOB, "web01", point.unwrap(), "restored.img");
        assert_same_bytes(&restored, &offsite.path("web01.img"));
    }
}

/// The last result of the job, as the state folder has it.
fn last(offsite: &Offsite) -> serde_json::Value {
    offsite.run(["status", "--json"]).json()["jobs"][0]["last"].clone()
}

/// While a run works (here it stands still), a second is refused. Its refusal is not the last result: the copy goes well.
#[test]
fn a_run_that_is_refused_is_not_the_last_result() {
    let offsite = prepared();
    let folder = offsite.path("second").join(JOB);
    offsite.ok(["run", "--now", &day(0)]);
    assert_eq!(last(&offsite)["result"], "success");
    for number in 1..=TRIES {
        Disk::new("slow", 5, 96).write_full(&offsite.path("web01.img"), number as u32).unwrap();
        offsite.backup(&day(number), &["web01=web01.img"]);
        let before = last(&offsite);
        let heads = repository::names(&folder, "head").last().cloned();
        let mut first = Process::start(&offsite, &["run", "--now", &day(number)]);
        while repository::names(&folder, "head").last().cloned() == heads && !first.has_ended() {}
        if first.has_ended() {
            continue;
        }
        first.signal("STOP");
        if repository::newest_head(&folder).lease.is_none() {
            first.end(&[]);
            continue;
        }
        let refused = offsite.run(["run", "--now", &day(number)]).expect(1);
        assert!(refused.err.contains(JOB) && !refused.out.contains("had not begun"), "{refused}");
        assert_eq!(last(&offsite), before, "{refused}");
        offsite.run(["status", "--check"]).expect(0);
        assert_eq!(first.end(&[]).0, Some(0));
        assert_ne!(last(&offsite), before);
        return;
    }
    panic!("no run was at work");
}

#[test]
fn what_reads_leaves_nothing_behind() {
    let offsite = prepared();
    let restore = |_| {
        let _ = fs::remove_file(offsite.path("back.img"));
        words(&["restore", "primary", "nightly", "web01", "--to", "back.img"])
    };
    let said = stopped(&offsite, restore, |root| is_there(root, "back.img"), &["INT"], 130);
    assert!(said.contains("stopped by Ctrl-C") && said.contains("web01 is not restored"), "{said}");
    assert!(!is_there(offsite.root(), "back.img"), "an image, or a part of one, is left");
    let export = |_| {
        let _ = fs::remove_file(offsite.path("out.export"));
        words(&["export", "primary", "nightly", "--to", "out.export"])
    };
    let said = stopped(&offsite, export, |root| is_there(root, "out.export"), &["TERM"], 143);
    assert!(said.contains("stopped by SIGTERM") && said.contains("out.export is not written"), "{said}");
    assert!(!is_there(offsite.root(), "out.export"));
    let pins = |root: &Path| is_there(&root.join("primary/nightly/pin"), "-");
    let verify = |_| words(&["verify", "primary", "--read-data"]);
    let said = stopped(&offsite, verify, pins, &["INT"], 130);
    assert!(said.contains("job nightly is not verified to its end"), "{said}");
    assert!(!pins(offsite.root()), "a pin is left");
    offsite.ok(["verify", "primary", "--read-data"]);
}

#[test]
fn what_is_on_a_device_now_is_told() {
    let offsite = prepared();
    let Some(device) = LoopDevice::new_or_say(96 << 20, 0xaa) else { return };
    let to = device.path().to_str().unwrap();
    let restore = |_| words(&["restore", "primary", "nightly", "web01", "--overwrite", "--to", to]);
    let pins = |root: &Path| is_there(&root.join("primary/nightly/pin"), "-");
    let said = stopped(&offsite, restore, pins, &["TERM"], 143);
    assert!(said.contains("may hold a part of the disk now"), "{said}");
    offsite.ok(["restore", "primary", "nightly", "web01", "--overwrite", "--to", to]);
    assert!(device.content() == fs::read(offsite.path("web01.img")).unwrap());
}

#[test]
fn a_backup_that_is_stopped_makes_no_point_and_the_next_needs_no_repair() {
    let offsite = prepared();
    let job = offsite.path("primary/nightly");
    let heads = repository::names(&job, "head").len();
    let mut made = 0;
    let backup = |number| {
        made = number;
        Disk::new("slow", 5, 96).write_full(&offsite.path("web01.img"), number as u32).unwrap();
        words(&["backup", "--repo", "primary", "--job", "nightly", "--at", &day(number), "web01=web01.img"])
    };
    let begun = |root: &Path| {
        let job = root.join("primary/nightly");
        repository::names(&job, "head").len() > heads && repository::newest_head(&job).lease.is_some()
    };
    let said = stopped(&offsite, backup, begun, &["INT"], 130);
    assert!(said.contains("no restore point was made"), "{said}");
    let points = offsite.json(["points", "primary"])["points"].as_array().unwrap().len();
    assert_eq!(points as i64, made, "all but the one that was stopped, from day 0 on");
    let last = offsite.backup(&day(TRIES + 1), &["web01=web01.img"]);
    let sequence = last["sequence"].as_u64().unwrap();
    let restored = offsite.restore("primary", "nightly", "web01", sequence, "restored.img");
    assert_same_bytes(&restored, &offsite.path("web01.img"));
    repository::assert_tidy(&job);
}

#[test]
fn the_second_signal_ends_at_once() {
    let offsite = prepared();
    let folder = offsite.path("second").join(JOB);
    let run = |number| {
        let _ = fs::remove_dir_all(&folder);
        words(&["run", "--now", &day(number)])
    };
    let has_begun = |root: &Path| is_there(&root.join("second").join(JOB).join("head"), "0");
    // Both wait for the process when it goes on; whichever it takes for the second ends it without a word.
    let mut process_status = None;
    for number in 1..=TRIES {
        let arguments = run(number);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut process = Process::start(&offsite, &arguments);
        while !has_begun(offsite.root()) && !process.has_ended() {}
        if process.has_ended() {
            continue;
        }
        let (status, said) = process.end(&["INT", "TERM"]);
        if matches!(status, Some(130 | 143)) && !said.contains("stopped by") {
            process_status = status;
            break;
        }
    }
    assert!(process_status.is_some(), "no run was ended at once");
    offsite.ok(["run", "--now", &day(TRIES + 1)]);
}
