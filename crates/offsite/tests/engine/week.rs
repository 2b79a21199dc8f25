//! Seven days of three machines, in which every call to a repository fails in every way, or the place is full.
//!
//! Each run of the week starts from what the healthy runs before it left. A call fails once, or it and all after it, with each
//! kind of error; or it is carried out and its answer is lost. A run then ends with a typed error or succeeds, nothing is
//! damaged, and the next run succeeds and leaves nothing lying about.
//!
//! By default each call meets one of the ways, told by `OFFSITE_SEED`; `OFFSITE_FAULTS=all` has them all, a number so many of them.

use std::sync::Arc;

use offsite::model::Timestamp;
use offsite::retention::{ArchiveMethod, DeletedMachines, Gfs, Policy};
use offsite::{Compact, Error, JobFolder, MergeMethod, OpenRepository, Transforms, Verify};
use offsite_repository::testing::{Fault, Faulty, Memory};
use offsite_repository::{ErrorKind, Repository};

use crate::support::objects::{newest_head, stray};
use crate::support::truth::{Truth, causes};
use crate::support::{BLOCK, Machines, Random, copy_job, day, job, keep, memory_repository, open_memory, seed};

const BACKUP: &str = "nightly";
const COPY: &str = "Offsite Copy";
const DAYS: i64 = 7;
const KINDS: [ErrorKind; 10] = [
    ErrorKind::NotFound,
    ErrorKind::AlreadyExists,
    ErrorKind::Indeterminate,
    ErrorKind::Unavailable,
    ErrorKind::NoSpace,
    ErrorKind::PermissionDenied,
    ErrorKind::MediaAbsent,
    ErrorKind::WrongMedia,
    ErrorKind::Corrupt,
    ErrorKind::Unsupported,
];
/// The steps of budgets for a full disk.
const STEP_BYTES: u64 = 4 << 10;

/// What a day's run does, and whose calls fail in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Backup,
    CopyFrom,
    CopyTo,
}

impl Step {
    const ALL: [Self; 3] = [Self::Backup, Self::CopyFrom, Self::CopyTo];

    /// The job that the step writes to.
    fn job(self) -> &'static str {
        if self == Self::Backup { BACKUP } else { COPY }
    }
}

/// The week, up to one of its runs.
struct Week {
    source: Memory,
    target: Memory,
    machines: Machines,
    truth: Truth,
    today: i64,
}

fn later(today: i64) -> Timestamp {
    Timestamp::from_unix_secs(day(today).unix_secs() + 3_600).unwrap()
}

impl Week {
    async fn new(seed: u64) -> Self {
        let (source, _) = memory_repository().await;
        let (target, _) = memory_repository().await;
        let mut machines = Machines::new(seed);
        machines.add("web01", &[BLOCK + 777, 300]);
        machines.add("db01", &[2 * BLOCK]);
        machines.add("mail", &[BLOCK / 2]);
        Self { source: (*source).clone(), target: (*target).clone(), machines, truth: Truth::default(), today: 0 }
    }

    /// Machines come and go.
    fn names(&self) -> Vec<&'static str> {
        match self.today {
            0 => vec!["web01", "db01"],
            1..=3 => vec!["web01", "db01", "mail"],
            _ => vec!["web01", "mail"],
        }
    }

    fn begin(&mut self, today: i64) {
        self.today = today;
        for name in self.names() {
            self.machines.change(name, 1);
        }
        let names = self.names();
        self.truth.record(&self.machines, &names, day(today));
        self.truth.record(&self.machines, &names, later(today));
    }

    /// Both ways of merging, an archive, machines that go, and compaction.
    fn transforms(&self) -> Transforms {
        let gfs = Gfs::new(2, 0, 0, 0).unwrap().with_method(ArchiveMethod::Independent);
        let policy = Policy::new(keep(3)).with_gfs(gfs);
        Transforms::keeping(policy)
            .merge(if self.today % 2 == 0 { MergeMethod::Fold } else { MergeMethod::Adopt })
            .deleted_machines(Some(DeletedMachines::after_days(1).unwrap()))
            .compact((self.today >= 5).then(Compact::all))
            .apply_changes_at_once(true)
    }

    async fn run(
        &self,
        step: Step,
        source: &OpenRepository,
        target: &OpenRepository,
        now: Timestamp,
    ) -> Result<(), Error> {
        match step {
            Step::Backup => self.machines.backup(source, &self.names()).keep(keep(3)).run(now).await.map(drop),
            Step::CopyFrom | Step::CopyTo => {
                copy_job(source, target).transforms(self.transforms()).run(now).await.map(drop)
            }
        }
    }

    /// One run on forks of which one is faulty, and everything that must hold afterwards. Whether the fault struck, and whether the run failed.
    async fn attempt(&self, step: Step, fault: Fault, kind: ErrorKind) -> (bool, bool) {
        let (source, target) = (self.source.fork(), self.target.fork());
        let (faulty_source, faulty_target) = (Faulty::new(source.clone()), Faulty::new(target.clone()));
        let faulty = if step == Step::CopyTo { &faulty_target } else { &faulty_source };
        let about = format!("day {}, {step:?}, {fault:?}", self.today);
        faulty.inject(fault);
        let run = async {
            let source = open(&faulty_source).await?;
            // A backup opens one repository only.
            let target = if step == Step::Backup { source.clone() } else { open(&faulty_target).await? };
            self.run(step, &source, &target, day(self.today)).await
        };
        let ended = run.await;
        let struck = faulty.failures() > 0;
        match &ended {
            Ok(()) => {}
            Err(error @ Error::Defect { .. }) => panic!("{about}: {}", causes(error)),
            // The repository has said that something is lost.
            Err(Error::Damaged { .. } | Error::SnapshotExpired { .. })
                if matches!(kind, ErrorKind::NotFound | ErrorKind::Corrupt) => {}
            Err(error @ (Error::Damaged { .. } | Error::SnapshotExpired { .. })) => {
                panic!("{about}: {}", causes(error))
            }
            Err(error) => assert!(struck, "{about}: {}", causes(error)),
        }
        self.recovers(step, &source, &target, &about).await;
        (struck, ended.is_err())
    }

    /// Nothing is damaged; the next run succeeds, restores, and leaves nothing.
    async fn recovers(&self, step: Step, source: &Memory, target: &Memory, about: &str) {
        let (primary, second) = (open_memory(source).await, open_memory(target).await);
        for (repository, name) in [(&primary, BACKUP), (&second, COPY)] {
            match Verify::new(repository, job(name)).read_data(true).run().await {
                Ok(report) => assert_eq!(report.damage, [], "{about}: {name}"),
                Err(Error::UnknownJob { .. }) => {}
                Err(error) => panic!("{about}: {name}: {}", causes(&error)),
            }
        }
        let ran = self.run(step, &primary, &second, later(self.today)).await;
        ran.unwrap_or_else(|error| panic!("{about}: the next run: {}", causes(&error)));
        let (repository, memory) = if step == Step::Backup { (&primary, source) } else { (&second, target) };
        self.truth.check(repository, step.job()).await;
        assert_eq!(stray(memory, step.job()), [""; 0], "{about}");
        assert_eq!(newest_head(memory, step.job()).retired, [], "{about}");
    }

    /// The run, as it is when nothing fails.
    async fn go_on(&self, step: Step) {
        let (primary, second) = (open_memory(&self.source).await, open_memory(&self.target).await);
        self.run(step, &primary, &second, day(self.today)).await.unwrap();
        let repository = if step == Step::Backup { &primary } else { &second };
        self.truth.check(repository, step.job()).await;
    }
}

async fn open(faulty: &Faulty<Memory>) -> Result<OpenRepository, Error> {
    let backend: Arc<dyn Repository> = Arc::new(faulty.clone());
    OpenRepository::open(backend).await
}

/// Every way in which the call after `spare` others fails, with its kind.
fn ways(spare: u64) -> Vec<(Fault, ErrorKind)> {
    let fault = |kind| Fault::after_calls(spare, kind);
    let each = KINDS.into_iter();
    each.flat_map(|kind| [fault(kind), fault(kind).for_ever(), fault(kind).losing_the_answer()].map(|way| (way, kind)))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn every_call_of_a_week_fails_in_every_way() {
    let seed = seed(71);
    let of_each_call = match std::env::var("OFFSITE_FAULTS").as_deref() {
        Ok("all") => usize::MAX,
        Ok(count) => count.parse().expect("OFFSITE_FAULTS is a number, or all"),
        Err(_) => 1,
    };
    let mut random = Random::new(seed);
    let mut week = Week::new(seed).await;
    let (mut calls, mut faults, mut failed) = (0, 0, 0);
    for today in 0..DAYS {
        week.begin(today);
        for step in Step::ALL {
            for spare in 0.. {
                let mut ways = ways(spare);
                while ways.len() > of_each_call {
                    ways.swap_remove(random.below(ways.len()));
                }
                let mut struck = false;
                for (fault, kind) in ways {
                    let (has_struck, has_failed) = week.attempt(step, fault, kind).await;
                    struck |= has_struck;
                    failed += u64::from(has_failed);
                    faults += 1;
                }
                if !struck {
                    break;
                }
                calls += 1;
            }
            if step != Step::CopyFrom {
                week.go_on(step).await;
            }
        }
    }
    let head = newest_head(&week.target, COPY);
    println!(
        "{calls} calls of {DAYS} days, {faults} faults, {failed} failed runs; {} archives at the end",
        head.chain.archives().len()
    );
    assert!(calls > 500 && failed > calls / 3, "{calls} {failed}");
}

/// The place takes so much more and not a byte beyond, from nothing on in small steps, until a run has what it needs.
#[tokio::test(start_paused = true)]
async fn a_disk_that_is_full_at_any_byte() {
    let seed = seed(72);
    let mut week = Week::new(seed).await;
    let (mut budgets, mut full) = (0, 0);
    for today in 0..DAYS {
        week.begin(today);
        for step in [Step::Backup, Step::CopyTo] {
            // Days on which both kinds of merge, an archive, a machine's removal and compaction have happened, and the first.
            let is_tried = [0, 3, 4, 6].contains(&today);
            for budget in (0..if is_tried { u64::MAX } else { 0 }).step_by(STEP_BYTES as usize) {
                let (source, target) = (week.source.fork(), week.target.fork());
                let place = if step == Step::Backup { &source } else { &target };
                place.set_capacity_bytes(place.used_bytes() + budget);
                let (primary, second) = (open_memory(&source).await, open_memory(&target).await);
                let ended = week.run(step, &primary, &second, day(today)).await;
                let about = format!("day {today}, {step:?}, {budget} bytes");
                if let Err(error) = &ended {
                    assert_eq!(error.repository_kind(), Some(ErrorKind::NoSpace), "{about}: {}", causes(error));
                    full += 1;
                }
                // While it is full, what is there restores.
                let repository = if step == Step::Backup { &primary } else { &second };
                match JobFolder::open(repository, &job(step.job())).await {
                    Ok(_) => drop(week.truth.check(repository, step.job()).await),
                    Err(Error::UnknownJob { .. }) => {}
                    Err(error) => panic!("{about}: {}", causes(&error)),
                }
                place.set_capacity_bytes(u64::MAX);
                week.recovers(step, &source, &target, &about).await;
                budgets += 1;
                if ended.is_ok() {
                    break;
                }
            }
            week.go_on(step).await;
        }
    }
    println!("{budgets} budgets, {full} runs out of space");
    assert!(full > 100, "{full}");
}
