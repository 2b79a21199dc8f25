//! Copy to a bucket and restore from it: how latency is hidden, and what is asked for.

use std::sync::Arc;

use offsite::OpenRepository;
use offsite::repository::StreamRange;
use offsite_backends::S3;
use offsite_s3_server::Operation;

use super::s3_once::{Work, in_process};
use super::s3_options::{IN_FLIGHT, options};
use super::{Bench, remove};
use crate::figures::pages::Pages;
use crate::figures::s3_server::{Process, count_of};
use crate::figures::sample::Samples;
use crate::figures::table::Table;
use crate::jobs::{self, Failure};

const LATENCIES_MILLIS: [u64; 2] = [0, 50];
const RSS_MB_MAX: f64 = 268.4;
/// What the mover reads at once.
const BATCH_BYTES: u64 = 4 << 20;
const GIB: f64 = (1_u64 << 30) as f64;

/// Measures both with one, some and many requests in flight, from a server near and far.
pub(in crate::figures) fn measure(bench: &mut Bench, pages: &mut Pages) -> Result<(), Failure> {
    bench.source_with(0)?;
    let source = bench.source_folder();
    pages.heading(3, "Copy of a first full to a bucket, and restore from it");
    let mut table = Table::of_operations("stored");
    let mut peak_mb: f64 = 0.0;
    let mut same = true;
    let (mut asked_to_copy, mut asked_to_restore) = (0, 0);
    let (mut copied_bytes, mut part_bytes) = (0, 0);
    for latency in LATENCIES_MILLIS {
        for in_flight in IN_FLIGHT {
            let (mut copies, mut restores) = (Samples::default(), Samples::default());
            for _ in 0..bench.runs {
                // A new one each time, as it keeps all it gets in memory.
                let mut server = Process::start()?;
                let options = options(&server.endpoint, StreamRange::fixed(in_flight))?;
                part_bytes = options.part_bytes;
                bench.runtime.block_on(async {
                    let backend = Arc::new(S3::open(options).await?);
                    Ok::<_, Failure>(OpenRepository::initialise(backend, jobs::evening(0)?).await?)
                })?;
                server.set_latency_millis(latency)?;
                let (taken, bytes) =
                    in_process(&mut server, StreamRange::fixed(in_flight), bench.caches, Work::Copy(&source))?;
                copies.push(taken);
                copied_bytes = bytes;
                asked_to_copy = server.counts()?.values().sum();
                let image = bench.free_path("restored.img")?;
                let (taken, _) =
                    in_process(&mut server, StreamRange::fixed(in_flight), bench.caches, Work::Restore(&image))?;
                restores.push(taken);
                let counts = server.counts()?;
                asked_to_restore = counts.values().sum();
                same &= bench.disk.is_same(&image, 0)? && count_of(&counts, Operation::GetObject) > 0;
                remove(&image)?;
            }
            peak_mb = [&copies, &restores].into_iter().filter_map(Samples::peak_rss_mb).fold(peak_mb, f64::max);
            table.operation(&format!("copy, {latency} ms, {in_flight} in flight"), &copies, copied_bytes);
            table.operation(&format!("restore, {latency} ms, {in_flight} in flight"), &restores, copied_bytes);
        }
    }
    pages.table(&table);
    let per_gib = |requests: u64| requests as f64 / (copied_bytes as f64 / GIB);
    let mut requests = Table::new(&["", "requests", "a GiB", "at least, a GiB"]);
    requests.row(vec![
        "copy".to_owned(),
        asked_to_copy.to_string(),
        format!("{:.0}", per_gib(asked_to_copy)),
        // Each part, the upload's beginning and its end.
        format!("{:.0}", per_gib(copied_bytes.div_ceil(part_bytes.max(1)) + 2)),
    ]);
    requests.row(vec![
        "restore".to_owned(),
        asked_to_restore.to_string(),
        format!("{:.0}", per_gib(asked_to_restore)),
        format!("{:.0}", per_gib(copied_bytes.div_ceil(BATCH_BYTES))),
    ]);
    pages.table(&requests);
    super::s3_upload::measure(bench, pages)?;
    let equal = if same { "equal to the disk" } else { "DIFFERENT" };
    pages.check("Content restored from a bucket", equal.to_owned(), "equal to the disk".to_owned(), same);
    pages.bar("Peak RSS with a bucket", peak_mb, RSS_MB_MAX, |mb| format!("{mb:.0} MB"));
    Ok(())
}
