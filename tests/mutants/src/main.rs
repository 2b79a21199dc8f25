//! Asks of each mutant whether a test sees it.
//!
//! The mutants are those that cargo-mutants would try. It builds the tests once for each; here all are built into one copy of
//! the package, each behind a switch that is read when a test starts. So a mutant costs what its tests take, and only tests that
//! reach it are run, the shortest first, until one fails. What cannot be built beside the others is listed as apart.

mod build;
mod list;
mod sites;
mod switch;
mod tests;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;

use list::Mutant;
use tests::{Ending, Tests};

const USAGE: &str = "\
usage: offsite-mutants RESULTS SCRATCH PACKAGE [--file PART]... [--rest COUNT SEED] [--test PART]... [--jobs COUNT] [--again]
                       [-- CARGO-TEST-ARGUMENTS...]
  RESULTS  a file of a line for each mutant that has been tried; it is gone on with. --again: those that were missed are tried again
  SCRATCH  a folder for the copy that has mutants in it; CARGO_TARGET_DIR says where it is built
  --file   only mutants of files whose path has this part; several: of any of them, in this order
  --rest   and so many of all other files, drawn by the seed
  --test   only tests whose program::name has this part; several: any of them; with a leading !, none of these";

struct Arguments {
    results: PathBuf,
    scratch: PathBuf,
    package: String,
    files: Vec<String>,
    tests: Vec<String>,
    rest: (usize, u64),
    jobs: usize,
    again: bool,
    cargo: Vec<String>,
}

fn arguments() -> Option<Arguments> {
    let mut words = std::env::args().skip(1);
    let mut arguments = Arguments {
        results: words.next()?.into(),
        scratch: words.next()?.into(),
        package: words.next()?,
        files: Vec::new(),
        tests: Vec::new(),
        rest: (0, 0),
        jobs: 2,
        again: false,
        cargo: Vec::new(),
    };
    while let Some(word) = words.next() {
        match word.as_str() {
            "--file" => arguments.files.push(words.next()?),
            "--test" => arguments.tests.push(words.next()?),
            "--rest" => arguments.rest = (words.next()?.parse().ok()?, words.next()?.parse().ok()?),
            "--jobs" => arguments.jobs = words.next()?.parse().ok()?,
            "--again" => arguments.again = true,
            "--" => arguments.cargo = words.by_ref().collect(),
            _ => return None,
        }
    }
    Some(arguments)
}

/// Whether `text` has one of the parts that must be there, and none of those that must not.
fn is_chosen(text: &str, parts: &[String]) -> bool {
    let (not, any): (Vec<_>, Vec<_>) = parts.iter().partition(|part| part.starts_with('!'));
    (any.is_empty() || any.iter().any(|part| text.contains(part.as_str())))
        && !not.iter().any(|part| text.contains(&part[1..]))
}

/// A number that looks drawn at random and is always the same: SplitMix64 of the seed and the mutant's name.
fn drawn(seed: u64, name: &str) -> u64 {
    name.bytes().fold(seed, |sum, byte| {
        let mut z = (sum ^ u64::from(byte)).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

/// The mutants of the files that are named, in the order in which they are, and then the sample of all others.
fn choose<'a>(all: &'a [Mutant], arguments: &Arguments) -> Vec<&'a Mutant> {
    let place = |mutant: &Mutant| arguments.files.iter().position(|part| mutant.file.contains(part.as_str()));
    let (mut named, mut rest): (Vec<_>, Vec<_>) =
        all.iter().partition(|mutant| arguments.files.is_empty() || place(mutant).is_some());
    named.sort_by_key(|mutant| place(mutant));
    let (count, seed) = arguments.rest;
    rest.sort_by_key(|mutant| drawn(seed, &mutant.name));
    named.extend(rest.into_iter().take(count));
    named
}

/// What was found of each mutant before, by name; the last line counts.
fn known(results: &Path) -> BTreeMap<String, String> {
    let text = fs::read_to_string(results).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(word, name)| (name.to_owned(), word.to_owned()))
        .collect()
}

/// Runs the tests that reach a mutant, first those that are short or have caught many. `caught` counts by test.
fn judge(mutant: usize, tests: &Tests, folder: &Path, caught: &Mutex<BTreeMap<usize, f64>>) -> &'static str {
    let Some(reaching) = tests.reaching.get(&mutant) else { return "unreached" };
    let mut order: Vec<(f64, usize)> = Vec::new();
    if let Ok(caught) = caught.lock() {
        order.extend(
            reaching
                .iter()
                .map(|test| (tests.tests[*test].cpu_secs / (1.0 + caught.get(test).copied().unwrap_or(0.0)), *test)),
        );
    }
    order.sort_by(|left, right| left.0.total_cmp(&right.0));
    for (_, test) in order {
        let ending = tests.tests[test].run(folder, &mutant.to_string(), None);
        if ending == Ending::Passed {
            continue;
        }
        if let Ok(mut caught) = caught.lock() {
            *caught.entry(test).or_default() += 1.0;
        }
        return if ending == Ending::Failed { "caught" } else { "timeout" };
    }
    "missed"
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let root = std::env::current_dir().map_err(|error| error.to_string())?;
    let all = list::mutants(&root, &arguments.package)?;
    let chosen = choose(&all, arguments);
    let known = known(&arguments.results);
    let is_open = |mutant: &&Mutant| match known.get(&mutant.name).map(String::as_str) {
        None => true,
        Some(word) => arguments.again && matches!(word, "missed" | "unreached" | "apart"),
    };
    let open: Vec<&Mutant> = chosen.iter().copied().filter(is_open).collect();
    eprintln!("{} mutants, {} chosen, {} to try", all.len(), chosen.len(), open.len());
    let built = build::build(&root, &arguments.scratch, &arguments.package, &all, &arguments.cargo)?;
    eprintln!("{} cannot be switched on", built.left_out.len());
    let folder = arguments.scratch.join("crates").join(&arguments.package);
    let tests = tests::survey(&built.programs, &folder, &arguments.scratch, |name| is_chosen(name, &arguments.tests));
    let cpu_secs: f64 = tests.tests.iter().map(|test| test.cpu_secs).sum();
    eprintln!("{} tests take {cpu_secs:.1} s and reach {} mutants", tests.tests.len(), tests.reaching.len());

    let results = OpenOptions::new().append(true).create(true).open(&arguments.results);
    let results = Mutex::new(results.map_err(|error| format!("{}: {error}", arguments.results.display()))?);
    let queue = Mutex::new(open.into_iter());
    let caught = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs {
            scope.spawn(|| {
                loop {
                    let Some(mutant) = queue.lock().ok().and_then(|mut queue| queue.next()) else { return };
                    let word = built.left_out.get(&mutant.id).copied();
                    let word = word.unwrap_or_else(|| judge(mutant.id, &tests, &folder, &caught));
                    if let Ok(mut file) = results.lock() {
                        let _ = writeln!(file, "{word} {}", mutant.name);
                    }
                }
            });
        }
    });
    let known = crate::known(&arguments.results);
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for mutant in &chosen {
        let word = known.get(&mutant.name).map_or("open", String::as_str);
        *counts.entry((&mutant.file, word)).or_default() += 1;
        if matches!(word, "missed" | "unreached" | "timeout" | "apart") {
            println!("{word} {}", mutant.name);
        }
    }
    for ((file, word), count) in counts {
        println!("{count:5} {word:9} {file}");
    }
    Ok(())
}

fn main() -> ExitCode {
    let Some(arguments) = arguments() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
