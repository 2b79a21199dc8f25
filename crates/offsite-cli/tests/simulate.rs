//! `offsite simulate` as it is typed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

struct Files {
    folder: TempDir,
}

impl Files {
    fn new(policy: &str, points: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("policy.toml"), policy).expect("a file");
        fs::write(folder.path().join("points.txt"), points).expect("a file");
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn simulate(&self, more: &[&str]) -> Output {
        simulate(&self.path("policy.toml"), &self.path("points.txt"), more)
    }

    /// What it says when it refuses them; the exit status is that of wrong use.
    #[track_caller]
    fn refused(&self) -> String {
        let output = self.simulate(&["--json"]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        String::from_utf8(output.stderr).expect("text")
    }
}

fn simulate(policy: &Path, points: &Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_offsite"))
        .args(["simulate", "--policy"])
        .arg(policy)
        .arg("--points")
        .arg(points)
        .args(more)
        .output()
        .expect("the command")
}

fn february() -> String {
    (1..=28).map(|day| format!("2015-02-{day:02}T22:00:00Z\n")).collect()
}

#[test]
fn json_has_a_line_a_point() {
    let files = Files::new("keep = 7\ngfs = { weekly = 4 }\n", &february());
    let output = files.simulate(&["--json"]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 28);
    let first = json!({
        "after": "2015-02-01T22:00:00Z",
        "chain": [{ "time": "2015-02-01T22:00:00Z", "kind": "full", "flags": [] }],
        "archive": [],
    });
    assert_eq!(lines[0], first);
    assert_eq!(lines[14]["archive"], json!([{ "time": "2015-02-08T22:00:00Z", "flags": ["weekly"] }]));
    assert_eq!(lines[14]["chain"][0], json!({ "time": "2015-02-09T22:00:00Z", "kind": "full", "flags": [] }));
    let newest = json!({ "time": "2015-02-15T22:00:00Z", "kind": "increment", "flags": ["weekly"] });
    assert_eq!(lines[14]["chain"][6], newest);
}

#[test]
fn people_get_a_line_a_point_and_the_end_in_full() {
    let files = Files::new("keep = 3\n[gfs]\nweekly = 1\n", &february()[..21 * 9]);
    let output = files.simulate(&[]);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("2015-02-01T22:00:00Z    0 archived  F\n"), "{text}");
    assert!(text.contains("2015-02-08T22:00:00Z    0 archived  Fii*\n"), "{text}");
    assert!(text.contains("After 2015-02-09T22:00:00Z: 0 archives and a chain of 3 restore points\n"), "{text}");
    assert!(text.contains("2015-02-08T22:00:00Z  increment  weekly\n"), "{text}");
}

#[test]
fn times_may_have_an_offset_and_files_empty_lines() {
    let files = Files::new("", "2015-02-01T23:00:00+01:00\r\n\n  2015-02-02T22:00:00Z");
    let output = files.simulate(&["--json"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("{\"after\":\"2015-02-01T22:00:00Z\","), "{text}");
    assert_eq!(text.lines().count(), 2);
}

#[test]
fn wrong_files_are_named_with_the_reason() {
    let point = "2015-02-01T22:00:00Z\n";
    for (policy, points, words) in [
        ("keep = 1", point, ["policy.toml", "at least 2"]),
        ("keep =", point, ["policy.toml", "TOML parse error"]),
        ("keeps = 3", point, ["policy.toml", "keeps"]),
        ("keep = -3", point, ["policy.toml", "keep"]),
        ("time_zone = \"Nowhere\"", point, ["policy.toml", "Nowhere"]),
        ("gfs = { weekly = 1, weekday = \"noday\" }", point, ["policy.toml", "noday"]),
        ("keep = 3", "", ["points.txt", "no restore point"]),
        ("keep = 3", "yesterday\n", ["line 1", "yesterday"]),
        ("keep = 3", "2015-02-01T22:00:00Z\n\n2015-02-01T22:00:00Z\n", ["line 3", "is not after"]),
    ] {
        let refusal = Files::new(policy, points).refused();
        assert!(words.iter().all(|word| refusal.contains(word)), "{policy:?} {points:?}: {refusal}");
    }
    let files = Files::new("keep = 3", point);
    fs::write(files.path("points.txt"), [0xff, 0xfe, b'\n']).unwrap();
    assert!(files.refused().contains("line 1"));
    let output = simulate(&files.path("policy.toml"), &files.path("none.txt"), &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("none.txt"));
    let output = simulate(&files.path("none.toml"), &files.path("points.txt"), &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("none.toml"));
}

#[test]
fn lives_are_drawn() {
    let files = Files::new("keep = 5\ngfs = { weekly = 2, monthly = 1 }\n", &february());
    let picture = files.path("life.svg");
    let output = files.simulate(&["--draw", "--svg", picture.to_str().expect("text")]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().filter(|line| line.starts_with("2015-02-")).count(), 28, "{text}");
    assert!(text.lines().any(|line| line.starts_with("2015-02-08") && line.ends_with("weekly")), "{text}");
    assert!(!text.contains("not drawn"), "{text}");
    let picture_text = fs::read_to_string(&picture).unwrap();
    assert!(picture_text.starts_with("<svg ") && picture_text.ends_with("</svg>\n"), "{picture_text}");
    assert_eq!(picture_text.matches("class=\"archive\"").count(), 4, "one in the legend and three archives");
    // The picture comes beside the lines, or beside JSON, too.
    let output = files.simulate(&["--json", "--svg", picture.to_str().expect("text")]);
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 28);
    assert!(!files.simulate(&["--json", "--draw"]).status.success());
    let output = files.simulate(&["--svg", files.path("none/life.svg").to_str().expect("text")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("none/life.svg"));
}

/// Long lives are drawn in the same room: what is kept and what was flagged, and how much is left out.
#[test]
fn long_lives_are_drawn_in_the_same_room() {
    let days = |year: u32| (1..=12).flat_map(move |month| (1..=28).map(move |day| (year, month, day)));
    let points: String = (2000..2010)
        .flat_map(days)
        .map(|(year, month, day)| format!("{year}-{month:02}-{day:02}T22:00:00Z\n"))
        .collect();
    let files = Files::new("keep = 7\ngfs = { weekly = 4, monthly = 12, yearly = 3 }\n", &points);
    let output = files.simulate(&["--draw"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().count() <= 125 && text.lines().all(|line| line.chars().count() <= 130), "{text}");
    assert!(text.contains("older restore points not drawn"), "{text}");
    assert!(text.contains("2009-12-28  "), "{text}");
}
