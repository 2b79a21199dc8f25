//! The end of a drive that is stopped.

use std::time::Duration;

use offsite_core::phase::Phase;
use tokio::time::timeout;

use super::{Drive, Ending};
use crate::report::Note;
use crate::runner::report::RunEnd;
use crate::runner::setup::{GRACE, Setup};

/// How long a stop waits for a transfer to end and to be committed.
const COMMIT_GRACE: Duration = Duration::from_secs(60);

impl Drive {
    /// Ends what is under way so that another runner can go on.
    pub(super) async fn wind_up(mut self) -> (Ending, Setup) {
        self.look = None;
        if let Some(task) = self.task.take() {
            let grace = match &self.gate {
                Some(gate) => {
                    gate.stop();
                    COMMIT_GRACE
                }
                None => GRACE,
            };
            // What was committed the next runner finds in the chain; what else is cut off it does again.
            if let Ok(done) = timeout(grace, task).await {
                self.done(done);
            }
        }
        while let Some(event) = self.events.pop_front() {
            // What it asks for now the next runner does.
            drop(self.job.step(event, self.setup.clock.now()));
        }
        let is_open = self.job.phase() != Phase::Idle;
        let report = match self.ended.take() {
            Some(report) if !is_open => report,
            _ => {
                let mut report = self.report(&self.job.result());
                report.note(vec![Note::Stopped]);
                report
            }
        };
        self.save().await;
        let requested = self.requested.take().into_iter().flat_map(|requested| requested.answers);
        for answer in requested.chain(self.forced).chain(self.wanted).filter(|_| is_open) {
            let _ = answer.send(RunEnd::Stopped(Box::new(report.clone())));
        }
        (Ending::Stopped(report, is_open), self.setup)
    }
}
