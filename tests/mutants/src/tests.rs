//! Which test reaches which mutant, and what becomes of a test when a mutant is switched on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A test of a program.
#[derive(Debug, Clone)]
pub(crate) struct Test {
    program: PathBuf,
    /// Its name in the program.
    pub(crate) name: String,
    /// The time that it takes on a processor without a mutant.
    pub(crate) cpu_secs: f64,
}

/// How a test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Passed,
    Failed,
    TimedOut,
}

/// The tests of a package and the mutants that each reaches.
pub(crate) struct Tests {
    pub(crate) tests: Vec<Test>,
    /// By mutant, the tests that reach it.
    pub(crate) reaching: BTreeMap<usize, Vec<usize>>,
}

impl Test {
    /// Runs it with one mutant switched on. It may take four times as long as without, and three seconds more.
    pub(crate) fn run(&self, folder: &Path, mutant: &str, reached: Option<&Path>) -> Ending {
        let cpu_secs_max = (self.cpu_secs * 4.0).ceil() + 3.0;
        let mut command = Command::new("bash");
        command
            .arg("-c")
            // Four GiB of addresses: a mutant that takes memory without end must not take the machine's.
            .arg(format!("ulimit -t {cpu_secs_max} -v 4194304; exec \"$0\" --exact \"$1\" --test-threads=1 --quiet"))
            .arg(&self.program)
            .arg(&self.name)
            .current_dir(folder)
            .env("OFFSITE_MUTANT", mutant)
            // The same cases each time, and no search for the smallest.
            .env("PROPTEST_RNG_SEED", "1")
            .env("PROPTEST_MAX_SHRINK_ITERS", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some(reached) = reached {
            command.env("OFFSITE_MUTANTS_REACHED", reached);
        }
        let Ok(mut child) = command.spawn() else { return Ending::Failed };
        let started = Instant::now();
        loop {
            match child.try_wait() {
                Ok(Some(status)) if status.success() => return Ending::Passed,
                // The limit of time on the processor.
                Ok(Some(status)) if matches!(status.signal(), Some(9 | 24)) => return Ending::TimedOut,
                Ok(Some(_)) | Err(_) => return Ending::Failed,
                // One that waits for ever takes no time on the processor.
                Ok(None) if started.elapsed() > Duration::from_secs_f64(120.0 + self.cpu_secs * 60.0) => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Ending::TimedOut;
                }
                Ok(None) => std::thread::sleep(Duration::from_millis(3)),
            }
        }
    }
}

fn names(program: &Path, folder: &Path) -> Vec<String> {
    let output = Command::new(program).current_dir(folder).args(["--list", "--format", "terse"]).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect()
}

/// The processor time of the children of this process that have ended.
fn children_cpu_secs() -> f64 {
    // Fields 16 and 17 of the line, in hundredths of a second; the name in brackets may have spaces.
    let text = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    [13, 14].iter().filter_map(|at| fields.get(*at)?.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Runs each test that `is_wanted` once, alone, and notes what it reaches.
pub(crate) fn survey(programs: &[PathBuf], folder: &Path, scratch: &Path, is_wanted: impl Fn(&str) -> bool) -> Tests {
    let (mut tests, mut reaching): (Vec<Test>, BTreeMap<usize, Vec<usize>>) = (Vec::new(), BTreeMap::new());
    let reached = scratch.join("reached");
    for program in programs {
        let short = program.file_name().unwrap_or_default().to_string_lossy();
        let short = short.rsplit_once('-').map_or(&*short, |(name, _)| name).to_owned();
        for name in names(program, folder).into_iter().filter(|name| is_wanted(&format!("{short}::{name}"))) {
            let _ = fs::remove_file(&reached);
            let before = children_cpu_secs();
            let mut test = Test { program: program.clone(), name, cpu_secs: 600.0 };
            let ending = test.run(folder, "reached", Some(&reached));
            test.cpu_secs = children_cpu_secs() - before;
            if ending != Ending::Passed {
                eprintln!("{short}: {} fails without a mutant, and is left out", test.name);
                continue;
            }
            let text = fs::read_to_string(&reached).unwrap_or_default();
            let own: BTreeSet<usize> = text.lines().filter_map(|line| line.parse().ok()).collect();
            for mutant in own {
                reaching.entry(mutant).or_default().push(tests.len());
            }
            tests.push(test);
        }
    }
    Tests { tests, reaching }
}
