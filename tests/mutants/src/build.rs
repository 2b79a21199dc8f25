//! A copy of the workspace with all mutants of a package in it, and its tests, built.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::list::Mutant;
use crate::{sites, switch};

/// The tests of the package, and which mutants can be switched on in them.
pub(crate) struct Built {
    /// The test programs.
    pub(crate) programs: Vec<PathBuf>,
    /// Mutants that cannot be switched on: `unviable` where they would not compile alone, and else `apart`.
    pub(crate) left_out: BTreeMap<usize, &'static str>,
}

/// Errors that a mutant has by itself, wherever it stands: of types, names and traits.
const OWN_ERRORS: [&str; 12] =
    ["E0061", "E0107", "E0277", "E0308", "E0369", "E0425", "E0433", "E0576", "E0599", "E0600", "E0604", "E0614"];

/// Writes `root` into `copy`, the sources of `package` with mutants, and builds its tests with `arguments`. Mutants that do
/// not compile are left out until the rest does.
pub(crate) fn build(
    root: &Path,
    copy: &Path,
    package: &str,
    mutants: &[Mutant],
    arguments: &[String],
) -> Result<Built, String> {
    let mut left_out = BTreeMap::new();
    let mutated: BTreeSet<&str> = mutants.iter().map(|mutant| mutant.file.as_str()).collect();
    let library = format!("crates/{package}/src/lib.rs");
    copy_sources(root, copy, |path| path != library && !mutated.contains(path))?;
    // Read once, so that whoever goes on working meanwhile does not change what is built.
    let mut sources = BTreeMap::new();
    for file in mutated.into_iter().chain([library.as_str()]) {
        let source = fs::read_to_string(root.join(file)).map_err(|error| format!("{file}: {error}"))?;
        sources.insert(file, source);
    }
    loop {
        let placed = write(&sources, copy, &library, mutants, &left_out)?;
        for mutant in mutants.iter().filter(|mutant| !placed.contains(&mutant.id)) {
            left_out.entry(mutant.id).or_insert("apart");
        }
        let (programs, refused, text) = compile(copy, package, arguments)?;
        if let Some(programs) = programs {
            return Ok(Built { programs, left_out });
        }
        let before = left_out.len();
        left_out.extend(refused);
        if left_out.len() == before {
            return Err(text);
        }
        eprintln!("{} mutants do not compile beside the others", left_out.len() - before);
    }
}

/// Copies what git knows of, and what it would ask about, but for what has mutants; what has not changed keeps its time.
fn copy_sources(root: &Path, copy: &Path, is_copied: impl Fn(&str) -> bool) -> Result<(), String> {
    let output = Command::new("git")
        .current_dir(root)
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .output()
        .map_err(|error| format!("git: {error}"))?;
    for path in String::from_utf8_lossy(&output.stdout).split('\0').filter(|path| !path.is_empty() && is_copied(path)) {
        if let Ok(bytes) = fs::read(root.join(path)) {
            write_if_changed(&copy.join(path), &bytes)?;
        }
    }
    Ok(())
}

fn write_if_changed(path: &Path, bytes: &[u8]) -> Result<(), String> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(path, bytes))
        .map_err(|error| format!("{}: {error}", path.display()))
}

/// Writes the sources with mutants, and says which mutants are in them.
fn write(
    sources: &BTreeMap<&str, String>,
    copy: &Path,
    library: &str,
    mutants: &[Mutant],
    left_out: &BTreeMap<usize, &'static str>,
) -> Result<BTreeSet<usize>, String> {
    let mut placed = BTreeSet::new();
    for (file, source) in sources {
        let is_own = |mutant: &&Mutant| mutant.file == *file && !left_out.contains_key(&mutant.id);
        let own: Vec<&Mutant> = mutants.iter().filter(is_own).collect();
        let sites = sites::find(source, &own).map_err(|error| format!("{file}: {error}"))?;
        let mut text = switch::rewrite(source, &sites);
        placed.extend(own.iter().map(|mutant| mutant.id).filter(|id| text.contains(&format!("/*<{id}*/"))));
        if *file == library {
            text.push_str(&switch::module(mutants.len()));
        }
        write_if_changed(&copy.join(file), text.as_bytes())?;
    }
    Ok(placed)
}

type Compiled = (Option<Vec<PathBuf>>, BTreeMap<usize, &'static str>, String);

/// The test programs, or the mutants that the compiler's errors lie in, and the errors.
fn compile(copy: &Path, package: &str, arguments: &[String]) -> Result<Compiled, String> {
    let output = Command::new("cargo")
        .current_dir(copy)
        .args(["test", "--no-run", "--message-format=json", "--package", package])
        .args(arguments)
        .output()
        .map_err(|error| format!("cargo: {error}"))?;
    let (mut programs, mut refused, mut text) = (Vec::new(), BTreeMap::new(), String::new());
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Ok(message) = serde_json::from_str::<Value>(line) else { continue };
        if message["profile"]["test"] == true
            && let Some(path) = message["executable"].as_str()
        {
            programs.push(PathBuf::from(path));
        }
        if message["reason"] == "compiler-message" && message["message"]["level"] == "error" {
            text.push_str(message["message"]["rendered"].as_str().unwrap_or_default());
            let code = message["message"]["code"]["code"].as_str().unwrap_or_default();
            let word = if OWN_ERRORS.contains(&code) { "unviable" } else { "apart" };
            refused.extend(blamed(copy, &message["message"]).map(|mutant| (mutant, word)));
        }
    }
    if !output.status.success() && text.is_empty() {
        text = String::from_utf8_lossy(&output.stderr).into_owned();
    }
    Ok((output.status.success().then_some(programs), refused, text))
}

/// The mutant in which an error lies: where it points, or else where what it adds points.
fn blamed(copy: &Path, message: &Value) -> Option<usize> {
    let spans = message["spans"].as_array()?;
    let notes = message["children"].as_array().into_iter().flatten().filter_map(|child| child["spans"].as_array());
    let spans = spans.iter().filter(|span| span["is_primary"] == true).chain(spans).chain(notes.clone().flatten());
    // Where a match is not exhaustive any more, the compiler points behind its last arm.
    let is_match = message["code"]["code"] == "E0004";
    spans
        .filter_map(|span| mutant_at(copy, span))
        .next()
        .or_else(|| notes.flatten().filter(|_| is_match).filter_map(|span| last_mutant_before(copy, span)).next())
}

fn last_mutant_before(copy: &Path, span: &Value) -> Option<usize> {
    let source = fs::read_to_string(copy.join(span["file_name"].as_str()?)).ok()?;
    let before = source.get(..usize::try_from(span["byte_end"].as_u64()?).ok()?)?;
    before[before.rfind("/*<")? + 3..].split("*/").next()?.parse().ok()
}

fn mutant_at(copy: &Path, span: &Value) -> Option<usize> {
    let source = fs::read_to_string(copy.join(span["file_name"].as_str()?)).ok()?;
    let at = usize::try_from(span["byte_start"].as_u64()?).ok()?;
    let before = source.get(..at)?;
    // The innermost mutant that has begun and not ended.
    let mut ended = BTreeSet::new();
    let mut end = before.len();
    while let Some(start) = before[..end].rfind("/*") {
        end = start;
        let word = before[start + 2..].split("*/").next()?;
        if let Some(number) = word.strip_suffix('>') {
            ended.insert(number.to_owned());
        } else if let Some(number) = word.strip_prefix('<')
            && !ended.contains(number)
            && let Ok(number) = number.parse()
        {
            return Some(number);
        }
    }
    None
}
