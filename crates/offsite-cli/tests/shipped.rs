//! What is shipped is the engine, without the ways to get its protocol wrong that the simulation looks for.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

/// The names of the known-bad variants, as the engine's source lists them.
fn variants() -> Vec<&'static str> {
    let source = include_str!("../../offsite/src/simulation.rs");
    let (_, list) = source.split_once("pub enum Variant {").unwrap();
    let (list, _) = list.split_once("\n}").unwrap();
    let names = list.lines().filter_map(|line| line.trim().strip_suffix(','));
    names.filter(|name| name.chars().all(char::is_alphanumeric)).collect()
}

#[test]
fn the_command_has_no_known_bad_variant() {
    let variants = variants();
    assert!(variants.len() > 10, "{variants:?}");
    let command = env!("CARGO_BIN_EXE_offsite");
    assert!(!found(command, &["OpenRepository"]).is_empty(), "names are found in a program");
    assert_eq!(found(command, &variants), [""; 0]);
}

/// Those of the names that are in a program.
fn found(program: &str, names: &[&str]) -> Vec<String> {
    let mut grep = Command::new("grep");
    grep.args(["--only-matching", "--text", "--fixed-strings"]);
    let output = names.iter().fold(&mut grep, |grep, name| grep.args(["-e", name])).arg(program).output().unwrap();
    assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
    let mut found: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    found.sort();
    found.dedup();
    found
}
