//! What the size of a job's blocks costs and saves.

use std::path::{Path, PathBuf};

use offsite::model::BlockSize;

use super::{Bench, length_bytes, remove};
use crate::figures::pages::Pages;
use crate::figures::sample::{Samples, measure as sample};
use crate::figures::table::Table;
use crate::jobs::{self, Failure, backup_files, indexes};

/// Increments after the full.
const INCREMENTS: u32 = 6;
/// Samples of the fulls at most: there are four sizes, and two operations on each.
const FULLS_MAX: u32 = 3;

/// The figures of one block size.
struct Column {
    block_size: BlockSize,
    source: PathBuf,
    target: PathBuf,
    backup_full: Samples,
    copy_full: Samples,
    backup_increment: Samples,
    copy_increment: Samples,
    full_bytes: u64,
    increment_bytes: Vec<u64>,
    index_full_bytes: u64,
    index_increment_bytes: u64,
}

/// Measures a full, copied, and increments, copied, in blocks of every size. The sizes take turns.
pub(in crate::figures) fn measure(bench: &mut Bench, pages: &mut Pages) -> Result<(), Failure> {
    bench.bring_image_to(0)?;
    let mut columns: Vec<Column> = BlockSize::ALL.into_iter().map(|size| Column::new(bench, size)).collect();
    for _ in 0..bench.runs.min(FULLS_MAX) {
        for column in &mut columns {
            column.full(bench)?;
        }
    }
    for version in 1..=INCREMENTS {
        bench.bring_image_to(version)?;
        for column in &mut columns {
            column.increment(bench, version)?;
        }
    }
    pages.heading(3, "Size of blocks");
    let titles = std::iter::once(String::new()).chain(columns.iter().map(|column| column.block_size.to_string()));
    let titles: Vec<String> = titles.collect();
    let mut table = Table::new(&titles.iter().map(String::as_str).collect::<Vec<_>>());
    let mut row = |name: &str, cell: &dyn Fn(&Column) -> String| {
        table.row(std::iter::once(name.to_owned()).chain(columns.iter().map(cell)).collect());
    };
    row("full: backup file, MB", &|column| mb(column.full_bytes));
    row("6 increments: backup files, MB", &|column| mb(column.increment_bytes.iter().sum()));
    row("an increment: smallest-largest, MB", &|column| {
        let bytes = &column.increment_bytes;
        format!("{}-{}", mb(bytes.iter().copied().min().unwrap_or(0)), mb(bytes.iter().copied().max().unwrap_or(0)))
    });
    row("full: index, kB", &|column| kb(column.index_full_bytes));
    row("6 increments: indexes, kB", &|column| kb(column.index_increment_bytes));
    row("backup of the full, s", &|column| column.backup_full.secs().text(1.0, 2));
    row("backup of an increment, s", &|column| column.backup_increment.secs().text(1.0, 2));
    row("copy of the full, s", &|column| column.copy_full.secs().text(1.0, 2));
    row("copy of an increment, s", &|column| column.copy_increment.secs().text(1.0, 2));
    row("backup of the full, CPU s", &|column| column.backup_full.cpu_secs().text(1.0, 2));
    row("peak RSS of backups and copies, MB", &|column| {
        let all = [&column.backup_full, &column.copy_full, &column.backup_increment, &column.copy_increment];
        format!("{:.0}", all.iter().filter_map(|samples| samples.peak_rss_mb()).fold(0.0, f64::max))
    });
    pages.table(&table);
    let changed: u64 = (1..=INCREMENTS).map(|version| bench.disk.changed_bytes(version)).sum();
    pages.line(&format!(
        "{INCREMENTS} increments of a disk that rewrote {} MB in them, to the page. Fulls: {} samples; increments: one of \
         each version.",
        mb(changed),
        bench.runs.min(FULLS_MAX),
    ));
    for column in &columns {
        remove(&column.source)?;
        remove(&column.target)?;
    }
    Ok(())
}

impl Column {
    fn new(bench: &Bench, block_size: BlockSize) -> Self {
        let name = |what: &str| bench.folder.join(format!("{what}-{}", block_size.bytes()));
        Self {
            block_size,
            source: name("source"),
            target: name("target"),
            backup_full: Samples::default(),
            copy_full: Samples::default(),
            backup_increment: Samples::default(),
            copy_increment: Samples::default(),
            full_bytes: 0,
            increment_bytes: Vec::new(),
            index_full_bytes: 0,
            index_increment_bytes: 0,
        }
    }

    /// A full and its copy, in repositories that take the place of those before.
    fn full(&mut self, bench: &Bench) -> Result<(), Failure> {
        remove(&self.source)?;
        remove(&self.target)?;
        for path in [&self.source, &self.target] {
            bench.runtime.block_on(jobs::make_local(path))?;
        }
        let (backup, copy) = self.run(bench, 0)?;
        self.backup_full.push(backup);
        self.copy_full.push(copy);
        self.full_bytes = sum(&self.source, backup_files)?;
        self.index_full_bytes = sum(&self.source, indexes)?;
        Ok(())
    }

    fn increment(&mut self, bench: &Bench, version: u32) -> Result<(), Failure> {
        let (backup, copy) = self.run(bench, version)?;
        self.backup_increment.push(backup);
        self.copy_increment.push(copy);
        let so_far: u64 = self.full_bytes + self.increment_bytes.iter().sum::<u64>();
        self.increment_bytes.push(sum(&self.source, backup_files)? - so_far);
        self.index_increment_bytes = sum(&self.source, indexes)? - self.index_full_bytes;
        Ok(())
    }

    /// A backup and its copy.
    fn run(
        &self,
        bench: &Bench,
        version: u32,
    ) -> Result<(crate::figures::sample::Sample, crate::figures::sample::Sample), Failure> {
        let source = bench.runtime.block_on(jobs::open_local(&self.source))?;
        let target = bench.runtime.block_on(jobs::open_local(&self.target))?;
        let work = || bench.runtime.block_on(jobs::backup(&source, &bench.image, version, self.block_size));
        let (backup, _) = sample(bench.caches, work)?;
        let work = || bench.runtime.block_on(jobs::copy(&source, &target, version, INCREMENTS + 2));
        let (copy, _) = sample(bench.caches, work)?;
        Ok((backup, copy))
    }
}

fn sum(repository: &Path, files: fn(&Path) -> Result<Vec<PathBuf>, Failure>) -> Result<u64, Failure> {
    length_bytes(&files(repository)?)
}

fn mb(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1e6)
}

fn kb(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1e3)
}
