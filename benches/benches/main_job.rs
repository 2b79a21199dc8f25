//! The steps of the main job on a small disk, in memory and in folders.
//!
//! Here the disk is small and its image is cached, so these say what the engine costs, not what a disk can do. The command
//! `figures` measures large disks.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use offsite::OpenRepository;
use offsite::model::BlockSize;
use offsite_benches::jobs;
use offsite_repository::Repository;
use offsite_repository::testing::Memory;
use tempfile::TempDir;
use tokio::runtime::Runtime;

const SIZE_MIB: u64 = 64;
/// The versions of the disk: a full, an increment to merge into it, and one above it.
const VERSIONS: u32 = 3;

/// Where the repositories are.
#[derive(Clone, Copy)]
enum Place {
    Memory,
    Folder,
}

/// A repository as it is stored; each execution works on a copy of its own.
enum Stored {
    Memory(Memory),
    Folder(TempDir),
}

/// A copy of a stored repository, which goes with it.
struct Scratch {
    repository: OpenRepository,
    _folder: Option<TempDir>,
}

/// What all executions start from.
struct Fixture {
    runtime: Runtime,
    place: Place,
    _images: TempDir,
    /// The images of all versions.
    paths: Vec<PathBuf>,
    /// A repository without a job.
    empty: Stored,
    /// Backups of the versions: of the first, of the first two, of all three.
    sources: Vec<Stored>,
    /// Copies of the same.
    targets: Vec<Stored>,
}

impl Stored {
    fn new(place: Place) -> Self {
        match place {
            Place::Memory => Self::Memory(Memory::new()),
            Place::Folder => Self::Folder(TempDir::new().expect("a folder")),
        }
    }

    /// A repository with the same objects, in which whatever happens is not seen here.
    fn scratch(&self, runtime: &Runtime) -> Scratch {
        let copy = self.duplicate();
        runtime.block_on(copy.open())
    }

    fn duplicate(&self) -> Self {
        match self {
            Self::Memory(memory) => Self::Memory(memory.fork()),
            Self::Folder(folder) => {
                let to = TempDir::new().expect("a folder");
                copy_tree(folder.path(), to.path());
                Self::Folder(to)
            }
        }
    }

    async fn open(self) -> Scratch {
        match self {
            Self::Memory(memory) => {
                let backend: Arc<dyn Repository> = Arc::new(memory);
                Scratch { repository: OpenRepository::open(backend).await.expect("a repository"), _folder: None }
            }
            Self::Folder(folder) => {
                let repository = jobs::open_local(folder.path()).await.expect("a repository");
                Scratch { repository, _folder: Some(folder) }
            }
        }
    }

    /// A repository that changes made through the handle stay in.
    async fn make(place: Place) -> (Self, OpenRepository) {
        let stored = Self::new(place);
        let repository = match &stored {
            Self::Memory(memory) => {
                let backend: Arc<dyn Repository> = Arc::new(memory.clone());
                let now = jobs::evening(0).expect("a time");
                OpenRepository::initialise(backend, now).await.expect("an empty place")
            }
            Self::Folder(folder) => jobs::make_local(folder.path()).await.expect("an empty folder"),
        };
        (stored, repository)
    }
}

fn copy_tree(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            std::fs::create_dir(&to).expect("a free name");
            copy_tree(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).expect("a file");
        }
    }
}

impl Fixture {
    fn new(place: Place) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build().expect("a runtime");
        let images = TempDir::new().expect("a folder");
        let disk = jobs::disk(SIZE_MIB);
        let paths: Vec<PathBuf> = (0..VERSIONS)
            .map(|version| {
                let path = images.path().join(format!("{version}.img"));
                disk.write_full(&path, version).expect("an image");
                path
            })
            .collect();
        let (empty, sources, targets) = runtime.block_on(async {
            let (empty, _) = Stored::make(place).await;
            let (source_store, source) = Stored::make(place).await;
            let (target_store, target) = Stored::make(place).await;
            let (mut sources, mut targets) = (Vec::new(), Vec::new());
            for (version, image) in (0..).zip(&paths) {
                jobs::backup(&source, image, version, BlockSize::default()).await.expect("a backup");
                jobs::copy(&source, &target, version, VERSIONS).await.expect("a copy");
                sources.push(source_store.duplicate());
                targets.push(target_store.duplicate());
            }
            (empty, sources, targets)
        });
        Self { runtime, place, _images: images, paths, empty, sources, targets }
    }
}

fn main_job(criterion: &mut Criterion) {
    for fixture in [Fixture::new(Place::Memory), Fixture::new(Place::Folder)] {
        let place = match fixture.place {
            Place::Memory => "memory",
            Place::Folder => "folder",
        };
        let id = |step: &str| BenchmarkId::new(step, place);
        let runtime = &fixture.runtime;
        let last = VERSIONS - 1;
        let disk = jobs::disk(SIZE_MIB);
        let mut group = criterion.benchmark_group(format!("{SIZE_MIB} MiB disk"));
        group.sample_size(10).measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_millis(500));

        group.throughput(Throughput::Bytes(disk.size_bytes()));
        for (step, stored, image, version) in [
            ("backup full", &fixture.empty, &fixture.paths[0], 0),
            ("backup unchanged", &fixture.sources[0], &fixture.paths[0], 1),
            ("backup increment", &fixture.sources[0], &fixture.paths[1], 1),
        ] {
            group.bench_function(id(step), |bencher| {
                bencher.iter_batched(
                    || stored.scratch(runtime),
                    |scratch| {
                        let work = jobs::backup(&scratch.repository, image, version, BlockSize::default());
                        (runtime.block_on(work).expect("a backup"), scratch)
                    },
                    BatchSize::PerIteration,
                );
            });
        }
        for (step, source, target, version, keep) in [
            ("copy full", &fixture.sources[0], &fixture.empty, 0, VERSIONS),
            ("copy increment", &fixture.sources[1], &fixture.targets[0], 1, VERSIONS),
            ("merge by adoption", &fixture.sources[2], &fixture.targets[2], last, VERSIONS - 1),
        ] {
            group.bench_function(id(step), |bencher| {
                bencher.iter_batched(
                    || (source.scratch(runtime), target.scratch(runtime)),
                    |(source, target)| {
                        let work = jobs::copy(&source.repository, &target.repository, version, keep);
                        (runtime.block_on(work).expect("a copy"), source, target)
                    },
                    BatchSize::PerIteration,
                );
            });
        }
        group.bench_function(id("restore"), |bencher| {
            bencher.iter_batched(
                || (fixture.targets[2].scratch(runtime), TempDir::new().expect("a folder")),
                |(target, folder)| {
                    let to = folder.path().join("restored.img");
                    (runtime.block_on(jobs::restore(&target.repository, &to)).expect("a restore"), target, folder)
                },
                BatchSize::PerIteration,
            );
        });
        group.finish();
    }
}

criterion_group!(benches, main_job);
criterion_main!(benches);
