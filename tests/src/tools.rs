//! Other people's programs.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Where administrators' tools lie; a user's `PATH` often leaves them out.
const SYSTEM_FOLDERS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// The path of `tool`.
///
/// # Panics
/// If it is not installed; the message names the `package` of Debian and Ubuntu that has it.
#[track_caller]
#[must_use]
pub fn find(tool: &str, package: &str) -> PathBuf {
    look_up(tool).unwrap_or_else(|| panic!("this test needs `{tool}`: apt-get install {package}"))
}

/// The path of `tool`, if it is installed.
#[must_use]
pub fn look_up(tool: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(SYSTEM_FOLDERS.map(PathBuf::from))
        .map(|folder| folder.join(tool))
        .find(|candidate| candidate.is_file())
}

/// Runs a command to its end, with messages in English.
///
/// # Panics
/// If it cannot be started, or ends with another status than success; the message holds what it printed.
#[track_caller]
pub fn run(command: &mut Command) -> Output {
    let output = output_of(command);
    assert!(output.status.success(), "{}", describe(command, &output));
    output
}

#[track_caller]
pub(crate) fn output_of(command: &mut Command) -> Output {
    command.env("LC_ALL", "C").output().unwrap_or_else(|error| panic!("{command:?} did not start: {error}"))
}

/// A command and its end, for a message.
pub(crate) fn describe(command: &Command, output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{command:?} ended with {}\n{}\n{}", output.status, out.trim_end(), err.trim_end())
}

/// A path as an argument that is part of a longer text.
#[track_caller]
pub(crate) fn plain(path: &Path) -> &str {
    let text = path.to_str().unwrap_or_else(|| panic!("{path:?} is not UTF-8"));
    assert!(!text.contains(['"', '\n', '\r']), "{text:?} cannot be quoted");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "apt-get install e2fsprogs")]
    fn a_missing_tool_is_named_with_its_package() {
        let _ = find("mke2fs-of-another-world", "e2fsprogs");
    }

    #[test]
    #[should_panic(expected = "No such file")]
    fn a_failure_shows_what_the_tool_said() {
        run(Command::new("ls").arg("/no/such/folder"));
    }
}
