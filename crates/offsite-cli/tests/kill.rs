//! `kill -9` at any moment of a backup or a copy: what was committed restores, and the next run needs no repair and leaves nothing.
//!
//! `OFFSITE_KILLS` sets how many kills, `OFFSITE_SEED` replays the moments (as far as the machine's own timing lets them).
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use offsite_cli::workload::{Changes, Disk, Profile};
use offsite_tests::qemu::{self, Format};
use serde_json::Value;
use support::{Offsite, Ran, Random, assert_equal_bytes, hour, repository, seed};

const KILLS: u64 = 16;
/// Kills of one pair of chains; then the next starts from nothing, as the first runs are worth being killed too.
const KILLS_OF_A_WORLD: u64 = 8;
const SIZE_MIB: u64 = 6;
/// Heads that a run commits at most: lease, point, merge, release, lease given back.
const HEADS_OF_A_RUN: u64 = 5;
const BACKUP: [&str; 12] = [
    "backup",
    "--repo",
    "primary",
    "--job",
    "nightly",
    "--block-size",
    "256KiB",
    "--keep",
    "3",
    "web01=web01.img",
    "--at",
    "TIME",
];

/// What a killed run was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Command {
    Backup,
    Copy,
}

/// When a run is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// After a part of the time that the last whole run took, in thousandths.
    Part(u64),
    /// When it has committed so many heads, after so many turns of a loop.
    Heads(u64, u64),
    /// When the first new object appears in this folder of the job, after so many turns of a loop.
    Appears(&'static str, u64),
}

struct World {
    offsite: Offsite,
    disk: Disk,
    version: u32,
    hours: i64,
    /// The disk at each time that a backup was started, as long as a chain has it.
    evenings: BTreeMap<String, Vec<u8>>,
    /// How long each command takes if nobody kills it.
    usual: BTreeMap<Command, Duration>,
}

#[test]
fn a_kill_at_any_moment_loses_nothing() {
    let seed = seed();
    let kills = std::env::var("OFFSITE_KILLS").map_or(KILLS, |text| text.parse().expect("OFFSITE_KILLS is a number"));
    let mut random = Random::new(seed);
    let mut heads_of_killed: BTreeMap<(Command, u64), u64> = BTreeMap::new();
    let mut world = World::new(seed, true);
    for kill in 0..kills {
        if kill > 0 && kill % KILLS_OF_A_WORLD == 0 {
            world = World::new(seed + kill, random.below(2) == 0);
        }
        let command = if random.below(2) == 0 { Command::Backup } else { Command::Copy };
        let moment = Moment::random(&mut random);
        let heads = world.kill(command, moment);
        println!("kill {kill}: {command:?} at {moment:?}, after {heads:?} heads");
        if let Some(heads) = heads {
            *heads_of_killed.entry((command, heads)).or_default() += 1;
        }
        world.assert_nothing_lost();
        world.run_again(command);
    }
    // Of so many, some hit each phase; the table tells a reader of the log where.
    println!("kills by command and heads committed: {heads_of_killed:?}");
    let hit = heads_of_killed.values().sum::<u64>();
    assert!(kills < 10 || hit * 2 > kills, "{hit} of {kills} kills met a running command");
}

/// A killed restore leaves no image under its name, and the next restore and the next backup remove the rest.
#[test]
fn a_killed_restore_leaves_nothing() {
    let offsite = Offsite::with_copy_job();
    Disk::new("web01", 8, 64).write_full(&offsite.path("web01.img"), 0).unwrap();
    offsite.backup(&hour(0), &["web01=web01.img"]);
    for format in ["raw", "qcow2"] {
        let to = format!("restored.{format}");
        let arguments = ["restore", "primary", "nightly", "web01", "--format", format, "--to", &to];
        let killed = (0..10).any(|_| {
            let mut child = offsite.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            // It is beside its place under another name first.
            wait_until(&mut child, || {
                repository::names(offsite.root(), "")
                    .iter()
                    .any(|name| name.contains("restored") && name.contains(".part"))
            });
            child.kill().unwrap();
            child.wait().unwrap();
            // On a busy machine it may have been too fast: then the image has its name, and all of its bytes.
            if offsite.path(&to).exists() {
                let from = if format == "raw" { Format::Raw } else { Format::Qcow2 };
                qemu::assert_same(&offsite.path("web01.img"), Format::Raw, &offsite.path(&to), from);
                fs::remove_file(offsite.path(&to)).unwrap();
                return false;
            }
            true
        });
        assert!(killed, "no restore to {to} could be killed in the middle");
        offsite.ok(arguments);
        let left = repository::names(offsite.root(), "");
        let expected = ["offsite.toml", "primary", "second", "web01.img", "restored.raw", "restored.qcow2"];
        assert!(left.iter().all(|name| expected.contains(&name.as_str())), "{left:?}");
    }
    offsite.backup(&hour(1), &["web01=restored.raw"]);
    offsite.backup(&hour(2), &["web01=restored.qcow2"]);
    let points = offsite.json(["points", "primary"]);
    let stored: Vec<_> = points["points"].as_array().unwrap().iter().map(|point| &point["stored_blocks"]).collect();
    assert_eq!(stored[1..], [0, 0], "what was restored is what was backed up");
    repository::assert_tidy(&offsite.path("primary/nightly"));
}

impl World {
    /// Fresh repositories; with whole runs in them already, or without.
    fn new(seed: u64, warm: bool) -> Self {
        let profile = Profile { changes: Changes::WholeBlocks(3), ..Profile::for_size(SIZE_MIB) };
        let disk = Disk { name: "web01".to_owned(), seed, size_mib: SIZE_MIB, profile };
        let mut world = Self {
            offsite: Offsite::with_copy_job(),
            disk,
            version: 0,
            hours: 0,
            evenings: BTreeMap::new(),
            usual: BTreeMap::new(),
        };
        world.disk.write_full(&world.image(), 0).unwrap();
        // Enough for the copy to merge with each run from now on.
        for _ in 0..if warm { 4 } else { 0 } {
            world.whole(Command::Backup);
            world.whole(Command::Copy);
        }
        world
    }

    fn image(&self) -> PathBuf {
        self.offsite.path("web01.img")
    }

    fn job(&self, command: Command) -> PathBuf {
        self.offsite.path(match command {
            Command::Backup => "primary/nightly",
            Command::Copy => "second/Offsite Copy",
        })
    }

    /// Changes the disk, and starts a command at a later time than any before.
    fn arguments(&mut self, command: Command) -> Vec<String> {
        self.hours += 1;
        let now = hour(self.hours);
        match command {
            Command::Backup => {
                self.version += 1;
                self.disk.apply(&self.image(), self.version).unwrap();
                self.evenings.insert(now.clone(), fs::read(self.image()).unwrap());
                BACKUP.iter().map(|word| if *word == "TIME" { now.clone() } else { (*word).to_owned() }).collect()
            }
            Command::Copy => vec!["run".to_owned(), "--now".to_owned(), now],
        }
    }

    /// A run that nobody kills. It needs no other command before it, and says nothing.
    fn whole(&mut self, command: Command) {
        let arguments = self.arguments(command);
        let start = Instant::now();
        self.offsite.ok(arguments);
        self.usual.insert(command, start.elapsed());
    }

    /// Starts a command and kills it. Returns the heads that it had committed, or nothing if it had ended before.
    fn kill(&mut self, command: Command, moment: Moment) -> Option<u64> {
        if command == Command::Copy {
            if !self.job(Command::Backup).exists() {
                self.whole(Command::Backup);
            }
            // There must be something to copy.
            self.whole(Command::Backup);
        }
        let usual = self.usual.get(&command).copied().unwrap_or(Duration::from_millis(300));
        let job = self.job(command);
        let heads = heads(&job);
        let arguments = self.arguments(command);
        let mut running = self.offsite.command(&arguments);
        let mut child = running.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let ended = moment.wait(&mut child, &job, usual);
        // The standard library's kill is SIGKILL.
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        if ended && output.status.code().is_some() {
            Ran::new(&running, &output).expect(0);
            return None;
        }
        let after = self::heads(&job);
        Some(after.unwrap_or(0) - heads.unwrap_or(0))
    }

    /// Every committed point restores byte for byte, right after a kill.
    fn assert_nothing_lost(&mut self) {
        let mut in_use = Vec::new();
        for (repo, job) in [("primary", "nightly"), ("second", "Offsite Copy")] {
            let points = self.offsite.json(["points", repo]);
            for point in points["points"].as_array().unwrap() {
                in_use.push(self.assert_restores(repo, job, point));
            }
            if heads(&self.offsite.path(repo).join(job)).is_some() {
                let report = self.offsite.json(["verify", repo, job, "--read-data"]);
                assert_eq!(report["damage"], serde_json::json!([]));
            }
        }
        self.evenings.retain(|time, _| in_use.contains(time));
    }

    /// Restores a point and compares it with what the disk held when its backup was started, the time that is returned.
    fn assert_restores(&self, repo: &str, job: &str, point: &Value) -> String {
        let sequence = point["sequence"].as_u64().unwrap();
        let captured = point["machines"][0]["captured"].as_str().unwrap().to_owned();
        let restored = self.offsite.restore(repo, job, "web01", sequence, "restored.img");
        let expected = self.evenings.get(&captured).unwrap_or_else(|| panic!("nothing was backed up at {captured}"));
        assert_equal_bytes(&fs::read(&restored).unwrap(), expected, &format!("{repo} #{sequence}"));
        fs::remove_file(restored).unwrap();
        captured
    }

    /// The next run of each command succeeds, and leaves nothing but what its chain refers to.
    fn run_again(&mut self, killed: Command) {
        self.whole(Command::Backup);
        self.whole(Command::Copy);
        for command in [Command::Backup, Command::Copy] {
            repository::assert_tidy(&self.job(command));
        }
        let hidden: Vec<String> = repository::files(self.offsite.root())
            .into_iter()
            .filter(|path| path.split('/').any(|part| part.starts_with('.')) || path.ends_with(".partial"))
            .collect();
        assert!(hidden.is_empty(), "left over after {killed:?}: {hidden:?}");
        let newest = |repo: &str| self.offsite.json(["points", repo])["points"].as_array().unwrap().last().cloned();
        let (backup, copy) = (newest("primary").unwrap(), newest("second").unwrap());
        assert_eq!(backup["machines"], copy["machines"], "the copy has what the last backup made");
        self.assert_restores("second", "Offsite Copy", &copy);
    }
}

impl Moment {
    fn random(random: &mut Random) -> Self {
        let turns = random.below(4) * random.below(20_000);
        match random.below(4) {
            0 => Self::Part(random.below(1_000)),
            1 => Self::Appears(["head", "blocks", "index", "release", "pin"][random.below(5) as usize], turns),
            _ => Self::Heads(1 + random.below(HEADS_OF_A_RUN), turns),
        }
    }

    /// Waits for the moment; true if the process ended before.
    fn wait(self, child: &mut Child, job: &Path, usual: Duration) -> bool {
        let turns = match self {
            Self::Part(part) => {
                // The delay is what is tested here, not a way to wait for something.
                std::thread::sleep(usual.mul_f64(part as f64 / 1000.0));
                0
            }
            Self::Heads(count, turns) => {
                let before = heads(job).unwrap_or(0);
                if !wait_until(child, || heads(job).unwrap_or(0) >= before + count) {
                    return true;
                }
                turns
            }
            Self::Appears(part, turns) => {
                let before = repository::names(job, part);
                if !wait_until(child, || !repository::names(job, part).is_subset(&before)) {
                    return true;
                }
                turns
            }
        };
        (0..turns).for_each(|_| std::hint::spin_loop());
        child.try_wait().unwrap().is_some()
    }
}

/// Looks again and again until `happened`; false if the process ended before.
fn wait_until(child: &mut Child, happened: impl Fn() -> bool) -> bool {
    while !happened() {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
    }
    true
}

/// The number of the newest head of a job's folder.
fn heads(job: &Path) -> Option<u64> {
    repository::names(job, "head").pop_last().map(|name| name.parse().unwrap())
}
