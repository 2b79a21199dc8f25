//! The status file.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use offsite::runner::Memory;

use super::record::{JobRecord, StatusRecord, VERSION};
use crate::state::{StateDir, replace};
use crate::status::Failure;

/// How often progress is written down.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// How much a change matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weight {
    /// It must outlive a power cut.
    Durable,
    /// Those who ask should see it.
    Shown,
    /// It is seen at the next occasion.
    Progress,
}

/// The status file of the daemon that holds its lock.
#[derive(Debug)]
pub(super) struct Store {
    folder: StateDir,
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    record: StatusRecord,
    written: Option<Instant>,
    is_broken: bool,
}

impl Store {
    /// Takes the file over from the daemon before, with what it remembered of its jobs.
    pub(super) fn open(folder: StateDir, config: &Path, started: String) -> Result<Self, Failure> {
        let path = folder.daemon();
        let before = match read(&path) {
            Ok(record) => record.unwrap_or_default(),
            Err(why) => {
                tracing::error!("{why}; the jobs go on from what their chains say");
                StatusRecord::default()
            }
        };
        let record = StatusRecord {
            version: VERSION,
            pid: std::process::id(),
            host: host(),
            config: std::path::absolute(config).unwrap_or_else(|_| config.to_owned()).display().to_string(),
            started,
            stopped: None,
            jobs: before.jobs,
        };
        let store = Self { folder, path, state: Mutex::new(State { record, written: None, is_broken: false }) };
        store.write(&mut store.state(), Weight::Durable).map_err(|why| {
            Failure::Failed(format!("{why}; choose a folder that this user may write to, with state_dir in the config"))
        })?;
        Ok(store)
    }

    /// What a job's runner remembered last.
    pub(super) fn memory(&self, job: &str) -> Memory {
        let state = self.state();
        let Some(record) = state.record.jobs.get(job) else { return Memory::default() };
        record.memory.memory().unwrap_or_else(|| {
            tracing::error!(job, "what the status file remembers is damaged; the job goes on from what its chain says");
            Memory::default()
        })
    }

    /// Changes what is known of a job.
    pub(super) fn job(&self, job: &str, weight: Weight, change: impl FnOnce(&mut JobRecord)) {
        let mut state = self.state();
        change(state.record.jobs.entry(job.to_owned()).or_default());
        self.note(&mut state, weight);
    }

    /// Where else this daemon keeps things.
    pub(super) const fn folder(&self) -> &StateDir {
        &self.folder
    }

    /// What was known of a job under its old name is known of it under the new one, unless that is known already.
    pub(super) fn rename(&self, old: &str, job: &str) {
        self.folder.rename(old, job);
        let mut state = self.state();
        if !state.record.jobs.contains_key(job)
            && let Some(record) = state.record.jobs.remove(old)
        {
            state.record.jobs.insert(job.to_owned(), record);
            self.note(&mut state, Weight::Durable);
        }
    }

    /// The jobs from now on.
    pub(super) fn keep(&self, is_kept: impl Fn(&str) -> bool) {
        let mut state = self.state();
        state.record.jobs.retain(|job, _| is_kept(job));
        self.note(&mut state, Weight::Durable);
    }

    /// The daemon ends.
    pub(super) fn stopped(&self, at: String) {
        let mut state = self.state();
        state.record.stopped = Some(at);
        self.note(&mut state, Weight::Durable);
    }

    fn note(&self, state: &mut State, weight: Weight) {
        let is_recent = state.written.is_some_and(|written| written.elapsed() < PROGRESS_EVERY);
        if weight == Weight::Progress && is_recent {
            return;
        }
        match self.write(state, weight) {
            Ok(()) => state.is_broken = false,
            // Once, not with every change: a full disk stays full for a while.
            Err(why) if !std::mem::replace(&mut state.is_broken, true) => {
                tracing::error!("{why}; until it can be written, a restart goes on from what the jobs' chains say");
            }
            Err(_) => {}
        }
    }

    fn write(&self, state: &mut State, weight: Weight) -> Result<(), String> {
        let text = serde_json::to_string_pretty(&state.record).map_err(|error| error.to_string())?;
        let written = replace(&self.path, text.as_bytes(), weight == Weight::Durable);
        state.written = Some(Instant::now());
        written.map_err(|error| format!("the status file {} cannot be written: {error}", self.path.display()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a status file says; none if there is none.
pub(crate) fn read(path: &Path) -> Result<Option<StatusRecord>, String> {
    let wrong = |why: String| format!("the status file {} cannot be read: {why}", path.display());
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(error.to_string())),
    };
    let record: StatusRecord = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    match record.version {
        VERSION => Ok(Some(record)),
        other => Err(wrong(format!("it has version {other}, and this is one for version {VERSION}"))),
    }
}

fn host() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned())
}
