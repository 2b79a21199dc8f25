//! Rules about traffic by the command: what it refuses, and what a daemon does when they change.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test fails by panicking")]

mod support;

use std::fs;

use offsite_s3_server::{ACCESS_KEY_ID, BUCKET, SECRET_ACCESS_KEY, Server};
use support::golden::Transcript;
use support::{COPY_JOB, Offsite, Random, assert_same_bytes};
use tokio::runtime::Runtime;

const JOB: &str = "Offsite Copy";

/// A config with these lines at its end, and with these keys of the job.
fn with(rules: &str, keys: &str) -> String {
    let job = COPY_JOB.replace("target = \"second\"\n", &format!("target = \"second\"\n{keys}\n"));
    format!("{job}\n{rules}\n")
}

#[test]
fn rules_that_make_no_sense_are_refused_with_their_key_and_the_way_out() {
    let offsite = Offsite::new();
    let mut transcript = Transcript::default();
    let mut refuse = |what: &str, rules: &str, keys: &str| {
        transcript.heading(what);
        offsite.config(&with(rules, keys));
        transcript.run(&offsite, 2, ["run"]);
    };
    let mut refuse_rule = |what: &str, rule: &str| refuse(what, &format!("[[traffic_rules]]\n{rule}"), "");
    refuse_rule("a limit of 0", "source = \"10.1.0.0/16\"\nlimit = \"0 Mbit/s\"");
    refuse_rule("less than a byte", "source = \"10.1.0.0/16\"\nlimit = \"7 bit/s\"");
    refuse_rule("a limit without a unit", "source = \"10.1.0.0/16\"\nlimit = \"100\"");
    refuse_rule("a limit that is a number", "source = \"10.1.0.0/16\"\nlimit = 100");
    refuse_rule("no limit", "source = \"10.1.0.0/16\"");
    refuse_rule("a range with host bits", "source = \"10.1.0.0/16\"\ntarget = \"10.2.0.9/16\"\nlimit = \"1 MB/s\"");
    refuse_rule("no range", "source = \"10.1.0.0/33\"\nlimit = \"1 MB/s\"");
    refuse_rule("no addresses and no repository", "limit = \"1 MB/s\"");
    refuse_rule("both", "repository = \"second\"\ntarget = \"10.2.0.0/16\"\nlimit = \"1 MB/s\"");
    refuse_rule("an unknown repository", "repository = \"third\"\nlimit = \"1 MB/s\"");
    let hours = "repository = \"second\"\nlimit = \"1 MB/s\"\nhours";
    refuse_rule("no hours", &format!("{hours} = \"mon-fri 8-18\""));
    refuse_rule("an unknown zone", &format!("{hours} = \"mon-fri\"\ntime_zone = \"Europe/Berln\""));
    refuse_rule("an unknown key", "repository = \"second\"\nlimit = \"1 MB/s\"\nspeed = 3");
    let rule =
        |hours: &str| format!("[[traffic_rules]]\ntarget = \"10.2.0.0/16\"\nlimit = \"1 MB/s\"\nhours = \"{hours}\"\n");
    refuse("overlapping rules", &format!("{}{}", rule("mon-fri 08:00-18:00"), rule("fri-sun")), "");
    refuse("a bandwidth of 0", "", "bandwidth = \"0 MiB/s\"");
    refuse("a bandwidth that is none", "", "bandwidth = \"fast\"");
    let bandwidth = |when: &str| {
        format!("bandwidth = [{{ limit = \"1 MB/s\", when = \"mon-fri\" }}, {{ limit = \"2 MB/s\"{when} }}]")
    };
    refuse("overlapping limits of a job", "", &bandwidth(""));
    refuse("hours of a job's limit", "", &bandwidth(", when = \"noon\""));
    transcript.compare(&offsite, "bad-traffic-rules.txt");
    // Hours that touch do not overlap, and ranges may lie in each other.
    let nested = "[[traffic_rules]]\ntarget = \"10.0.0.0/8\"\nlimit = \"2 MB/s\"\n";
    let rules = format!("{}{}{nested}", rule("mon-fri 08:00-18:00"), rule("18:00-08:00"));
    offsite.config(&with(&rules, &bandwidth(", when = \"sat-sun\"")));
    offsite.ok(["init", "primary"]);
}

/// At 64 kbit/s the copy would take an hour. The daemon reads the config anew, and the same transfer ends at once.
#[test]
fn a_daemon_takes_changed_limits_over_while_a_job_copies() {
    let runtime = Runtime::new().unwrap();
    let server = runtime.block_on(Server::start());
    let offsite = Offsite::new();
    let config = |bandwidth: &str| {
        let bucket = format!("location = \"s3://{BUCKET}/dr\"\nendpoint = \"{}\"\n", server.endpoint());
        with("", &format!("at = \"22:00\"\n{bandwidth}")).replace("location = \"second\"\n", &bucket)
    };
    let with_key = |command: &mut std::process::Command| {
        command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID).env("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY);
        for name in ["AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION"] {
            command.env_remove(name);
        }
    };
    let run = |arguments: &[&str]| {
        let mut command = offsite.command(arguments);
        with_key(&mut command);
        let output = command.output().unwrap();
        support::Ran::new(&command, &output).expect(0);
    };
    offsite.config(&config("bandwidth = \"64 kbit/s\""));
    offsite.ok(["init", "primary"]);
    run(&["init", "second"]);
    // Nothing that can be compressed.
    let mut random = Random::new(7);
    let disk: Vec<u8> = (0..(24 << 20) / 8).flat_map(|_| random.next().to_le_bytes()).collect();
    fs::write(offsite.path("web01.img"), disk).unwrap();
    offsite.backup("2026-11-01T22:20:00Z", &["web01=web01.img"]);
    offsite.set_clock("2026-11-01T22:30:00Z");
    let mut daemon = offsite.daemon_with("log", with_key);
    daemon.wait_for_line("copying web01");
    // How far it is can be seen meanwhile.
    let activity = daemon.wait_for("activity", |offsite| {
        let activity = offsite.status()?["jobs"][0]["activity"].clone();
        activity["machine"].is_string().then_some(activity)
    });
    assert_eq!((activity["operation"].as_str(), activity["step"].as_str()), (Some("copy"), Some("transfer")));
    assert_eq!((activity["job"].as_str(), activity["machine"].as_str()), (Some(JOB), Some("web01")));
    let (done, total) = (activity["done_bytes"].as_u64().unwrap(), activity["total_bytes"].as_u64().unwrap());
    assert!(activity["disk"] == 0 && 0 < done && done < total && total > 24 << 20, "{activity}");
    let words = offsite.status_by_clock([]).out;
    assert!(words.contains("  doing     copy, transfer of web01, disk 0: "), "{words}");
    // A job that has changed starts anew, and this one must not.
    offsite.config(&config("bandwidth = [{ limit = \"1 GB/s\", when = \"mon-sun\" }]"));
    daemon.signal("HUP");
    daemon.wait_for_point(JOB, 1);
    let log = daemon.log();
    assert_eq!(log.matches("copying web01").count(), 1, "{log}");
    assert_eq!(log.matches("started").count(), 2, "{log}");
    daemon.stop("TERM");
    run(&["restore", "second", JOB, "web01", "--to", "restored.img"]);
    assert_same_bytes(&offsite.path("restored.img"), &offsite.path("web01.img"));
}
