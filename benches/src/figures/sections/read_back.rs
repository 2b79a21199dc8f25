//! What it costs to read back what a commit will refer to: the same run with the proof and without it, in turn.

use offsite::simulation::{Variant, enter};

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
    let source = bench.source_with(VERSIONS - 1)?;
    let mut runs = [Samples::default(), Samples::default()];
    let mut merges = [Samples::default(), Samples::default()];
    for round in 0..2 * bench.runs {
        // In turn, and the other way round each second time.
        let is_proven = (round % 2 == 0) ^ (round / 2 % 2 == 0);
        let folder = bench.free_path("target")?;
        let target = bench.runtime.block_on(jobs::make_local(&folder))?;
        for version in 0..VERSIONS - 1 {
            bench.runtime.block_on(jobs::copy(&source, &target, version, VERSIONS))?;
        }
        // Both in a simulated world, which does not hand work to other threads.
        let world = enter(u64::from(round));
        if !is_proven {
            world.break_protocol(Variant::NotReadBack);
        }
        let copy = || bench.runtime.block_on(jobs::copy(&source, &target, VERSIONS - 1, VERSIONS));
        let (taken, _) = sample(bench.caches, copy)?;
        runs[usize::from(is_proven)].push(taken);
        let merge = || bench.runtime.block_on(jobs::copy(&source, &target, VERSIONS - 1, VERSIONS - 1));
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
