//! Daemons as processes: on schedule, told by signals, asked for their state, killed, and two at once.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;

use offsite_cli::workload::Disk;
use serde_json::Value;
use support::{COPY_JOB, Offsite, assert_same_bytes, copy_sparse};

const JOB: &str = "Offsite Copy";
/// What a job has beside its source and target.
const DAILY: &str = r#"every = "1 day"
at = "22:00"
after = { script = "after.sh", time_limit = "10 minutes" }
"#;
/// Keeps each report on a line, and what is in its environment.
const AFTER: &str = "cat >> reports; echo \"$OFFSITE_JOB:$OFFSITE_RESULT:$OFFSITE_POINT\" >> environment; echo done";

/// A config whose job has these keys, too.
fn config(keys: &str) -> String {
    COPY_JOB.replace("target = \"second\"\n", &format!("target = \"second\"\n{keys}"))
}

/// Repositories, a disk, and a daily copy job with a script.
fn prepared() -> Offsite {
    let offsite = Offsite::with_copy_job();
    offsite.config(&config(DAILY));
    offsite.script("after.sh", AFTER);
    Disk::new("web01", 3, 2).write_full(&offsite.path("web01.img"), 0).unwrap();
    offsite.set_clock("2026-11-01T22:30:00Z");
    back_up(&offsite, 1);
    offsite
}

/// The evening's backup, with a copy of the disk for later.
fn back_up(offsite: &Offsite, day: u32) {
    if day > 1 {
        let disk = Disk::new("web01", 3, 2);
        disk.write_full(&offsite.path("web01.img"), day).unwrap();
    }
    copy_sparse(&offsite.path("web01.img"), &offsite.path(&format!("day{day}.img")));
    offsite.backup(&format!("2026-11-0{day}T22:20:00Z"), &["web01=web01.img"]);
}

fn reports(offsite: &Offsite) -> Vec<Value> {
    let text = fs::read_to_string(offsite.path("reports")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn assert_copied(offsite: &Offsite, points: u64) {
    for point in 1..=points {
        let restored = offsite.restore("second", JOB, "web01", point, "restored.img");
        assert_same_bytes(&restored, &offsite.path(&format!("day{point}.img")));
        fs::remove_file(restored).unwrap();
    }
    assert_eq!(offsite.json(["points", "second", JOB])["points"].as_array().map(Vec::len), Some(points as usize));
}

#[test]
fn a_daemon_copies_on_schedule_and_tells_what_it_does() {
    let offsite = prepared();
    assert!(offsite.run(["status"]).expect(1).err.contains("no daemon has run"));
    let mut daemon = offsite.daemon("log");
    let job = daemon.wait_for_point(JOB, 1);
    assert_eq!(job["next_wake"], "2026-11-02T22:00:00Z");
    assert_eq!(job["last"]["result"], "success");
    assert_eq!(job["last"]["machines"][0]["outcome"], "complete");
    assert!(job["transferred_bytes"].as_u64().unwrap() > 0);
    let status = offsite.status().unwrap();
    assert_eq!(status["daemon"]["state"], "running");
    assert_eq!(status["daemon"]["pid"], daemon.pid());
    let words = offsite.status_by_clock([]).expect(0).out;
    for text in ["is running", "Offsite Copy\n", "phase     idle", "success at", "restore point #1"] {
        assert!(words.contains(text), "no {text:?} in {words}");
    }
    back_up(&offsite, 2);
    offsite.set_clock("2026-11-02T22:30:00Z");
    daemon.wait_for_point(JOB, 2);
    let (status, log) = daemon.stop("TERM");
    assert_eq!(status.code(), Some(0), "{log}");
    for text in ["INFO started with", "job=\"Offsite Copy\"", "restore point #2", "script: done", "stopped"] {
        assert!(log.contains(text), "no {text:?} in {log}");
    }
    assert!(!log.contains('\u{1b}') && !log.contains("2026-11-02T22:30:00.") && !log.contains("ERROR"), "{log}");
    let reports = reports(&offsite);
    assert_eq!(reports.len(), 2, "{log}");
    for (report, number) in reports.iter().zip(1..) {
        assert_eq!(
            (&report["job"], &report["result"], &report["point"]),
            (&JOB.into(), &"success".into(), &number.into())
        );
        assert_eq!(report["syncs"][0]["io"]["as_planned"], true);
    }
    let environment = fs::read_to_string(offsite.path("environment")).unwrap();
    assert_eq!(environment, "Offsite Copy:success:1\nOffsite Copy:success:2\n");
    assert_eq!(offsite.status().unwrap()["daemon"]["state"], "stopped");
    assert!(offsite.run(["status"]).expect(3).out.contains("was stopped"));
    assert_copied(&offsite, 2);
}

#[test]
fn a_reload_takes_what_is_right_and_refuses_what_is_wrong() {
    let offsite = prepared();
    let mut daemon = offsite.daemon("log");
    daemon.wait_for_point(JOB, 1);
    // To come, by the daemon's clock.
    back_up(&offsite, 2);
    offsite.config(&config(&DAILY.replace("1 day", "1 fortnight")));
    daemon.signal("HUP");
    daemon.wait_for_line("the old one stays in force");
    let log = daemon.log();
    let line = log.lines().find(|line| line.contains("stays in force")).unwrap();
    for text in ["offsite.toml, line 11", "job \"Offsite Copy\"", "every", "1 fortnight", "\"6 hours\""] {
        assert!(line.contains(text), "no {text:?} in {line}");
    }
    // Mended for the commands that follow; the daemon is not told.
    offsite.config(&config(DAILY));
    offsite.set_clock("2026-11-02T22:30:00Z");
    daemon.wait_for_point(JOB, 2);
    // Another job in the first one's place.
    offsite.ok(["init", "third"]);
    let other = COPY_JOB
        .replace(JOB, "Other Copy")
        .replace("\"second\"", "\"third\"")
        .replace("repositories.second", "repositories.third");
    offsite.config(&other);
    daemon.signal("HUP");
    daemon.wait_for_point("Other Copy", 1);
    assert_eq!(offsite.status().unwrap()["jobs"].as_array().unwrap().len(), 1);
    // And one that is empty is refused, too.
    offsite.config("");
    daemon.signal("HUP");
    daemon.wait_for_line("no copy job");
    let (status, log) = daemon.stop("INT");
    assert_eq!(status.code(), Some(0), "{log}");
    offsite.config(&config(""));
    assert_copied(&offsite, 2);
}

#[test]
fn a_killed_daemon_is_told_of_and_the_next_goes_on() {
    let offsite = prepared();
    let mut daemon = offsite.daemon("log");
    daemon.wait_for_point(JOB, 1);
    let pid = daemon.pid();
    daemon.kill();
    let status = offsite.status().unwrap();
    assert_eq!((&status["daemon"]["state"], &status["daemon"]["pid"]), (&"died".into(), &pid.into()));
    let words = offsite.run(["status"]).expect(3).out;
    assert!(words.contains("died") && words.contains("restore point #1"), "{words}");
    // The interval is done, so a daemon that starts in it does nothing; the next is done once.
    let mut daemon = offsite.daemon("log2");
    daemon.wait_for_line("started with");
    back_up(&offsite, 2);
    offsite.set_clock("2026-11-02T22:30:00Z");
    daemon.wait_for_point(JOB, 2);
    let (status, log) = daemon.stop("TERM");
    assert_eq!(status.code(), Some(0), "{log}");
    assert_eq!(reports(&offsite).len(), 2);
    assert_copied(&offsite, 2);
}

#[test]
fn of_two_daemons_one_works_and_the_other_takes_over() {
    let offsite = prepared();
    let mut first = offsite.daemon("first");
    first.wait_for_point(JOB, 1);
    let mut second = offsite.daemon("second.log");
    second.wait_for_line("standing by");
    assert_eq!(offsite.status().unwrap()["daemon"]["pid"], first.pid());
    first.kill();
    second.wait_for_line("started with");
    back_up(&offsite, 2);
    offsite.set_clock("2026-11-02T22:30:00Z");
    second.wait_for_point(JOB, 2);
    assert_eq!(offsite.status().unwrap()["daemon"]["pid"], second.pid());
    // One that stands by ends when it is told to.
    let mut third = offsite.daemon("third.log");
    third.wait_for_line("standing by");
    assert_eq!(third.stop("TERM").0.code(), Some(0));
    let (status, log) = second.stop("TERM");
    assert_eq!(status.code(), Some(0), "{log}");
    let points: Vec<Value> = reports(&offsite).iter().map(|report| report["point"].clone()).collect();
    assert_eq!(points, [1, 2]);
    assert_copied(&offsite, 2);
}

#[test]
fn a_script_that_fails_is_a_warning_and_a_late_machine_too() {
    let offsite = prepared();
    offsite.script("after.sh", "cat > report; echo oh >&2; exit 4");
    let mut daemon = offsite.daemon("log");
    let job = daemon.wait_for_point(JOB, 1);
    assert_eq!(job["last"]["result"], "warning");
    assert!(job["last"]["notes"][0].as_str().unwrap().contains("exit status: 4"), "{job:#}");
    offsite.run(["status"]).expect(3);
    // Nothing new comes: the interval ends with a machine that is absent, and the script is told.
    offsite.set_clock("2026-11-02T22:01:00Z");
    daemon.wait_for("a look", |offsite| {
        (offsite.status()?["jobs"][0]["next_wake"] == "2026-11-02T22:06:00Z").then_some(())
    });
    offsite.set_clock("2026-11-03T22:01:00Z");
    let report = daemon.wait_for("an interval without a point", |offsite| {
        let text = fs::read_to_string(offsite.path("report")).ok()?;
        let report: Value = serde_json::from_str(&text).ok()?;
        report["point"].is_null().then_some(report)
    });
    assert_eq!(report["result"], "warning");
    assert_eq!(report["machines"][0]["outcome"], "absent");
    daemon.wait_for_line("no new restore point came");
    daemon.stop("TERM");
}

#[test]
fn a_journal_gets_priorities_and_a_level_can_be_chosen() {
    let offsite = prepared();
    let mut daemon = offsite.daemon_with("log", |command| {
        let stat = fs::metadata(offsite.path("log")).unwrap();
        command.env("JOURNAL_STREAM", format!("{}:{}", stat.dev(), stat.ino()));
    });
    daemon.wait_for_point(JOB, 1);
    let (_, log) = daemon.stop("TERM");
    assert!(log.lines().all(|line| line.starts_with('<')), "{log}");
    assert!(log.contains("<6>started with"), "{log}");
    let mut daemon = offsite.daemon_with("log", |command| {
        command.env("OFFSITE_LOG", "debug");
    });
    daemon.wait_for_line("DEBUG");
    daemon.stop("TERM");
    let ran = offsite.run(["daemon", "--log", "loud"]).expect(2);
    assert!(ran.err.contains("--log") && ran.err.contains("debug"), "{ran}");
}

#[test]
fn a_typed_run_does_what_comes_after_a_run_and_ignores_the_window() {
    let offsite = prepared();
    // Closed at all hours but one minute of the week.
    let keys = format!("{DAILY}window = \"mon 00:00-00:01\"\n");
    offsite.config(&config(&keys));
    let ran = offsite.run(["run", "--now", "2026-11-01T22:30:00Z"]).expect(0);
    assert!(ran.err.contains("script: done"), "{ran}");
    // Also when there was nothing to do, and a failure of it is a warning.
    offsite.run(["run", "--now", "2026-11-01T22:31:00Z"]).expect(0);
    offsite.script("after.sh", &format!("{AFTER}; exit 1"));
    let ran = offsite.run(["run", "--now", "2026-11-01T22:32:00Z"]).expect(3);
    assert!(ran.out.contains("exit status: 1"), "{ran}");
    let points: Vec<Value> = reports(&offsite).iter().map(|report| report["point"].clone()).collect();
    assert_eq!(points, [1.into(), Value::Null, Value::Null]);
    // A run that fails is told of, too.
    fs::rename(offsite.path("primary"), offsite.path("away")).unwrap();
    offsite.run(["run", "--now", "2026-11-01T22:33:00Z"]).expect(1);
    let report = reports(&offsite).pop().unwrap();
    assert_eq!(report["result"], "failed");
    assert!(report["failure"].as_str().unwrap().contains("primary"), "{report}");
    // Nothing is run for a plan.
    fs::rename(offsite.path("away"), offsite.path("primary")).unwrap();
    offsite.ok(["run", "--dry-run", "--now", "2026-11-01T22:34:00Z"]);
    assert_eq!(reports(&offsite).len(), 4);
}

#[test]
fn a_config_that_is_wrong_names_line_job_key_value_and_the_way_out() {
    let offsite = prepared();
    let wrong: [(&str, &[&str]); 13] = [
        ("every = \"1 fortnight\"", &["line 11", "every", "1 fortnight", "\"1 day\""]),
        ("every = \"0 days\"", &["every", "0 days"]),
        ("at = \"25:00\"", &["at:", "25:00", "\"22:00\""]),
        ("time_zone = \"Europe/Atlantis\"", &["time_zone", "Europe/Atlantis"]),
        ("lookup = \"sideways\"", &["lookup", "sideways", "\"forward\""]),
        ("mode = \"eager\"", &["mode", "eager", "\"immediate\""]),
        ("mode = \"immediate\"\nevery = \"1 day\"", &["line 12", "every", "immediate"]),
        ("window = \"someday\"", &["window", "someday", "mon-fri"]),
        ("window = []", &["window", "never open"]),
        ("after = { script = \"\" }", &["after.script"]),
        ("after = { script = \"a\", time_limit = \"soon\" }", &["after.time_limit", "soon", "\"10 minutes\""]),
        ("after = { mail = \"a@b\" }", &["mail"]),
        ("until = \"1 day\"", &["until"]),
    ];
    for (keys, texts) in wrong {
        offsite.config(&config(&format!("{keys}\n")));
        for command in ["run", "daemon", "status"] {
            let ran = offsite.run([command]).expect(2).says(&["offsite.toml"]);
            assert!(texts.iter().all(|text| ran.err.contains(text)), "{texts:?}: {ran}");
        }
    }
    offsite.config(&format!("{}[daemon]\njobs_at_once = 0\n", config("")));
    offsite.run(["daemon"]).expect(2).says(&["jobs_at_once", "at least 1"]);
    fs::write(offsite.path("file"), "").unwrap();
    offsite.config(&format!("state_dir = \"file/state\"\n{}", config("")));
    offsite.run(["daemon"]).expect(1).says(&["file/state", "state_dir in the config"]);
    let right = [
        "every = \"6 hours\"\nat = \"01:30\"\ntime_zone = \"Europe/Berlin\"\nlookup = \"forward\"",
        "mode = \"immediate\"",
    ];
    for keys in right {
        let window = "window = [\"mon-fri 20:00-06:00\", \"sat-sun\"]\nafter = { script = \"./after.sh\" }";
        offsite.config(&config(&format!("{keys}\n{window}\n")));
        offsite.ok(["run", "--dry-run", "--now", "2026-11-01T22:30:00Z"]);
    }
}
