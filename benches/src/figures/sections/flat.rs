//! Merges of the same increment into fulls of very different sizes.
//!
//! Each merge runs in a process of its own, so that its memory is told by itself, and on the chain as the merge before left it:
//! the chain has as many increments as there are samples, all of one size, and each sample merges one.

use offsite::model::CommitId;
use offsite_core::format::WireFormat;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use offsite::model::BlockSize;
use offsite::model::Chain;
use offsite::model::Digest;
use offsite::model::DiskIdentity;
use offsite::model::DiskMap;
use offsite::model::DiskName;
use offsite::model::DiskNumber;
use offsite::model::Head;
use offsite::model::ImageFormat;
use offsite::model::MachineMap;
use offsite::model::MachineName;
use offsite::model::MachineNumber;
use offsite::model::MachineState;
use offsite::model::ObjectId;
use offsite::model::Run;
use offsite::model::Status;
use offsite::model::StoredBlock;
use offsite::retention::Policy;
use offsite::retention::Simple;
use offsite::{JobName, MergeMethod, TransformJob, Transforms};
use offsite_cli::workload::{BLOCK_BYTES, Changes, Disk, Profile};
use offsite_core::Index;

use super::{Bench, remove};
use crate::figures::pages::Pages;
use crate::figures::proc::peak_rss_bytes;
use crate::figures::sample::{Spread, measure as sample, tool};
use crate::figures::table::Table;
use crate::jobs::{self, Failure, indexes};

/// The argument that makes this program merge once, and tell what that took.
pub(in crate::figures) const ARGUMENT: &str = "--merge-once";

/// Blocks of 1 MiB that each increment rewrites.
const CHANGED_BLOCKS: u64 = 200;
/// Samples at most: each is an increment more in every chain.
const RUNS_MAX: u32 = 5;
/// The points that stay: the full and one above it.
const KEPT: u32 = 2;
/// The blocks of the full of which only the index is there: 16 TiB.
const BULK_BLOCKS: u32 = 16 << 20;
/// What each of them takes in the backup file, which has a hole there.
const BULK_FRAME_BYTES: u32 = 512 << 10;
const BULK_MACHINE: &str = "bulk";

/// How much more the larger of the real fulls may take.
const RATIO_MAX: f64 = 1.5;
/// What a merge into the full of 16 TiB may take, with all that a run does before its commit.
const BULK_SECS_MAX: f64 = 2.0;
const BULK_RSS_BYTES_MAX: f64 = (512 << 20) as f64;

/// One chain, and what was measured on it.
struct Column {
    name: String,
    method: MergeMethod,
    repository: PathBuf,
    full_index_bytes: u64,
    samples: Vec<Merged>,
}

/// What a process says of its merge.
#[derive(Clone, Copy)]
struct Merged {
    /// From the plan to the commit.
    merge_secs: f64,
    /// From opening the repository to the commit: reading the head, taking the lease and planning are in it.
    run_secs: f64,
    peak_rss_bytes: u64,
    bytes_read: u64,
    bytes_written: u64,
}

/// Measures both ways of merging into a full of half the disk's size, into one of twice its size, and into one of 16 TiB. The
/// chains take turns.
pub(in crate::figures) fn measure(bench: &mut Bench, pages: &mut Pages) -> Result<(), Failure> {
    let runs = bench.runs.min(RUNS_MAX);
    let (small_mib, large_mib) = (bench.disk.size_mib / 2, bench.disk.size_mib * 2);
    let changed = CHANGED_BLOCKS.min(small_mib / 2);
    let mut columns: Vec<Column> = Vec::new();
    let of_mib = |mib: u64| format!("{} GiB", mib as f64 / 1024.0);
    for (name, size_mib, bulk_blocks) in [
        (of_mib(large_mib), large_mib, 0),
        (of_mib(small_mib), small_mib, 0),
        ("16 TiB".to_owned(), small_mib, BULK_BLOCKS),
    ] {
        let first = chain(bench, size_mib, changed, bulk_blocks, runs)?;
        let second = bench.free_path(&format!("flat-{}", columns.len() + 1))?;
        tool(
            "cp",
            [
                "-r".as_ref(),
                "--reflink=never".as_ref(),
                "--sparse=always".as_ref(),
                first.as_os_str(),
                second.as_os_str(),
            ],
        )?;
        let full_index_bytes = largest(&indexes(&first)?)?;
        for (method, repository) in [(MergeMethod::Adopt, first), (MergeMethod::Fold, second)] {
            columns.push(Column { name: name.clone(), method, repository, full_index_bytes, samples: Vec::new() });
        }
    }
    for run in 0..runs {
        for column in &mut columns {
            let merged =
                sample(bench.caches, || merge_in_process(&column.repository, column.method, KEPT + runs - 1 - run));
            column.samples.push(merged?.1);
        }
    }
    print(pages, &columns, changed, runs);
    bars(pages, &columns);
    for column in &columns {
        remove(&column.repository)?;
    }
    Ok(())
}

/// A repository with a full and increments, one more than are merged. The full has so many blocks beside, which nobody reads.
fn chain(bench: &Bench, size_mib: u64, changed: u64, bulk_blocks: u32, runs: u32) -> Result<PathBuf, Failure> {
    let profile = Profile { changes: Changes::WholeBlocks(changed), ..Profile::for_size(size_mib) };
    let disk = Disk { profile, ..jobs::disk(size_mib) };
    let image = bench.free_path("flat.img")?;
    disk.write_full(&image, 0)?;
    let folder = bench.free_path(&format!("flat-{size_mib}-{bulk_blocks}"))?;
    bench.runtime.block_on(jobs::make_local(&folder))?;
    for version in 0..=runs + KEPT - 1 {
        if version > 0 {
            disk.apply(&image, version)?;
        }
        // Opened anew each time, as the first index is replaced behind the engine's back.
        let repository = bench.runtime.block_on(jobs::open_local(&folder))?;
        bench.runtime.block_on(jobs::backup(&repository, &image, version, BlockSize::default()))?;
        if version == 0 && bulk_blocks > 0 {
            enlarge(&folder, bulk_blocks)?;
        }
    }
    remove(&image)?;
    Ok(folder)
}

/// Gives the full a machine of so many blocks: rows of its index, and a hole in its backup file.
fn enlarge(repository: &Path, blocks: u32) -> Result<(), Failure> {
    let job = repository.join(jobs::BACKUP_JOB);
    let heads = job.join("head");
    let mut head = Head::decode(&std::fs::read(newest(&heads)?)?)?;
    let full = head.chain.points().first().ok_or("a chain without a full")?.clone();
    let (file, state) = head.files.iter_mut().next().ok_or("a full without a file")?;
    let frame_bytes = u64::from(BULK_FRAME_BYTES);
    let start = state.length.next_multiple_of(frame_bytes);
    let at = |block: u32| {
        let mut digest = [0xa5; 32];
        digest[..4].copy_from_slice(&block.to_le_bytes());
        let offset = start + u64::from(block) * frame_bytes;
        StoredBlock { file: *file, offset, length: BULK_FRAME_BYTES, digest: Digest(digest) }
    };
    let runs = (0..blocks).map(|block| Run::Stored { block, at: at(block) }).collect();
    let identity = DiskIdentity::new(DiskName::nearest("bulk"), ImageFormat::Raw);
    let disk = DiskMap::new(identity, u64::from(blocks) * BLOCK_BYTES as u64, blocks.into(), 0, runs)?;
    let name = MachineName::new(BULK_MACHINE)?;
    let number = MachineNumber(u32::try_from(head.machines.len())?);
    let mut index = Index::decode(&std::fs::read(job.join("index").join(full.index.id.to_string()))?)?;
    index.id = ObjectId::new(head.epoch, 1_000_000);
    index.map.insert(name.clone(), MachineMap::new(full.time, [(DiskNumber(0), disk)].into()));
    let machine = MachineState::new(name.clone(), Status::Complete, full.time);
    index.machines.push((machine, number));
    index.machines.sort_by(|left, right| left.0.name.cmp(&right.0.name));
    let end = start + u64::from(blocks) * frame_bytes;
    index.files.insert(*file, end);
    let bytes = index.encode()?;
    let point = offsite_core::format::index::point(&index, &bytes)?;
    std::fs::write(job.join("index").join(index.id.to_string()), &bytes)?;
    std::fs::write(job.join("blocks").join(format!("{}.index", index.id)), &bytes)?;
    std::fs::OpenOptions::new().write(true).open(job.join("blocks").join(file.to_string()))?.set_len(end)?;
    state.length = end;
    state.live_bytes += u64::from(blocks) * frame_bytes;
    head.machines.push(name);
    head.chain = Chain::new(head.chain.block_size(), vec![point])?;
    head.ancestry.insert(0, head.commit);
    head.number += 1;
    head.commit = CommitId::new([0xa5; 16]);
    std::fs::write(heads.join(format!("{:020}", head.number)), head.encode()?)?;
    tool("sync", [""; 0])
}

fn newest(folder: &Path) -> Result<PathBuf, Failure> {
    let entries = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    entries.into_iter().max().ok_or_else(|| format!("nothing in {}", folder.display()).into())
}

fn largest(files: &[PathBuf]) -> Result<u64, Failure> {
    let lengths = files.iter().map(|file| Ok(file.metadata()?.len())).collect::<std::io::Result<Vec<u64>>>()?;
    Ok(lengths.into_iter().max().unwrap_or(0))
}

fn word(method: MergeMethod) -> &'static str {
    if method == MergeMethod::Fold { "fold" } else { "adopt" }
}

fn merge_in_process(repository: &Path, method: MergeMethod, keep: u32) -> Result<Merged, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(ARGUMENT).arg(repository).arg(word(method)).arg(keep.to_string()).stdin(Stdio::null());
    let output = command.stderr(Stdio::inherit()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let fields: Vec<&str> = text.split_whitespace().collect();
    match &fields[..] {
        [merge_secs, run_secs, peak_rss_bytes, bytes_read, bytes_written] if output.status.success() => Ok(Merged {
            merge_secs: merge_secs.parse()?,
            run_secs: run_secs.parse()?,
            peak_rss_bytes: peak_rss_bytes.parse()?,
            bytes_read: bytes_read.parse()?,
            bytes_written: bytes_written.parse()?,
        }),
        _ => Err(format!("a merge ended with {}: {text}", output.status).into()),
    }
}

/// What the process does: the merge that is due when the newest so many points are kept.
pub(in crate::figures) fn merge_once() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(2);
    let (Some(repository), Some(method), Some(keep)) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err(format!("{ARGUMENT} REPOSITORY METHOD KEEP").into());
    };
    let merge = if method == word(MergeMethod::Fold) { MergeMethod::Fold } else { MergeMethod::Adopt };
    let policy = Policy::new(Simple::new(keep.parse()?)?);
    let transforms = Transforms::keeping(policy).merge(merge).apply_changes_at_once(true);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let start = Instant::now();
    let report = runtime.block_on(async {
        let repository = jobs::open_local(Path::new(&repository)).await?;
        let job = TransformJob::new(&repository, JobName::new(jobs::BACKUP_JOB)?).transforms(transforms);
        Ok::<_, Failure>(job.run(jobs::evening(RUNS_MAX + KEPT)?).await?)
    })?;
    let run_secs = start.elapsed().saturating_sub(report.release_duration).as_secs_f64();
    let [merge] = &report.operations[..] else {
        return Err(format!("not one merge: {:?}", report.operations).into());
    };
    let target = &merge.tally.target;
    let merge_secs = merge.tally.duration.as_secs_f64();
    let peak = peak_rss_bytes().ok_or("the kernel does not tell how much memory was used")?;
    println!("{merge_secs} {run_secs} {peak} {} {}", target.bytes_read, target.bytes_written);
    Ok(())
}

impl Column {
    fn merge_secs(&self) -> Spread {
        Spread::of(self.samples.iter().map(|merged| merged.merge_secs))
    }

    fn run_secs(&self) -> Spread {
        Spread::of(self.samples.iter().map(|merged| merged.run_secs))
    }

    fn peak_rss_bytes(&self) -> f64 {
        self.samples.iter().map(|merged| merged.peak_rss_bytes).max().unwrap_or(0) as f64
    }
}

fn print(pages: &mut Pages, columns: &[Column], changed: u64, runs: u32) {
    pages.heading(3, "Merges of one increment into fulls of different sizes");
    let titles = [
        "",
        "samples",
        "merge to the commit, ms",
        "run to the commit, ms",
        "peak RSS, MB",
        "blocks read, MB",
        "written, MB",
        "full's first index, MB",
    ];
    let mut table = Table::new(&titles);
    for column in columns {
        let mb = |of: fn(&Merged) -> u64| Spread::of(column.samples.iter().map(|merged| of(merged) as f64));
        table.row(vec![
            format!("{}, {}", word(column.method), column.name),
            runs.to_string(),
            column.merge_secs().text(1e3, 1),
            column.run_secs().text(1e3, 1),
            format!("{:.1}", column.peak_rss_bytes() / 1e6),
            format!("{:.1}", mb(|merged| merged.bytes_read).median / 1e6),
            format!("{:.1}", mb(|merged| merged.bytes_written).median / 1e6),
            format!("{:.1}", column.full_index_bytes as f64 / 1e6),
        ]);
    }
    pages.table(&table);
    pages.line(&format!(
        "Each increment rewrites {changed} blocks of 1 MiB. Each merge has a process of its own, whose peak of memory is told. The \
         run opens the repository, takes the lease, plans and merges; the release of space comes after it. Of the 16 TiB there \
         is the index alone, in front of a hole: no block of it is read."
    ));
}

fn bars(pages: &mut Pages, columns: &[Column]) {
    // Chains come by size, each once for each way of merging: the large one, the small one, and that of 16 TiB.
    let count = columns.len() / 3;
    for number in 0..count {
        let (large, small, bulk) = (&columns[number], &columns[count + number], &columns[2 * count + number]);
        let what = word(large.method);
        let ratio = |ratio: f64| format!("{ratio:.2} x");
        let sizes = format!("{} beside {}", large.name, small.name);
        let secs = large.merge_secs().median / small.merge_secs().median;
        pages.bar(&format!("{what}, merge to the commit, {sizes}"), secs, RATIO_MAX, ratio);
        let secs = large.run_secs().median / small.run_secs().median;
        pages.bar(&format!("{what}, run to the commit, {sizes}"), secs, RATIO_MAX, ratio);
        let memory = large.peak_rss_bytes() / small.peak_rss_bytes();
        pages.bar(&format!("{what}, memory, {sizes}"), memory, RATIO_MAX, ratio);
        let name = &bulk.name;
        let secs = |secs: f64| format!("{secs:.3} s");
        pages.bar(&format!("{what}, run to the commit, {name}"), bulk.run_secs().median, BULK_SECS_MAX, secs);
        let mib = |bytes: f64| format!("{:.0} MiB", bytes / f64::from(1 << 20));
        pages.bar(&format!("{what}, memory, {name}"), bulk.peak_rss_bytes(), BULK_RSS_BYTES_MAX, mib);
    }
}
