//! Which file of a crate uses which: the arrows inside it run one way.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::{assert_none, files, read};

const ENGINE: &str = "crates/offsite/src/";

/// The sources of what is published, and of the benches.
const SOURCES: [&str; 6] = [
    "crates/offsite-core/src/",
    "crates/offsite-repository/src/",
    "crates/offsite-backends/src/",
    ENGINE,
    "crates/offsite-cli/src/",
    "benches/src/",
];

/// The rooms of the engine, from the ground up: a room uses those before it and the files that lie in no room.
const ROOMS: [&str; 15] = [
    "report", "files", "image", "traffic", "folder", "claims", "cache", "mover", "reader", "lending", "commit",
    "recovery", "jobs", "exchange", "runner",
];

/// A path in the code, as it is written.
type Path = Vec<String>;

struct Module {
    /// The modules below it: those that it declares.
    children: BTreeSet<String>,
    /// Names that it imports or hands on, and the paths behind them.
    imports: BTreeMap<String, Path>,
    /// Every path that it names.
    paths: Vec<Path>,
}

/// The modules of a library by their path in the crate, tests left out.
fn modules(sources: &str) -> BTreeMap<Path, Module> {
    let is_source = |path: &String| path.starts_with(sources) && path.ends_with(".rs") && !path.ends_with("/main.rs");
    let sources_found = files().into_iter().filter(is_source);
    let modules: BTreeMap<Path, Module> = sources_found
        .map(|path| {
            let stream: TokenStream = read(&path).parse().unwrap_or_else(|error| panic!("{path}: {error}"));
            let inside = path.trim_start_matches(sources).trim_end_matches(".rs");
            let inside = inside.strip_suffix("/mod").unwrap_or(inside);
            let name = if inside == "lib" { Path::new() } else { inside.split('/').map(str::to_owned).collect() };
            (name, module(stream))
        })
        .collect();
    assert!(modules.len() > 20, "the sources below {sources} are not found");
    modules
}

fn module(stream: TokenStream) -> Module {
    let mut module = Module { children: BTreeSet::new(), imports: BTreeMap::new(), paths: Vec::new() };
    read_items(stream, &mut module);
    module
}

fn is_for_tests(attribute: &TokenTree) -> bool {
    let text = attribute.to_string().replace(' ', "");
    text.contains("cfg(test)") || text.contains("cfg(offsite_simulation)") || text.contains("feature=\"fuzzing\"")
}

fn read_items(stream: TokenStream, module: &mut Module) {
    let tokens: Vec<TokenTree> = stream.into_iter().collect();
    let word = |at: usize| tokens.get(at).map(ToString::to_string).unwrap_or_default();
    let mut at = 0;
    while at < tokens.len() {
        if word(at) == "#" && tokens.get(at + 1).is_some_and(is_for_tests) {
            // The item goes, to its semicolon or its body.
            at += 2;
            while at < tokens.len() && word(at) != ";" && !is_body(&tokens[at]) {
                at += 1;
            }
            at += 1;
        } else if word(at) == "use" {
            let end = (at..tokens.len()).find(|end| word(*end) == ";").unwrap_or(tokens.len());
            read_use(&tokens[at + 1..end], &Path::new(), module);
            at = end + 1;
        } else if word(at) == "mod" && word(at + 2) == ";" {
            module.children.insert(word(at + 1));
            at += 3;
        } else if (word(at) == "crate" || word(at) == "super") && word(at + 1) == ":" {
            let mut path = vec![word(at)];
            at += 1;
            while word(at) == ":" && word(at + 1) == ":" && matches!(tokens.get(at + 2), Some(TokenTree::Ident(_))) {
                path.push(word(at + 2));
                at += 3;
            }
            module.paths.push(path);
        } else {
            if let TokenTree::Group(group) = &tokens[at] {
                read_items(group.stream(), module);
            }
            at += 1;
        }
    }
}

fn is_body(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
}

/// The tree of a `use`, behind `prefix`.
fn read_use(tokens: &[TokenTree], prefix: &Path, module: &mut Module) {
    let mut path = prefix.clone();
    let mut alias = None;
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Group(group) => {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                for part in inner.split(|token| token.to_string() == ",").filter(|part| !part.is_empty()) {
                    read_use(part, &path, module);
                }
                return;
            }
            TokenTree::Ident(ident) if ident == "as" => {
                alias = tokens.get(at + 1).map(ToString::to_string);
                at += 1;
            }
            TokenTree::Ident(ident) => path.push(ident.to_string()),
            _ => {}
        }
        at += 1;
    }
    if path.last().is_some_and(|last| last == "self") {
        path.pop();
    }
    let name = alias.or_else(|| path.last().cloned()).unwrap_or_default();
    module.imports.insert(name, path.clone());
    module.paths.push(path);
}

/// The module that has what `path`, written in `from`, names. `None` for what is of another crate.
fn target(modules: &BTreeMap<Path, Module>, from: &Path, path: &[String]) -> Option<Path> {
    let mut at = match path.first()?.as_str() {
        "crate" => Path::new(),
        "super" => from.split_last()?.1.to_vec(),
        "self" => from.clone(),
        child if modules[from].children.contains(child) => [&from[..], &[child.to_owned()]].concat(),
        _ => return None,
    };
    for (number, name) in path.iter().enumerate().skip(1) {
        let here = &modules[&at];
        if name == "super" {
            at.pop();
        } else if here.children.contains(name) {
            at.push(name.clone());
        } else if let Some(behind) = here.imports.get(name).filter(|behind| behind[..] != path[..=number]) {
            return target(modules, &at, behind).or(Some(at));
        } else {
            break;
        }
    }
    Some(at)
}

/// Whether the engine as it ships has no such file.
fn is_for_tests_alone(name: &Path) -> bool {
    ["fuzzing", "sample", "serialized", "simulation"].iter().any(|test| name[..] == [test.to_string()])
}

/// Each file with the files that it uses; that a module declares another is no use of it.
fn arrows(sources: &str) -> BTreeMap<Path, BTreeSet<Path>> {
    let modules = modules(sources);
    let used = |(name, module): (&Path, &Module)| {
        let used = module.paths.iter().filter_map(|path| target(&modules, name, path));
        let used = used.filter(|other| other != name && modules.contains_key(other));
        // What a parent hands on of its children is not its own.
        let used = used.filter(|other| !other.starts_with(name)).collect();
        (name.clone(), used)
    };
    modules.iter().map(used).filter(|(name, _)| !name.is_empty()).collect()
}

fn reached_from<'a>(arrows: &'a BTreeMap<Path, BTreeSet<Path>>, from: &Path) -> BTreeSet<&'a Path> {
    let mut reached = BTreeSet::new();
    let mut left: Vec<&Path> = arrows[from].iter().collect();
    while let Some(at) = left.pop() {
        if reached.insert(at) {
            left.extend(arrows.get(at).into_iter().flatten());
        }
    }
    reached
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    let circles: Vec<String> = SOURCES.into_iter().flat_map(circles).collect();
    assert_none(&circles);
}

fn circles(sources: &str) -> Vec<String> {
    let arrows = arrows(sources);
    let reached: BTreeMap<&Path, BTreeSet<&Path>> =
        arrows.keys().map(|name| (name, reached_from(&arrows, name))).collect();
    let in_circles = reached.iter().filter(|(name, reached)| reached.contains(*name));
    let lines = in_circles.map(|(name, _)| {
        let back = |other: &&Path| reached.get(*other).is_some_and(|reached| reached.contains(*name));
        let uses: Vec<String> = arrows[*name].iter().filter(back).map(|other| other.join("/")).collect();
        format!("{sources}{} uses {}", name.join("/"), uses.join(", "))
    });
    lines.collect()
}

#[test]
fn rooms_of_the_engine_use_the_rooms_below() {
    let floor = |path: &Path| ROOMS.iter().position(|room| path.first().is_some_and(|first| first == room));
    let mut findings = Vec::new();
    for (name, used) in arrows(ENGINE) {
        for other in used {
            match (floor(&name), floor(&other)) {
                (Some(own), Some(its)) if its > own => {}
                // What is only for tests may use anything; nothing else in no room uses a room.
                (None, Some(_)) if !is_for_tests_alone(&name) => {}
                _ => continue,
            }
            findings.push(format!("{} uses {}, which lies above it", name.join("/"), other.join("/")));
        }
    }
    assert_none(&findings);
}
