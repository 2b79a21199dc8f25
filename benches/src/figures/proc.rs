//! What the kernel counted: read from `/proc`.

use std::fs;

use rustix::param::clock_ticks_per_second;

/// CPU seconds, user and system together.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct CpuSecs {
    /// Of this process and of its children that have ended.
    pub(super) own: f64,
    /// Of everything on the machine, time stolen by its host included.
    pub(super) all: f64,
}

impl CpuSecs {
    /// Up to now; zeros where there is no `/proc`.
    pub(super) fn now() -> Self {
        let ticks = clock_ticks_per_second() as f64;
        Self { own: own_ticks().unwrap_or(0.0) / ticks, all: all_ticks().unwrap_or(0.0) / ticks }
    }
}

/// CPU seconds of another process, user and system together; zero if it is gone.
pub(super) fn cpu_secs_of(process: u32) -> f64 {
    ticks_of(&process.to_string()).unwrap_or(0.0) / clock_ticks_per_second() as f64
}

fn own_ticks() -> Option<f64> {
    ticks_of("self")
}

/// utime, stime, cutime and cstime: fields 14 to 17, counted from the end of the name, which may hold spaces.
fn ticks_of(process: &str) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    fields.split_ascii_whitespace().skip(11).take(4).map(|field| field.parse::<f64>().ok()).sum()
}

/// All but idle and waiting (fields 4 and 5), and but guests, which are counted twice.
fn all_ticks() -> Option<f64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let fields: Vec<f64> =
        text.lines().next()?.split_ascii_whitespace().skip(1).take(8).filter_map(|field| field.parse().ok()).collect();
    Some(fields.iter().enumerate().filter(|(number, _)| !matches!(number, 3 | 4)).map(|(_, ticks)| ticks).sum())
}

/// Forgets the peak of resident memory so far.
pub(super) fn reset_peak_rss() {
    // Without it the peak is that of the whole process: too large, never too small.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// The peak of this process's resident memory since it was reset.
pub(super) fn peak_rss_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
}
