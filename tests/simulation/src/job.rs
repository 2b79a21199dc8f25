//! A month in the life of a backup job and its copy, with every transform.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use offsite::model::BlockSize;
use offsite::model::Timestamp;
use offsite::retention::Anchors;
use offsite::retention::ArchiveMethod;
use offsite::retention::DeletedMachines;
use offsite::retention::Gfs;
use offsite::retention::Policy;
use offsite::retention::Simple;
use offsite::simulation::on_host;
use offsite::{
    BackupJob, BackupMethod, Checkpoints, Compact, CopyJob, Error, FullKind, JobFolder, LiveShare, MapSeed,
    MergeMethod, OpenRepository, Restore, Selection, TransformJob, Transforms, Verify,
};
use offsite_repository::Repository;
use offsite_repository::testing::{CrashImage, CrashOptions};

use crate::machines::{Images, Machines, job, machine};

/// The backup job.
pub const BACKUP: &str = "nightly";
/// The copy job.
pub const COPY: &str = "second";
/// 2026-11-01T22:00:00Z.
const START_UNIX_SECS: i64 = 1_793_570_400;
/// Short, so that a wait for a sign of life is a few looks.
pub const LEASE: Duration = Duration::from_secs(3);

/// The evening of a day, and so many seconds.
///
/// # Panics
/// Never: there is such a time.
#[must_use]
pub fn day(number: i64, seconds: i64) -> Timestamp {
    Timestamp::from_unix_secs(START_UNIX_SECS + number * 86_400 + seconds)
        .unwrap_or_else(|error| panic!("no such day: {error}"))
}

/// What the repositories can do, and what is asked of the jobs.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Its name.
    pub name: &'static str,
    /// How the repositories behave.
    pub options: CrashOptions,
    /// The transforms of the copy job.
    pub transforms: Transforms,
    /// How many points the backup job keeps.
    pub backup: Simple,
    /// How the backup job's chain grows.
    pub method: BackupMethod,
}

impl Setting {
    /// The settings that together have every transform.
    ///
    /// # Panics
    /// Never: the numbers are in range.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let fail = |what: &str| -> ! { panic!("{what} is out of range") };
        let simple = |points| Simple::new(points).unwrap_or_else(|_| fail("keep"));
        let policy = |points, method| {
            let anchors = Anchors::default().at_hour(22).unwrap_or_else(|_| fail("hour"));
            let gfs = Gfs::new(2, 1, 0, 0).unwrap_or_else(|_| fail("gfs"));
            let gfs = Some(gfs.with_method(method).with_anchors(anchors));
            Policy::new(simple(points)).with_gfs(gfs)
        };
        let deleted_machines = DeletedMachines::after_days(5).ok();
        let share = LiveShare::new(0.6).unwrap_or_else(|_| fail("share"));
        let compact = Some(Compact::below(share).piece_bytes(600 << 10));
        let can = |reclaim, clone_range, patch| {
            CrashOptions::default().with_reclaim(reclaim).with_clone_range(clone_range).with_patch(patch)
        };
        let copy = |method| Transforms::keeping(policy(7, method)).deleted_machines(deleted_machines);
        vec![
            Self {
                name: "adopt, shared archives",
                options: can(true, false, false),
                transforms: copy(ArchiveMethod::Shared),
                backup: simple(5),
                method: BackupMethod::ForeverForward,
            },
            Self {
                name: "fold, compact",
                options: can(false, false, true),
                transforms: copy(ArchiveMethod::Shared).compact(compact),
                backup: simple(4),
                method: BackupMethod::ForeverForward,
            },
            Self {
                name: "adopt, independent archives, compact",
                options: can(false, false, false),
                transforms: copy(ArchiveMethod::Independent).compact(compact),
                backup: simple(6),
                method: BackupMethod::Reverse,
            },
            Self {
                name: "fold where holes are, independent archives by cloning",
                options: can(true, true, true),
                transforms: copy(ArchiveMethod::Independent).merge(MergeMethod::Fold),
                backup: simple(5),
                method: BackupMethod::Forward,
            },
        ]
    }
}

/// A step of the month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The backup job runs.
    Backup,
    /// The copy job runs.
    Copy,
    /// A seed becomes the start of the copy job's chain.
    Map,
    /// Every sparse file of the copy is emptied.
    CompactAll,
    /// The copy is verified.
    Verify,
}

/// The steps of a day.
#[must_use]
pub fn steps(number: i64) -> Vec<Step> {
    let mut steps = vec![Step::Backup];
    match number {
        0..2 => {}
        2 => steps.push(Step::Map),
        _ => steps.push(Step::Copy),
    }
    if number == 13 || number == 22 {
        steps.push(Step::CompactAll);
    }
    if number % 6 == 5 {
        steps.push(Step::Verify);
    }
    steps
}

/// The repositories of one world.
#[derive(Debug, Clone)]
pub struct Sites<R> {
    /// Where the backup job writes.
    pub source: R,
    /// Where the copy job writes.
    pub target: R,
    /// A seed that was carried.
    pub seed: R,
}

async fn open<R: Repository + Clone + 'static>(repository: &R) -> Result<OpenRepository, Error> {
    OpenRepository::open(Arc::new(repository.clone())).await
}

/// One run of the backup job.
///
/// # Errors
/// Its own.
pub async fn back_up<R: Repository + Clone + 'static>(
    setting: &Setting,
    images: Images,
    source: &R,
    number: i64,
    now: Timestamp,
) -> Result<(), Error> {
    let repository = open(source).await?;
    let job = BackupJob::new(&repository, job(BACKUP)).block_size(BlockSize::KiB256).method(setting.method);
    let job = job.lease_duration(LEASE).keep(setting.backup);
    let job = images.into_iter().fold(job, |job, (name, images)| job.machine(name, images));
    let job = match number % 10 {
        4 if setting.method == BackupMethod::Forward => job.full(FullKind::Synthetic),
        9 if setting.method == BackupMethod::Forward => job.full(FullKind::Active),
        _ => job,
    };
    job.run(now).await.map(drop)
}

/// Checkpoints after each block, whatever the time.
#[must_use]
pub fn checkpoints() -> Checkpoints {
    let checkpoints = Checkpoints::default().with_parts(u32::MAX).with_bytes_min(1);
    checkpoints.with_pauses(Duration::ZERO, Duration::ZERO)
}

/// One run of the copy job: the time of the point that it made, if there was anything new. On each third day it commits each block with
/// a checkpoint. From the tenth day on it leaves a machine out.
///
/// # Errors
/// Its own.
pub async fn copy<R: Repository + Clone + 'static>(
    setting: &Setting,
    source: &R,
    target: &R,
    number: i64,
    now: Timestamp,
) -> Result<Option<Timestamp>, Error> {
    let (source, target) = (open(source).await?, open(target).await?);
    let job = CopyJob::new(job(COPY), &source, job(BACKUP), &target)?.lease_duration(LEASE);
    let job = job.transforms(setting.transforms.clone());
    let job = if number % 3 == 0 { job.checkpoints(checkpoints()) } else { job };
    let selected = if number < 10 { vec!["vm0", "vm1", "vm2"] } else { vec!["vm0", "vm1"] };
    let job = job.select(Selection::machines(selected.into_iter().map(machine).collect()));
    job.run(now).await.map(|report| report.sync.map(|sync| sync.time))
}

/// Transforms of the copy alone.
///
/// # Errors
/// Its own.
pub async fn transform<R: Repository + Clone + 'static>(
    transforms: Transforms,
    target: &R,
    name: &str,
    now: Timestamp,
) -> Result<(), Error> {
    let repository = open(target).await?;
    TransformJob::new(&repository, job(name)).lease_duration(LEASE).transforms(transforms).run(now).await.map(drop)
}

/// Verifies the copy, data and all.
///
/// # Errors
/// Its own; damage is one.
pub async fn verify<R: Repository + Clone + 'static>(target: &R, name: &str) -> Result<(), Error> {
    let repository = open(target).await?;
    let report = Verify::new(&repository, job(name)).read_data(true).run().await?;
    match report.damage.first() {
        None => Ok(()),
        Some(damage) => {
            Err(offsite::simulation::defect(format!("{} of {name} is damaged: {}", damage.object, damage.what)))
        }
    }
}

/// Restores a machine's newest state to a folder.
///
/// # Errors
/// Its own.
pub async fn restore<R: Repository + Clone + 'static>(
    repository: &R,
    name: &str,
    of: &str,
    point: offsite::PointSelector,
    to: &Path,
) -> Result<offsite::report::RestoreReport, Error> {
    let repository = open(repository).await?;
    Restore::new(&repository, job(name), machine(of)).point(point).run(to).await
}

/// Copies to the seed, then maps it. Does the copy's own run instead, where the chain has begun already.
async fn map(setting: &Setting, sites: &Sites<CrashImage>, number: i64, now: Timestamp) -> Result<(), Error> {
    let has_begun = async || {
        let folder = JobFolder::open(&open(&sites.target).await?, &job(COPY)).await;
        Ok::<_, Error>(folder.is_ok_and(|folder| folder.chain().latest().is_some()))
    };
    if has_begun().await? {
        return copy(setting, &sites.source, &sites.target, number, now).await.map(drop);
    }
    copy(setting, &sites.source, &sites.seed, number, now).await?;
    let (seed, target) = (open(&sites.seed).await?, open(&sites.target).await?);
    match MapSeed::new(&target, job(COPY), &seed, job(COPY))?.run(now).await {
        // It was cut off as it committed, and its commit was made as it opened the folder again.
        Err(Error::JobHasPoints { .. }) if has_begun().await? => {
            copy(setting, &sites.source, &sites.target, number, now).await.map(drop)
        }
        answer => answer.map(drop),
    }
}

/// Carries out a step as a process on `host`.
///
/// # Errors
/// Those of the engine.
pub async fn run(
    setting: &Setting,
    machines: &Machines,
    sites: &Sites<CrashImage>,
    step: Step,
    number: i64,
    now: Timestamp,
    host: &str,
) -> Result<(), Error> {
    let run = async {
        match step {
            Step::Backup => back_up(setting, machines.images(), &sites.source, number, now).await,
            Step::Copy => copy(setting, &sites.source, &sites.target, number, now).await.map(drop),
            Step::Map => map(setting, sites, number, now).await,
            Step::CompactAll => {
                let transforms = setting.transforms.clone().compact(Compact::all());
                transform(transforms, &sites.target, COPY, now).await
            }
            Step::Verify => verify(&sites.target, COPY).await,
        }
    };
    on_host(host, run).await
}
