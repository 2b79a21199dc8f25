//! The public items of each published crate, compared with the lists in `golden/`: a change of the surface is seen in review.
//!
//! ```console
//! $ cargo run --manifest-path tests/api/Cargo.toml              # says what differs, and fails if anything does
//! $ cargo run --manifest-path tests/api/Cargo.toml -- --update  # writes the lists anew
//! ```
//!
//! What rustdoc tells is not stable yet, so the compiler is asked for it as its own tests do (`RUSTC_BOOTSTRAP`).

use std::collections::BTreeSet;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use public_api::Builder;

/// The published crates that are libraries, with the features that are part of their surface.
const CRATES: [(&str, &[&str]); 4] = [
    ("offsite-core", &["serde"]),
    ("offsite-repository", &["decorators", "testing"]),
    ("offsite-backends", &["s3"]),
    ("offsite", &[]),
];

fn main() -> ExitCode {
    let updates = std::env::args().any(|argument| argument == "--update");
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut is_same = true;
    for (name, features) in CRATES {
        match compared(here, name, features, updates) {
            Ok(differences) => {
                is_same &= differences.is_empty();
                differences.iter().for_each(|line| println!("{name}: {line}"));
            }
            Err(error) => {
                eprintln!("{name}: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    if updates {
        return written(here);
    }
    if is_same {
        return ExitCode::SUCCESS;
    }
    println!(
        "the public items have changed; if they are meant to: cargo run --manifest-path tests/api/Cargo.toml -- --update"
    );
    ExitCode::FAILURE
}

/// Notes which compiler the lists are of: each tells a little otherwise what is public.
fn written(here: &Path) -> ExitCode {
    let version = Command::new("rustc").arg("--version").output();
    let version =
        version.map(|told| String::from_utf8_lossy(&told.stdout).split(' ').take(2).collect::<Vec<_>>().join(" "));
    match version.and_then(|version| std::fs::write(here.join("golden/compiler"), version + "\n")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("which compiler this is cannot be told: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What the list of a crate lacks (`+`), and what it has too much (`-`); nothing, if the list is written anew.
fn compared(here: &Path, name: &str, features: &[&str], updates: bool) -> Result<Vec<String>, Box<dyn Error>> {
    let found = items(here, name, features)?;
    let list = here.join("golden").join(format!("{name}.txt"));
    if updates {
        std::fs::write(&list, found.join("\n") + "\n")?;
        println!("{name}: {} public items", found.len());
        return Ok(Vec::new());
    }
    let known = std::fs::read_to_string(&list)?;
    let (known, found): (BTreeSet<&str>, BTreeSet<&str>) =
        (known.lines().collect(), found.iter().map(String::as_str).collect());
    let new = found.difference(&known).map(|item| format!("+{item}"));
    Ok(new.chain(known.difference(&found).map(|item| format!("-{item}"))).collect())
}

/// The public items of a crate, a line each.
fn items(here: &Path, name: &str, features: &[&str]) -> Result<Vec<String>, Box<dyn Error>> {
    let root = here.ancestors().nth(2).ok_or("this package is not in its place")?;
    // What the usual builds have made stays as it is.
    let target = root.join("target/api");
    let status = Command::new(env!("CARGO"))
        .current_dir(root)
        .env("RUSTC_BOOTSTRAP", "1")
        .args(["rustdoc", "--quiet", "--lib", "--package", name, "--features", &features.join(",")])
        .arg("--target-dir")
        .arg(&target)
        .args(["--", "-Zunstable-options", "--output-format", "json"])
        .status()?;
    if !status.success() {
        return Err("rustdoc fails".into());
    }
    let told: PathBuf = target.join("doc").join(format!("{}.json", name.replace('-', "_")));
    let api = Builder::from_rustdoc_json(told)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build()?;
    Ok(api.items().map(ToString::to_string).collect())
}
