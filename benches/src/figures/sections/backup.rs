//! Backup of an image into a fresh repository.

use offsite::model::BlockSize;

use super::{Bench, remove};
use crate::figures::pages::Pages;
use crate::figures::sample::{Samples, cp, measure as sample};
use crate::figures::table::Table;
use crate::jobs::{self, Failure};

/// Measures it beside a copy of the image, which compresses and hashes nothing: an orientation, no bar.
pub(in crate::figures) fn measure(bench: &mut Bench, pages: &mut Pages) -> Result<(), Failure> {
    bench.bring_image_to(0)?;
    let (mut offsite, mut yardstick) = (Samples::default(), Samples::default());
    let mut stored_bytes = 0;
    for _ in 0..bench.runs {
        let folder = bench.free_path("backup")?;
        let repository = bench.runtime.block_on(jobs::make_local(&folder))?;
        let work = || bench.runtime.block_on(jobs::backup(&repository, &bench.image, 0, BlockSize::default()));
        let (taken, report) = sample(bench.caches, work)?;
        offsite.push(taken);
        stored_bytes = report.stored_bytes;
        remove(&folder)?;
        let folder = bench.empty_folder("cp")?;
        let (taken, ()) = sample(bench.caches, || cp("always", &[&bench.image], &folder))?;
        yardstick.push(taken);
        remove(&folder)?;
    }
    pages.heading(3, "Backup of the image into a fresh repository");
    let mut table = Table::of_operations("allocated data");
    table.operation("offsite backup", &offsite, bench.allocated_bytes);
    table.yardstick("cp --sparse=always + fsync", &yardstick, bench.allocated_bytes);
    pages.table(&table);
    let allocated_bytes = bench.allocated_bytes as f64;
    pages.line(&format!("{:.0} MB stored of {:.0} MB.", stored_bytes as f64 / 1e6, allocated_bytes / 1e6));
    Ok(())
}
