//! A copy job under a new name: with `renamed_from` it goes on with its chain, and without it that is said.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;

use offsite_cli::workload::Disk;
use support::{COPY_JOB, Offsite, assert_same_bytes, day};

/// The config, with the job under another name and with these keys.
fn config(name: &str, keys: &str) -> String {
    COPY_JOB.replace("Offsite Copy", name).replace("target = \"second\"\n", &format!("target = \"second\"\n{keys}\n"))
}

/// A job that has copied one day under its old name, and the next day's backup.
fn prepared() -> Offsite {
    let offsite = Offsite::with_copy_job();
    for number in 0..2 {
        Disk::new("web01", 3, 2).write_full(&offsite.path("web01.img"), number).unwrap();
        offsite.backup(&day(number.into()), &["web01=web01.img"]);
        if number == 0 {
            offsite.ok(["run", "--now", &day(0)]);
        }
    }
    offsite
}

#[test]
fn a_job_under_a_new_name_goes_on_with_its_chain() {
    let offsite = prepared();
    offsite.config(&config("Night", "renamed_from = \"Offsite Copy\""));
    let report = offsite.json(["run", "--now", &day(1)]);
    assert_eq!((&report["job"], &report["syncs"][0]["kind"]), (&"Night".into(), &"increment".into()));
    assert!(!offsite.path("second/Night").exists(), "no new folder");
    // Under either name.
    for name in ["Night", "Offsite Copy"] {
        let points = offsite.json(["points", "second", name]);
        assert_eq!(points["points"].as_array().unwrap().len(), 2);
        offsite.ok(["chain", "second", name, "--now", &day(1)]);
        offsite.ok(["verify", "second", name, "--read-data"]);
        let image = offsite.restore("second", name, "web01", 2, "back.img");
        assert_same_bytes(&image, &offsite.path("web01.img"));
        fs::remove_file(image).unwrap();
    }
    assert!(offsite.ok(["chain", "second", "Night", "--now", &day(1)]).out.contains("kept: newest 1 of 3"));
    offsite.ok(["transform", "--now", &day(1)]);
    // It stays so: the key names the folder.
    offsite.ok(["run", "--now", &day(2)]);
    assert_eq!(fs::read_dir(offsite.path("second")).unwrap().count(), 2, "the marker and one job");
}

#[test]
fn a_forgotten_former_name_is_said_before_and_with_the_new_full() {
    let offsite = prepared();
    offsite.config(&config("Night", ""));
    let texts = ["job Offsite Copy", "renamed_from = \"Offsite Copy\"", "a new full is made"];
    for arguments in [["run", "--now", &day(1), "--dry-run"].as_slice(), &["run", "--now", &day(1)]] {
        let ran = offsite.run(arguments.iter().copied()).expect(3);
        assert!(texts.iter().all(|text| ran.out.contains(text)) && ran.out.contains("(full)"), "{ran}");
    }
    // Once both are there, there is no way on with one of them but a choice.
    offsite.ok(["run", "--now", &day(1)]);
    offsite.config(&config("Night", "renamed_from = \"Offsite Copy\""));
    offsite.run(["run", "--now", &day(1)]).expect(2).says(&[
        "renamed_from",
        "Offsite Copy",
        "Night",
        "keep one of them",
    ]);
    // A job beside it that is another one is no former name.
    fs::remove_dir_all(offsite.path("second/Night")).unwrap();
    offsite.config(&format!(
        "{COPY_JOB}\n[jobs.Weekly]\nsource = {{ repository = \"primary\", job = \"nightly\" }}\ntarget = \"second\"\n"
    ));
    offsite.ok(["run", "Weekly", "--now", &day(1)]);
}

#[test]
fn a_former_name_that_makes_no_sense_is_refused() {
    let offsite = prepared();
    for (keys, text) in [("renamed_from = \"Night\"", "the job's name"), ("renamed_from = \"a/b\"", "slash")] {
        offsite.config(&config("Night", keys));
        offsite.run(["run"]).expect(2).says(&["renamed_from", text]);
    }
    let both = format!(
        "{}\n{}",
        COPY_JOB,
        "[jobs.Night]\nsource = { repository = \"primary\", job = \"nightly\" }\ntarget = \"second\"\nrenamed_from = \"Offsite Copy\"\n"
    );
    offsite.config(&both);
    offsite.run(["run"]).expect(2).says(&["renamed_from", "is job \"Offsite Copy\"'s"]);
}

#[test]
fn a_former_name_without_a_chain_is_told_once() {
    let offsite = prepared();
    offsite.config(&config("Offsite Copy", "renamed_from = \"Nightly DR\""));
    let ran = offsite.run(["run", "--now", &day(1)]).expect(2);
    let ran = ran.says(&["\"Nightly DR\" names a chain that second does not have", "remove renamed_from"]);
    assert_eq!(ran.err.matches("job Offsite Copy:").count(), 1, "{ran}");
}

/// A daemon takes what it knew of the job along.
#[test]
fn a_daemon_knows_a_job_by_its_former_name() {
    let offsite = prepared();
    offsite.config(&config("Offsite Copy", "every = \"1 day\""));
    offsite.set_clock(&day(1));
    let mut daemon = offsite.daemon("log");
    daemon.wait_for_point("Offsite Copy", 2);
    offsite.config(&config("Night", "every = \"1 day\"\nrenamed_from = \"Offsite Copy\""));
    daemon.signal("HUP");
    daemon.wait_for_line("started job=\"Night\"");
    let job = daemon.wait_for_point("Night", 2);
    assert_eq!(job["last"]["result"], "success", "{job:#}");
    let (_, log) = daemon.stop("TERM");
    assert!(!log.contains("ERROR") && !log.contains("restore point #3"), "{log}");
}

/// A target without room is no place to begin a copy: it says so with both numbers.
#[test]
fn a_copy_leaves_free_what_is_to_stay_free() {
    let offsite = prepared();
    offsite.config(&config("Offsite Copy", "min_free = \"900000 TiB\""));
    let ran = offsite.run(["run", "--dry-run", "--now", &day(1)]).expect(3);
    assert!(ran.out.contains(" at the peak, ") && ran.out.contains("that is not enough"), "{ran}");
    let ran = offsite.run(["run", "--now", &day(1)]).expect(1);
    ran.says(&[
        "the copy was not started: it needs ",
        " are free there, of which 878.9 PiB must stay free",
        "`min_free` in the config",
    ]);
    assert_eq!(offsite.json(["points", "second"])["points"].as_array().unwrap().len(), 1);
    offsite.config(&config("Offsite Copy", "min_free = \"1 KiB\""));
    let plan = offsite.json(["run", "--dry-run", "--now", &day(1)]);
    assert_eq!(plan["sync"]["room"]["is_enough"], true);
    assert!(plan["sync"]["room"]["free_bytes"].as_u64().unwrap() > 0);
    offsite.ok(["run", "--now", &day(1)]);
    offsite.config(&config("Offsite Copy", "min_free = \"10 GB\""));
    offsite.run(["run"]).expect(2).says(&["min_free", "10 GB", "\"10 GiB\""]);
}
