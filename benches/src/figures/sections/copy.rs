//! Copy of a first full, repository to repository.

use super::{Bench, length_bytes, remove};
use crate::figures::pages::Pages;
use crate::figures::sample::{Samples, cp, measure as sample};
use crate::figures::table::Table;
use crate::jobs::{self, Failure, backup_files};

/// What the target keeps.
const KEEP: u32 = 2;
/// How much longer than copying the backup files it may take.
const RATIO_MAX: f64 = 1.3;

/// Measures it beside a copy of the same backup files.
pub(in crate::figures) fn measure(bench: &mut Bench, pages: &mut Pages) -> Result<(), Failure> {
    let source = bench.source_with(0)?;
    // The full's file is the first; later points of the source are not copied here.
    let files: Vec<_> = backup_files(&bench.source_folder())?.into_iter().take(1).collect();
    let bytes = length_bytes(&files)?;
    let (mut offsite, mut yardstick) = (Samples::default(), Samples::default());
    let mut carried_bytes = 0;
    for _ in 0..bench.runs {
        let folder = bench.free_path("target")?;
        let target = bench.runtime.block_on(jobs::make_local(&folder))?;
        let work = || bench.runtime.block_on(jobs::copy(&source, &target, 0, KEEP));
        let (taken, report) = sample(bench.caches, work)?;
        offsite.push(taken);
        carried_bytes = report.sync.map_or(0, |sync| sync.tally.target.bytes_written);
        remove(&folder)?;
        let folder = bench.empty_folder("cp")?;
        let (taken, ()) = sample(bench.caches, || cp("never", &files, &folder))?;
        yardstick.push(taken);
        remove(&folder)?;
    }
    pages.heading(3, "Copy of a first full, repository to repository");
    let mut table = Table::of_operations("backup file");
    table.operation("offsite copy", &offsite, bytes);
    table.yardstick("cp + fsync", &yardstick, bytes);
    pages.table(&table);
    let ratio = offsite.secs().median / yardstick.secs().median;
    pages.line(&format!(
        "{:.0} MB in the source's backup file, {:.0} MB written to the target's. Ratio of the medians {ratio:.2}; round by \
         round {}.",
        bytes as f64 / 1e6,
        carried_bytes as f64 / 1e6,
        offsite.ratios(&yardstick).text(1.0, 2),
    ));
    pages.bar("Copy of a full beside cp", ratio, RATIO_MAX, |ratio| format!("{ratio:.2} x"));
    Ok(())
}
