//! A copy to a bucket or a restore from it, in a process of its own: what earlier work has left in memory is not counted.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use offsite::OpenRepository;
use offsite::repository::StreamRange;
use offsite_backends::S3;

use super::s3_options::{KEEP, argument, options, range};
use crate::figures::s3_server::Process;
use crate::figures::sample::{Caches, Sample, measure as sample};
use crate::jobs::{self, Failure};

/// The argument that makes this program do one of both, and tell what that took.
pub(in crate::figures) const ARGUMENT: &str = "--once-with-bucket";

/// What the process says when the bucket is open.
const OPEN: &str = "open";

/// What is done.
#[derive(Debug, Clone, Copy)]
pub(super) enum Work<'a> {
    /// Copies the newest backup of the repository in this folder to the bucket.
    Copy(&'a Path),
    /// Restores the newest point of the bucket to this file.
    Restore(&'a Path),
}

/// Does it with so many requests in flight, and tells how many bytes were written to the bucket. The server counts anew when the
/// bucket is open.
pub(super) fn in_process(
    server: &mut Process,
    streams: StreamRange,
    caches: Caches,
    work: Work<'_>,
) -> Result<(Sample, u64), Failure> {
    let (word, path) = match work {
        Work::Copy(source) => ("copy", source),
        Work::Restore(image) => ("restore", image),
    };
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(ARGUMENT).arg(&server.endpoint).arg(argument(streams)).arg(caches.word()).arg(word).arg(path);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut output = BufReader::new(child.stdout.take().ok_or("the process has no output")?).lines();
    let is_open = matches!(output.next(), Some(Ok(line)) if line == OPEN);
    if is_open {
        server.counts()?;
    }
    // Its end tells it to begin.
    drop(child.stdin.take());
    let line = output.next().transpose()?.unwrap_or_default();
    let status = child.wait()?;
    let fields: Vec<&str> = line.split_whitespace().collect();
    match &fields[..] {
        [secs, cpu_secs, foreign_cpu_secs, peak_rss_bytes, bytes] if is_open && status.success() => {
            let taken = Sample {
                secs: secs.parse()?,
                cpu_secs: cpu_secs.parse()?,
                foreign_cpu_secs: foreign_cpu_secs.parse()?,
                peak_rss_bytes: Some(peak_rss_bytes.parse()?),
            };
            Ok((taken, bytes.parse()?))
        }
        _ => Err(format!("a {word} ended with {status}: {line}").into()),
    }
}

/// What the process does: one copy or restore, when its input has ended.
pub(in crate::figures) fn once() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(2).collect();
    let [endpoint, streams, caches, word, path] = &arguments[..] else {
        return Err(format!("{ARGUMENT} ENDPOINT STREAMS CACHES WORK PATH").into());
    };
    let caches = if caches == Caches::Cold.word() { Caches::Cold } else { Caches::Warm };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let options = options(endpoint, range(streams)?)?;
    let bucket = runtime
        .block_on(async { Ok::<_, Failure>(OpenRepository::open(Arc::new(S3::open(options).await?)).await?) })?;
    println!("{OPEN}");
    std::io::stdout().flush()?;
    std::io::stdin().lock().read_line(&mut String::new())?;
    let (taken, bytes) = if word == "copy" {
        let source = runtime.block_on(jobs::open_local(Path::new(path)))?;
        let (taken, report) = sample(caches, || runtime.block_on(jobs::copy(&source, &bucket, 0, KEEP)))?;
        (taken, report.sync.map_or(0, |sync| sync.tally.target.bytes_written))
    } else {
        let (taken, _) = sample(caches, || runtime.block_on(jobs::restore(&bucket, Path::new(path))))?;
        (taken, 0)
    };
    let Sample { secs, cpu_secs, foreign_cpu_secs, peak_rss_bytes } = taken;
    let peak = peak_rss_bytes.ok_or("the kernel does not tell how much memory was used")?;
    println!("{secs} {cpu_secs} {foreign_cpu_secs} {peak} {bytes}");
    Ok(())
}
