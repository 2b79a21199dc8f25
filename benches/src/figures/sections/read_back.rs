//! What it costs to read back what a commit will refer to: the same run with the proof and without it, in turn.

use std::path::Path;
use std::sync::Arc;

use offsite_backends::Local;
// The engine for the simulation, as the shipped one cannot leave the proof out.
use offsite_simulated::Timestamp;
use offsite_simulated::report::CopyReport;
use offsite_simulated::retention::Simple;
use offsite_simulated::simulation::{Variant, enter};
use offsite_simulated::{CopyJob, JobName, OpenRepository};

use super::{Bench, remove};
use crate::figures::pages::Pages;
use crate::figures::sample::{Samples, Spread, measure as sample};
use crate::figures::table::Table;
use crate::jobs::{self, Failure};

/// The share of an incremental run that the proof may take.
const SHARE_MAX: f64 = 0.05;
/// What it may add to a merge.
const SECS_MAX: f64 = 0.002;
/// The versions in the chain: a full, the increment that is merged, and one above it.
const VERSIONS: u32 = 3;

/// Measures an incremental run and a merge.
pub(in crate::figures) fn measure(bench: &mut Bench, pages: &mut Pages) -> Result<(), Failure> {
    bench.source_with(VERSIONS - 1)?;
    let source = bench.runtime.block_on(open(&bench.source_folder()))?;
    let mut runs = [Samples::default(), Samples::default()];
    let mut merges = [Samples::default(), Samples::default()];
    for round in 0..2 * bench.runs {
        // In turn, and the other way round each second time.
        let is_proven = (round % 2 == 0) ^ (round / 2 % 2 == 0);
        let folder = bench.free_path("target")?;
        bench.runtime.block_on(jobs::make_local(&folder))?;
        let target = bench.runtime.block_on(open(&folder))?;
        for version in 0..VERSIONS - 1 {
            bench.runtime.block_on(copy(&source, &target, version, VERSIONS))?;
        }
        // Both in a simulated world, which does not hand work to other threads.
        let world = enter(u64::from(round));
        if !is_proven {
            world.break_protocol(Variant::NotReadBack);
        }
        let run = || bench.runtime.block_on(copy(&source, &target, VERSIONS - 1, VERSIONS));
        let (taken, _) = sample(bench.caches, run)?;
        runs[usize::from(is_proven)].push(taken);
        let merge = || bench.runtime.block_on(copy(&source, &target, VERSIONS - 1, VERSIONS - 1));
        let (taken, report) = sample(bench.caches, merge)?;
        if report.transform.operations.is_empty() {
            return Err("the run merged nothing".into());
        }
        merges[usize::from(is_proven)].push(taken);
        drop(world);
        remove(&folder)?;
    }
    let [runs_without, runs_with] = runs.map(|samples| samples.secs());
    let [merges_without, merges_with] = merges.map(|samples| samples.secs());
    pages.heading(3, "Reading back what a commit refers to");
    let mut table = Table::new(&["", "samples", "with, ms", "without, ms"]);
    let mut row = |name: &str, with: &Spread, without: &Spread| {
        table.row(vec![name.to_owned(), with.count.to_string(), with.text(1e3, 1), without.text(1e3, 1)]);
    };
    row("incremental run", &runs_with, &runs_without);
    row("run that only merges", &merges_with, &merges_without);
    pages.table(&table);
    let share = (runs_with.median - runs_without.median) / runs_with.median;
    pages.bar("Share of an incremental run", share, SHARE_MAX, |share| format!("{:.1} %", share * 100.0));
    let added = merges_with.median - merges_without.median;
    pages.bar("Added to a merge", added, SECS_MAX, |secs| format!("{:.1} ms", secs * 1e3));
    Ok(())
}

async fn open(folder: &Path) -> Result<OpenRepository, Failure> {
    Ok(OpenRepository::open(Arc::new(Local::open(folder).await?)).await?)
}

async fn copy(
    source: &OpenRepository,
    target: &OpenRepository,
    version: u32,
    keep: u32,
) -> Result<CopyReport, Failure> {
    let job = CopyJob::new(JobName::new(jobs::COPY_JOB)?, source, JobName::new(jobs::BACKUP_JOB)?, target)?;
    let evening = Timestamp::from_unix_secs(jobs::evening(version)?.unix_secs())?;
    Ok(job.transforms(Simple::new(keep)?).run(evening).await?)
}
