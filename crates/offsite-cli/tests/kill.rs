//! `kill -9` at any moment of a backup or a copy, to a folder and to a bucket: what was committed restores, and the next run needs no
//! repair and leaves nothing.
//!
//! The runs that are killed are processes of the command; what comes of them is looked at in this process. `OFFSITE_KILLS` sets how
//! many kills of each kind of place, `OFFSITE_SEED` replays the moments (as far as the machine's own timing lets them).
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test fails by panicking")]

mod support;

use offsite_core::format::WireFormat;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use offsite::model::BlockSize;
use offsite::model::Head;
use offsite::model::MachineName;
use offsite::model::Timestamp;
use offsite::repository::{Key, Prefix, Repository, RepositoryExt};
use offsite::retention::Simple;
use offsite::{
    BackupJob, CopyJob, Error, ImageSource, JobFolder, JobName, OpenRepository, PointSelector, Restore, Verify,
};
use offsite_backends::{Local, S3, S3Credentials, S3Location, S3Options};
use offsite_cli::workload::{Changes, Disk, Profile};
use offsite_core::format::head::HEAD_BYTES_MAX;
use offsite_s3_server::{ACCESS_KEY_ID, BUCKET, SECRET_ACCESS_KEY, Server};
use offsite_tests::qemu::{self, Format};
use support::{COPY_JOB, Offsite, Ran, Random, assert_equal_bytes, hour, repository, seed};
use tokio::runtime::Runtime;

/// Of each kind of place.
const KILLS: u64 = 100;
/// What the command keeps of its jobs on the host.
const HOST_STATE: &str = ".offsite/jobs/";
/// Kills of one pair of chains; then the next starts from nothing, as the first runs are worth being killed too.
const KILLS_OF_A_WORLD: u64 = 20;
const SIZE_MIB: u64 = 4;
/// Heads that a run commits at most: lease, point, merge, release, lease given back.
const HEADS_OF_A_RUN: u64 = 5;
const NIGHTLY: &str = "nightly";
const COPY: &str = "Offsite Copy";
const KEPT: u32 = 3;
const BACKUP: [&str; 12] = [
    "backup",
    "--repo",
    "primary",
    "--job",
    NIGHTLY,
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
    /// When it has made so many requests of the server, after so many turns of a loop.
    Requests(u64, u64),
}

/// Where copies go.
enum Place {
    Folder,
    Bucket(Server),
}

struct World {
    offsite: Offsite,
    place: Place,
    runtime: Arc<Runtime>,
    /// As this process sees them.
    backends: [Arc<dyn Repository>; 2],
    primary: OpenRepository,
    second: OpenRepository,
    disk: Disk,
    version: u32,
    hours: i64,
    /// The disk at each time that a backup was started, as long as a chain has it.
    evenings: BTreeMap<i64, Vec<u8>>,
    /// How long a killed command was at work at most, and how many requests it made.
    usual: Duration,
    usual_requests: u64,
    checked: BTreeSet<(&'static str, u64)>,
}

#[test]
fn a_kill_at_any_moment_loses_nothing_in_a_folder() {
    kill_and_look(|_| Place::Folder);
}

#[test]
fn a_kill_at_any_moment_loses_nothing_in_a_bucket() {
    kill_and_look(|runtime| Place::Bucket(runtime.block_on(Server::start())));
}

fn kill_and_look(place: impl Fn(&Runtime) -> Place) {
    let seed = seed();
    let kills = std::env::var("OFFSITE_KILLS").map_or(KILLS, |text| text.parse().expect("OFFSITE_KILLS is a number"));
    let mut random = Random::new(seed);
    let runtime = Arc::new(Runtime::new().unwrap());
    let mut heads_of_killed: BTreeMap<(Command, u64), u64> = BTreeMap::new();
    let start = Instant::now();
    let mut world = World::new(seed, true, place(&runtime), &runtime);
    for kill in 0..kills {
        if kill > 0 && kill % KILLS_OF_A_WORLD == 0 {
            world = World::new(seed + kill, random.below(2) == 0, place(&runtime), &runtime);
        }
        let command = match &world.place {
            Place::Folder if random.below(2) == 0 => Command::Backup,
            _ => Command::Copy,
        };
        let moment = world.moment(&mut random);
        let heads = world.kill(command, moment);
        println!("kill {kill}: {command:?} at {moment:?}, after {heads:?} heads");
        if let Some(heads) = heads {
            *heads_of_killed.entry((command, heads)).or_default() += 1;
        }
        world.assert_nothing_lost();
        world.run_again(command);
    }
    if matches!(world.place, Place::Folder) {
        // The next run of the command removes what killed ones have left of their host's state.
        let now = world.begin(Command::Copy);
        world.offsite.run(["run", "--now", &now]).expect(0);
        let state: Vec<String> =
            repository::files(world.offsite.root()).into_iter().filter(|path| path.starts_with(HOST_STATE)).collect();
        assert_eq!(state, [format!("{HOST_STATE}{COPY}.json")]);
    }
    // Of so many, some hit each phase; the table tells a reader of the log where.
    let hit = heads_of_killed.values().sum::<u64>();
    let secs = start.elapsed().as_secs_f64();
    println!(
        "{kills} kills in {secs:.0} s, {hit} of a running command; by command and heads committed: {heads_of_killed:?}"
    );
    assert!(kills < 10 || hit * 3 > kills, "{hit} of {kills} kills met a running command");
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
    offsite.backup(&hour(2), &["web01=restored.qcow2", "--format", "qcow2"]);
    let points = offsite.json(["points", "primary"]);
    let stored: Vec<_> = points["points"].as_array().unwrap().iter().map(|point| &point["stored_blocks"]).collect();
    assert_eq!(stored[1..], [0, 0], "what was restored is what was backed up");
    repository::assert_tidy(&offsite.path("primary/nightly"));
}

/// A killed export leaves nothing under its name, and the next one of that name removes the rest.
#[test]
fn a_killed_export_leaves_nothing_under_its_name() {
    let offsite = Offsite::with_copy_job();
    Disk::new("web01", 8, 64).write_full(&offsite.path("web01.img"), 0).unwrap();
    offsite.backup(&hour(0), &["web01=web01.img"]);
    let arguments = ["export", "primary", NIGHTLY, "--to", "web01.export"];
    let import = |job: &str| drop(offsite.ok(["import", "second", job, "--from", "web01.export"]));
    let killed = (0..10).any(|number| {
        let mut child = offsite.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_until(&mut child, || repository::names(offsite.root(), "").contains("web01.export.partial"));
        child.kill().unwrap();
        child.wait().unwrap();
        // On a busy machine it may have been too fast: then what has the name is whole.
        if offsite.path("web01.export").exists() {
            import(&format!("try {number}"));
            fs::remove_file(offsite.path("web01.export")).unwrap();
            return false;
        }
        true
    });
    assert!(killed, "no export could be killed in the middle");
    offsite.ok(arguments);
    let left = repository::names(offsite.root(), "");
    let expected = ["offsite.toml", "primary", "second", "web01.export", "web01.img"];
    assert!(left.iter().all(|name| expected.contains(&name.as_str())), "{left:?}");
    import(COPY);
    let restored = offsite.restore("second", COPY, "web01", 1, "restored.img");
    qemu::assert_same(&offsite.path("web01.img"), Format::Raw, &restored, Format::Raw);
}

fn job(name: &str) -> JobName {
    JobName::new(name).unwrap()
}

fn machine() -> MachineName {
    MachineName::new("web01").unwrap()
}

fn time(text: &str) -> Timestamp {
    Timestamp::from_unix_secs(text.parse::<jiff::Timestamp>().unwrap().as_second()).unwrap()
}

impl World {
    /// Fresh repositories; with whole runs in them already, or without.
    fn new(seed: u64, warm: bool, place: Place, runtime: &Arc<Runtime>) -> Self {
        let profile = Profile { changes: Changes::WholeBlocks(2), ..Profile::for_size(SIZE_MIB) };
        let disk = Disk { name: "web01".to_owned(), seed, size_mib: SIZE_MIB, profile };
        // A folder on a disk: a run in memory is over before anyone sees it begin.
        let offsite = if matches!(place, Place::Folder) { Offsite::new() } else { Offsite::in_memory() };
        let options = match &place {
            Place::Folder => {
                offsite.config(COPY_JOB);
                None
            }
            Place::Bucket(server) => {
                let location = format!("s3://{BUCKET}/copies");
                let endpoint = server.endpoint();
                let second = format!("location = \"{location}\"\nendpoint = \"{endpoint}\"");
                offsite.config(&COPY_JOB.replace("location = \"second\"", &second));
                let key = S3Credentials::new(ACCESS_KEY_ID, SECRET_ACCESS_KEY);
                let mut options = S3Options::new(S3Location::parse(&location).unwrap(), key);
                options.endpoint = Some(endpoint);
                Some(options)
            }
        };
        let (primary, second) = (offsite.path("primary"), offsite.path("second"));
        let (backends, primary, second) = runtime.block_on(async {
            let primary: Arc<dyn Repository> = Arc::new(Local::create(primary).await.unwrap());
            let second: Arc<dyn Repository> = match options {
                None => Arc::new(Local::create(second).await.unwrap()),
                Some(options) => Arc::new(S3::open(options).await.unwrap()),
            };
            let begun = time(&hour(0));
            let open = async |backend: &Arc<dyn Repository>| {
                OpenRepository::initialise(Arc::clone(backend), begun).await.unwrap()
            };
            let (first, other) = (open(&primary).await, open(&second).await);
            ([primary, second], first, other)
        });
        let mut world = Self {
            offsite,
            place,
            runtime: Arc::clone(runtime),
            backends,
            primary,
            second,
            disk,
            version: 0,
            hours: 0,
            evenings: BTreeMap::new(),
            usual: Duration::from_millis(100),
            usual_requests: 60,
            checked: BTreeSet::new(),
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

    fn folder(&self, command: Command) -> PathBuf {
        self.offsite.path(match command {
            Command::Backup => "primary/nightly",
            Command::Copy => "second/Offsite Copy",
        })
    }

    fn moment(&self, random: &mut Random) -> Moment {
        let turns = random.below(4) * random.below(20_000);
        if let Place::Bucket(_) = self.place {
            return match random.below(4) {
                0 => Moment::Part(random.below(1_000)),
                _ => Moment::Requests(1 + random.below(self.usual_requests), turns),
            };
        }
        match random.below(4) {
            0 => Moment::Part(random.below(1_000)),
            1 => Moment::Appears(["head", "blocks", "index", "release"][random.below(4) as usize], turns),
            _ => Moment::Heads(1 + random.below(HEADS_OF_A_RUN), turns),
        }
    }

    /// The time of a new run, later than any before. A backup's disk has changed by then.
    fn begin(&mut self, command: Command) -> String {
        self.hours += 1;
        let now = hour(self.hours);
        if command == Command::Backup {
            self.version += 1;
            self.disk.apply(&self.image(), self.version).unwrap();
            self.evenings.insert(time(&now).unix_secs(), fs::read(self.image()).unwrap());
        }
        now
    }

    /// A run that nobody kills, in this process. It needs no other command before it.
    fn whole(&mut self, command: Command) {
        let now = time(&self.begin(command));
        let keep = Simple::new(KEPT).unwrap();
        let ran = self.runtime.block_on(async {
            match command {
                Command::Backup => {
                    let backup = BackupJob::new(&self.primary, job(NIGHTLY)).block_size(BlockSize::KiB256).keep(keep);
                    let backup = backup.machine(machine(), vec![ImageSource::new(self.image())]);
                    backup.run(now).await.map(drop)
                }
                Command::Copy => {
                    let copy =
                        CopyJob::new(job(COPY), &self.primary, job(NIGHTLY), &self.second).unwrap().transforms(keep);
                    copy.run(now).await.map(drop)
                }
            }
        });
        ran.unwrap_or_else(|error| panic!("{command:?}: {error:?}"));
    }

    /// Starts a command and kills it. Returns the heads that it had committed, or nothing if it had ended before.
    fn kill(&mut self, command: Command, moment: Moment) -> Option<u64> {
        if command == Command::Copy {
            // There must be something to copy.
            self.whole(Command::Backup);
        }
        let now = self.begin(command);
        let arguments: Vec<&str> = match command {
            Command::Backup => BACKUP.iter().map(|word| if *word == "TIME" { now.as_str() } else { word }).collect(),
            Command::Copy => vec!["run", "--now", &now],
        };
        let heads = self.heads(command);
        let requests = self.requests();
        let start = Instant::now();
        let mut running = self.offsite.command(&arguments);
        for name in ["AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION"] {
            running.env_remove(name);
        }
        running.env("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID).env("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY);
        let mut child = running.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let ended = self.wait(moment, &mut child, command, requests);
        // The standard library's kill is SIGKILL.
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        if ended && output.status.code().is_some() {
            Ran::new(&running, &output).expect(0);
            self.usual = start.elapsed();
            self.usual_requests = self.usual_requests.max(self.requests() - requests);
            return None;
        }
        Some(self.heads(command).unwrap_or(0) - heads.unwrap_or(0))
    }

    /// Waits for the moment; true if the process ended before.
    fn wait(&self, moment: Moment, child: &mut Child, command: Command, requests: u64) -> bool {
        let folder = self.folder(command);
        let turns = match moment {
            Moment::Part(part) => {
                // The delay is what is tested here, not a way to wait for something.
                std::thread::sleep(self.usual.mul_f64(part as f64 / 1000.0));
                0
            }
            Moment::Heads(count, turns) => {
                let heads = || repository::names(&folder, "head").pop_last().map_or(0, |name| name.parse().unwrap());
                let before: u64 = heads();
                if !wait_until(child, || heads() >= before + count) {
                    return true;
                }
                turns
            }
            Moment::Appears(part, turns) => {
                let before = repository::names(&folder, part);
                if !wait_until(child, || !repository::names(&folder, part).is_subset(&before)) {
                    return true;
                }
                turns
            }
            Moment::Requests(count, turns) => {
                if !wait_until(child, || self.requests() >= requests + count) {
                    return true;
                }
                turns
            }
        };
        (0..turns).for_each(|_| std::hint::spin_loop());
        child.try_wait().unwrap().is_some()
    }

    fn requests(&self) -> u64 {
        match &self.place {
            Place::Folder => 0,
            Place::Bucket(server) => server.counts().all(),
        }
    }

    fn place_of(&self, command: Command) -> (&Arc<dyn Repository>, &OpenRepository, &'static str) {
        match command {
            Command::Backup => (&self.backends[0], &self.primary, NIGHTLY),
            Command::Copy => (&self.backends[1], &self.second, COPY),
        }
    }

    /// The keys of a job's objects.
    fn objects(&self, command: Command) -> BTreeSet<String> {
        let (backend, _, name) = self.place_of(command);
        let objects = self.runtime.block_on(backend.list_all(&Prefix::new(name).unwrap())).unwrap();
        objects.into_iter().map(|object| object.key.to_string()).collect()
    }

    /// The number of the newest head of a job's folder.
    fn heads(&self, command: Command) -> Option<u64> {
        let head = format!("{}/head/", self.place_of(command).2);
        self.objects(command).iter().filter_map(|key| key.strip_prefix(&head)?.parse().ok()).max()
    }

    /// Every committed point restores byte for byte, right after a kill: all are compared with their digests, and those that were not
    /// seen before with what the disk held.
    fn assert_nothing_lost(&mut self) {
        let mut in_use = BTreeSet::new();
        for command in [Command::Backup, Command::Copy] {
            let (_, repository, name) = self.place_of(command);
            let verified = self.runtime.block_on(Verify::new(repository, job(name)).read_data(true).run());
            match verified {
                Err(Error::UnknownJob { .. }) => continue,
                answer => assert_eq!(answer.unwrap().damage, []),
            }
            let folder = self.runtime.block_on(JobFolder::open(repository, &job(name))).unwrap();
            for point in folder.chain().all() {
                let captured = point.machines[0].captured.unix_secs();
                in_use.insert(captured);
                if !self.checked.contains(&(name, point.sequence.0)) {
                    let restore = Restore::new(repository, job(name), machine());
                    let restore = restore.point(PointSelector::Sequence(point.sequence));
                    let to = self.offsite.path("restored");
                    fs::create_dir(&to).unwrap();
                    let report = self.runtime.block_on(restore.run(&to)).unwrap();
                    let expected = self.evenings.get(&captured);
                    let expected = expected.unwrap_or_else(|| panic!("nothing was backed up at {}", point.time));
                    let what = format!("{name} #{}", point.sequence);
                    assert_equal_bytes(&fs::read(report.disks[0].path.as_ref().unwrap()).unwrap(), expected, &what);
                    fs::remove_dir_all(to).unwrap();
                }
            }
            let seen: Vec<_> = folder.chain().all().map(|point| (name, point.sequence.0)).collect();
            self.checked.extend(seen);
        }
        // A backup that was killed as it committed has what the next one finishes.
        let newest = in_use.last().copied();
        self.evenings.retain(|time, _| in_use.contains(time) || Some(*time) > newest);
    }

    /// The next run of each command succeeds, and leaves nothing but what its chain refers to.
    fn run_again(&mut self, killed: Command) {
        self.whole(Command::Backup);
        self.whole(Command::Copy);
        for command in [Command::Backup, Command::Copy] {
            self.assert_tidy(command);
        }
        let hidden: Vec<String> = repository::files(self.offsite.root())
            .into_iter()
            // What the host keeps of its jobs is the command's: these runs of the library do not look at it.
            .filter(|path| !path.starts_with(HOST_STATE))
            .filter(|path| path.split('/').any(|part| part.starts_with('.')) || path.ends_with(".partial"))
            .collect();
        assert!(hidden.is_empty(), "left over after {killed:?}: {hidden:?}");
        let newest = |command| {
            let (_, repository, name) = self.place_of(command);
            let folder = self.runtime.block_on(JobFolder::open(repository, &job(name))).unwrap();
            folder.point(PointSelector::Latest).unwrap().machines[0].captured
        };
        assert_eq!(newest(Command::Backup), newest(Command::Copy), "the copy has what the last backup made");
        self.assert_nothing_lost();
    }

    /// Nothing is left in a job's folder but what its newest head refers to.
    fn assert_tidy(&self, command: Command) {
        let (backend, _, name) = self.place_of(command);
        let found = self.objects(command);
        let number = self.heads(command).unwrap();
        let key = Key::new(format!("{name}/head/{number:020}")).unwrap();
        let head = Head::decode(&self.runtime.block_on(backend.get(&key, HEAD_BYTES_MAX)).unwrap()).unwrap();
        assert!(head.retired.is_empty() && head.lease.is_none(), "{name}: the last run released all and ended");
        let mut expected: BTreeSet<String> =
            (head.boundary + 1..=head.number).map(|number| format!("{name}/head/{number:020}")).collect();
        expected.extend(head.files.keys().map(|id| format!("{name}/blocks/{id}")));
        expected.extend(head.chain.indexes().map(|index| format!("{name}/index/{}", index.id)));
        expected.extend(head.chain.indexes().map(|index| format!("{name}/blocks/{}.index", index.id)));
        // The newest head that changed the chain has a second copy, too.
        expected.extend(found.iter().filter(|name| name.ends_with(".head")).take(1).cloned());
        let wrong: Vec<_> = found.symmetric_difference(&expected).collect();
        assert!(wrong.is_empty(), "{name}: left over or lost {wrong:?}");
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
