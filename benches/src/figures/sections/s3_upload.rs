//! One object by itself to a bucket far away: what parts in flight are worth, without the requests before and after.
//!
//! The server checks what it gets and forgets it. It shares this machine's cores with the client, as no server does: what it
//! costs stands beside what the client costs, and the rate that the two could have at most.

use offsite_backends::{S3, S3Checksum};
use offsite_repository::{Key, Repository, StreamRange};

use super::Bench;
use super::s3_options::{IN_FLIGHT, options};
use crate::figures::pages::Pages;
use crate::figures::s3_server::Process;
use crate::figures::sample::{Samples, Spread, measure as sample};
use crate::figures::table::Table;
use crate::jobs::Failure;

/// How much faster many parts must be than one, where each request waits.
const SPEED_UP_MIN: f64 = 10.0;
const LATENCY_MILLIS: u64 = 50;
/// The pieces that the object is handed over in.
const PIECE_BYTES: usize = 4 << 20;

/// A link, and what the store checks.
struct Setting {
    name: &'static str,
    checksum: S3Checksum,
    /// Of each request's bytes; 0: as fast as the machine is.
    rate_bytes_per_sec: u64,
    object_bytes: u64,
}

const SETTINGS: [Setting; 3] = [
    Setting { name: "50 ms, SHA-256", checksum: S3Checksum::Sha256, rate_bytes_per_sec: 0, object_bytes: 1280 << 20 },
    Setting { name: "50 ms, CRC-64", checksum: S3Checksum::Crc64Nvme, rate_bytes_per_sec: 0, object_bytes: 1280 << 20 },
    Setting {
        name: "50 ms, 25 MB/s a request, SHA-256",
        checksum: S3Checksum::Sha256,
        rate_bytes_per_sec: 25_000_000,
        object_bytes: 384 << 20,
    },
];

pub(super) fn measure(bench: &mut Bench, pages: &mut Pages) -> Result<(), Failure> {
    pages.heading(3, "Upload of one object, parts in flight beside each other");
    for setting in &SETTINGS {
        of_setting(setting, bench, pages)?;
    }
    Ok(())
}

fn of_setting(setting: &Setting, bench: &mut Bench, pages: &mut Pages) -> Result<(), Failure> {
    let Setting { name, checksum, rate_bytes_per_sec, object_bytes } = *setting;
    let mut table = Table::of_operations("object");
    let mut secs = Vec::new();
    let mut server_secs = Vec::new();
    let mut client_secs = Vec::new();
    for in_flight in IN_FLIGHT {
        let mut samples = Samples::default();
        for _ in 0..bench.runs {
            let mut server = Process::start_forgetful()?;
            let mut options = options(&server.endpoint, StreamRange::fixed(in_flight))?;
            options.checksum = checksum;
            let s3 = bench.runtime.block_on(S3::open(options))?;
            server.set_latency_millis(LATENCY_MILLIS)?;
            server.set_rate_bytes_per_sec(rate_bytes_per_sec)?;
            server.counts()?;
            let before = server.cpu_secs();
            let work = || bench.runtime.block_on(upload(&s3, object_bytes));
            samples.push(sample(bench.caches, work)?.0);
            server_secs.push(server.cpu_secs() - before);
        }
        secs.push(samples.secs().median);
        client_secs.push(samples.cpu_secs().median);
        table.operation(&format!("{name}, {in_flight} in flight"), &samples, object_bytes);
    }
    pages.table(&table);
    let per_gb = 1e9 / object_bytes as f64;
    let (client, server) = (Spread::of(client_secs).median * per_gb, Spread::of(server_secs).median * per_gb);
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    pages.line(&format!(
        "CPU seconds a GB: {client:.2} of the client, {server:.2} of the server; at most {:.0} MB/s from both on {cores} cores.\n",
        1e3 * cores / (client + server)
    ));
    let speed_up = secs.first().zip(secs.last()).map_or(f64::NAN, |(one, many)| one / many);
    let text = |factor: f64| format!("{factor:.1} x");
    let bar = format!("at least {}", text(SPEED_UP_MIN));
    let what = format!("16 parts in flight beside 1 ({name})");
    pages.check(&what, text(speed_up), bar, speed_up >= SPEED_UP_MIN);
    Ok(())
}

async fn upload(s3: &S3, object_bytes: u64) -> Result<(), Failure> {
    let piece = bytes::Bytes::from(vec![7; PIECE_BYTES]);
    let mut writer = s3.create(&Key::new("object")?).await?;
    for _ in 0..object_bytes / PIECE_BYTES as u64 {
        writer.write(vec![piece.clone()]).await?;
    }
    Ok(writer.finish().await?)
}
