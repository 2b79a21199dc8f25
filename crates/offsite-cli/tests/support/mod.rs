//! Running the built command in a folder of its own, and reading what it says.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

pub mod daemons;
pub mod golden;
pub mod repository;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use offsite_cli::workload::Disk;
use offsite_tests::TempDir;
use serde_json::Value;

/// 2026-11-01T22:00:00Z.
const START_UNIX_SECS: i64 = 1_793_570_400;

/// The evening of a day, counted from 0, as the command takes and prints it.
pub fn day(number: i64) -> String {
    hour(number * 24)
}

/// An hour after the evening of day 0.
pub fn hour(number: i64) -> String {
    jiff::Timestamp::from_second(START_UNIX_SECS + number * 3600).unwrap().to_string()
}

/// Two repositories and a copy job that keeps three points.
pub const COPY_JOB: &str = r#"
[repositories.primary]
location = "primary"

[repositories.second]
location = "second"

[jobs."Offsite Copy"]
source = { repository = "primary", from = "job", job = "nightly" }
target = "second"

[jobs."Offsite Copy".retention]
keep = 3
"#;

/// A folder in which the command runs.
pub struct Offsite {
    folder: TempDir,
}

/// A command that ended.
#[derive(Debug)]
pub struct Ran {
    pub line: String,
    pub status: i32,
    pub out: String,
    pub err: String,
}

impl Offsite {
    /// An empty folder.
    #[track_caller]
    pub fn new() -> Self {
        Self { folder: offsite_tests::folder() }
    }

    /// An empty folder in memory, where there is such a place: nothing there waits for a disk.
    #[track_caller]
    pub fn in_memory() -> Self {
        Self { folder: TempDir::new_in("/dev/shm").unwrap_or_else(|_| offsite_tests::folder()) }
    }

    /// A folder with the repositories `primary` and `second`, and the copy job `Offsite Copy` from the job `nightly` of the
    /// first to the second, which keeps three points.
    #[track_caller]
    pub fn with_copy_job() -> Self {
        let offsite = Self::new();
        offsite.config(COPY_JOB);
        offsite.ok(["init", "primary"]);
        offsite.ok(["init", "second"]);
        offsite
    }

    /// The same, with a machine of two disks in `primary`, backed up on three evenings.
    #[track_caller]
    pub fn with_three_backups() -> Self {
        let offsite = Self::with_copy_job();
        for number in 0..3 {
            for (seed, image) in [(1, "system.img"), (2, "data.img")] {
                Disk::new(image, seed, 6).write_full(&offsite.path(image), number).unwrap();
            }
            offsite.backup(&day(number.into()), &["db01=system.img,data.img"]);
        }
        offsite
    }

    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// Writes `offsite.toml`.
    #[track_caller]
    pub fn config(&self, text: &str) {
        fs::write(self.path("offsite.toml"), text).unwrap();
    }

    /// The command, ready to be started in the folder.
    pub fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_offsite"));
        // A fixed width, as help is folded to the terminal's.
        command.current_dir(self.root()).args(arguments).env_remove("RUST_BACKTRACE").env("COLUMNS", "100");
        command.env("TZ", "UTC").env_remove("OFFSITE_CLOCK_FILE");
        command
    }

    /// Runs the command to its end, whatever that is; only a panic or a signal is never an end.
    #[track_caller]
    pub fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Ran {
        let mut command = self.command(arguments);
        let output = command.output().unwrap();
        Ran::new(&command, &output)
    }

    /// Runs what must succeed without a word on standard error.
    #[track_caller]
    pub fn ok<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Ran {
        let ran = self.run(arguments).expect(0);
        assert_eq!(ran.err, "", "{ran}");
        ran
    }

    /// As [`Self::ok`], with `--json`: what it printed.
    #[track_caller]
    pub fn json<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Value {
        let mut arguments: Vec<_> = arguments.into_iter().map(|argument| argument.as_ref().to_owned()).collect();
        arguments.push("--json".into());
        self.ok(arguments).json()
    }

    /// Backs up `machines` (`NAME=IMAGE`) to the job `nightly` in `primary`.
    #[track_caller]
    pub fn backup(&self, at: &str, machines: &[&str]) -> Value {
        self.json(["backup", "--repo", "primary", "--job", "nightly", "--at", at].iter().chain(machines))
    }

    /// Restores the newest or a given point of a machine to a new raw image, which has the name `to`.
    #[track_caller]
    pub fn restore(&self, repo: &str, job: &str, machine: &str, point: u64, to: &str) -> PathBuf {
        self.ok(["restore", repo, job, machine, "--point", &point.to_string(), "--to", to]);
        self.path(to)
    }
}

impl Ran {
    #[track_caller]
    pub fn new(command: &Command, output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let words = command.get_args().map(|word| word.to_string_lossy()).map(|word| {
            let is_plain = word.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_./=,:".contains(letter));
            if is_plain && !word.is_empty() { word.into_owned() } else { format!("'{word}'") }
        });
        let line = format!("offsite {}", words.collect::<Vec<_>>().join(" "));
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        let Some(status) = output.status.code() else { panic!("{line}: {}\n{out}{err}", output.status) };
        let ran = Self { line, status, out, err };
        // 101 is a panic's status; a panic of a task can end with another one.
        assert!(ran.status != 101 && !ran.err.contains("panicked"), "{ran}");
        assert!((0..=3).contains(&ran.status), "{ran}");
        assert!(!ran.err.contains("defect in Offsite"), "{ran}");
        ran
    }

    #[track_caller]
    pub fn expect(self, status: i32) -> Self {
        assert_eq!(self.status, status, "{self}");
        self
    }

    /// Holds that standard error has each of these texts.
    #[track_caller]
    pub fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.err.contains(text), "no {text:?} in {self}");
        }
        self
    }

    /// The one line of JSON that was printed.
    #[track_caller]
    pub fn json(&self) -> Value {
        let parsed = |line: &str| {
            let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {self}"));
            line
        };
        let is_result = |line: &Value| line.get("event").is_none_or(|event| event == "report");
        let mut results = self.out.lines().map(parsed).filter(is_result);
        let mut result = results.next().unwrap_or_else(|| panic!("no result: {self}"));
        assert!(results.next().is_none(), "several results: {self}");
        result.as_object_mut().and_then(|result| result.remove("event"));
        result
    }

    /// The lines that tell how the command got on, with the report, and what each is about.
    #[track_caller]
    pub fn events(&self) -> Vec<(String, Value)> {
        let event = |line: &str| {
            let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {self}"));
            (line["event"].as_str().unwrap_or_else(|| panic!("no event: {self}")).to_owned(), line)
        };
        self.out.lines().map(event).collect()
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "$ {}\n{}{}[status {}]", self.line, self.out, self.err, self.status)
    }
}

/// The seed of this run: `OFFSITE_SEED`, or a new one. It is printed, so that a failure can be run again.
pub fn seed() -> u64 {
    let seed = match std::env::var("OFFSITE_SEED") {
        Ok(text) => text.parse().expect("OFFSITE_SEED is a number"),
        Err(_) => jiff::Timestamp::now().subsec_nanosecond().unsigned_abs().into(),
    };
    println!("OFFSITE_SEED={seed}");
    seed
}

/// SplitMix64.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        number ^ (number >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Whether two files hold the same bytes; where not, the first that differs.
#[track_caller]
pub fn assert_same_bytes(left: &Path, right: &Path) {
    let read = |path: &Path| fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_equal_bytes(&read(left), &read(right), &format!("{} and {}", left.display(), right.display()));
}

/// Holds that two byte strings are the same, without printing them.
#[track_caller]
pub fn assert_equal_bytes(left: &[u8], right: &[u8], what: &str) {
    assert_eq!(left.len(), right.len(), "lengths of {what}");
    if left != right {
        let at = left.iter().zip(right).position(|(left, right)| left != right);
        panic!("{what} differ first at byte {at:?}");
    }
}

/// Copies a file with its holes.
#[track_caller]
pub fn copy_sparse(from: &Path, to: &Path) {
    offsite_tests::run(Command::new("cp").arg("--sparse=always").args([from, to]));
}
