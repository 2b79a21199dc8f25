//! The jobs that a daemon runs, each in a task of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use offsite::JobName;
use offsite::runner::{Clock, JobRunner, Slots};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{error, info};

use super::events::{Listener, Notes};
use super::store::{Store, Weight};
use crate::config::Config;
use crate::host::Host;
use crate::local_time::LocalTime;

pub(super) struct Jobs {
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    slots: Slots,
    running: BTreeMap<String, Running>,
}

struct Running {
    /// That of its start; another may be in force for other jobs.
    config: Arc<Config>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Running {
    async fn end(self, job: &str) {
        // Received or not: a task that has ended is ended.
        let _ = self.stop.send(true);
        if let Err(error) = self.task.await {
            error!(job, "the job ended by a defect in Offsite: {error}; please report it");
        }
    }
}

impl Jobs {
    pub(super) fn new(store: Arc<Store>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, slots: Slots::new(1), running: BTreeMap::new() }
    }

    /// Puts a config in force: jobs that are not in it end, those that are new or have changed start, all others go on.
    pub(super) async fn apply(&mut self, config: Config) {
        let config = Arc::new(config);
        // A config with a fault is not in force.
        self.slots.resize(config.daemon.jobs_at_once().unwrap_or(1));
        let is_same = |name: &String, running: &Running| config.has_same_job(&running.config, name);
        let changed: Vec<String> = self
            .running
            .iter()
            .filter(|(name, running)| !is_same(name, running))
            .map(|(name, _)| name.clone())
            .collect();
        let ending: Vec<(String, Running)> =
            changed.into_iter().filter_map(|name| self.running.remove_entry(&name)).collect();
        end_all(ending).await;
        for (name, job) in &config.jobs {
            if let Some(old) = job.renamed_from() {
                self.store.rename(old, name);
            }
        }
        self.store.keep(|name| config.jobs.contains_key(name));
        for (name, job) in &config.jobs {
            if self.running.contains_key(name) {
                continue;
            }
            let (Ok(job_name), Ok(settings), Ok(max_age)) = (JobName::new(name), job.settings(), job.max_age()) else {
                continue;
            };
            info!(job = name.as_str(), "started");
            self.store.job(name, Weight::Shown, |record| {
                record.phase = "starting".to_owned();
                record.next_wake = None;
                record.is_paused = false;
            });
            let notes = Arc::new(Notes { job: job_name.clone() });
            let host = Host::new(job_name.clone(), config.clone(), self.clock.clone(), notes.clone(), notes);
            let (store, clock, local) = (self.store.clone(), self.clock.clone(), LocalTime::of(&config, name));
            let runner = JobRunner::new(job_name, settings, Arc::new(host))
                .memory(self.store.memory(name))
                .clock(self.clock.clone())
                .events(Arc::new(Listener { store, clock, local }))
                .slots(self.slots.clone())
                .max_age(max_age);
            let (stop, mut stopped) = watch::channel(false);
            let task = tokio::spawn(runner.run(async move {
                // An error is a sender that is gone, which is a stop too.
                let _ = stopped.wait_for(|is_stopped| *is_stopped).await;
            }));
            self.running.insert(name.clone(), Running { config: config.clone(), stop, task });
        }
    }

    /// Ends all jobs, at the same time.
    pub(super) async fn stop(&mut self) {
        end_all(std::mem::take(&mut self.running).into_iter().collect()).await;
    }
}

/// Ends jobs, at the same time.
async fn end_all(jobs: Vec<(String, Running)>) {
    for (_, running) in &jobs {
        let _ = running.stop.send(true);
    }
    for (name, running) in jobs {
        running.end(&name).await;
        info!(job = name.as_str(), "ended");
    }
}
