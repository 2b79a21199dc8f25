//! What the manifests say: arrows between our crates, and what comes in from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::process::Command;

use offsite_tests::run;
use toml::{Table, Value};

use crate::{assert_none, files, read, root};

/// Packages that are workspaces of their own, with compilers or tools that the rest does not need.
const OWN_WORKSPACES: [&str; 2] = ["fuzz/", "tests/api/"];

/// Each crate, and those of ours that its library and binary may use. Tests and benches may use more.
const ARROWS: [(&str, &[&str]); 5] = [
    ("offsite-core", &[]),
    ("offsite-repository", &[]),
    ("offsite-backends", &["offsite-repository"]),
    ("offsite", &["offsite-core", "offsite-repository"]),
    ("offsite-cli", &["offsite", "offsite-backends", "offsite-repository"]),
];

/// Crates that read, wait or draw at random: the core has none of them, not even through others.
const IMPURE: [&str; 12] = [
    "async-trait",
    "futures",
    "getrandom",
    "libc",
    "mio",
    "nix",
    "object_store",
    "rand",
    "reqwest",
    "rustix",
    "socket2",
    "tokio",
];

/// Crates of which the command contains two versions, and why that cannot be helped.
const DUPLICATES: [(&str, &str); 3] = [
    ("crypto-common", "crc-fast, which object_store needs, is a step behind sha2 in the traits of hashes"),
    ("digest", "crc-fast, which object_store needs, is a step behind sha2 in the traits of hashes"),
    ("getrandom", "ring, the cryptography of TLS and of signatures, asks for the one before the last"),
];

/// The manifests of the workspace's members, by their paths.
fn manifests() -> Vec<(String, Table)> {
    files()
        .into_iter()
        .filter(|path| path.ends_with("/Cargo.toml") && !OWN_WORKSPACES.iter().any(|own| path.starts_with(own)))
        .map(|path| {
            let manifest = parse(&path);
            (path, manifest)
        })
        .collect()
}

#[track_caller]
fn parse(path: &str) -> Table {
    toml::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The dependencies of the given kinds, for whatever platform.
fn dependencies<'a>(manifest: &'a Table, kinds: &[&str]) -> Vec<(&'a str, &'a Value)> {
    let platforms = manifest.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values);
    std::iter::once(manifest)
        .chain(platforms.filter_map(Value::as_table))
        .flat_map(|table| kinds.iter().filter_map(|kind| table.get(*kind)?.as_table()))
        .flat_map(|table| table.iter().map(|(name, value)| (name.as_str(), value)))
        .collect()
}

#[test]
fn arrows_between_our_crates_are_those_of_the_plan() {
    let allowed = BTreeMap::from(ARROWS);
    let mut seen = BTreeSet::new();
    let mut findings = Vec::new();
    for (path, manifest) in manifests().iter().filter(|(path, _)| path.starts_with("crates/")) {
        let name = manifest["package"]["name"].as_str().unwrap_or_default();
        let Some(allowed) = allowed.get(name) else {
            findings.push(format!("{path}: {name} is not in the plan of the house"));
            continue;
        };
        seen.insert(name.to_owned());
        for (dependency, _) in dependencies(manifest, &["dependencies", "build-dependencies"]) {
            if dependency.starts_with("offsite") && !allowed.contains(&dependency) {
                findings.push(format!("{path}: {name} must not use {dependency}"));
            }
        }
    }
    findings
        .extend(ARROWS.iter().filter(|(name, _)| !seen.contains(*name)).map(|(name, _)| format!("where is {name}?")));
    assert_none(&findings);
}

#[test]
fn versions_are_named_once_for_all_members() {
    let mut findings = Vec::new();
    for (path, manifest) in manifests() {
        for (name, value) in dependencies(&manifest, &["dependencies", "dev-dependencies", "build-dependencies"]) {
            // With this, a dependency has the name of its package, and no crate of ours hides behind another name. A crate
            // names itself to test its own features; no version is in that.
            let is_itself = value.get("path").and_then(Value::as_str) == Some(".");
            if value.get("workspace").and_then(Value::as_bool) != Some(true) && !is_itself {
                findings.push(format!("{path}: {name} does not come from the workspace"));
            }
        }
        if manifest.get("lints").and_then(|lints| lints.get("workspace")).and_then(Value::as_bool) != Some(true) {
            findings.push(format!("{path}: the workspace's lints do not apply"));
        }
    }
    assert_none(&findings);
}

#[test]
fn every_dependency_has_its_reason_above_it() {
    let manifest = read("Cargo.toml");
    let root = parse("Cargo.toml");
    let known =
        root["workspace"]["dependencies"].as_table().map(|table| table.keys().cloned().collect::<BTreeSet<_>>());
    let (mut previous, mut findings) = ("", Vec::new());
    let mut missing = known.unwrap_or_default();
    let lines = manifest.lines().skip_while(|line| *line != "[workspace.dependencies]").skip(1);
    for line in lines.take_while(|line| !line.starts_with('[')) {
        if let Some((name, value)) = line.split_once('=').map(|(name, value)| (name.trim(), value))
            && missing.remove(name)
            && !value.contains("path =")
            && !previous.starts_with("# ")
        {
            findings.push(format!("Cargo.toml: no reason above {name}"));
        }
        previous = line;
    }
    findings.extend(missing.iter().map(|name| format!("Cargo.toml: {name} is not on a line of its own")));
    assert_none(&findings);
}

/// The crates, with their versions, that end up in a build of `package`.
#[track_caller]
fn built_into(package: &str) -> BTreeMap<String, BTreeSet<String>> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = run(Command::new(cargo).current_dir(root()).args(["tree", "--locked", "--package", package]).args([
        "--edges",
        "normal,no-proc-macro",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ]));
    let mut crates: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let mut words = line.split(' ');
        if let (Some(name), Some(version)) = (words.next(), words.next()) {
            crates.entry(name.to_owned()).or_default().insert(version.to_owned());
        }
    }
    assert!(crates.contains_key(package), "cargo did not tell what {package} is built from");
    crates
}

#[test]
fn the_core_is_built_without_anything_that_reads_or_waits() {
    let crates = built_into("offsite-core");
    let impure: Vec<_> = IMPURE.iter().filter(|name| crates.contains_key(**name)).collect();
    assert!(impure.is_empty(), "offsite-core is built with {impure:?}");
}

#[test]
fn the_command_contains_one_version_of_each_crate() {
    let excused = BTreeMap::from(DUPLICATES);
    let crates = built_into("offsite-cli");
    let twice: BTreeMap<_, _> = crates.iter().filter(|(_, versions)| versions.len() > 1).collect();
    let mut findings: Vec<String> = twice
        .iter()
        .filter(|(name, _)| !excused.contains_key(name.as_str()))
        .map(|(name, versions)| format!("{name} is built in versions {versions:?}"))
        .collect();
    findings.extend(
        excused
            .keys()
            .filter(|name| !twice.keys().any(|twice| twice == *name))
            .map(|name| format!("{name} needs no excuse any more")),
    );
    assert_none(&findings);
}
