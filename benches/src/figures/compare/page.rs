//! The page about what was measured.

use super::merges::{ADOPT, COMMIT, FOLD, IN_PLACE, QEMU, RENAME};
use super::workbench::Workbench;
use super::{Group, Outcome, SLOW_ROUNDS_MAX};
use crate::figures::machine::{answer, cpu_model, cpus};
use crate::figures::sample::Spread;
use crate::figures::table::Table;

/// Adoption is so many times faster than `qemu-img commit`, and than renames.
const ADOPT_TO_QEMU_MIN: f64 = 8.0;
const ADOPT_TO_RENAME_MIN: f64 = 15.0;
/// A fold takes at most so many times as long as `qemu-img commit`, and as its floor.
const FOLD_TO_QEMU_MAX: f64 = 1.0;
const FOLD_TO_FLOOR_MAX: f64 = 1.5;

pub(super) fn render(bench: &Workbench, gib: f64, rounds: u32, groups: &[Group]) -> String {
    let mut text = format!(
        "# Performance\n\nThis command measured all tools side by side, and wrote this page:\n\n```sh\nbenches/compare/run --gib {gib} \
         --rounds {rounds}\n```\n\nThe disk is generated (seed {}): {} MiB. Each round runs everything once, in turn. Every second round \
         runs backwards. Caches are {} before each sample. A sample ends when all is durable.\n\n\
         - *Seconds* are medians (min-max) of {rounds} rounds, for restic and borg of at most {SLOW_ROUNDS_MAX}.\n\
         - *MB* is 10^6 bytes.\n\
         - *Read* and *written* are the bytes that reached the storage, as the kernel counted them for the tool's processes in its last \
         round. After that round, what each tool had left was restored and found to be the disk, byte for byte.\n\
         - *Foreign CPU* is what everything else on the machine used meanwhile.\n\n",
        bench.disk.seed,
        bench.disk.size_mib,
        bench.caches.word(),
    );
    if rounds < 5 {
        text += "Fewer than five rounds: a trial of the command, not a measurement.\n\n";
    }
    text += "The machine and the versions:\n\n";
    for line in machine(bench) {
        text += &format!("- {line}\n");
    }
    for group in groups {
        text += &format!("\n## {}\n\n{}\n\n{}", group.title, group.about, table(group).render());
    }
    match groups.iter().any(|group| group.outcomes.iter().any(|outcome| outcome.name == ADOPT)) {
        true => text + &bars(groups),
        false => text,
    }
}

fn machine(bench: &Workbench) -> Vec<String> {
    let folder = bench.folder.display().to_string();
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = memory.lines().next().unwrap_or("MemTotal: unknown").to_owned();
    let debug = if cfg!(debug_assertions) { ", DEBUG BUILD" } else { "" };
    vec![
        format!("{} x {}; {memory}", cpus(), cpu_model().unwrap_or_default()),
        format!("{}; file system {}", answer("uname", &["-sr"]), answer("stat", &["-f", "-c", "%T", &folder])),
        format!(
            "Offsite {}, {}{debug}",
            answer("git", &["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty"]),
            answer("rustc", &["--version"])
        ),
        format!(
            "{}; {}; {}; {}",
            answer("qemu-img", &["--version"]),
            answer("restic", &["version"]),
            answer("borg", &["--version"]),
            answer("cp", &["--version"])
        ),
    ]
}

fn table(group: &Group) -> Table {
    let mut table = Table::new(&["", "seconds", "beside the first", "read, MB", "written, MB", "foreign CPU seconds"]);
    let first = group.outcomes.first().map_or(f64::NAN, |outcome| outcome.samples.secs().median);
    for outcome in &group.outcomes {
        let secs = outcome.samples.secs();
        let (read, written) = outcome.storage_bytes;
        let mb = |bytes: u64| format!("{:.0}", bytes as f64 / 1e6);
        let foreign = outcome.samples.foreign_cpu_secs().text(1.0, 1);
        let ratio = format!("{:.2} x", secs.median / first);
        table.row(vec![outcome.name.clone(), secs.text(1.0, 3), ratio, mb(read), mb(written), foreign]);
        for (part, all) in &outcome.parts {
            let spread = Spread::of(all.iter().copied());
            let none = || "-".to_owned();
            table.row(vec![format!("- {part}"), spread.text(1.0, 3), none(), none(), none(), none()]);
        }
    }
    table
}

/// What the project holds itself to, and whether it does.
fn bars(groups: &[Group]) -> String {
    let find = |name: &str| groups.iter().flat_map(|group| &group.outcomes).find(|outcome| outcome.name == name);
    let median = |name: &str| find(name).map_or(f64::NAN, |outcome| commit_secs(outcome).median);
    let mut table = Table::new(&["", "measured", "bar", "result"]);
    let mut row = |what: &str, ratio: f64, bar: String, held: bool| {
        let result = if held { "held" } else { "MISSED" };
        table.row(vec![what.to_owned(), format!("{ratio:.2} x"), bar, result.to_owned()]);
    };
    for (what, other, bar) in [
        ("qemu-img commit beside adopt", QEMU, ADOPT_TO_QEMU_MIN),
        ("a rename per block beside adopt", RENAME, ADOPT_TO_RENAME_MIN),
    ] {
        let ratio = median(other) / median(ADOPT);
        row(what, ratio, format!("at least {bar} x"), ratio >= bar);
    }
    for (what, other, bar) in [
        ("fold beside qemu-img commit", QEMU, FOLD_TO_QEMU_MAX),
        ("fold beside its floor", IN_PLACE, FOLD_TO_FLOOR_MAX),
    ] {
        let ratio = median(FOLD) / median(other);
        row(what, ratio, format!("at most {bar} x"), ratio <= bar);
    }
    format!("\n## Bars\n\nTimes of Offsite are those from the plan to the commit.\n\n{}", table.render())
}

/// The seconds to the commit, where it is known; else all.
fn commit_secs(outcome: &Outcome) -> Spread {
    let commit = outcome.parts.iter().find(|(part, _)| *part == COMMIT);
    commit.map_or_else(|| outcome.samples.secs(), |(_, secs)| Spread::of(secs.iter().copied()))
}
