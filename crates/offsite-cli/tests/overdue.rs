//! Copies that are too old: told by each command that looks at them, and to monitoring.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;

use offsite_cli::workload::Disk;
use serde_json::Value;
use support::{COPY_JOB, Offsite, hour};

const JOB: &str = "Offsite Copy";

/// Two machines, a daily copy job whose copies may be 26 hours old, and a script that keeps its report.
fn prepared() -> Offsite {
    let offsite = Offsite::with_copy_job();
    offsite.config(&config("26 hours"));
    offsite.script("after.sh", "cat > report");
    for (name, seed) in [("web01", 3), ("db01", 4)] {
        Disk::new(name, seed, 2).write_full(&offsite.path(&format!("{name}.img")), 0).unwrap();
    }
    offsite
}

fn config(max_age: &str) -> String {
    let keys = format!("every = \"1 day\"\nmax_age = \"{max_age}\"\nafter = {{ script = \"after.sh\" }}\n");
    COPY_JOB.replace("target = \"second\"\n", &format!("target = \"second\"\n{keys}"))
}

fn names(overdue: &Value) -> Vec<(&str, Option<i64>)> {
    overdue.as_array().unwrap().iter().map(|one| (one["name"].as_str().unwrap(), one["age_secs"].as_i64())).collect()
}

/// Both machines are copied at hour 0, and only web01 a day later: from hour 27 on, db01 is overdue, whoever is asked.
#[test]
fn a_machine_whose_copy_is_too_old_is_overdue() {
    let offsite = prepared();
    offsite.set_clock(&hour(1));
    let check = |status: i32, text: &str| {
        let ran = offsite.status_by_clock(["--check"]).expect(status);
        assert!(ran.out.starts_with(text) && ran.err.is_empty(), "{ran}");
    };
    check(3, "OFFSITE UNKNOWN: no daemon has run with offsite.toml");
    offsite.backup(&hour(0), &["web01=web01.img", "db01=db01.img"]);
    let ran = offsite.run(["run", "--json", "--now", &hour(1)]).expect(0);
    assert_eq!(names(&ran.json()["overdue"]), []);
    check(0, "OFFSITE OK: 1 job, nothing overdue\n");
    let words = offsite.status_by_clock([]).expect(0).out;
    for text in ["No daemon has run", "success at", "2 machines; the oldest copy is 60 min old, of db01"] {
        assert!(words.contains(text), "no {text:?} in {words}");
    }
    // Nothing is run, and the copies grow older all the same.
    offsite.set_clock(&hour(27));
    check(2, "OFFSITE CRITICAL: Offsite Copy: OVERDUE db01: its newest copy is 27 h old");
    assert!(offsite.status_by_clock([]).expect(3).out.contains("OVERDUE   web01: its newest copy is 27 h old"));
    offsite.backup(&hour(24), &["web01=web01.img"]);
    let ran = offsite.run(["run", "--now", &hour(27)]).expect(3);
    assert!(ran.out.contains("OVERDUE   db01: its newest copy is 27 h old"), "{ran}");
    assert!(ran.out.contains("at most 26 h (max_age)") && !ran.out.contains("OVERDUE   web01"), "{ran}");
    let report: Value = serde_json::from_slice(&fs::read(offsite.path("report")).unwrap()).unwrap();
    assert_eq!((names(&report["overdue"]), &report["result"]), (vec![("db01", Some(27 * 3600))], &"warning".into()));
    assert_eq!(report["max_age_secs"], 26 * 3600);
    let status = offsite.status_by_clock(["--json"]).expect(3).json();
    assert_eq!(names(&status["jobs"][0]["overdue"]), [("db01", Some(27 * 3600))]);
    assert_eq!(status["check"]["status"], "CRITICAL");
    assert_eq!(status["daemon"]["state"], "none");
}

/// A source that is away keeps nothing from being told, nor does a wrong config.
#[test]
fn what_is_overdue_is_told_though_nothing_can_be_looked_at() {
    let offsite = prepared();
    offsite.backup(&hour(0), &["web01=web01.img", "db01=db01.img"]);
    offsite.ok(["run", "--now", &hour(1)]);
    fs::rename(offsite.path("primary"), offsite.path("away")).unwrap();
    let ran = offsite.run(["run", "--now", &hour(30)]).expect(1);
    for name in ["web01", "db01"] {
        assert!(ran.err.contains(&format!("OVERDUE   {name}: its newest copy is 30 h old")), "{ran}");
    }
    let ran = offsite.run(["run", "--json", "--now", &hour(30)]).expect(1);
    assert_eq!(names(&ran.json()["overdue"]).len(), 2);
    fs::rename(offsite.path("second"), offsite.path("gone")).unwrap();
    let ran = offsite.run(["run", "--json", "--now", &hour(31)]).expect(1);
    assert_eq!(names(&ran.json()["overdue"]), [], "nothing is known here");
    offsite.set_clock(&hour(32));
    let ran = offsite.status_by_clock(["--check"]).expect(2);
    assert!(ran.out.contains("OVERDUE web01: its newest copy is 32 h old"), "and known there: {ran}");
    assert!(ran.out.contains("CRITICAL: Offsite Copy: the last run failed: "), "{ran}");
    let words = offsite.status_by_clock([]).expect(3).out;
    assert!(words.contains("\n  reason    "), "{words}");
    offsite.config("nonsense = [");
    let ran = offsite.status_by_clock(["--check"]).expect(2);
    assert!(ran.out.contains("OVERDUE web01") && ran.out.contains("WARNING: config offsite.toml"), "{ran}");
}

#[test]
fn a_daemon_says_what_is_overdue_and_its_death_is_critical() {
    let offsite = prepared();
    offsite.backup(&hour(0), &["web01=web01.img", "db01=db01.img"]);
    offsite.set_clock(&hour(1));
    let mut daemon = offsite.daemon("log");
    daemon.wait_for_point(JOB, 1);
    assert_eq!(offsite.status_by_clock(["--check"]).expect(0).out, "OFFSITE OK: 1 job, nothing overdue\n");
    offsite.set_clock(&hour(51));
    daemon.wait_for_line("OVERDUE   db01: its newest copy is");
    let log = daemon.kill();
    assert!(log.lines().any(|line| line.contains("WARN") && line.contains("OVERDUE   web01")), "{log}");
    let ran = offsite.status_by_clock(["--check"]).expect(2);
    assert!(ran.out.contains("CRITICAL: the daemon died"), "{ran}");
    assert!(ran.out.contains("OVERDUE db01: its newest copy is 51 h old"), "{ran}");
    let words = offsite.status_by_clock([]).expect(3).out;
    assert!(words.contains("died") && words.contains("OVERDUE   db01"), "{words}");
}

#[test]
fn an_age_that_is_none_is_refused_with_its_line() {
    let offsite = prepared();
    for age in ["26", "0 hours", "soon"] {
        offsite.config(&config(age));
        offsite.run(["run"]).expect(2).says(&["offsite.toml, line 12", "max_age", age, "\"26 hours\""]);
    }
}

/// All that the host keeps is in one folder, wherever that is.
#[test]
fn the_state_folder_holds_what_the_host_keeps() {
    let offsite = prepared();
    offsite.config(&format!("state_dir = \"kept/here\"\n{}", config("26 hours")));
    offsite.backup(&hour(0), &["web01=web01.img", "db01=db01.img"]);
    offsite.set_clock(&hour(1));
    let mut daemon = offsite.daemon("log");
    daemon.wait_for_point(JOB, 1);
    daemon.stop("TERM");
    let mut names: Vec<String> = fs::read_dir(offsite.path("kept/here"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["jobs", "memory", "status.json", "status.json.lock"]);
    let hidden = fs::read_dir(offsite.root()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(hidden.filter(|name| name.starts_with('.')).collect::<Vec<_>>(), [""; 0]);
    // A folder that cannot be written to is a warning: the copy is made.
    offsite.config(&format!("state_dir = \"report/here\"\n{}", config("26 hours")));
    let ran = offsite.run(["run", "--now", &hour(2)]).expect(3);
    assert!(ran.err.contains("state_dir in the config"), "{ran}");
}
