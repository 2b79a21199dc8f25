//! What the figures were measured on.

use std::path::Path;
use std::process::Command;

use super::pages::Pages;
use super::sections::Bench;

/// Says what was measured, on what, and how.
pub(super) fn describe(pages: &mut Pages, folder: &Path, bench: &Bench) {
    pages.heading(2, "Measured figures");
    pages.line(&format!(
        "Disk {} of the generated workload, seed {}: {} MiB, {:.0} MB of it allocated. Caches {} before each sample. \
         Samples of what is compared alternate; each ends when everything is durable (fsync of files and folders). \
         Values are medians (min-max) of all samples; MB = 10^6 bytes. Foreign CPU is what everything else on the \
         machine used meanwhile: much of it makes a sample slow.\n",
        bench.disk.name,
        bench.disk.seed,
        bench.disk.size_mib,
        bench.allocated_bytes as f64 / 1e6,
        bench.caches.word(),
    ));
    let profile = if cfg!(debug_assertions) { ", DEBUG BUILD" } else { "" };
    pages.line(&format!("- CPU: {} x {}", cpus(), cpu_model().unwrap_or_default()));
    pages.line(&format!("- Kernel: {}", answer("uname", &["-sr"])));
    pages.line(&format!("- File system: {}", answer("stat", &["-f", "-c", "%T", &folder.display().to_string()])));
    pages.line(&format!("- Compiler: {}{profile}", answer("rustc", &["--version"])));
    pages.line(&format!("- Yardstick: {}", answer("cp", &["--version"])));
    if host_takes_free_memory() {
        pages.line("- Memory: the host may take free pages back; filling them again costs whoever does it CPU time");
    }
    let checkout = env!("CARGO_MANIFEST_DIR");
    pages.line(&format!("- Offsite: {}", answer("git", &["-C", checkout, "describe", "--always", "--dirty"])));
}

/// Whether free pages are reported to the host. They are then slow to fill, whoever does it.
fn host_takes_free_memory() -> bool {
    let orders = std::fs::read_to_string("/sys/module/page_reporting/parameters/page_reporting_order");
    let reporter = std::fs::exists("/sys/bus/virtio/drivers/virtio_balloon").unwrap_or(false);
    reporter && orders.is_ok()
}

pub(super) fn cpus() -> usize {
    std::thread::available_parallelism().map_or(0, std::num::NonZero::get)
}

pub(super) fn cpu_model() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(": ").map(|(_, model)| model.to_owned())
}

/// The first line that a tool prints.
pub(super) fn answer(tool: &str, arguments: &[&str]) -> String {
    let output = Command::new(tool).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().map_or_else(|| "unknown".to_owned(), str::to_owned)
}
