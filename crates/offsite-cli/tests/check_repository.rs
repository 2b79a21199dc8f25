//! What `check-repository` finds, and what it leaves behind: nothing.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use support::golden::Transcript;
use support::{Offsite, day};

/// Files and folders below `folder`, with the files' bytes.
fn tree(folder: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.append(&mut tree(&path));
            found.insert(path, None);
        } else {
            let content = fs::read(&path).unwrap();
            found.insert(path, Some(content));
        }
    }
    found
}

/// A folder before and after it becomes a repository. It is left as it was, so that `init` takes it.
#[test]
fn a_folder_that_is_to_become_a_repository_and_one_that_is() {
    let offsite = Offsite::with_copy_job();
    fs::create_dir(offsite.path("place")).unwrap();
    let mut transcript = Transcript::default();
    let mut ran = offsite.ok(["check-repository", "place"]);
    let left_out = ran.out.lines().filter(|line| line.contains("  left out  ")).count();
    // What the disk beneath can do is not the same everywhere.
    for case in ["size_limit", "punch", "clone_range", "cancelled_capabilities"] {
        let line = ran.out.lines().find(|line| line.starts_with(&format!("{case} "))).unwrap().to_owned();
        assert!(line.contains("passed") || line.contains("left out"), "{ran}");
        ran.out = ran.out.replace(&format!("{line}\n"), &format!("{case}: as the disk can\n"));
    }
    let counted = ran.out.lines().find(|line| line.contains("0 failed")).unwrap().to_owned();
    assert!(counted.contains(&format!(", 0 failed, {left_out} left out, in ")), "{ran}");
    let verdict = ran.out.lines().last().unwrap().to_owned();
    assert!(verdict.contains("left out and say"), "no praise for what was not tried: {ran}");
    ran.out = ran.out.replace(&counted, "P passed, 0 failed, L left out, in 0 s").replace(&verdict, "the verdict");
    transcript.add(&ran);
    transcript.run(&offsite, 1, ["check-repository", "missing"]);
    transcript.compare(&offsite, "check-repository.txt");
    assert_eq!(tree(&offsite.path("place")), BTreeMap::new());
    offsite.ok(["init", "place"]);

    fs::write(offsite.path("web01.img"), vec![7; 3 << 20]).unwrap();
    offsite.backup(&day(0), &["web01=web01.img"]);
    let before = tree(&offsite.path("primary"));
    let found = offsite.json(["check-repository", "primary", "--quick"]);
    assert_eq!(found["failed"], 0, "{found}");
    let cases = found["cases"].as_array().unwrap();
    // Each case is in one of the three counts, and says why if it was not tried.
    let of = |result: &str| cases.iter().filter(|case| case["result"] == result).collect::<Vec<_>>();
    assert_eq!([&found["passed"], &found["left_out"]], [of("passed").len(), of("left out").len()], "{found}");
    assert_eq!(of("passed").len() + of("left out").len(), cases.len(), "{found}");
    for case in of("left out") {
        assert!(case["detail"].as_str().is_some_and(|why| !why.is_empty()), "{case}");
    }
    assert!(
        of("left out").iter().any(|case| case["name"] == "list_long"),
        "a quick check writes no long listing: {found}"
    );
    assert!(cases.iter().any(|case| case["name"] == "race_processes" && case["result"] == "passed"), "{found}");
    assert!(cases.iter().any(|case| case["name"] == "second_handle" && case["result"] == "passed"), "{found}");
    assert_eq!(tree(&offsite.path("primary")), before);
}

/// A file system that takes no files.
#[cfg(target_os = "linux")]
#[test]
fn a_place_that_fails_has_the_status_of_a_failure() {
    let offsite = Offsite::new();
    let ran = offsite.run(["check-repository", "/sys/kernel", "--quick"]).expect(1);
    assert!(ran.out.contains("create_if_absent        FAILED    cannot create"), "{ran}");
    assert!(ran.out.contains("do not keep backups here"), "{ran}");
    let ran = offsite.run(["check-repository", "/sys/kernel", "--quick", "--json"]).expect(1);
    let found = ran.json();
    assert_eq!(found["passed"], 0, "{ran}");
    assert!(found["cases"][0]["detail"].as_str().unwrap().contains("permission denied"), "{ran}");
}
