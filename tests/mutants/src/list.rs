//! The mutants that cargo-mutants would try.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// What is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Genre {
    FunctionValue,
    BinaryOperator,
    UnaryOperator,
    MatchArm,
    MatchArmGuard,
    StructField,
}

/// One change of one place.
#[derive(Debug, Clone)]
pub(crate) struct Mutant {
    /// Its number in the list.
    pub(crate) id: usize,
    /// The file, place and change, as cargo-mutants says it.
    pub(crate) name: String,
    /// The file, from the root of the workspace.
    pub(crate) file: String,
    pub(crate) genre: Genre,
    /// The bytes that are replaced.
    pub(crate) span: Range<usize>,
    pub(crate) replacement: String,
}

/// All mutants of a package, in the order of cargo-mutants.
pub(crate) fn mutants(root: &Path, package: &str) -> Result<Vec<Mutant>, String> {
    let output = Command::new("cargo")
        .current_dir(root)
        .args(["mutants", "--list", "--json", "--package", package])
        .output()
        .map_err(|error| format!("cargo mutants: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo mutants: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let list: Vec<Value> = serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
    let mut sources = BTreeMap::new();
    list.iter().enumerate().map(|(id, value)| mutant(root, id, value, &mut sources)).collect()
}

fn mutant(root: &Path, id: usize, value: &Value, sources: &mut BTreeMap<String, String>) -> Result<Mutant, String> {
    let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let file = text("file");
    if !sources.contains_key(&file) {
        let source = std::fs::read_to_string(root.join(&file)).map_err(|error| format!("{file}: {error}"))?;
        sources.insert(file.clone(), source);
    }
    let place = |end: &str| {
        let part = |key: &str| value["span"][end][key].as_u64().and_then(|number| usize::try_from(number).ok());
        byte_at(&sources[&file], part("line")?, part("column")?)
    };
    let span =
        place("start").zip(place("end")).ok_or_else(|| format!("{}: a place that is not there", text("name")))?;
    let genre = match value["genre"].as_str() {
        Some("FnValue") => Genre::FunctionValue,
        Some("BinaryOperator") => Genre::BinaryOperator,
        Some("UnaryOperator") => Genre::UnaryOperator,
        Some("MatchArm") => Genre::MatchArm,
        Some("MatchArmGuard") => Genre::MatchArmGuard,
        Some("StructField") => Genre::StructField,
        other => return Err(format!("a genre that is not known: {other:?}")),
    };
    Ok(Mutant { id, name: text("name"), file, genre, span: span.0..span.1, replacement: text("replacement") })
}

/// The byte at a line and a column, both counted from 1, the column in characters.
fn byte_at(source: &str, line: usize, column: usize) -> Option<usize> {
    let mut start = 0;
    for _ in 1..line {
        start += source[start..].find('\n')? + 1;
    }
    let text = &source[start..];
    Some(start + text.char_indices().nth(column - 1).map_or(text.len(), |(at, _)| at))
}
