//! Printing cannot end work: full disks behind what the command prints, closed pipes, and files that may not grow.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs::{self, File};
use std::io::Read;
use std::process::{Command, Stdio};

use offsite_cli::workload::Disk;
use support::{COPY_JOB, Offsite, Ran};

/// Two copy jobs with scripts, and something to copy.
fn prepared() -> Offsite {
    let offsite = Offsite::with_copy_job();
    let jobs: String = ["one", "two"]
        .iter()
        .map(|job| {
            format!(
                "[jobs.{job}]\nsource = {{ repository = \"primary\", job = \"nightly\" }}\ntarget = \"second\"\n\
                 every = \"1 day\"\nafter = {{ script = \"./after.sh\" }}\n"
            )
        })
        .collect();
    offsite.config(&format!("{}{jobs}", COPY_JOB.split("[jobs").next().unwrap()));
    offsite.script("after.sh", "cat > /dev/null; echo said; echo \"$OFFSITE_JOB\" >> ran");
    Disk::new("web01", 3, 2).write_full(&offsite.path("web01.img"), 0).unwrap();
    offsite.set_clock("2026-11-01T22:30:00Z");
    offsite.backup("2026-11-01T22:20:00Z", &["web01=web01.img"]);
    offsite
}

fn full_disk() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

fn run(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    Ran::new(command, &output)
}

#[track_caller]
fn assert_both_ran(offsite: &Offsite) {
    let mut ran: Vec<String> = fs::read_to_string(offsite.path("ran")).unwrap().lines().map(str::to_owned).collect();
    ran.sort();
    assert_eq!(ran, ["one", "two"]);
    for job in ["one", "two"] {
        offsite.ok(["points", "second", job]);
    }
}

#[test]
fn a_full_disk_behind_standard_output_stops_no_job() {
    let offsite = prepared();
    let mut command = offsite.command(["run", "--now", "2026-11-01T22:30:00Z"]);
    let ran = run(command.stdout(full_disk()).stderr(Stdio::piped())).expect(1);
    ran.says(&["could not be printed to standard output", "No space left"]);
    assert_both_ran(&offsite);
    // What only prints has failed.
    for arguments in [&["points", "primary"] as &[_], &["verify", "primary", "--json"], &["--help"]] {
        run(offsite.command(arguments).stdout(full_disk()).stderr(Stdio::piped())).expect(1);
    }
}

#[test]
fn a_full_disk_behind_standard_error_stops_no_job_and_is_a_warning() {
    let offsite = prepared();
    // The scripts' lines are messages.
    let mut command = offsite.command(["run", "--now", "2026-11-01T22:30:00Z"]);
    let ran = run(command.stdout(Stdio::piped()).stderr(full_disk())).expect(3);
    assert_eq!(ran.out.matches("restore point #1").count(), 2, "{ran}");
    assert_both_ran(&offsite);
    run(offsite.command(["run", "nonsense"]).stdout(Stdio::piped()).stderr(full_disk())).expect(2);
}

#[test]
fn a_daemon_without_a_log_copies_and_ends_when_it_is_told_to() {
    let offsite = prepared();
    let mut daemon = offsite.daemon_with("log", |command| {
        command.stderr(full_disk());
    });
    daemon.wait_for_point("one", 1);
    daemon.wait_for_point("two", 1);
    // Messages were lost, and that is all.
    assert_eq!(daemon.stop("TERM").0.code(), Some(3));
    assert_both_ran(&offsite);
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let offsite = prepared();
    let run = |arguments: &[&str]| {
        let mut command = offsite.command(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (child.wait().unwrap().code(), said)
    };
    for arguments in [&["points", "primary"] as &[_], &["verify", "primary"], &["points", "primary", "--json"]] {
        assert_eq!(run(arguments), (Some(0), String::new()), "{arguments:?}");
    }
    let (status, said) = run(&["run", "--now", "2026-11-01T22:30:00Z"]);
    assert_eq!((status, said.matches("script: said").count()), (Some(0), 2), "{said}");
    assert_both_ran(&offsite);
}

#[test]
fn a_file_that_may_not_grow_is_an_error_and_scripts_are_told() {
    let offsite = prepared();
    let mut command = Command::new("sh");
    command.current_dir(offsite.root()).args(["-c", "ulimit -f 1000; exec \"$0\" \"$@\""]);
    command.arg(env!("CARGO_BIN_EXE_offsite")).args(["run", "--now", "2026-11-01T22:30:00Z"]);
    let output = command.output().unwrap();
    Ran::new(&command, &output).expect(1).says(&["one", "two", "file of that size"]);
    let ran = fs::read_to_string(offsite.path("ran")).unwrap();
    assert_eq!(ran, "one\ntwo\n");
}
