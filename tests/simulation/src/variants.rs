//! Known-bad variants of the protocol and of backends. A harness that does not find them is blind.

use offsite::simulation::Variant;
use offsite_repository::testing::CrashOptions;

use crate::crash::{CrashPlan, crash_everywhere};
use crate::interleaving::{Broken, interleave};
use crate::job::Setting;
use crate::proof::Violation;
use crate::simulated::BrokenBackend;

/// What is wrong, and where it is looked for.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// The engine, crashing.
    Crash(Variant),
    /// The disk beneath, crashing.
    Disk(fn(&mut CrashOptions)),
    /// The engine, among others at once.
    Interleaving(Variant),
    /// The backend, among others at once.
    Backend(BrokenBackend),
}

/// A known-bad variant.
#[derive(Debug, Clone, Copy)]
pub struct KnownBad {
    /// What is wrong, in words.
    pub name: &'static str,
    /// What is wrong.
    pub fault: Fault,
    /// The position of the setting in which it shows.
    pub setting: usize,
}

const BACKEND: BrokenBackend = BrokenBackend { failed_list_is_empty: false, conflict_is_success: false };

/// All of them.
pub const ALL: [KnownBad; 18] = [
    KnownBad { name: "no flush of the folder", fault: Fault::Disk(|disk| disk.flushes_entries = false), setting: 0 },
    KnownBad { name: "no flush of the data", fault: Fault::Disk(|disk| disk.flushes_data = false), setting: 0 },
    KnownBad {
        name: "the entry before the data",
        fault: Fault::Disk(|disk| disk.data_before_entry = false),
        setting: 0,
    },
    KnownBad { name: "a failed flush tried again", fault: Fault::Disk(retries_flush), setting: 0 },
    KnownBad { name: "release before commit", fault: Fault::Crash(Variant::ReleaseBeforeCommit), setting: 0 },
    KnownBad { name: "punch before commit", fault: Fault::Crash(Variant::PunchBeforeCommit), setting: 0 },
    KnownBad { name: "commit before its index", fault: Fault::Crash(Variant::CommitBeforeIndex), setting: 0 },
    KnownBad { name: "a checkpoint before its file", fault: Fault::Crash(Variant::CheckpointBeforeFile), setting: 0 },
    KnownBad { name: "a number used again", fault: Fault::Crash(Variant::NumberReused), setting: 0 },
    KnownBad { name: "orphans kept", fault: Fault::Crash(Variant::OrphansKept), setting: 0 },
    KnownBad { name: "a lease by the wall clock", fault: Fault::Interleaving(Variant::WallClockLease), setting: 0 },
    KnownBad {
        name: "a conflict taken for a loss",
        fault: Fault::Interleaving(Variant::ConflictTakenForLoss),
        setting: 0,
    },
    KnownBad {
        name: "a conflict taken for a success",
        fault: Fault::Backend(BrokenBackend { conflict_is_success: true, ..BACKEND }),
        setting: 0,
    },
    KnownBad {
        name: "clean-up on an unknown outcome",
        fault: Fault::Interleaving(Variant::CleanUpOnUnknown),
        setting: 0,
    },
    KnownBad { name: "pins ignored", fault: Fault::Interleaving(Variant::PinsIgnored), setting: 0 },
    KnownBad { name: "the boundary not checked", fault: Fault::Interleaving(Variant::BoundaryNotChecked), setting: 0 },
    KnownBad {
        name: "a failed list taken for empty",
        fault: Fault::Backend(BrokenBackend { failed_list_is_empty: true, ..BACKEND }),
        setting: 0,
    },
    KnownBad { name: "ranges on hold used again", fault: Fault::Interleaving(Variant::HeldRangesReused), setting: 1 },
];

/// Those that this harness does not find yet, within the same bounds.
pub const UNPROVEN: [KnownBad; 2] = [
    KnownBad {
        name: "folds in files of a writer taken over",
        fault: Fault::Interleaving(Variant::FilesNotSealed),
        setting: 1,
    },
    KnownBad { name: "the fence not checked", fault: Fault::Interleaving(Variant::FenceNotChecked), setting: 3 },
];

fn retries_flush(disk: &mut CrashOptions) {
    (disk.failing_flush_every, disk.retries_failed_flush) = (37, true);
}

impl KnownBad {
    /// Looks for it: what gave it away, and after how many states or interleavings. None: it was not found.
    #[must_use]
    pub fn hunt(&self, seed: u64, interleavings: u64) -> Option<(Violation, u64)> {
        let mut setting = Setting::all().remove(self.setting);
        let crash = |setting: &Setting, broken| {
            let plan = CrashPlan { seed, days: 30, images_per_call: 1, broken };
            crash_everywhere(setting, &plan).err().map(|failure| (failure.violation, failure.states))
        };
        let among_others = |broken| {
            let found = interleave(&setting, seed, interleavings, broken);
            found.err().map(|failure| (failure.violation, failure.interleavings))
        };
        match self.fault {
            Fault::Crash(variant) => crash(&setting, Some(variant)),
            Fault::Interleaving(variant) => among_others(Broken { protocol: Some(variant), ..Broken::default() }),
            Fault::Backend(backend) => among_others(Broken { backend, ..Broken::default() }),
            Fault::Disk(change) => {
                change(&mut setting.options);
                crash(&setting, None)
            }
        }
    }
}
