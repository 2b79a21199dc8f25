//! Restore of the newest point to a raw image.

use super::{Bench, allocated_bytes, remove};
use crate::figures::pages::Pages;
use crate::figures::sample::{Samples, cp, measure as sample};
use crate::figures::table::Table;
use crate::jobs::{self, Failure};

/// The version that is restored: a full and an increment.
const VERSION: u32 = 1;
/// How much longer than copying the raw image it may take.
const RATIO_MAX: f64 = 1.3;

/// Measures it beside a copy of the image that it restores.
pub(in crate::figures) fn measure(bench: &mut Bench, pages: &mut Pages) -> Result<(), Failure> {
    let source = bench.source_with(VERSION)?;
    bench.bring_image_to(VERSION)?;
    let folder = bench.free_path("target")?;
    let target = bench.runtime.block_on(jobs::make_local(&folder))?;
    for version in 0..=VERSION {
        bench.runtime.block_on(jobs::copy(&source, &target, version, VERSION + 1))?;
    }
    let bytes = allocated_bytes(&bench.image)?;
    let (mut offsite, mut yardstick) = (Samples::default(), Samples::default());
    let mut same = true;
    for _ in 0..bench.runs {
        let restored = bench.free_path("restored.img")?;
        let (taken, _) = sample(bench.caches, || bench.runtime.block_on(jobs::restore(&target, &restored)))?;
        offsite.push(taken);
        same &= bench.disk.is_same(&restored, VERSION)?;
        remove(&restored)?;
        let folder = bench.empty_folder("cp")?;
        let (taken, ()) = sample(bench.caches, || cp("auto", &[&bench.image], &folder))?;
        yardstick.push(taken);
        remove(&folder)?;
    }
    remove(&folder)?;
    pages.heading(3, "Restore of the newest point to a raw image");
    let mut table = Table::of_operations("allocated data");
    table.operation("offsite restore", &offsite, bytes);
    table.yardstick("cp --sparse=auto + fsync", &yardstick, bytes);
    pages.table(&table);
    let ratio = offsite.secs().median / yardstick.secs().median;
    let rounds = offsite.ratios(&yardstick).text(1.0, 2);
    pages.line(&format!("Ratio of the medians {ratio:.2}; round by round {rounds}."));
    pages.bar("Restore beside cp", ratio, RATIO_MAX, |ratio| format!("{ratio:.2} x"));
    let equal = if same { "equal to the disk" } else { "DIFFERENT" };
    pages.check("Content of every restored image", equal.to_owned(), "equal to the disk".to_owned(), same);
    Ok(())
}
