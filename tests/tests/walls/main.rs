//! The walls of the house, held by tests: which crate may know which, what the core must not touch, where block bytes
//! pass, and what every file owes its reader. ARCHITECTURE.md says why; these tests say when it stops being true.

mod arrows;
mod house;
mod manifests;
mod sources;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of the workspace.
fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

#[track_caller]
fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The files of the project, relative to its root: what git tracks, or, in a copy without git, what lies there.
fn files() -> Vec<String> {
    // A clone that another user owns is still this clone.
    let listed = Command::new("git").args(["-c", "safe.directory=*", "ls-files", "-z"]).current_dir(root()).output();
    let mut files = match listed {
        Ok(listed) if listed.status.success() => {
            String::from_utf8_lossy(&listed.stdout).split_terminator('\0').map(str::to_owned).collect()
        }
        _ => files_on_disk(),
    };
    files.retain(|path| root().join(path).is_file());
    assert!(files.len() > 20, "found only {} files of the project", files.len());
    files
}

fn files_on_disk() -> Vec<String> {
    let (mut files, mut folders) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(root().join(&folder)).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
        for entry in entries.map(|entry| entry.unwrap_or_else(|error| panic!("{folder:?}: {error}"))) {
            let path = folder.join(entry.file_name());
            let made_by_us =
                [".git", "target", "artifacts", "corpus", "offsite-demo"].iter().any(|name| path.ends_with(name));
            if root().join(&path).is_dir() {
                folders.extend((!made_by_us).then_some(path));
            } else {
                files.push(path.to_string_lossy().into_owned());
            }
        }
    }
    files
}

/// Fails with all findings, if there are any.
#[track_caller]
fn assert_none(findings: &[String]) {
    assert!(findings.is_empty(), "\n  {}\n", findings.join("\n  "));
}
