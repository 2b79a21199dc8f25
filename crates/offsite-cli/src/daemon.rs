//! `offsite daemon`: runs all jobs of the config on their schedules until it is stopped.

mod digest;
mod digest_facts;
mod digest_memory;
mod events;
mod jobs;
mod store;

use std::path::Path;
use std::sync::Arc;

use jobs::scheduled;
use offsite::Traffic;
use offsite::repository::Streams;
use offsite::runner::{Clock, Daemon, FolderStore, Slots, StoreError};
use store::DaemonStore;
use tokio::signal::unix::{Signal, SignalKind};
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::cache::Caches;
use crate::clock::clock;
use crate::config::Config;
use crate::error_text::{chain_of, one_line};
use crate::signals::listen;
use crate::state::StateDir;
use crate::status::{Failure, Status};
use crate::{args, log};

pub(crate) async fn run(arguments: &args::Daemon, path: &Path) -> Result<Status, Failure> {
    log::start(arguments.log.as_deref())?;
    let clock = clock()?;
    let mut signals = Signals::new()?;
    let first = load(path)?;
    let state = first.state_dir();
    let Some(files) = stand_by(&state, path, clock.as_ref(), &mut signals).await? else { return Ok(Status::Done) };
    // The config may have changed while this daemon stood by.
    let config = load(path).map(|config| stay(config, &state)).unwrap_or_else(|failure| {
        error!("the config has become wrong, what it was at the start is in force: {}", words(&failure));
        first
    });
    let folder = state.path().display();
    info!("started with {}: process {}, state in {folder}", path.display(), std::process::id());
    let slots = Slots::new(1);
    let store = DaemonStore { files: files.clone(), results: state.clone() };
    let daemon = Daemon::new(Arc::new(store)).clock(clock.clone()).slots(slots.clone());
    // One of each for the life of the process: jobs go on under them when the config is read anew.
    let traffic = Traffic::with_clock({
        let clock = clock.clone();
        move || clock.now()
    });
    let (streams, caches) = (Streams::new(), Caches::default());
    let config = Arc::new(with_registries(config, &traffic, &streams, &caches));
    let (configs, seen) = watch::channel(config.clone());
    apply(&daemon, &config, &slots, &clock).await;
    let digests = tokio::spawn(digest::run(seen, clock.clone(), state.clone()));
    while signals.next().await == Request::Reload {
        match load(path) {
            Ok(config) => {
                let config = Arc::new(with_registries(stay(config, &state), &traffic, &streams, &caches));
                apply(&daemon, &config, &slots, &clock).await;
                configs.send_replace(config);
                info!("the config {} is in force", path.display());
            }
            Err(failure) => error!("the config is wrong, the old one stays in force: {}", words(&failure)),
        }
    }
    info!("stopping");
    // A digest that it has written stays in the outbox.
    digests.abort();
    tokio::select! {
        _ = daemon.stop() => {}
        // A user who asks twice does not want to wait. The next start goes on from there.
        () = signals.stop() => warn!("stopped at once"),
    }
    if let Err(error) = files.stopped(clock.now()) {
        error!("{}", one_line(&chain_of(&error)));
    }
    info!("stopped");
    Ok(Status::Done)
}

/// Puts a config in force. Jobs that it does not have end. New and changed jobs start. All others go on.
async fn apply(daemon: &Daemon, config: &Arc<Config>, slots: &Slots, clock: &Arc<dyn Clock>) {
    // A config with a fault is not in force.
    slots.resize(config.daemon.jobs_at_once().unwrap_or(1));
    if let Err(error) = daemon.replace(scheduled(config, clock)).await {
        error!("{error}");
    }
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

/// Returns the config with the state folder that this daemon has.
fn stay(mut config: Config, state: &StateDir) -> Config {
    if config.state_dir() != *state {
        warn!("state_dir has changed; that counts from the next start on");
        config.keep_state_dir(state);
    }
    config
}

/// Returns the config with the registries of this daemon, in which its rules about traffic and its streams are in force from now on, and
/// with the caches that the daemon has open.
fn with_registries(mut config: Config, traffic: &Traffic, streams: &Streams, caches: &Caches) -> Config {
    config.keep_caches(caches);
    config.keep_traffic(traffic);
    config.keep_streams(streams);
    config
}

fn words(failure: &Failure) -> String {
    one_line(failure.text())
}

/// Takes the state folder. Waits while another daemon has it. `None` if this daemon is stopped meanwhile.
async fn stand_by(
    state: &StateDir,
    config: &Path,
    clock: &dyn Clock,
    signals: &mut Signals,
) -> Result<Option<FolderStore>, Failure> {
    let about = std::path::absolute(config).unwrap_or_else(|_| config.to_owned()).display().to_string();
    let wrong = |error: StoreError| {
        let why = chain_of(&error);
        Failure::Failed(format!("{why}\n  choose a folder that this user may write to, with state_dir in the config"))
    };
    match FolderStore::open(state.path(), &about, clock) {
        Err(StoreError::InUse { holder, .. }) => {
            let pid = holder.map_or_else(String::new, |holder| format!(", process {},", holder.pid));
            info!("another daemon{pid} runs these jobs; standing by until it ends");
        }
        opened => return opened.map(Some).map_err(wrong),
    }
    tokio::select! {
        opened = FolderStore::stand_by(state.path(), &about, clock) => opened.map(Some).map_err(wrong),
        () = signals.stop() => Ok(None),
    }
}

/// What a signal asks the daemon to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    Reload,
    Stop,
}

/// The signals that the daemon handles.
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

    async fn next(&mut self) -> Request {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Request::Stop,
            _ = self.interrupt.recv() => Request::Stop,
            _ = self.hangup.recv() => Request::Reload,
        }
    }

    /// Returns when the daemon is to stop. It ignores other requests.
    async fn stop(&mut self) {
        while self.next().await != Request::Stop {}
    }
}
