//! Which machines of which jobs a copy job takes, from config keys and from what backups say of machines.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test fails by panicking")]

mod support;

use std::fs;

use serde_json::{Value, json};
use support::{Offsite, assert_same_bytes, day};

/// Two repositories that are backed up to, one that is copied to, and a job with these lines.
fn config(lines: &str) -> String {
    let repository = |name: &str| format!("[repositories.{name}]\nlocation = \"{name}\"\n\n");
    let repositories: String = ["primary", "branch", "second"].map(repository).concat();
    format!("{repositories}[jobs.\"Offsite Copy\"]\ntarget = \"second\"\n{lines}\n")
}

fn scene() -> Offsite {
    let offsite = Offsite::new();
    offsite.config(&config("source = { repository = \"primary\", from = \"infrastructure\" }"));
    ["primary", "branch", "second"].iter().for_each(|repo| drop(offsite.ok(["init", repo])));
    for name in ["app01", "db01", "web01"] {
        fs::write(offsite.path(&format!("{name}.img")), name.repeat(100_000)).unwrap();
    }
    let backup = ["backup", "--repo", "primary", "--job", "nightly", "--at", &day(0)];
    let labels =
        ["--tag", "db01:gold", "--tag", "db01:env:prod", "--container", "db01:berlin/host-1", "--tag", "web01:gold"];
    offsite.ok(backup.iter().chain(&labels).chain(&["db01=db01.img", "web01=web01.img"]));
    let backup = ["backup", "--repo", "branch", "--job", "late", "--at", &day(1)];
    offsite.ok(backup.iter().chain(&["app01=app01.img", "web01=web01.img"]));
    offsite
}

/// Machines and when they were in the state that is copied.
type Planned<'a> = &'a [(&'a str, &'a str)];

/// What a dry run would copy: machine and job.
fn planned(offsite: &Offsite, lines: &str) -> Vec<(String, String)> {
    offsite.config(&config(lines));
    let plan = offsite.run(["run", "--dry-run", "--json", "--now", &day(2)]).json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let machines = plan["machines"].as_array().unwrap().iter();
    let copied = machines.filter(|machine| machine["outcome"] == json!("complete"));
    copied.map(|machine| (text(&machine["name"]), text(&machine["captured"]))).collect()
}

#[test]
fn sources_and_selections_are_what_the_config_says() {
    let offsite = scene();
    let (first, later) = (day(0), day(1));
    let infrastructure = "source = { repository = \"primary\", from = \"infrastructure\" }";
    let both = "source = [{ repository = \"primary\", from = \"infrastructure\" }, { repository = \"branch\", job = \"late\" }]";
    let chosen = "source = { repository = \"branch\", from = \"backup\", job = \"late\", machines = [\"app*\"] }";
    let cases: [(&str, &str, Planned<'_>); 7] = [
        (infrastructure, "", &[("db01", &first), ("web01", &first)]),
        (both, "", &[("app01", &later), ("db01", &first), ("web01", &later)]),
        (chosen, "", &[("app01", &later)]),
        (both, "select = { tags = [\"gold\"] }", &[("db01", &first), ("web01", &later)]),
        (both, "select = { tags = [\"gold\"], exclude = [\"web*\"] }", &[("db01", &first)]),
        (both, "select = { containers = [\"berlin\"] }", &[("db01", &first)]),
        (both, "select = { exclude = { tags = [\"env:*\"], machines = [\"app01\"] } }", &[("web01", &later)]),
    ];
    for (source, select, expected) in cases {
        let found = planned(&offsite, &format!("{source}\n{select}"));
        let found: Vec<_> = found.iter().map(|(name, captured)| (name.as_str(), captured.as_str())).collect();
        assert_eq!(found, expected, "{source} {select}");
    }
    offsite.config(&config(both));
    let report = offsite.json(["run", "--now", &day(2)]);
    assert_eq!(report["syncs"][0]["machines"][2]["source_job"], json!("late"));
    assert_eq!(report["syncs"][0]["io"]["as_planned"], json!(true));
    for name in ["app01", "db01", "web01"] {
        let restored = offsite.restore("second", "Offsite Copy", name, 1, &format!("{name}.raw"));
        assert_same_bytes(&restored, &offsite.path(&format!("{name}.img")));
    }
    // A name that no source has is missed.
    offsite.config(&config(&format!("{both}\nselect = {{ machines = [\"web01\", \"gone01\"] }}")));
    let ran = offsite.run(["run", "--now", &day(3)]).expect(3);
    assert!(ran.out.contains("gone01 was not copied: no source has it"), "{ran}");
}

#[test]
fn a_config_that_contradicts_itself_is_refused() {
    let offsite = scene();
    let cases = [
        ("source = { repository = \"primary\", from = \"infrastructure\", job = \"nightly\" }", "leave job out"),
        ("source = { repository = \"primary\" }", "needs a job"),
        ("source = { repository = \"primary\", from = \"backup\", job = \"nightly\" }", "add machines"),
        ("source = { repository = \"primary\", job = \"nightly\", machines = [\"a\"] }", "from = \"backup\""),
        ("source = { repository = \"primary\", from = \"everywhere\" }", "unknown variant `everywhere`"),
        ("source = { repository = \"primary\", form = \"job\" }", "unknown field `form`"),
        ("source = []", "has no source"),
        ("source = [{ repository = \"nowhere\", job = \"nightly\" }]", "nowhere"),
        ("source = 7", "a source or an array of sources"),
        ("source = { repository = \"second\", job = \"nightly\" }", "same repository"),
        (
            "source = { repository = \"primary\", job = \"nightly\" }\nselect = { tag = [\"gold\"] }",
            "unknown field `tag`",
        ),
        ("source = { repository = \"primary\", job = \"nightly\" }\nselect = { tags = [\" \"] }", "selects nothing"),
        (
            "source = { repository = \"primary\", job = \"nightly\" }\nselect = { exclude = { host = [] } }",
            "unknown field `host`",
        ),
    ];
    for (lines, why) in cases {
        offsite.config(&config(lines));
        let ran = offsite.run(["run", "--now", &day(2)]);
        assert!(ran.status != 0 && ran.err.contains(why), "{lines}: {ran}");
    }
}

/// A selection that leaves nothing is not taken for a machine without a name: a plan and a run say what it is.
#[test]
fn a_selection_of_nothing_is_told() {
    let offsite = scene();
    let now = day(2);
    for (select, text) in [
        ("machines = [\"zz*\"]", "select.machines has \"zz*\", which matches nothing"),
        ("exclude = [\"*\"]", "the selection leaves out all machines"),
    ] {
        let source = "source = { repository = \"primary\", job = \"nightly\" }";
        offsite.config(&config(&format!("{source}\nselect = {{ {select} }}")));
        for arguments in [&["run", "--dry-run", "--now", &now][..], &["run", "--now", &now]] {
            let ran = offsite.run(arguments).expect(3);
            assert!(ran.out.contains(text) && ran.err.is_empty(), "{ran}");
        }
    }
}

#[test]
fn labels_are_for_machines_of_the_run() {
    let offsite = scene();
    let backup = |labels: &[&str], status| {
        let start = ["backup", "--repo", "primary", "--job", "nightly", "--at", &day(1)];
        offsite.run(start.iter().chain(labels).chain(&["web01=web01.img"])).expect(status)
    };
    backup(&["--tag", "db01:gold"], 2).says(&["\"db01:gold\": write MACHINE:TAG"]);
    backup(&["--tag", "gold"], 2).says(&["write MACHINE:TAG"]);
    backup(&["--tag", "web01: gold"], 2).says(&["is no tag or container"]);
    // What is not named stays; nothing in place of all takes it away.
    let gold = "source = { repository = \"primary\", job = \"nightly\" }\nselect = { tags = [\"gold\"] }";
    backup(&[], 0);
    assert_eq!(planned(&offsite, gold).len(), 2);
    offsite.config(&config(gold));
    let start = ["backup", "--repo", "primary", "--job", "nightly", "--at", &day(1)];
    offsite.ok(start.iter().chain(&["--tag", "web01:", "web01=web01.img"]));
    assert_eq!(planned(&offsite, gold).len(), 1);
}

/// The block size of the source is another one: each machine says so, and the text gives the reason once.
#[test]
fn the_cause_of_a_failed_run_is_that_of_its_machines() {
    let offsite = scene();
    offsite.ok(["run", "--now", &day(0)]);
    fs::remove_dir_all(offsite.path("primary/nightly")).unwrap();
    let backup = ["backup", "--repo", "primary", "--job", "nightly", "--block-size", "256KiB", "--at", &day(1)];
    offsite.ok(backup.iter().chain(&["db01=db01.img", "web01=web01.img"]));
    let run = offsite.run(["run", "--now", &day(2)]).expect(1);
    assert_eq!(format!("{}{}", run.out, run.err).matches("256 KiB").count(), 1, "{run}");
    assert!(run.out.contains("not copied, for the reason below: db01, web01"), "{run}");
    let run = offsite.run(["run", "--now", &day(2), "--json"]).expect(1).json();
    for machine in run["machines"].as_array().unwrap() {
        let why = machine["why"].as_str().unwrap();
        assert!(why.contains("the copy has blocks of 1 MiB") && why.contains("256 KiB"), "{why}");
    }
}
