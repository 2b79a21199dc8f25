//! What each command tells a user, word for word.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;

use offsite_cli::workload::Disk;
use support::golden::Transcript;
use support::{COPY_JOB, Offsite, day};

const COPY: &str = "Offsite Copy";

/// Two machines, one of them with two disks, as images of known content.
struct Machines([(Disk, &'static str); 3]);

impl Machines {
    fn new(offsite: &Offsite) -> Self {
        let disks = [("web01", "web01.img", 24), ("db01-0", "db01-system.img", 16), ("db01-1", "db01-data.img", 32)];
        let machines = Self(disks.map(|(name, image, size_mib)| (Disk::new(name, 7, size_mib), image)));
        machines.0.iter().for_each(|(disk, image)| disk.write_full(&offsite.path(image), 0).unwrap());
        machines
    }

    fn work(&self, offsite: &Offsite, version: u32) {
        self.0.iter().for_each(|(disk, image)| assert!(disk.apply(&offsite.path(image), version).is_ok()));
    }
}

const BACKUP: [&str; 7] =
    ["backup", "--repo", "primary", "--job", "nightly", "web01=web01.img", "db01=db01-system.img,db01-data.img"];

#[test]
fn help_says_what_there_is() {
    let offsite = Offsite::new();
    let mut transcript = Transcript::default();
    transcript.run(&offsite, 0, ["--help"]);
    for command in [
        "demo",
        "init",
        "backup",
        "run",
        "daemon",
        "status",
        "points",
        "chain",
        "restore",
        "verify",
        "export",
        "import",
        "map",
        "simulate",
        "check-repository",
        "media",
    ] {
        transcript.heading(command);
        transcript.run(&offsite, 0, [command, "--help"]);
    }
    for [command, subcommand] in [["media", "list"], ["media", "forget"], ["mail", "test"]] {
        transcript.heading(&format!("{command} {subcommand}"));
        transcript.run(&offsite, 0, [command, subcommand, "--help"]);
    }
    transcript.heading("what nobody knows");
    transcript.run(&offsite, 2, ["bakcup"]);
    transcript.run(&offsite, 2, ["points"]);
    transcript.run(&offsite, 2, ["verify", "primary", "--read-date"]);
    transcript.compare(&offsite, "help.txt");
    assert!(offsite.run(["--version"]).expect(0).out.starts_with("offsite "));
}

/// A few days of work, as the README would tell them. Standard error is no terminal here: nothing but warnings goes there.
#[test]
fn the_main_job_in_the_words_of_the_command() {
    let offsite = Offsite::new();
    offsite.config(COPY_JOB);
    let machines = Machines::new(&offsite);
    let mut transcript = Transcript::default();
    transcript.heading("two repositories");
    transcript.run(&offsite, 0, ["init", "primary"]);
    transcript.run(&offsite, 0, ["init", "second"]);
    transcript.run(&offsite, 0, ["points", "primary"]);
    for number in 0..4 {
        transcript.heading(&format!("day {number}"));
        let now = day(number);
        if number > 0 {
            machines.work(&offsite, u32::try_from(number).unwrap());
        }
        transcript.run(&offsite, 0, BACKUP.into_iter().chain(["--at", &now]));
        transcript.run(&offsite, 0, ["run", "--dry-run", "--now", &now]);
        transcript.run(&offsite, 0, ["run", "--now", &now]);
    }
    transcript.heading("nothing new");
    transcript.run(&offsite, 0, ["run", "--dry-run", "--now", &day(4)]);
    transcript.run(&offsite, 0, ["run", "--now", &day(4)]);
    transcript.heading("looking at it");
    transcript.run(&offsite, 0, ["points", "primary"]);
    transcript.run(&offsite, 0, ["points", "second", COPY]);
    transcript.run(&offsite, 0, ["chain", "primary", "nightly"]);
    transcript.run(&offsite, 0, ["chain", "second", COPY]);
    transcript.run(&offsite, 0, ["verify", "second"]);
    transcript.run(&offsite, 0, ["verify", "second", COPY, "--read-data"]);
    transcript.heading("the way back");
    fs::create_dir(offsite.path("back")).unwrap();
    transcript.run(&offsite, 0, ["restore", "second", COPY, "web01", "--to", "web01-back.img"]);
    transcript.run(&offsite, 0, ["restore", "second", COPY, "db01", "--at", &day(2), "--to", "back"]);
    let qcow2 = ["restore", "second", COPY, "db01", "--point", "2", "--format", "qcow2", "--to", "back"];
    transcript.run(&offsite, 0, qcow2);
    transcript.heading("a machine that is not there any more");
    transcript.run(
        &offsite,
        0,
        ["backup", "--repo", "primary", "--job", "nightly", "web01=web01.img", "--at", &day(5)],
    );
    transcript.run(&offsite, 3, ["run", "--now", &day(5)]);
    transcript.run(&offsite, 0, ["chain", "second", COPY]);
    assert!(!transcript.text().contains("\n! "), "standard error is no terminal, and nothing went wrong");
    transcript.compare(&offsite, "main-job.txt");
}

/// Where standard error is a terminal, long work shows how far it is, and leaves nothing of that behind.
#[test]
fn a_terminal_shows_progress() {
    let offsite = Offsite::with_copy_job();
    Machines::new(&offsite);
    let mut terminal = Command::new(offsite_tests::find("script", "bsdutils"));
    let line = format!("'{}' {}", env!("CARGO_BIN_EXE_offsite"), BACKUP.join(" "));
    terminal.args(["-q", "-e", "-c", &line, "/dev/null"]).current_dir(offsite.root());
    let shown = offsite_tests::run(terminal.env("TERM", "xterm").stdin(Stdio::null()));
    let shown = String::from_utf8(shown.stdout).unwrap();
    let (bars, rest) = shown.split_once("nightly: restore point #1").expect("the summary comes last");
    assert!(bars.contains("backing up [") && bars.contains("MiB/s"), "{bars:?}");
    assert!(!rest.contains("backing up"), "{rest:?}");
}

/// A machine that the source does not have is a warning, with a status of its own; the others are copied.
#[test]
fn warnings_have_their_own_status() {
    let offsite = Offsite::new();
    offsite.config(
        r#"
[repositories.primary]
location = "primary"
[repositories.second]
location = "second"
[jobs.some]
source = { repository = "primary", job = "nightly" }
select = { machines = ["web01", "mail01"] }
target = "second"
"#,
    );
    Machines::new(&offsite);
    offsite.ok(["init", "primary"]);
    offsite.ok(["init", "second"]);
    offsite.ok(BACKUP.into_iter().chain(["--at", &day(0)]));
    let mut transcript = Transcript::default();
    transcript.run(&offsite, 3, ["run", "--dry-run", "--now", &day(0)]);
    transcript.run(&offsite, 3, ["run", "--now", &day(0)]);
    transcript.heading("a clock that runs back");
    transcript.run(&offsite, 3, BACKUP.into_iter().chain(["--at", &day(-1)]));
    transcript.compare(&offsite, "warnings.txt");
}

/// Methods of the primary chain, and restore points that are carried.
#[test]
fn chains_that_are_carried_in_the_words_of_the_command() {
    let offsite = Offsite::with_copy_job();
    let machines = Machines::new(&offsite);
    let mut transcript = Transcript::default();
    transcript.heading("a reverse-incremental chain");
    for number in 0..3 {
        if number > 0 {
            machines.work(&offsite, u32::try_from(number).unwrap());
        }
        transcript.run(&offsite, 0, BACKUP.into_iter().chain(["--method", "reverse", "--at", &day(number)]));
    }
    transcript.heading("increments, a synthetic full, and an active one");
    let more: [&[&str]; 4] = [&[], &["--method", "reverse"], &["--synthetic-full"], &["--method", "forward", "--full"]];
    for (number, (arguments, status)) in (3..).zip(more.into_iter().zip([0, 1, 0, 0])) {
        let now = day(number);
        transcript.run(&offsite, status, BACKUP.iter().chain(arguments).chain(&["--at", &now]).copied());
    }
    transcript.run(&offsite, 0, ["points", "primary"]);
    transcript.heading("one point in one file");
    transcript.run(&offsite, 0, ["export", "primary", "nightly", "--point", "1", "db01", "--to", "db01.export"]);
    transcript.run(&offsite, 1, ["export", "primary", "nightly", "--to", "db01.export"]);
    transcript.run(&offsite, 0, ["import", "second", "db01 of old", "--from", "db01.export"]);
    transcript.run(&offsite, 1, ["import", "second", "db01 of old", "--from", "db01.export"]);
    let export = fs::read(offsite.path("db01.export")).unwrap();
    fs::write(offsite.path("cut.export"), &export[..export.len() / 2]).unwrap();
    transcript.run(&offsite, 1, ["import", "second", "cut", "--from", "cut.export"]);
    transcript.run(&offsite, 1, ["import", "second", "cut", "--from", "web01.img"]);
    transcript.heading("a seed");
    transcript.run(&offsite, 0, ["map", "second", COPY, "primary"]);
    transcript.run(&offsite, 1, ["map", "second", COPY, "primary/nightly"]);
    transcript.run(&offsite, 1, ["map", "second", "other", "db01.export"]);
    transcript.run(&offsite, 0, ["verify", "second", COPY, "--read-data"]);
    transcript.heading("a machine that the newest point has not");
    let db01 = ["backup", "--repo", "primary", "--job", "nightly", "db01=db01-system.img"];
    transcript.run(&offsite, 0, db01.into_iter().chain(["--at", &day(8)]));
    transcript.run(&offsite, 0, ["export", "primary", "nightly", "--to", "both.export"]);
    transcript.run(&offsite, 1, ["export", "primary", "nightly", "--point", "7", "web01", "--to", "web01.export"]);
    transcript.compare(&offsite, "carrying.txt");
}

/// With `--json` each command prints lines of JSON and nothing else. The last one is the result.
#[test]
fn json_is_lines() {
    let offsite = Offsite::with_copy_job();
    Machines::new(&offsite);
    let now = day(0);
    let commands: [&[&str]; 8] = [
        &["init", "third"],
        &[&BACKUP[..], &["--at", &now]].concat(),
        &["run", "--dry-run", "--now", &now],
        &["run", "--now", &now],
        &["points", "second"],
        &["chain", "second", COPY],
        &["restore", "second", COPY, "web01", "--to", "web01-back.img"],
        &["verify", "second", COPY, "--read-data"],
    ];
    for command in commands {
        let ran = offsite.ok(command.iter().copied().chain(["--json"]));
        assert!(ran.json().is_object(), "{ran}");
        let has_work = matches!(command[0], "backup" | "restore" | "verify") || command[..2] == ["run", "--now"];
        if !has_work {
            assert_eq!(ran.out.lines().count(), 1, "{ran}");
            continue;
        }
        let events = ran.events();
        let (last, told) = events.split_last().unwrap();
        assert_eq!(last.0, "report", "{ran}");
        assert!(!told.is_empty(), "{ran}");
        let mut present: Option<&Value> = None;
        for (event, line) in told {
            offsite::model::Timestamp::parse(line["time"].as_str().unwrap()).unwrap();
            let (done, total) = (line["done_bytes"].as_u64().unwrap(), line["total_bytes"].as_u64().unwrap());
            match (event.as_str(), present.take()) {
                ("begin", None) => {
                    assert_eq!(done, 0, "{ran}");
                    present = Some(line);
                }
                ("advance", Some(begun)) => present = Some(begun),
                ("end", Some(begun)) => {
                    assert_eq!(done, total, "{ran}");
                    for field in ["operation", "step", "job", "since", "total_bytes"] {
                        assert_eq!(line[field], begun[field], "{field}: {ran}");
                    }
                }
                other => panic!("{other:?}: {ran}"),
            }
        }
        assert!(present.is_none(), "what begins ends: {ran}");
    }
}

/// A reader that has seen enough ends nothing: the copy is made.
#[test]
fn a_closed_pipe_stops_no_run() {
    let offsite = Offsite::with_copy_job();
    Machines::new(&offsite);
    let now = day(0);
    offsite.ok([&BACKUP[..], &["--at", &now]].concat());
    let mut child = offsite
        .command(["run", "--json", "--now", &now])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert_eq!(offsite.json(["points", "second"])["points"].as_array().unwrap().len(), 1);
}

/// Times in words are those of the job's zone; the machines' are in UTC.
#[test]
fn times_are_told_where_the_job_is_at_home() {
    let offsite = Offsite::with_copy_job();
    let keys = "every = \"1 day\"\ntime_zone = \"Europe/Berlin\"\n";
    offsite.config(&COPY_JOB.replace("target = \"second\"\n", &format!("target = \"second\"\n{keys}")));
    Disk::new("web01", 3, 2).write_full(&offsite.path("web01.img"), 0).unwrap();
    offsite.backup(&day(0), &["web01=web01.img"]);
    let told = "2026-11-01 23:00:00 CET";
    assert!(offsite.ok(["run", "--now", &day(0)]).out.contains(&format!("#1 of {told} (full)")));
    for command in ["points", "chain"] {
        let out = offsite.ok([command, "second", "Offsite Copy"]).out;
        assert!(out.contains(told) && !out.contains("T22:00"), "{out}");
    }
    assert!(offsite.status_by_clock([]).out.contains(&format!("success at {told} (")));
    let restored = offsite.ok(["restore", "second", "Offsite Copy", "web01", "--to", "back.img"]);
    assert!(restored.out.contains(&format!("as of {told}")), "{restored}");
    assert_eq!(offsite.json(["points", "second"])["points"][0]["time"], day(0));
    // A job without a zone is told in the host's.
    offsite.config(COPY_JOB);
    let mut command = offsite.command(["points", "second"]);
    let out = String::from_utf8(command.env("TZ", "Asia/Tokyo").output().unwrap().stdout).unwrap();
    assert!(out.contains("2026-11-02 07:00:00 JST"), "{out}");
}

/// What is printed day by day is read by people who have never seen the design.
#[test]
fn daily_output_has_no_words_of_the_design() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let files = [folder.clone(), folder.join("mail")].map(|folder| std::fs::read_dir(folder).unwrap());
    for path in files.into_iter().flatten().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
        let text = std::fs::read_to_string(&path).unwrap();
        let words = ["adoption", "folding", "hole", "holes", "believe", "believed", "absent", "MB", "pruned"];
        let phrases = ["stands for", "stand for"];
        let has = |line: &str, word: &str| {
            line.split(|letter: char| !letter.is_alphanumeric() && letter != '_').any(|part| part == word)
        };
        let found = |line: &&str| {
            let is_told =
                words.iter().any(|word| has(line, word)) || phrases.iter().any(|phrase| line.contains(phrase));
            !line.starts_with("$ ") && is_told
        };
        assert_eq!(text.lines().filter(found).collect::<Vec<_>>(), [""; 0], "{}", path.display());
    }
}
