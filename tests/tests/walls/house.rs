//! What a newcomer finds, and what must not be found.

use std::fs;

use crate::{assert_none, files, root};

#[test]
fn the_documents_are_there() {
    const DOCUMENTS: [&str; 8] = [
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "docs/format.md",
        "docs/write-a-backend.md",
        "LICENSE-MIT",
        "LICENSE-APACHE",
        "deny.toml",
    ];
    let missing: Vec<String> = DOCUMENTS
        .iter()
        .filter(|path| fs::metadata(root().join(path)).map_or(true, |found| found.len() == 0))
        .map(|path| format!("{path} is missing or empty"))
        .collect();
    assert_none(&missing);
}

/// The folder that `line` names, if it is one of a developer's machine.
fn private_folder(line: &str) -> Option<&'static str> {
    // Put together here, so that this file does not name them.
    const FOLDERS: [&str; 3] = ["work", "root", "home"];
    FOLDERS.into_iter().find(|folder| {
        let path = format!("/{folder}");
        line.match_indices(&path).any(|(start, _)| {
            let before = line[..start].chars().next_back();
            let after = line[start + path.len()..].chars().next();
            let is_part = |character: char| character.is_alphanumeric() || "_-.$}/~".contains(character);
            !before.is_some_and(is_part) && !after.is_some_and(|after| after.is_alphanumeric() || "_-.".contains(after))
        })
    })
}

#[test]
fn no_file_names_a_folder_of_the_machine_it_was_written_on() {
    let mut findings = Vec::new();
    for path in files() {
        // Golden files and images are no text.
        let Ok(text) = fs::read_to_string(root().join(&path)) else { continue };
        for (number, line) in (1..).zip(text.lines()) {
            if let Some(folder) = private_folder(line) {
                findings.push(format!("{path}:{number}: names the folder {folder} of a machine"));
            }
        }
    }
    assert_none(&findings);
}

#[test]
fn a_folder_of_a_machine_is_told_from_others() {
    let [work, root, home] = ["work", "root", "home"].map(|folder| format!("/{folder}"));
    for line in [format!("see {work}/tree/file"), format!("\"{root}\""), format!("dir={home}/ann"), work.clone()] {
        assert!(private_folder(&line).is_some(), "{line}");
    }
    for line in
        [format!("src{work}load.rs"), format!("${{base}}{home}"), format!("target{root}s"), format!("{work}-load")]
    {
        assert!(private_folder(&line).is_none(), "{line}");
    }
}
