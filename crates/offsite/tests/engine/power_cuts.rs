//! Power cuts on real file systems, at any call of backups, copies, their transforms and their releases, and in the middle of it.
//!
//! The file system is told to stop at once and to forget what it has not written; then it is mounted anew from what is on its device.
//! Every committed point restores byte for byte then, nothing is damaged, and the next run succeeds and leaves nothing lying about.
//!
//! `OFFSITE_CUTS` sets how many cuts of each file system, `OFFSITE_SEED` replays the moments (as far as the kernel's own timing lets
//! them). It takes a user who may mount, the tools of ext4 and XFS, and python3; where they are missing, the tests say so and pass.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use offsite::model::{Head, ObjectId, Sequence, Timestamp};
use offsite::retention::{ArchiveMethod, DeletedMachines, Gfs, Policy};
use offsite::{Compact, Error, JobFolder, MergeMethod, OpenRepository, Transforms, Verify};
use offsite_backends::Local;
use offsite_core::format::WireFormat;
use offsite_core::format::head::HEAD_BYTES_MAX;
use offsite_repository::testing::{Fault, Faulty, Gate};
use offsite_repository::{Prefix, Repository, RepositoryExt};
use offsite_tests::{Disk, FileSystemKind};
use tokio::runtime::{Builder, Runtime};

use crate::support::truth::{Truth, causes};
use crate::support::{BLOCK, Machines, Random, copy_job, day, job, keep, seed};

const BACKUP: &str = "nightly";
const COPY: &str = "Offsite Copy";
/// Of each file system.
const CUTS: u64 = 500;
/// Each cycle comes so much after the one before.
const CYCLE_SECS: i64 = 6 * 3_600;

/// Nothing may be open when the power comes back, and a process that another test starts holds open for a moment what this has.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Run {
    Backup,
    Copy,
}

impl Run {
    /// The job that it writes to.
    fn job(self) -> &'static str {
        if self == Self::Backup { BACKUP } else { COPY }
    }
}

/// When the power goes.
#[derive(Debug, Clone, Copy)]
enum Moment {
    Before,
    After,
    /// While the call is carried out, after so many turns of a loop.
    Within(usize),
}

struct World {
    disk: Disk,
    /// What is open on it, while its power is on: opening a place probes it, which takes longer than most calls.
    source: Option<Local>,
    target: Option<Local>,
    machines: Machines,
    truth: Truth,
    cycle: i64,
    /// How many calls each run has if nobody cuts it off.
    usual: BTreeMap<Run, u64>,
    /// The newest point of each job that was restored and compared.
    checked: BTreeMap<Run, Sequence>,
}

/// Signs of life and pauses take no time.
fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

impl World {
    fn new(kind: FileSystemKind, seed: u64) -> Option<Self> {
        let disk = Disk::new_or_say(kind)?;
        let (mut machines, truth) = (Machines::new(seed), Truth::default());
        machines.add("web01", &[BLOCK + 777]);
        machines.add("db01", &[BLOCK / 4]);
        let mut world = Self {
            disk,
            source: None,
            target: None,
            machines,
            truth,
            cycle: 0,
            usual: BTreeMap::new(),
            checked: BTreeMap::new(),
        };
        world.open();
        runtime().block_on(async {
            for run in [Run::Backup, Run::Copy] {
                OpenRepository::initialise(Arc::new(world.local(run)), day(0)).await.unwrap();
            }
        });
        Some(world)
    }

    fn open(&mut self) {
        let path = self.disk.path();
        runtime().block_on(async {
            self.source = Some(Local::create(path.join("source")).await.unwrap());
            self.target = Some(Local::create(path.join("target")).await.unwrap());
        });
    }

    /// The place that a run writes to.
    fn local(&self, run: Run) -> Local {
        let local = if run == Run::Backup { &self.source } else { &self.target };
        local.clone().unwrap()
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_unix_secs(day(0).unix_secs() + self.cycle * CYCLE_SECS).unwrap()
    }

    /// The machines of this cycle: now and then one is not there.
    fn names(&self) -> Vec<&'static str> {
        if self.cycle / 8 % 3 == 2 { vec!["web01"] } else { vec!["web01", "db01"] }
    }

    fn next_cycle(&mut self) {
        self.cycle += 1;
        for name in self.names() {
            self.machines.change(name, 1);
        }
        let (names, now) = (self.names(), self.now());
        self.truth.record(&self.machines, &names, now);
    }

    /// Both ways of merging, archives that come and go, machines that go, and compaction.
    fn transforms(&self) -> Transforms {
        let gfs = Gfs::new(2, 0, 0, 0).unwrap().with_method(ArchiveMethod::Independent);
        let policy = Policy::new(keep(2)).with_gfs(gfs);
        Transforms::keeping(policy)
            .merge(if self.cycle % 2 == 0 { MergeMethod::Fold } else { MergeMethod::Adopt })
            .deleted_machines(Some(DeletedMachines::after_days(1).unwrap()))
            .compact((self.cycle % 5 == 0).then(Compact::all))
            .apply_changes_at_once(true)
    }

    async fn run(&self, run: Run, source: &OpenRepository, target: &OpenRepository) -> Result<(), Error> {
        let now = self.now();
        match run {
            Run::Backup => self.machines.backup(source, &self.names()).keep(keep(2)).run(now).await.map(drop),
            Run::Copy => copy_job(source, target).transforms(self.transforms()).run(now).await.map(drop),
        }
    }

    /// A run that nobody cuts off.
    fn whole(&mut self, run: Run) {
        self.next_cycle();
        let calls = runtime().block_on(async {
            let source = Faulty::new(self.local(Run::Backup));
            let target = Faulty::new(self.local(Run::Copy));
            let (backends, calls): ([Arc<dyn Repository>; 2], _) =
                ([Arc::new(source.clone()), Arc::new(target.clone())], || (source.calls(), target.calls()));
            let [source, target] = backends;
            let (source, target) =
                (OpenRepository::open(source).await.unwrap(), OpenRepository::open(target).await.unwrap());
            self.run(run, &source, &target).await.unwrap_or_else(|error| panic!("{run:?}: {}", causes(&error)));
            if run == Run::Backup { calls().0 } else { calls().1 }
        });
        self.usual.insert(run, calls);
    }

    /// A run in whose call after `spare` others, at the repository that it writes to, the power goes. True if it got so far.
    fn cut(&mut self, run: Run, spare: u64, moment: Moment, dies: bool) -> bool {
        self.next_cycle();
        let runtime = runtime();
        let was_cut = runtime.block_on(async {
            let source = Faulty::new(self.local(Run::Backup));
            let target = Faulty::new(self.local(Run::Copy));
            let gate = Gate::new();
            let fault = Fault::holding(spare, &gate);
            let fault = if matches!(moment, Moment::After) { fault.losing_the_answer() } else { fault };
            if run == Run::Backup {
                source.inject(fault)
            } else {
                target.inject(fault)
            }
            let running = async {
                let source = OpenRepository::open(Arc::new(source)).await?;
                let target = OpenRepository::open(Arc::new(target)).await?;
                self.run(run, &source, &target).await
            };
            let mut running = Box::pin(running);
            tokio::select! {
                biased;
                ended = &mut running => {
                    ended.unwrap_or_else(|error| panic!("{run:?}: {}", causes(&error)));
                    return false;
                }
                () = gate.reached() => {}
            }
            gate.release();
            // Of a run that ends with the call that the cut is in.
            let mut ended = None;
            match moment {
                Moment::Before | Moment::After => self.disk.cut().unwrap(),
                Moment::Within(turns) => std::thread::scope(|scope| {
                    let cutting = scope.spawn(|| {
                        (0..turns).for_each(|_| std::hint::spin_loop());
                        self.disk.cut().unwrap();
                    });
                    // Far enough for the call to be with the kernel.
                    let polled = crate::support::drive::poll_times(&mut running, 1);
                    ended = futures::FutureExt::now_or_never(polled).flatten();
                    cutting.join().unwrap();
                }),
            }
            if !dies {
                // The machine lives on for a while, and meets what a dead disk says.
                let ended = match ended {
                    Some(ended) => ended,
                    None => running.await,
                };
                if let Err(error @ Error::Defect { .. }) = ended {
                    panic!("{run:?}: {}", causes(&error));
                }
            }
            true
        });
        // Waits for what was under way.
        drop(runtime);
        (self.source, self.target) = (None, None);
        self.disk.unmount().unwrap();
        self.disk.mount().unwrap();
        self.open();
        was_cut
    }

    /// Every committed point restores byte for byte: all blocks are compared with their digests, and points that were not seen
    /// before, or that a merge has made anew, with what the machines held.
    fn check(&mut self, about: &str) {
        runtime().block_on(async {
            let (mut captured, to) = (BTreeSet::new(), crate::support::scratch());
            for run in [Run::Backup, Run::Copy] {
                let repository = OpenRepository::open(Arc::new(self.local(run))).await.unwrap();
                let name = run.job();
                match Verify::new(&repository, job(name)).read_data(true).run().await {
                    Ok(report) => assert_eq!(report.damage, [], "{about}: {name}"),
                    Err(Error::UnknownJob { .. }) => continue,
                    Err(error) => panic!("{about}: {name}: {}", causes(&error)),
                }
                let chain = JobFolder::open(&repository, &job(name)).await.unwrap().chain().clone();
                let oldest = chain.points().first().map(|point| point.sequence);
                for point in chain.all() {
                    let is_new = self.checked.get(&run).is_none_or(|checked| point.sequence > *checked);
                    for state in &point.machines {
                        captured.insert((state.name.to_string(), state.captured.unix_secs()));
                        if is_new || Some(point.sequence) == oldest {
                            let restored = self.truth.restore(&repository, name, point, state.name.as_str(), to.path());
                            restored.await.unwrap_or_else(|error| panic!("{about}: {name}: {}", causes(&error)));
                        }
                    }
                }
                self.checked.extend(chain.latest().map(|point| (run, point.sequence)));
            }
            self.truth.keep_only(&captured);
        });
    }

    /// Nothing lies in the folder of a run's job but what its newest head refers to.
    fn assert_tidy(&self, run: Run, about: &str) {
        let (local, name) = (self.local(run), run.job());
        let (found, head) = runtime().block_on(async {
            let objects = local.list_all(&Prefix::new(name).unwrap()).await.unwrap();
            let found: BTreeSet<String> = objects.into_iter().map(|object| object.key.to_string()).collect();
            let newest = found.iter().rfind(|key| key.starts_with(&format!("{name}/head/"))).unwrap();
            let head = local.get(&crate::support::objects::key(newest), HEAD_BYTES_MAX).await.unwrap();
            (found, Head::decode(&head).unwrap())
        });
        let key = |part: &str, id: ObjectId| format!("{name}/{part}/{id}");
        let mut expected: BTreeSet<String> = head.files.keys().map(|id| key("blocks", *id)).collect();
        expected.extend(head.chain.indexes().map(|index| key("index", index.id)));
        expected.extend((head.boundary + 1..=head.number).map(|number| format!("{name}/head/{number:020}")));
        expected.extend(head.chain.indexes().map(|index| format!("{name}/blocks/{}.index", index.id)));
        // The newest head that changed the chain has a second copy, too.
        expected.extend(found.iter().filter(|name| name.ends_with(".head")).take(1).cloned());
        let wrong: Vec<_> = found.symmetric_difference(&expected).collect();
        assert!(wrong.is_empty() && head.retired.is_empty() && head.lease.is_none(), "{about}: {wrong:?}");
    }
}

fn survives(kind: FileSystemKind) {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let seed = seed(61);
    let cuts = std::env::var("OFFSITE_CUTS").map_or(CUTS, |text| text.parse().expect("OFFSITE_CUTS is a number"));
    let Some(mut world) = World::new(kind, seed) else { return };
    let mut random = Random::new(seed);
    let start = std::time::Instant::now();
    let (mut count, mut by_run): (u64, BTreeMap<Run, u64>) = (0, BTreeMap::new());
    while count < cuts {
        let run = if random.below(3) == 0 { Run::Backup } else { Run::Copy };
        if run == Run::Copy {
            world.whole(Run::Backup);
        }
        let spare = random.below(world.usual.get(&run).copied().unwrap_or(60) as usize) as u64;
        let moment = match random.below(4) {
            0 => Moment::Before,
            1 => Moment::After,
            _ => Moment::Within(random.below(4) * random.below(20_000)),
        };
        let dies = random.below(2) == 0;
        let about = format!("{kind:?}, cut {count}: {run:?}, {moment:?} call {spare}, dies: {dies}");
        if world.cut(run, spare, moment, dies) {
            count += 1;
            *by_run.entry(run).or_default() += 1;
        }
        world.check(&about);
        world.whole(run);
        world.assert_tidy(run, &about);
    }
    println!("{kind:?}: {count} cuts in {:.0} s, {by_run:?}, nothing lost", start.elapsed().as_secs_f64());
}

#[test]
fn nothing_is_lost_on_ext4() {
    survives(FileSystemKind::Ext4);
}

#[test]
fn nothing_is_lost_on_xfs() {
    survives(FileSystemKind::Xfs);
}
