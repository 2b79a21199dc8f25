//! The command `compare`: Offsite beside the tools that others use, on the same disk.
//!
//! In each round everything runs once, in turn (backwards in every second round), from dropped caches, until all of it is
//! durable: after each tool its file system is synced within the time that is measured. After its last round, what each has left
//! is restored and compared with the disk.

mod carries;
mod floors;
mod merges;
mod page;
mod workbench;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use super::sample::{Caches, Samples, measure};
use crate::jobs::Failure;
use workbench::Workbench;

/// Measures Offsite beside other tools, on a generated disk.
#[derive(Debug, Parser)]
#[command(name = "compare")]
struct Arguments {
    /// The size of the disk, in GiB.
    #[arg(long, default_value_t = 4.0)]
    gib: f64,
    /// Samples of each operation.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Where the measurements make their own folder, which is removed afterwards. Needs eight times the disk's size.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// What is compared.
    #[arg(long, value_delimiter = ',', default_value = "merges,carries")]
    only: Vec<What>,
    /// The page that is written.
    #[arg(long, default_value = "docs/performance.md")]
    out: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// Merges of an increment.
    Merges,
    /// Backups, copies and restores.
    Carries,
}

/// Runs the command of this process. It fails if something cannot be measured; whether a bar is held is said by the page.
#[must_use]
pub fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("compare: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    std::fs::create_dir_all(&arguments.dir)?;
    let folder = tempfile::Builder::new().prefix("offsite-compare-").tempdir_in(&arguments.dir)?;
    let workbench = Workbench::new(folder.path(), arguments.gib)?;
    let rounds = arguments.rounds;
    let mut groups = Vec::new();
    for what in &arguments.only {
        groups.extend(match what {
            What::Merges => merges::groups(&workbench, rounds)?,
            What::Carries => carries::groups(&workbench, rounds)?,
        });
    }
    let text = page::render(&workbench, arguments.gib, rounds, &groups);
    if let Some(parent) = arguments.out.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(&arguments.out, &text)?;
    println!("{text}");
    folder.close()?;
    Ok(())
}

/// The rounds of restic and borg, at most.
const SLOW_ROUNDS_MAX: u32 = 3;

/// Seconds of parts of what is measured, by their names.
type Parts = Vec<(&'static str, f64)>;

/// Looks at what was left by what was measured.
type Check<'a> = Box<dyn Fn() -> Result<(), Failure> + 'a>;

/// Something that is measured.
struct Contender<'a> {
    name: String,
    /// Makes what it starts from; not measured.
    prepare: Box<dyn Fn() -> Result<(), Failure> + 'a>,
    /// What is measured. Seconds of a part of it are told by the name of the part.
    work: Box<dyn Fn() -> Result<Parts, Failure> + 'a>,
    /// Fails if what it left is not what the disk says; not measured.
    check: Check<'a>,
}

impl Contender<'_> {
    /// How many of the rounds it takes part in: what takes minutes a round is measured less often.
    fn rounds(&self, rounds: u32) -> u32 {
        let is_slow = ["restic", "borg"].iter().any(|tool| self.name.starts_with(tool));
        if is_slow { rounds.min(SLOW_ROUNDS_MAX) } else { rounds }
    }
}

/// What came of a contender.
#[derive(Clone)]
struct Outcome {
    name: String,
    samples: Samples,
    /// Seconds of parts, by name, of each round.
    parts: Vec<(&'static str, Vec<f64>)>,
    /// The bytes that were fetched from storage and that were sent there, in the last round.
    storage_bytes: (u64, u64),
}

/// What belongs together in a table.
#[derive(Clone)]
struct Group {
    title: &'static str,
    /// What the group is about, in a sentence or two.
    about: String,
    outcomes: Vec<Outcome>,
}

impl Group {
    fn measure(
        title: &'static str,
        about: String,
        caches: Caches,
        rounds: u32,
        contenders: Vec<Contender<'_>>,
    ) -> Result<Self, Failure> {
        let new = |contender: &Contender<'_>| Outcome {
            name: contender.name.clone(),
            samples: Samples::default(),
            parts: Vec::new(),
            storage_bytes: (0, 0),
        };
        let mut outcomes: Vec<Outcome> = contenders.iter().map(new).collect();
        for round in 0..rounds {
            let takes_part = |number: &usize| round < contenders[*number].rounds(rounds);
            let mut order: Vec<usize> = (0..contenders.len()).filter(takes_part).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for number in order {
                let (contender, outcome) = (&contenders[number], &mut outcomes[number]);
                let failed = |failure: Failure| format!("{}: {failure}", contender.name);
                (contender.prepare)().map_err(failed)?;
                let before = storage_bytes();
                let (sample, parts) = measure(caches, || (contender.work)()).map_err(failed)?;
                let after = storage_bytes();
                outcome.storage_bytes = (after.0 - before.0, after.1 - before.1);
                eprintln!("{title}, round {}: {} {:.3} s", round + 1, contender.name, sample.secs);
                if round + 1 == contender.rounds(rounds) {
                    (contender.check)().map_err(|failure| format!("{}, what it left: {failure}", contender.name))?;
                }
                outcome.samples.push(sample);
                for (part, secs) in parts {
                    match outcome.parts.iter_mut().find(|(name, _)| *name == part) {
                        Some((_, all)) => all.push(secs),
                        None => outcome.parts.push((part, vec![secs])),
                    }
                }
            }
        }
        Ok(Self { title, about, outcomes })
    }
}

/// What this process and its children that ended made the kernel fetch from storage, and what they sent there.
fn storage_bytes() -> (u64, u64) {
    let text = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let of = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
    };
    (of("read_bytes:"), of("write_bytes:"))
}
