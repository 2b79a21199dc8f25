//! `offsite daemon`: all jobs of the config on their schedules, until it is stopped.

mod events;
mod jobs;
mod lock;
mod record;
mod store;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind};
use tokio::time::sleep;
use tracing::{error, info, warn};

use crate::args::Daemon;
use crate::clock::clock;
use crate::config::Config;
use crate::host::one_line;
use crate::log;
use crate::signals::listen;
use crate::state::StateDir;
use crate::status::{Failure, Status};

use jobs::Jobs;
use lock::Lock;
use store::Store;

pub(crate) use lock::is_held;
pub(crate) use record::{IntervalRecord, JobRecord, StatusRecord};
pub(crate) use store::read;

/// How often a daemon that stands by asks whether the other has ended.
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub(crate) async fn run(arguments: &Daemon, path: &Path) -> Result<Status, Failure> {
    log::start(arguments.log.as_deref())?;
    let clock = clock()?;
    let mut signals = Signals::new()?;
    let first = load(path)?;
    let state = first.state_dir();
    state.make()?;
    let status = state.daemon();
    let Some(_lock) = stand_by(&status, &mut signals).await? else { return Ok(Status::Done) };
    // It may have been changed while this daemon stood by.
    let config = load(path).map(|config| stay(config, &state)).unwrap_or_else(|failure| {
        error!("the config has become wrong, what it was at the start is in force: {}", words(&failure));
        first
    });
    let store = Arc::new(Store::open(state.clone(), path, clock.now().to_string())?);
    let folder = state.path().display();
    info!("started with {}: process {}, state in {folder}", path.display(), std::process::id());
    let mut jobs = Jobs::new(store.clone(), clock.clone());
    jobs.apply(config).await;
    while signals.next().await == Told::Reload {
        match load(path) {
            Ok(config) => {
                jobs.apply(stay(config, &state)).await;
                info!("the config {} is in force", path.display());
            }
            Err(failure) => error!("the config is wrong, the old one stays in force: {}", words(&failure)),
        }
    }
    info!("stopping");
    tokio::select! {
        () = jobs.stop() => {}
        // Whoever asks twice does not want to wait; the next start goes on all the same.
        () = signals.stop() => warn!("stopped at once"),
    }
    store.stopped(clock.now().to_string());
    info!("stopped");
    Ok(Status::Done)
}

fn load(path: &Path) -> Result<Config, Failure> {
    let config = Config::load(path)?;
    if config.jobs.is_empty() {
        return Err(Failure::WrongUse(format!(
            "no copy job: {} has no [jobs.NAME]; see the README for one",
            path.display()
        )));
    }
    Ok(config)
}

/// The config with the state folder that this daemon has.
fn stay(mut config: Config, state: &StateDir) -> Config {
    if config.state_dir() != *state {
        warn!("state_dir has changed; that counts from the next start on");
        config.keep_state_dir(state);
    }
    config
}

fn words(failure: &Failure) -> String {
    one_line(failure.text())
}

/// Waits for the lock, while another daemon holds it; none if this one is stopped meanwhile.
async fn stand_by(status: &Path, signals: &mut Signals) -> Result<Option<Lock>, Failure> {
    let mut is_told = false;
    loop {
        if let Some(lock) = Lock::take(status)? {
            return Ok(Some(lock));
        }
        if !std::mem::replace(&mut is_told, true) {
            let pid = store::read(status)
                .ok()
                .flatten()
                .map_or_else(String::new, |record| format!(", process {},", record.pid));
            info!("another daemon{pid} runs these jobs; standing by until it ends");
        }
        tokio::select! {
            () = sleep(LOOK_EVERY) => {}
            () = signals.stop() => return Ok(None),
        }
    }
}

/// What the daemon was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Reload,
    Stop,
}

/// The signals that it listens to.
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        Ok(Self {
            hangup: listen(SignalKind::hangup())?,
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Told::Stop,
            _ = self.interrupt.recv() => Told::Stop,
            _ = self.hangup.recv() => Told::Reload,
        }
    }

    /// Returns when the daemon is to stop; what else it is told is passed over.
    async fn stop(&mut self) {
        while self.next().await != Told::Stop {}
    }
}
