//! What machines held at which time, to compare restores with.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use offsite::model::RestorePoint;
use offsite::model::Sequence;
use offsite::model::Timestamp;
use offsite::{Error, JobFolder, OpenRepository, PointSelector, Restore};

use super::{Machines, files_in, job, machine, scratch};

/// The disks of each machine at the times at which they were backed up.
#[derive(Clone, Default)]
pub struct Truth(BTreeMap<(String, i64), Vec<Vec<u8>>>);

impl Truth {
    pub fn record(&mut self, machines: &Machines, names: &[&str], captured: Timestamp) {
        for name in names {
            self.0.insert(((*name).to_owned(), captured.unix_secs()), machines.content(name));
        }
    }

    /// Forgets all times but those that a chain has, as `captured` by its machines, and the last: a run that was cut off as it committed
    /// has what the next run finishes.
    pub fn keep_only(&mut self, captured: &BTreeSet<(String, i64)>) {
        let times: BTreeSet<i64> = self.0.keys().map(|(_, time)| *time).collect();
        let last: BTreeSet<i64> = times.into_iter().rev().take(8).collect();
        self.0.retain(|known, _| captured.contains(known) || last.contains(&known.1));
    }

    /// Whether a machine's disks held this at that time.
    pub fn is(&self, disks: &[Vec<u8>], name: &str, captured: Timestamp) -> bool {
        self.0[&(name.to_owned(), captured.unix_secs())] == disks
    }

    /// Restores a machine of a point to `to`: right to the byte, or an error that leaves no file behind. Else it panics.
    pub async fn restore(
        &self,
        repository: &OpenRepository,
        folder: &str,
        point: &RestorePoint,
        name: &str,
        to: &Path,
    ) -> Result<(), Error> {
        let captured = point.machine(&machine(name)).unwrap().captured;
        let expected = &self.0[&(name.to_owned(), captured.unix_secs())];
        let restore = Restore::new(repository, job(folder), machine(name));
        let result = restore.point(PointSelector::Sequence(point.sequence)).run(to).await;
        if let Ok(report) = &result {
            assert_eq!((report.disks.len(), files_in(to)), (expected.len(), expected.len()), "{folder}");
            for (disk, expected) in report.disks.iter().zip(expected) {
                let delivered = std::fs::read(disk.path.as_ref().unwrap()).unwrap();
                assert!(delivered == *expected, "wrong bytes: {folder}, point {}, {name}", point.sequence);
                std::fs::remove_file(disk.path.as_ref().unwrap()).unwrap();
            }
        }
        assert_eq!(files_in(to), 0, "a failed restore leaves nothing behind");
        result.map(drop)
    }

    /// Restores every machine of every point of a job: those that fail.
    pub async fn failing(&self, repository: &OpenRepository, folder: &str) -> BTreeSet<(u64, String)> {
        let to = scratch();
        let chain = JobFolder::open(repository, &job(folder)).await.unwrap().chain().clone();
        let mut failing = BTreeSet::new();
        for point in chain.all() {
            for state in &point.machines {
                let name = state.name.as_str();
                if self.restore(repository, folder, point, name, to.path()).await.is_err() {
                    failing.insert((point.sequence.0, name.to_owned()));
                }
            }
        }
        failing
    }

    /// Restores every whole machine of every point of a job, to the byte, and sees the others refused; the numbers of the points. None if there is no such job.
    pub async fn check(&self, repository: &OpenRepository, folder: &str) -> Vec<u64> {
        let to = scratch();
        let chain = match JobFolder::open(repository, &job(folder)).await {
            Err(Error::UnknownJob { .. }) => return Vec::new(),
            answer => answer.unwrap().chain().clone(),
        };
        for point in chain.all() {
            for state in &point.machines {
                let restored = self.restore(repository, folder, point, state.name.as_str(), to.path()).await;
                if !state.is_whole() {
                    let refused = restored.unwrap_err().to_string();
                    assert!(refused.contains("incomplete"), "{refused}");
                    continue;
                }
                restored.unwrap_or_else(|error| panic!("{folder}, point {}: {}", point.sequence, causes(&error)));
            }
        }
        chain.all().map(|point| point.sequence).map(|Sequence(number)| number).collect()
    }
}

/// An error with what caused it.
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    text
}
