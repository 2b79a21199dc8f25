//! How many requests at once are best, near and far, and whether the number that follows the link is as good.

use std::sync::Arc;

use offsite::OpenRepository;
use offsite::repository::StreamRange;
use offsite_backends::S3;

use super::s3_once::{Work, in_process};
use super::s3_options::{argument, options};
use super::{Bench, remove};
use crate::figures::pages::Pages;
use crate::figures::s3_server::Process;
use crate::figures::sample::{Caches, Samples};
use crate::figures::table::Table;
use crate::jobs::{self, Failure};

const LATENCIES_MILLIS: [u64; 4] = [0, 20, 80, 200];
const FIXED: [usize; 3] = [1, 4, 16];
/// The number that follows the link is as good as the best fixed one, but for so much.
const AS_GOOD: f64 = 0.9;
const MOST: usize = 64;
const RSS_MB_MAX: f64 = 268.4;

/// Measures copies and restores with fixed numbers and with one that follows the link, in turn.
pub(in crate::figures) fn measure(bench: &mut Bench, pages: &mut Pages) -> Result<(), Failure> {
    bench.source_with(0)?;
    pages.heading(3, "Requests at once, near and far");
    let fixed = FIXED.map(StreamRange::fixed);
    let ranges = [fixed[0], fixed[1], fixed[2], StreamRange::up_to(16)];
    let mut table = Table::of_operations("stored");
    let mut checks = Vec::new();
    for latency in LATENCIES_MILLIS {
        let mut copies = [(); 4].map(|()| Samples::default());
        let mut restores = copies.clone();
        let mut bytes = 0;
        for _ in 0..bench.runs {
            for ((range, copies), restores) in ranges.into_iter().zip(&mut copies).zip(&mut restores) {
                bytes = both(bench, range, latency, copies, restores)?;
            }
        }
        for (what, samples) in [("copy", &copies), ("restore", &restores)] {
            for (range, samples) in ranges.into_iter().zip(samples) {
                table.operation(&format!("{what}, {latency} ms, {} at once", argument(range)), samples, bytes);
            }
            let secs: Vec<f64> = samples.iter().map(|samples| samples.secs().median).collect();
            let [fixed @ .., following] = &secs[..] else { continue };
            let best = fixed.iter().copied().fold(f64::INFINITY, f64::min);
            checks
                .push((format!("{what}, {latency} ms: 1-16 at once beside the best of 1, 4 and 16"), best / following));
        }
    }
    pages.table(&table);
    for (what, share) in checks {
        let text = |share: f64| format!("{:.0} %", 100.0 * share);
        pages.check(&what, text(share), format!("at least {}", text(AS_GOOD)), share >= AS_GOOD);
    }
    let mut peaks = Table::of_operations("stored");
    for range in [StreamRange::fixed(16), StreamRange::fixed(MOST)] {
        let (mut copies, mut restores) = (Samples::default(), Samples::default());
        let bytes = both(bench, range, 80, &mut copies, &mut restores)?;
        for (what, samples) in [("copy", &copies), ("restore", &restores)] {
            peaks.operation(&format!("{what}, 80 ms, {} at once", argument(range)), samples, bytes);
            let peak = samples.peak_rss_mb().unwrap_or(f64::NAN);
            pages.bar(&format!("Peak RSS of a {what}, {} at once", argument(range)), peak, RSS_MB_MAX, |mb| {
                format!("{mb:.0} MB")
            });
        }
    }
    pages.table(&peaks);
    Ok(())
}

/// Copies to a new bucket and restores from it. Returns how many bytes it stored.
fn both(
    bench: &Bench,
    range: StreamRange,
    latency_millis: u64,
    copies: &mut Samples,
    restores: &mut Samples,
) -> Result<u64, Failure> {
    let mut server = Process::start()?;
    let options = options(&server.endpoint, range)?;
    bench.runtime.block_on(async {
        let backend = Arc::new(S3::open(options).await?);
        Ok::<_, Failure>(OpenRepository::initialise(backend, jobs::evening(0)?).await?)
    })?;
    server.set_latency_millis(latency_millis)?;
    // The disk is not what is measured.
    let (taken, bytes) = in_process(&mut server, range, Caches::Warm, Work::Copy(&bench.source_folder()))?;
    copies.push(taken);
    let image = bench.free_path("restored.img")?;
    restores.push(in_process(&mut server, range, Caches::Warm, Work::Restore(&image))?.0);
    if !bench.disk.is_same(&image, 0)? {
        return Err("the restored disk is another one".into());
    }
    remove(&image)?;
    Ok(bytes)
}
