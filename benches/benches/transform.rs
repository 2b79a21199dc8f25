//! The transforms of a copy's chain, in memory: adopt, fold, compact, an independent full, machines that go.
//!
//! Without a storage below, these say what the engine costs, and how that depends on the size of blocks, increments and
//! fulls. The memory copies a file that it writes into, which is in the figures of fold. The commands `figures` and
//! `compare` measure folders.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use offsite::model::BlockSize;
use offsite::model::MachineName;
use offsite::report::{Operation, TransformReport};
use offsite::retention::Anchors;
use offsite::retention::ArchiveMethod;
use offsite::retention::DeletedMachines;
use offsite::retention::Gfs;
use offsite::retention::Policy;
use offsite::retention::Simple;
use offsite::{
    BackupJob, Compact, CopyJob, ImageSource, JobName, MergeMethod, OpenRepository, Selection, TransformJob, Transforms,
};
use offsite_benches::jobs::{BACKUP_JOB, COPY_JOB, disk, evening};
use offsite_cli::workload::{Changes, Disk, Profile};
use offsite_repository::testing::{Memory, MemoryOptions};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// The points of the chain: a full, the increment that is merged, and one above it.
const VERSIONS: u32 = 3;
const KEPT_MACHINE: &str = "web01";
/// Selected for the full only.
const GONE_MACHINE: &str = "old01";

/// What is varied.
#[derive(Clone, Copy)]
struct Case {
    block_size: BlockSize,
    /// Blocks of 1 MiB that each version rewrites.
    increment_mib: u64,
    full_mib: u64,
}

/// One size is changed at a time, from the first case.
const CASES: [Case; 4] = [
    Case { block_size: BlockSize::MiB1, increment_mib: 4, full_mib: 32 },
    Case { block_size: BlockSize::KiB256, increment_mib: 4, full_mib: 32 },
    Case { block_size: BlockSize::MiB1, increment_mib: 16, full_mib: 32 },
    Case { block_size: BlockSize::MiB1, increment_mib: 4, full_mib: 128 },
];

impl fmt::Display for Case {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { block_size, increment_mib, full_mib } = self;
        write!(formatter, "blocks {block_size}, increment {increment_mib} MiB, full {full_mib} MiB")
    }
}

/// A step that is measured.
struct Step {
    name: &'static str,
    transforms: Transforms,
    is_meant: fn(&Operation) -> bool,
    from: From,
}

/// What a step starts from.
#[derive(Clone, Copy)]
enum From {
    /// The chain as it was copied.
    Chain,
    /// The chain after its increment was adopted.
    Adopted,
    /// The chain after that, its old full kept as an archive that shares blocks with the new one.
    Shared,
}

fn policy(gfs: Option<ArchiveMethod>) -> Policy {
    // An hour after the first point, which it flags as soon as there is another.
    let anchors = Anchors::default().at_hour(23).expect("an hour");
    let gfs = gfs.map(|method| Gfs::new(2, 0, 0, 0).expect("a tier").with_method(method).with_anchors(anchors));
    Policy::new(Simple::new(VERSIONS - 1).expect("points")).with_gfs(gfs)
}

fn merging(merge: MergeMethod, gfs: Option<ArchiveMethod>) -> Transforms {
    Transforms::keeping(policy(gfs)).merge(merge).apply_changes_at_once(true)
}

fn steps() -> [Step; 5] {
    let gone = DeletedMachines::after_days(1).expect("a day");
    [
        Step {
            name: "adopt",
            transforms: merging(MergeMethod::Adopt, None),
            is_meant: |operation| matches!(operation, Operation::Merge { method: MergeMethod::Adopt, .. }),
            from: From::Chain,
        },
        Step {
            name: "fold",
            transforms: merging(MergeMethod::Fold, None),
            is_meant: |operation| matches!(operation, Operation::Merge { method: MergeMethod::Fold, .. }),
            from: From::Chain,
        },
        Step {
            name: "compact",
            transforms: Transforms::default().compact(Compact::all()),
            is_meant: |operation| matches!(operation, Operation::Compact { .. }),
            from: From::Adopted,
        },
        Step {
            name: "independent full",
            transforms: merging(MergeMethod::Adopt, Some(ArchiveMethod::Independent)),
            is_meant: |operation| matches!(operation, Operation::MakeIndependent { .. }),
            from: From::Shared,
        },
        Step {
            name: "remove a machine",
            transforms: Transforms::default().deleted_machines(Some(gone)),
            is_meant: |operation| matches!(operation, Operation::RemoveMachines { .. }),
            from: From::Chain,
        },
    ]
}

/// The chains that the steps start from; each execution works on a copy of its own.
struct Fixture {
    chain: Memory,
    adopted: Memory,
    shared: Memory,
}

impl Fixture {
    async fn new(case: Case) -> Self {
        // Blocks move through us, as they do where nothing can be cloned.
        let target = Memory::with_options(MemoryOptions::default().with_clone_range(false));
        copied(case, &target).await;
        let (adopted, shared) = (target.fork(), target.fork());
        transform(&adopted, &merging(MergeMethod::Adopt, None)).await;
        transform(&shared, &merging(MergeMethod::Adopt, Some(ArchiveMethod::Shared))).await;
        Self { chain: target, adopted, shared }
    }

    fn of(&self, from: From) -> &Memory {
        match from {
            From::Chain => &self.chain,
            From::Adopted => &self.adopted,
            From::Shared => &self.shared,
        }
    }
}

/// Backs the versions of two machines up and copies them to `target`.
async fn copied(case: Case, target: &Memory) {
    let images = TempDir::new().expect("a folder");
    // Whole blocks, so that the increment is of one size whatever the full's.
    let profile = Profile { changes: Changes::WholeBlocks(case.increment_mib), ..Profile::for_size(case.full_mib) };
    let kept = Disk { profile, ..disk(case.full_mib) };
    let gone = Disk::new(GONE_MACHINE, kept.seed, case.full_mib / 4);
    let image = |name: &str| images.path().join(format!("{name}.img"));
    let now = |version| evening(version).expect("a time");
    let name = |name| MachineName::new(name).expect("a name");
    let job = |name| JobName::new(name).expect("a name");
    let source = OpenRepository::initialise(Arc::new(Memory::new()), now(0)).await.expect("a repository");
    let target = OpenRepository::initialise(Arc::new(target.clone()), now(0)).await.expect("a repository");
    kept.write_full(&image(KEPT_MACHINE), 0).expect("an image");
    gone.write_full(&image(GONE_MACHINE), 0).expect("an image");
    for version in 0..VERSIONS {
        let mut machines = vec![KEPT_MACHINE];
        if version == 0 {
            machines.push(GONE_MACHINE);
        } else {
            kept.apply(&image(KEPT_MACHINE), version).expect("an image");
        }
        let mut backup = BackupJob::new(&source, job(BACKUP_JOB)).block_size(case.block_size);
        for machine in &machines {
            backup = backup.machine(name(machine), vec![ImageSource::new(image(machine))]);
        }
        backup.run(now(version)).await.expect("a backup");
        // With tiers, so that points are flagged; nothing is due yet.
        let settings = Transforms::keeping(
            policy(Some(ArchiveMethod::Shared)).with_regular(Simple::new(VERSIONS).expect("points")),
        );
        let copy = CopyJob::new(job(COPY_JOB), &source, job(BACKUP_JOB), &target).expect("two repositories");
        let selection = Selection::machines(machines.into_iter().map(name).collect());
        copy.select(selection).transforms(settings).run(now(version)).await.expect("a copy");
    }
}

/// The transform phase alone, some days later.
async fn transform(memory: &Memory, transforms: &Transforms) -> TransformReport {
    let repository = OpenRepository::open(Arc::new(memory.clone())).await.expect("a repository");
    let job = TransformJob::new(&repository, JobName::new(COPY_JOB).expect("a name")).transforms(transforms.clone());
    job.run(evening(VERSIONS + 2).expect("a time")).await.expect("a transform")
}

fn transforms(criterion: &mut Criterion) {
    let runtime: Runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build().expect("a runtime");
    let steps = steps();
    let fixtures = CASES.map(|case| (case, runtime.block_on(Fixture::new(case))));
    for step in &steps {
        let mut group = criterion.benchmark_group(step.name);
        group.sample_size(10).measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_millis(500));
        for (case, fixture) in &fixtures {
            let from = fixture.of(step.from);
            let report = runtime.block_on(transform(&from.fork(), &step.transforms));
            let done = &report.operations;
            let is_meant = !done.is_empty() && done.iter().all(|done| (step.is_meant)(&done.operation));
            assert!(is_meant, "{}, {case}: {done:?}", step.name);
            let moved: u64 = done.iter().map(|done| done.tally.target.bytes_written).sum();
            if moved > 0 {
                group.throughput(Throughput::Bytes(moved));
            }
            group.bench_function(BenchmarkId::from_parameter(case), |bencher| {
                bencher.iter_batched(
                    || from.fork(),
                    |memory| (runtime.block_on(transform(&memory, &step.transforms)), memory),
                    BatchSize::PerIteration,
                );
            });
        }
        group.finish();
    }
}

criterion_group!(benches, transforms);
criterion_main!(benches);
