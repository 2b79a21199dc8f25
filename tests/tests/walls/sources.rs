//! What the sources name. They are read with Rust's own lexer, so that a comment or a string is never taken for code.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::{assert_none, files, read};

struct Source {
    path: String,
    lines: usize,
    /// Every token; brackets open and close.
    tokens: Vec<String>,
}

impl Source {
    #[track_caller]
    fn read(path: String) -> Self {
        let text = read(&path);
        let stream: TokenStream = text.parse().unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut tokens = Vec::new();
        flatten(stream, &mut tokens);
        Self { path, lines: text.lines().count(), tokens }
    }

    fn names(&self, name: &str) -> bool {
        self.tokens.iter().any(|token| token == name)
    }

    /// The tokens that are names, each with the tokens before and after it.
    fn identifiers(&self) -> impl Iterator<Item = (&str, [&str; 2])> {
        let at = |index: usize| self.tokens.get(index).map_or("", String::as_str);
        (0..self.tokens.len())
            .filter(move |&index| at(index).starts_with(|first: char| first.is_alphabetic() || first == '_'))
            .map(move |index| (at(index), [if index == 0 { "" } else { at(index - 1) }, at(index + 1)]))
    }

    fn has(&self, sequence: &[&str]) -> bool {
        self.tokens.windows(sequence.len()).any(|window| window == sequence)
    }
}

fn flatten(stream: TokenStream, tokens: &mut Vec<String>) {
    for tree in stream {
        match tree {
            TokenTree::Group(group) => {
                let [open, close] = match group.delimiter() {
                    Delimiter::Parenthesis => ["(", ")"],
                    Delimiter::Brace => ["{", "}"],
                    Delimiter::Bracket => ["[", "]"],
                    Delimiter::None => ["", ""],
                };
                tokens.push(open.to_owned());
                flatten(group.stream(), tokens);
                tokens.push(close.to_owned());
            }
            TokenTree::Literal(_) => tokens.push("\"\"".to_owned()),
            other => tokens.push(other.to_string()),
        }
    }
}

fn sources() -> Vec<Source> {
    files().into_iter().filter(|path| path.ends_with(".rs")).map(Source::read).collect()
}

fn sources_in(folder: &str) -> Vec<Source> {
    let found: Vec<Source> = sources().into_iter().filter(|source| source.path.starts_with(folder)).collect();
    assert!(!found.is_empty(), "no sources in {folder}");
    found
}

/// The words of a name, in small letters and without the plural's s: `RestorePoints` has `restore` and `point`.
fn words(identifier: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_small = false;
    for character in identifier.chars() {
        if character == '_' || (character.is_uppercase() && was_small) {
            words.push(String::new());
        }
        was_small = character.is_lowercase();
        if let Some(word) = words.last_mut().filter(|_| character != '_') {
            word.extend(character.to_lowercase());
        }
    }
    words.iter().map(|word| word.strip_suffix('s').unwrap_or(word).to_owned()).filter(|word| !word.is_empty()).collect()
}

#[test]
fn names_fall_into_words() {
    assert_eq!(words("RestorePoints"), ["restore", "point"]);
    assert_eq!(words("MACHINE_NAME_BYTES_MAX"), ["machine", "name", "byte", "max"]);
    assert_eq!(words("_chain2"), ["chain2"]);
}

#[test]
fn the_core_is_pure() {
    const IMPURE: [&str; 14] = [
        "async",
        "await",
        "env",
        "fs",
        "futures",
        "getrandom",
        "Instant",
        "libc",
        "net",
        "process",
        "rand",
        "SystemTime",
        "thread",
        "tokio",
    ];
    let mut findings = Vec::new();
    for source in sources_in("crates/offsite-core/src/") {
        findings.extend(
            IMPURE.iter().filter(|name| source.names(name)).map(|name| format!("{}: names {name}", source.path)),
        );
    }
    assert_none(&findings);
}

#[test]
fn lints_hold_what_is_forbidden_to_the_core() {
    let library = Source::read("crates/offsite-core/src/lib.rs".to_owned());
    let forbidden: toml::Table =
        toml::from_str(&read("crates/offsite-core/clippy.toml")).unwrap_or_else(|error| panic!("{error}"));
    for kind in ["methods", "types", "macros"] {
        let denied = library.tokens.split(|token| token == "#").any(|attribute| {
            attribute.starts_with(&["!", "[", "deny"].map(str::to_owned))
                && attribute.contains(&format!("disallowed_{kind}"))
        });
        assert!(denied, "offsite-core does not deny clippy::disallowed_{kind}");
        let listed = forbidden.get(&format!("disallowed-{kind}")).and_then(toml::Value::as_array);
        assert!(listed.is_some_and(|listed| !listed.is_empty()), "its clippy.toml disallows no {kind}");
    }
}

#[test]
fn one_file_names_the_codec() {
    let files: Vec<String> =
        sources().into_iter().filter(|source| source.names("bincode")).map(|source| source.path).collect();
    assert_eq!(files, ["crates/offsite-core/src/format/codec.rs"]);
}

#[test]
fn block_bytes_pass_through_the_mover() {
    let in_mover = |path: &str| path == "crates/offsite/src/mover.rs" || path.starts_with("crates/offsite/src/mover/");
    let mut findings = Vec::new();
    for source in sources_in("crates/offsite/src/").iter().filter(|source| !in_mover(&source.path)) {
        for name in ["zstd", "decode_frame"] {
            if source.names(name) {
                findings.push(format!("{}: names {name}", source.path));
            }
        }
    }
    assert_none(&findings);
}

// The body of an `async fn` is compiled anew in every crate that awaits it; one behind `BoxFuture` is compiled once, and is `Send`.
#[test]
fn operations_of_the_engine_are_compiled_once() {
    let mut findings = Vec::new();
    for source in sources_in("crates/offsite/src/") {
        if source.has(&["pub", "async", "fn"]) {
            findings.push(format!("{}: has a pub async fn, which is to return a BoxFuture", source.path));
        }
    }
    assert_none(&findings);
}

#[test]
fn backends_do_not_know_what_they_store() {
    let mut findings = Vec::new();
    for source in sources_in("crates/offsite-backends/src/") {
        for (identifier, around) in source.identifiers() {
            let words = words(identifier);
            let has = |word: &str| words.iter().any(|own| own == word);
            // `one.chain(other)` is a method of iterators and readers.
            let knows = has("machine") || (has("chain") && around != [".", "("]) || (has("restore") && has("point"));
            if knows {
                findings.push(format!("{}: names {identifier}", source.path));
            }
        }
    }
    assert_none(&findings);
}

#[test]
fn nothing_is_left_unfinished() {
    let mut findings = Vec::new();
    for source in sources() {
        for name in ["todo", "unimplemented", "dbg"] {
            if source.has(&[name, "!"]) {
                findings.push(format!("{}: calls {name}!", source.path));
            }
        }
        // Also inside a `cfg_attr`. A test that does not run tells nothing; what it needs, it says when it fails.
        let ignored: [&[&str]; 4] =
            [&["#", "[", "ignore", "]"], &["#", "[", "ignore", "="], &[",", "ignore", ")", "]"], &[",", "ignore", "="]];
        if ignored.iter().any(|sequence| source.has(sequence)) {
            findings.push(format!("{}: ignores a test", source.path));
        }
    }
    assert_none(&findings);
}

#[test]
fn a_file_answers_one_question() {
    const LINES_MAX: usize = 600;
    let long: Vec<String> = sources()
        .iter()
        .filter(|source| source.lines > LINES_MAX)
        .map(|source| format!("{}: {} lines; look for the second question in it", source.path, source.lines))
        .collect();
    assert_none(&long);
}

// `print!` and its kin panic where nobody can be told, and so end what is at work: a full disk behind a log would stop all copies.
#[test]
fn one_module_prints() {
    const PRINTER: &str = "crates/offsite-cli/src/print.rs";
    // It has a macro that makes tests.
    const CONFORMANCE: &str = "crates/offsite-repository/src/testing/conformance/mod.rs";
    let mut findings = Vec::new();
    // The harness takes what a test prints. Tests are in a file of their own, or in the last module of a file.
    let ships = |path: &str| path.starts_with("crates/") && path.contains("/src/") && !path.ends_with("tests.rs");
    for source in sources().iter().filter(|source| ships(&source.path)) {
        let is_test = |window: &[String]| window == ["#", "[", "cfg", "(", "test", ")", "]", "mod"];
        let end = source.tokens.windows(8).position(is_test).unwrap_or(source.tokens.len());
        let mut code = source.tokens[..end].windows(2);
        let macros = ["print", "println", "eprint", "eprintln"];
        if code.any(|window| macros.contains(&window[0].as_str()) && window[1] == "!") && source.path != CONFORMANCE {
            findings.push(format!("{}: prints with a macro that panics; use {PRINTER}", source.path));
        }
    }
    assert_none(&findings);
}
