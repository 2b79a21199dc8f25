//! The oldest increment goes into the full; where there are no increments, the oldest point goes.

use std::time::Instant;

use offsite::MergeMethod;

use super::floors::{Room, in_place, oldest_files, rename_per_block, split};
use super::workbench::{BORG_BASE, BORG_BASE_OF_CHAIN, VERSIONS, Workbench};
use super::{Contender, Group};
use crate::figures::sample::tool;
use crate::figures::sections::remove;
use crate::jobs::{self, Failure};

/// The seconds that are compared, as those of other tools have no parts.
pub(super) const COMMIT: &str = "the merge, from its plan to its commit";
const WITHOUT_RELEASE: &str = "the run without release: lease, indexes, plan, merge, lease again";
pub(super) const ADOPT: &str = "offsite, adopt";
pub(super) const FOLD: &str = "offsite, fold";
pub(super) const QEMU: &str = "qemu-img commit";
pub(super) const RENAME: &str = "floor: a rename per block";
pub(super) const IN_PLACE: &str = "floor: pread, pwrite, one fdatasync";

pub(super) fn groups(bench: &Workbench, rounds: u32) -> Result<Vec<Group>, Failure> {
    let offsite = |name: &str, method: MergeMethod| Contender {
        name: name.to_owned(),
        prepare: Box::new(|| bench.fresh("chain", "work")),
        work: Box::new(move || {
            let start = Instant::now();
            let report = bench.transform("work", method)?;
            let run = start.elapsed();
            let merge = report.operations.first().ok_or("the run merged nothing")?;
            Ok(vec![
                (COMMIT, merge.tally.duration.as_secs_f64()),
                (WITHOUT_RELEASE, (run - report.release_duration).as_secs_f64()),
                ("release of space", report.release_duration.as_secs_f64()),
            ])
        }),
        // Of the points that are left.
        check: Box::new(|| {
            (1..VERSIONS).try_for_each(|version| bench.check_offsite(&bench.path("work"), jobs::COPY_JOB, version))
        }),
    };
    let overwriting = |name: &str, room: Room| Contender {
        name: name.to_owned(),
        prepare: Box::new(|| bench.fresh("chain", "work")),
        work: Box::new(move || {
            let (full, increment) = oldest_files(&bench.path("work"))?;
            in_place(&full, &increment, room).map(|()| Vec::new())
        }),
        check: Box::new(|| Ok(())),
    };
    let contenders = vec![
        offsite(ADOPT, MergeMethod::Adopt),
        offsite(FOLD, MergeMethod::Fold),
        Contender {
            name: QEMU.to_owned(),
            prepare: Box::new(|| bench.fresh("qcow2", "work")),
            work: Box::new(|| {
                tool("qemu-img", ["commit".into(), "-q".into(), "-d".into(), bench.path("work/p1.qcow2")])?;
                tool("sync", [bench.path("work/p0.qcow2")])?;
                Ok(Vec::new())
            }),
            check: Box::new(|| bench.check_qcow2(&bench.path("work/p0.qcow2"), 1)),
        },
        Contender {
            name: RENAME.to_owned(),
            prepare: Box::new(|| {
                remove(&bench.path("work"))?;
                let (full, increment) = oldest_files(&bench.path("chain"))?;
                split(&full, &increment, &bench.path("work"))
            }),
            work: Box::new(|| rename_per_block(&bench.path("work")).map(|()| Vec::new())),
            // The floors know nothing of what they move.
            check: Box::new(|| Ok(())),
        },
        overwriting(IN_PLACE, Room::Allocated),
        overwriting("floor: the same, past the end of the file", Room::End),
        Contender {
            name: "restic forget --prune".to_owned(),
            prepare: Box::new(|| bench.fresh("restic", "work")),
            work: Box::new(|| {
                bench.restic(&bench.path("work"), ["forget", "-q", "--keep-last", "2", "--prune"])?;
                bench.durable().map(|()| Vec::new())
            }),
            check: Box::new(|| bench.check_restic(&bench.path("work"), VERSIONS - 1)),
        },
        Contender {
            name: "borg delete, compact".to_owned(),
            prepare: Box::new(|| {
                bench.fresh(BORG_BASE_OF_CHAIN, BORG_BASE)?;
                bench.fresh("borg", "work")
            }),
            work: Box::new(|| {
                bench.borg(["delete"], &bench.path("work"), "p0", &[])?;
                bench.borg(["compact"], &bench.path("work"), "", &[])?;
                bench.durable().map(|()| Vec::new())
            }),
            check: Box::new(|| (1..VERSIONS).try_for_each(|version| bench.check_borg(&bench.path("work"), version))),
        },
    ];
    let about = format!(
        "The chain's oldest increment goes into the full; restic and borg, which have none, let their oldest point go. The \
         disk changed in {:.0} MB (to the page), of which Offsite stored {:.0} MB. Offsite's run also takes and gives back the lease.",
        bench.changed_bytes as f64 / 1e6,
        bench.increment_bytes as f64 / 1e6
    );
    let group = Group::measure("Merge of an increment", about, bench.caches, rounds, contenders)?;
    remove(&bench.path("work"))?;
    Ok(vec![group])
}
