//! Merge of the oldest increment into the full, by adoption.

use std::time::Duration;

use super::{Bench, remove};
use crate::figures::pages::Pages;
use crate::figures::sample::{Samples, Spread, measure as sample};
use crate::figures::table::Table;
use crate::jobs::{self, Failure};

/// The versions in the chain: a full, the increment that is merged, and one above it, as two points must stay.
const VERSIONS: u32 = 3;
/// How long the merge may take to its commit.
const SECS_MAX: f64 = 0.050;

/// Measures the merge to its commit, and the release of space after it by itself.
pub(in crate::figures) fn measure(bench: &mut Bench, pages: &mut Pages) -> Result<(), Failure> {
    let source = bench.source_with(VERSIONS - 1)?;
    let (mut merges, mut releases): (Vec<Duration>, Vec<Duration>) = (Vec::new(), Vec::new());
    let mut runs = Samples::default();
    let (mut read, mut written) = (0, 0);
    let mut released = offsite::Released::default();
    let mut increment_bytes = 0;
    for _ in 0..bench.runs {
        let folder = bench.free_path("target")?;
        let target = bench.runtime.block_on(jobs::make_local(&folder))?;
        for version in 0..VERSIONS {
            let report = bench.runtime.block_on(jobs::copy(&source, &target, version, VERSIONS))?;
            if version == 1 {
                increment_bytes = report.sync.map_or(0, |sync| sync.tally.target.bytes_written);
            }
        }
        // Nothing new to copy, and one point too many: the run only merges.
        let work = || bench.runtime.block_on(jobs::copy(&source, &target, VERSIONS - 1, VERSIONS - 1));
        let (taken, report) = sample(bench.caches, work)?;
        let merge = report.transform.operations.first().ok_or("the run merged nothing")?;
        runs.push(taken);
        merges.push(merge.tally.duration);
        read += merge.tally.source.bytes_read + merge.tally.target.bytes_read;
        written += merge.tally.target.bytes_written;
        releases.push(report.transform.release_duration);
        released = report.transform.released;
        remove(&folder)?;
    }
    let merges = Spread::of_durations(&merges);
    pages.heading(3, "Merge by adoption of an increment into the full");
    let mut table = Table::new(&["", "samples", "milliseconds", "block bytes read", "written"]);
    let mut row = |name: &str, spread: Spread, bytes: [String; 2]| {
        let [read, written] = bytes;
        table.row(vec![name.to_owned(), spread.count.to_string(), spread.text(1e3, 1), read, written]);
    };
    row("merge, to the commit", merges, [read, written].map(|bytes| bytes.to_string()));
    row("release of space, after it", Spread::of_durations(&releases), ["-", "-"].map(str::to_owned));
    row("the whole run, lease and indexes included", runs.secs(), ["-", "-"].map(str::to_owned));
    pages.table(&table);
    pages.line(&format!(
        "The increment: {:.0} MB stored, {:.1} % of the disk's blocks changed. Released: {:.0} MB in {} holes and {} \
         objects.",
        increment_bytes as f64 / 1e6,
        bench.disk.changes(1).len() as f64 / bench.disk.size_mib as f64 * 100.0,
        released.bytes as f64 / 1e6,
        released.ranges,
        released.objects,
    ));
    pages.bar("Merge to the commit", merges.median, SECS_MAX, |secs| format!("{:.1} ms", secs * 1e3));
    let none = read == 0 && written == 0;
    pages.check("Block bytes of the merges", format!("{read} read, {written} written"), "none".to_owned(), none);
    Ok(())
}
