//! One way to run an interval, whoever starts it: the daemon, an operator, or two daemons on one store.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;

use offsite_cli::workload::Disk;
use serde_json::Value;
use support::{COPY_JOB, Offsite};

const JOB: &str = "Offsite Copy";
const DAYS: u64 = 5;

fn config(more: &str) -> String {
    let keys = "every = \"1 day\"\nat = \"22:00\"\nafter = { script = \"after.sh\" }\n";
    COPY_JOB.replace("target = \"second\"\n", &format!("target = \"second\"\n{keys}")) + more
}

fn prepared() -> Offsite {
    let offsite = Offsite::with_copy_job();
    offsite.config(&config(""));
    offsite.script("after.sh", "cat >> reports; env | grep ^OFFSITE_ | grep -v CLOCK | sort >> environment");
    offsite
}

/// The backup of an evening, and the clock of half an hour later.
fn back_up(offsite: &Offsite, number: u64) -> String {
    let image = offsite.path("web01.img");
    Disk::new("web01", 3, 2).write_full(&image, u32::try_from(number).unwrap()).unwrap();
    offsite.backup(&format!("2026-11-0{number}T22:20:00Z"), &["web01=web01.img", "db01=web01.img"]);
    format!("2026-11-0{number}T22:30:00Z")
}

/// Each report, but for what is measured by a watch.
fn reports(offsite: &Offsite) -> Vec<String> {
    fn without_times(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    if name.ends_with("_secs") {
                        *value = 0.into();
                    }
                    without_times(value);
                }
            }
            Value::Array(values) => values.iter_mut().for_each(without_times),
            _ => {}
        }
    }
    let text = fs::read_to_string(offsite.path("reports")).unwrap_or_default();
    let read = |line: &str| {
        let mut value: Value = serde_json::from_str(line).unwrap();
        without_times(&mut value);
        value.to_string()
    };
    text.lines().map(read).collect()
}

#[test]
fn the_daemon_and_a_run_by_hand_give_the_same_reports() {
    let (by_daemon, by_hand) = (prepared(), prepared());
    let mut daemon = None;
    let mut printed = Vec::new();
    for number in 1..=DAYS {
        let now = back_up(&by_daemon, number);
        by_daemon.set_clock(&now);
        daemon.get_or_insert_with(|| by_daemon.daemon("log")).wait_for_point(JOB, number);
        assert_eq!(back_up(&by_hand, number), now);
        // What is printed is what the script gets.
        printed.push(by_hand.run(["run", "--json", "--now", &now]).expect(0).json());
    }
    daemon.unwrap().stop("TERM");
    let reports = [reports(&by_daemon), reports(&by_hand)];
    assert_eq!(reports[0], reports[1]);
    assert_eq!(reports[0].len(), usize::try_from(DAYS).unwrap());
    let text = fs::read_to_string(by_hand.path("reports")).unwrap();
    assert!(text.lines().zip(&printed).all(|(line, printed)| serde_json::from_str::<Value>(line).unwrap() == *printed));
    let environments = [&by_daemon, &by_hand].map(|offsite| fs::read_to_string(offsite.path("environment")).unwrap());
    assert_eq!(environments[0], environments[1]);
    assert!(environments[0].contains("OFFSITE_RESULT=success"), "{}", environments[0]);
}

/// Two daemons that know nothing of each other, as on two hosts: of each interval, one does the work and tells the script.
#[test]
fn of_two_daemons_on_one_store_each_interval_is_done_once() {
    let offsite = prepared();
    fs::write(offsite.path("other.toml"), format!("state_dir = \"other\"\n{}", config(""))).unwrap();
    let done = |offsite: &Offsite, config: &str, number: u64| {
        let ran = offsite.run(["status", "--json", "--config", config]);
        let value: Value = serde_json::from_str(&ran.out).ok()?;
        let job = &value["jobs"].as_array()?.first()?.clone();
        let ended = job["last"]["ended"].as_str()?.starts_with(&format!("2026-11-0{number}"));
        (ended && job["phase"] == "idle").then(|| job.clone())
    };
    let first = back_up(&offsite, 1);
    offsite.set_clock(&first);
    let mut one = offsite.daemon("one.log");
    one.wait_for_point(JOB, 1);
    let mut other = offsite.daemon_with("other.log", |command| {
        command.args(["--config", "other.toml"]);
    });
    other.wait_for_line("started with");
    for number in 2..=4 {
        let now = back_up(&offsite, number);
        offsite.set_clock(&now);
        // Who comes second looks again after a minute, or finds the work done.
        let later = format!("2026-11-0{number}T22:40:00Z");
        one.wait_for("the interval by one of them", |offsite| {
            let found = [done(offsite, "offsite.toml", number), done(offsite, "other.toml", number)];
            found.into_iter().flatten().next()
        });
        offsite.set_clock(&later);
        for config in ["offsite.toml", "other.toml"] {
            let job = one.wait_for(config, |offsite| done(offsite, config, number));
            assert_eq!(job["last"]["result"], "success", "{job:#}\n{}\n{}", one.log(), other.log());
        }
    }
    let (_, one) = one.stop("TERM");
    let (_, other) = other.stop("TERM");
    assert!(!one.contains("ERROR") && !other.contains("ERROR"), "{one}\n{other}");
    // Three intervals of one daemon or the other, and the first of the one that was alone.
    let told = reports(&offsite).len();
    assert_eq!(told, 4, "{told} scripts in four intervals:\n{one}\n{other}");
    assert_eq!(offsite.json(["points", "second"])["points"].as_array().unwrap().len(), 3);
}

#[test]
fn the_state_of_a_daemon_is_shown_though_the_config_is_wrong() {
    let offsite = prepared();
    let now = back_up(&offsite, 1);
    offsite.set_clock(&now);
    let mut daemon = offsite.daemon("log");
    daemon.wait_for_point(JOB, 1);
    for wrong in ["nonsense = [", "nonsense = 1", "[jobs.x]\ntarget = \"y\""] {
        offsite.config(&config(wrong));
        let ran = offsite.run(["status"]).expect(3).says(&["config offsite.toml"]);
        assert!(ran.out.contains("is running") && ran.out.contains("restore point #1"), "{ran}");
        assert_eq!(offsite.run(["status", "--json"]).expect(3).json()["daemon"]["state"], "running");
    }
    // Where it is written, as far as that can be read.
    fs::create_dir_all(offsite.path("kept/jobs")).unwrap();
    for file in ["status.json".to_owned(), format!("jobs/{JOB}.json")] {
        fs::copy(offsite.path(".offsite").join(&file), offsite.path("kept").join(&file)).unwrap();
    }
    offsite.config("state_dir = \"kept\"\n\n[nonsense");
    assert!(offsite.run(["status"]).expect(3).out.contains("restore point #1"));
    daemon.stop("TERM");
}
