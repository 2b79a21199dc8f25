//! Makes scheduled jobs of the library from the jobs of the config.

use std::sync::Arc;

use offsite::JobName;
use offsite::runner::{Clock, ProgressBoard, ScheduledJob};

use super::events::{Listener, Notes};
use crate::config::Config;
use crate::host::Host;

/// Returns the jobs of `config`. A config with a fault is not in force, so no job is left out.
pub(super) fn scheduled(config: &Arc<Config>, clock: &Arc<dyn Clock>) -> Vec<ScheduledJob> {
    let jobs = config.jobs.iter().filter_map(|(name, job)| {
        let (job_name, settings) = (JobName::new(name).ok()?, job.settings().ok()?);
        let notes = Arc::new(Notes { job: job_name.clone() });
        let board = Arc::new(ProgressBoard::new(clock.clone(), notes.clone()));
        let host = Arc::new(Host::new(job_name.clone(), config.clone(), clock.clone(), board.clone(), notes));
        let listener = Listener { clock: clock.clone(), local: config.local_time(name) };
        let scheduled = ScheduledJob::copy(&job.target, job_name, settings, host.clone())
            .after(host)
            .events(Arc::new(listener))
            .max_age(job.max_age().ok()?)
            .board(board)
            .revision(config.revision(name))
            .renamed_from(job.renamed_from().and_then(|old| JobName::new(old).ok()));
        Some(scheduled)
    });
    jobs.collect()
}
