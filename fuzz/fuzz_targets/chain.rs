//! Chains of a backup job and its copy under any sequence of operations, against vectors of bytes: what a restore point says of a machine
//! is what the machine held, whatever was merged, moved, compacted, kept as an archive or let go since.
#![no_main]

use std::collections::BTreeMap;
use std::sync::Arc;

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use offsite::{
    BackupJob, BackupMethod, Compact, CopyJob, Error, FullKind, ImageSource, JobFolder, JobName, LiveShare,
    MergeMethod, OpenRepository, PointSelector, Repair, Restore, Transforms, Verify,
};
use offsite_core::retention::{ArchiveMethod, DeletedMachines, Gfs, Policy, Simple};
use offsite_core::{BlockSize, MachineName, Timestamp};
use offsite_fuzz::{now, run};
use offsite_repository::testing::{Memory, MemoryOptions};
use tempfile::TempDir;

const BLOCK: usize = 256 << 10;
const STEPS_MAX: usize = 14;
const DISK_BYTES_MAX: usize = 3 * BLOCK + 1_000;

/// What a world is like for as long as it lasts.
#[derive(Debug, Arbitrary)]
struct World {
    backup: Kind,
    punches: bool,
    patches: bool,
    clones: bool,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Kind {
    ForeverForward,
    Forward,
    Reverse,
}

#[derive(Debug, Arbitrary)]
enum Step {
    /// Some bytes of a disk become others.
    Write { machine: bool, start: u32, length: u16, fill: u8 },
    /// A disk gets another size; new bytes are zero.
    Resize { machine: bool, bytes: u32 },
    /// A block becomes zero.
    Trim { machine: bool, block: u8 },
    /// A day later: a backup of one machine or both, and a copy.
    Day { only: Option<bool>, full: Option<bool>, copies: bool, keep: u8, merge: Merge, archives: Archives, compacts: bool },
    /// An index of the copy is lost, with its second copy or without, and repaired as far as that is possible.
    Repair { index: u8, is_alone: bool },
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Merge {
    Auto,
    Adopt,
    Fold,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Archives {
    None,
    Shared,
    Independent,
    Active,
}

/// The state of the world.
struct Play {
    images: TempDir,
    disks: [Vec<u8>; 2],
    truth: BTreeMap<(MachineName, i64), Vec<u8>>,
    day: i64,
    backup: BackupMethod,
    source: OpenRepository,
    target: OpenRepository,
    copied: Arc<Memory>,
}

fn name(machine: bool) -> MachineName {
    MachineName::new(if machine { "vm1" } else { "vm0" }).expect("a plain name")
}

fn job(name: &str) -> JobName {
    JobName::new(name).expect("a plain name")
}

/// Nothing that is done here may fail.
fn done<T>(answer: Result<T, Error>) -> T {
    answer.unwrap_or_else(|error| {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(next) = cause {
            text = format!("{text}: {next}");
            cause = next.source();
        }
        panic!("{text}")
    })
}

impl Play {
    async fn new(world: &World) -> Self {
        let options = MemoryOptions::default().with_reclaim(world.punches).with_patch(world.patches).with_clone_range(world.clones);
        let copied = Arc::new(Memory::with_options(options));
        Self {
            images: tempfile::tempdir_in("/dev/shm").expect("a folder"),
            disks: [vec![1; 2 * BLOCK + 7], vec![2; BLOCK]],
            truth: BTreeMap::new(),
            day: 0,
            backup: match world.backup {
                Kind::ForeverForward => BackupMethod::ForeverForward,
                Kind::Forward => BackupMethod::Forward,
                Kind::Reverse => BackupMethod::Reverse,
            },
            source: done(OpenRepository::initialise(Arc::new(Memory::new()), now()).await),
            target: done(OpenRepository::initialise(copied.clone(), now()).await),
            copied,
        }
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Write { machine, start, length, fill } => {
                let disk = &mut self.disks[usize::from(machine)];
                let start = start as usize % disk.len().max(1);
                let end = (start + usize::from(length)).min(disk.len());
                disk[start..end].fill(fill);
            }
            Step::Resize { machine, bytes } => {
                self.disks[usize::from(machine)].resize(1 + bytes as usize % DISK_BYTES_MAX, 0);
            }
            Step::Trim { machine, block } => {
                let disk = &mut self.disks[usize::from(machine)];
                let start = (usize::from(block % 4) * BLOCK).min(disk.len());
                let end = (start + BLOCK).min(disk.len());
                disk[start..end].fill(0);
            }
            Step::Day { only, full, copies, keep, merge, archives, compacts } => {
                self.day += 1;
                let machines = [false, true].into_iter().filter(|machine| only.is_none_or(|only| only == *machine));
                self.back_up(machines.collect(), full).await;
                if copies {
                    self.copy(keep, merge, archives, compacts).await;
                }
            }
            Step::Repair { index, is_alone } => self.lose(index, is_alone).await,
        }
    }

    fn time(&self) -> Timestamp {
        Timestamp::from_unix_secs(now().unix_secs() + self.day * 86_400).expect("a time in range")
    }

    async fn back_up(&mut self, machines: Vec<bool>, full: Option<bool>) {
        let mut job = BackupJob::new(&self.source, job("nightly")).block_size(BlockSize::KiB256).method(self.backup);
        for machine in machines {
            let disk = &self.disks[usize::from(machine)];
            let path = self.images.path().join(name(machine).as_str());
            std::fs::write(&path, disk).expect("an image");
            self.truth.insert((name(machine), self.time().unix_secs()), disk.clone());
            job = job.machine(name(machine), vec![ImageSource::new(path)]);
        }
        if let (Some(active), BackupMethod::Forward) = (full, self.backup) {
            job = job.full(if active { FullKind::Active } else { FullKind::Synthetic });
        }
        done(job.keep(Simple::new(3).expect("at least two")).run(self.time()).await);
    }

    async fn copy(&mut self, keep: u8, merge: Merge, archives: Archives, compacts: bool) {
        let gfs = |method| Gfs::new(1, 1, 0, 0).ok().map(|gfs| gfs.with_method(method));
        let simple = Simple::new(2 + u32::from(keep % 4)).expect("at least two");
        let policy = Policy::new(simple).with_gfs(match archives {
            Archives::None => None,
            Archives::Shared => gfs(ArchiveMethod::Shared),
            Archives::Independent => gfs(ArchiveMethod::Independent),
            Archives::Active => gfs(ArchiveMethod::Active),
        });
        let below = LiveShare::new(0.9).expect("a share");
        let merge = match merge {
            Merge::Auto => MergeMethod::Auto,
            Merge::Adopt => MergeMethod::Adopt,
            Merge::Fold => MergeMethod::Fold,
        };
        let transforms = Transforms::keeping(policy)
            .merge(merge)
            .deleted_machines(DeletedMachines::after_days(3).ok())
            .compact(compacts.then(|| Compact::below(below).piece_bytes(300 << 10)))
            .apply_changes_at_once(true);
        let copy = done(CopyJob::new(job("copy"), &self.source, job("nightly"), &self.target));
        let report = done(copy.transforms(transforms).run(self.time()).await);
        for operation in &report.transform.operations {
            assert!(operation.tally.kept_to_plan(), "{operation:?}");
        }
    }

    async fn lose(&mut self, index: u8, is_alone: bool) {
        let contents = self.copied.contents();
        let indexes: Vec<_> = contents.iter().map(|(key, _)| key).filter(|key| key.as_str().starts_with("copy/index/")).collect();
        let Some(lost) = indexes.get(usize::from(index) % indexes.len().max(1)) else { return };
        self.copied.remove(lost);
        if !is_alone {
            let twin = format!("copy/blocks/{}.index", lost.name());
            self.copied.remove(&offsite_repository::Key::new(twin).expect("a key"));
        }
        let report = match Repair::new(&self.target, job("copy")).run().await {
            // Nothing is left.
            Err(Error::Damaged { .. }) if !is_alone => return,
            answer => done(answer),
        };
        assert!(!is_alone || report.left_out.is_empty(), "{report:?}");
        self.check("copy", &self.target).await;
    }

    async fn check(&self, of: &str, repository: &OpenRepository) {
        let folder = match JobFolder::open(repository, &job(of)).await {
            Err(Error::UnknownJob { .. }) => return,
            answer => done(answer),
        };
        let report = done(Verify::new(repository, job(of)).read_data(true).run().await);
        assert_eq!(report.damage, []);
        for point in folder.chain().all() {
            for machine in point.machines.iter().filter(|machine| machine.is_whole()) {
                let to = tempfile::tempdir_in("/dev/shm").expect("a folder");
                let restore = Restore::new(repository, job(of), machine.name.clone());
                let restored = done(restore.point(PointSelector::Sequence(point.sequence)).run(to.path()).await);
                let expected = &self.truth[&(machine.name.clone(), machine.captured.unix_secs())];
                let delivered = std::fs::read(restored.disks[0].path.as_ref().expect("a path")).expect("an image");
                assert!(restored.disks.len() == 1 && delivered == *expected, "{of}, point {}", point.sequence);
            }
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut world) = World::arbitrary(&mut Unstructured::new(bytes)) else { return };
    let steps = std::mem::take(&mut world.steps);
    run(async {
        let mut play = Play::new(&world).await;
        for step in steps.into_iter().take(STEPS_MAX) {
            play.step(step).await;
        }
        play.check("nightly", &play.source).await;
        play.check("copy", &play.target).await;
    });
});
