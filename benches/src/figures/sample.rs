//! Samples of an operation.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::proc::{CpuSecs, peak_rss_bytes, reset_peak_rss};
use crate::jobs::Failure;

/// Whether caches are dropped before each sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caches {
    /// They are.
    Cold,
    /// That is not permitted here: what was written or read before is partly in memory.
    Warm,
}

impl Caches {
    pub(super) fn of_this_process() -> Self {
        if rustix::process::geteuid().is_root() && drop_caches().is_ok() { Self::Cold } else { Self::Warm }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Warm => "warm",
        }
    }
}

fn drop_caches() -> std::io::Result<()> {
    std::fs::write("/proc/sys/vm/drop_caches", "3")
}

/// What one execution took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    pub(super) secs: f64,
    pub(super) cpu_secs: f64,
    /// CPU that everything else on the machine took meanwhile.
    pub(super) foreign_cpu_secs: f64,
    pub(super) peak_rss_bytes: Option<u64>,
}

/// Executes `work` once, on a machine with nothing left to write, and measures it.
pub(super) fn measure<T>(caches: Caches, work: impl FnOnce() -> Result<T, Failure>) -> Result<(Sample, T), Failure> {
    tool("sync", [""; 0])?;
    if caches == Caches::Cold {
        drop_caches()?;
    }
    reset_peak_rss();
    let before = CpuSecs::now();
    let start = Instant::now();
    let result = work()?;
    let secs = start.elapsed().as_secs_f64();
    let after = CpuSecs::now();
    let cpu_secs = after.own - before.own;
    let foreign_cpu_secs = (after.all - before.all - cpu_secs).max(0.0);
    Ok((Sample { secs, cpu_secs, foreign_cpu_secs, peak_rss_bytes: peak_rss_bytes() }, result))
}

/// Runs a tool to its end.
pub(super) fn tool(name: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<(), Failure> {
    let status = Command::new(name).args(arguments).status().map_err(|error| format!("{name}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{name} ended with {status}").into()) }
}

/// The yardstick: `cp`, then the copies and their folder made durable.
pub(super) fn cp(sparse: &str, from: &[impl AsRef<Path>], to: &Path) -> Result<(), Failure> {
    let sparse = format!("--sparse={sparse}");
    let mut arguments: Vec<&OsStr> = vec!["--reflink=never".as_ref(), sparse.as_ref()];
    arguments.extend(from.iter().map(|file| file.as_ref().as_os_str()));
    arguments.push(to.as_os_str());
    tool("cp", arguments)?;
    let copies = from.iter().filter_map(|file| file.as_ref().file_name()).map(|name| to.join(name));
    tool("sync", copies.chain([to.to_owned()]))
}

/// All samples of one operation.
#[derive(Debug, Clone, Default)]
pub(super) struct Samples(Vec<Sample>);

impl Samples {
    pub(super) fn push(&mut self, sample: Sample) {
        self.0.push(sample);
    }

    pub(super) fn secs(&self) -> Spread {
        self.spread(|sample| sample.secs)
    }

    pub(super) fn cpu_secs(&self) -> Spread {
        self.spread(|sample| sample.cpu_secs)
    }

    pub(super) fn foreign_cpu_secs(&self) -> Spread {
        self.spread(|sample| sample.foreign_cpu_secs)
    }

    /// The largest peak of them all, in MB.
    pub(super) fn peak_rss_mb(&self) -> Option<f64> {
        self.0.iter().filter_map(|sample| sample.peak_rss_bytes).max().map(|bytes| bytes as f64 / 1e6)
    }

    /// Each sample beside the yardstick's of the same round.
    pub(super) fn ratios(&self, yardstick: &Self) -> Spread {
        Spread::of(self.0.iter().zip(&yardstick.0).map(|(own, other)| own.secs / other.secs))
    }

    fn spread(&self, of: impl Fn(&Sample) -> f64) -> Spread {
        Spread::of(self.0.iter().map(of))
    }
}

/// A median, and how far the samples lie apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) count: usize,
}

impl Spread {
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |place: usize| values.get(place).copied().unwrap_or(f64::NAN);
        let middle = values.len() / 2;
        let median =
            if values.len().is_multiple_of(2) { (at(middle.saturating_sub(1)) + at(middle)) / 2.0 } else { at(middle) };
        Self { median, min: at(0), max: at(values.len().saturating_sub(1)), count: values.len() }
    }

    pub(super) fn of_durations(durations: &[Duration]) -> Self {
        Self::of(durations.iter().map(Duration::as_secs_f64))
    }

    /// Median (min-max), each times `factor`, with so many digits.
    pub(super) fn text(&self, factor: f64, digits: usize) -> String {
        let [median, min, max] = [self.median, self.min, self.max].map(|value| value * factor);
        format!("{median:.digits$} ({min:.digits$}-{max:.digits$})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_lie_in_the_middle() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]).text(1.0, 0), "2 (1-3)");
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]).text(1.0, 1), "2.5 (1.0-4.0)");
        assert_eq!(Spread::of([0.5]).text(1e3, 0), "500 (500-500)");
    }
}
