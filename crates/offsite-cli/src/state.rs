//! The state folder, which has what the host keeps: the status of the daemon, the result of each job's last interval, and the
//! catalogues of drives.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use offsite::model::MachineName;
use offsite::model::Timestamp;
use offsite::runner::{CopyRun, StateFolder};
use offsite::{Damage, JobName};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::totals::Totals;
use crate::{json, words};

/// The version that is written. A file of another version is not read.
const VERSION: u32 = 1;
/// The folder of the jobs' files.
const RESULTS: &str = "jobs";
/// The end of the name of a job's file.
const ENDING: &str = ".json";

/// The state folder. It need not exist yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StateDir(PathBuf);

/// The result of a job's last interval.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LastResult {
    version: u32,
    /// The report, as scripts get it.
    pub(crate) report: Value,
    /// The age in seconds from which a copy was overdue, as the config said then. `None` if no copy ever was.
    pub(crate) max_age_secs: Option<u64>,
    /// The time of the state that was copied last, by machine. `None` if the machine has no copy.
    newest: BTreeMap<String, Option<String>>,
    /// What a later verification or repair found, with earlier findings that no run mends or reports.
    #[serde(default)]
    pub(crate) verified: Option<Verified>,
    /// What the job's runs have done in all.
    #[serde(default)]
    pub(crate) totals: Totals,
}

/// What a verification of a job's copies found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Verified {
    /// When it ended.
    pub(crate) at: String,
    /// The damage of backup files in words, one line each. Each run reports by itself what is still damaged.
    pub(crate) files: Vec<String>,
    /// The damaged heads, indexes and second copies. They stay until a repair.
    pub(crate) others: Vec<String>,
}

impl Verified {
    /// Returns what was found at a time.
    pub(crate) fn of(at: String, damage: &[Damage]) -> Self {
        let mut found = Self { at, files: Vec::new(), others: Vec::new() };
        for damage in damage {
            let mut parts = damage.object.as_str().rsplit('/');
            let name = parts.next().unwrap_or_default();
            let is_file = parts.next() == Some("blocks") && !name.contains('.');
            let list = if is_file { &mut found.files } else { &mut found.others };
            list.push(format!("{}: {}", damage.object, words::damage(&damage.what)));
        }
        found
    }

    /// Returns everything that was found.
    pub(crate) fn damage(&self) -> impl Iterator<Item = &str> {
        self.others.iter().chain(&self.files).map(String::as_str)
    }
}

/// Returns the path of a job's file below the state folder.
fn file(job: &str) -> PathBuf {
    Path::new(RESULTS).join(format!("{job}{ENDING}"))
}

impl StateDir {
    pub(crate) const fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Returns the path of the catalogue of the set `name`.
    pub(crate) fn media(&self, name: &str) -> PathBuf {
        self.0.join("media").join(name)
    }

    /// Returns the folder of the filters that say which pages of indexes have which digests.
    pub(crate) fn filter(&self) -> PathBuf {
        self.0.join("filter")
    }

    /// Returns the folder of the mails that no server has taken yet.
    pub(crate) fn outbox(&self) -> PathBuf {
        self.0.join("mail")
    }

    fn results(&self) -> PathBuf {
        self.0.join(RESULTS)
    }

    fn result(&self, job: &str) -> PathBuf {
        self.0.join(file(job))
    }

    /// Keeps the result of an interval.
    ///
    /// # Errors
    /// The reason in words, if it cannot be kept.
    pub(crate) fn keep(&self, report: &CopyRun) -> Result<(), String> {
        let job = report.job.as_str();
        let mut newest: BTreeMap<String, Option<String>> =
            report.newest.iter().map(|(name, time)| (name.to_string(), time.map(|time| time.to_string()))).collect();
        let (mut verified, mut totals) = (None, Totals::default());
        if let Ok(Some(before)) = read(&self.result(job)) {
            if newest.is_empty() {
                // Copies also grow older while the target is away.
                newest = before.newest;
            }
            totals = before.totals;
            let lasting = before.verified.filter(|verified| !verified.others.is_empty());
            verified = lasting.map(|verified| Verified { files: Vec::new(), ..verified });
        }
        let last = LastResult {
            version: VERSION,
            report: json::interval(report),
            max_age_secs: report.max_age.map(|max_age| max_age.as_secs()),
            newest,
            verified,
            totals: totals.with(report),
        };
        self.write(job, &last)
    }

    /// Keeps the findings of a verification of a job's copies. It does nothing if the job has not run here, as there is no result
    /// to keep them with.
    ///
    /// # Errors
    /// The reason in words, if they cannot be kept.
    pub(crate) fn keep_verified(&self, job: &str, verified: Verified) -> Result<(), String> {
        match read(&self.result(job))? {
            Some(last) => self.write(job, &LastResult { verified: Some(verified), ..last }),
            None => Ok(()),
        }
    }

    fn write(&self, job: &str, last: &LastResult) -> Result<(), String> {
        let bytes = serde_json::to_vec_pretty(last).map_err(std::io::Error::from);
        let kept = bytes.and_then(|bytes| StateFolder::new(&self.0).replace(file(job), &bytes, true));
        kept.map_err(|error| {
            format!(
                "the result cannot be kept for `offsite status` in {}: {error}; choose another folder with state_dir in the config",
                self.result(job).display()
            )
        })
    }

    /// Returns the result of the last interval of each job, and what is wrong with files that cannot be read.
    pub(crate) fn last_results(&self) -> (BTreeMap<String, LastResult>, Vec<String>) {
        let (mut results, mut faults) = (BTreeMap::new(), Vec::new());
        let entries = match fs::read_dir(self.results()) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return (results, faults),
            Err(error) => return (results, vec![format!("{} cannot be read: {error}", self.results().display())]),
        };
        for name in entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()) {
            let Some(job) = name.strip_suffix(ENDING).filter(|job| JobName::new(job).is_ok()) else { continue };
            match read(&self.result(job)) {
                Ok(Some(result)) => drop(results.insert(job.to_owned(), result)),
                Ok(None) => {}
                Err(why) => faults.push(why),
            }
        }
        (results, faults)
    }

    /// Gives the last result of a job under its old name to `job`.
    pub(crate) fn rename(&self, old: &str, job: &str) {
        // If this fails, the next interval makes a new one.
        let _ = StateFolder::new(&self.0).rename(file(old), file(job));
    }
}

impl LastResult {
    /// Returns the time of the state that was copied last, by machine. A machine without a time has no copy.
    pub(crate) fn newest(&self) -> BTreeMap<MachineName, Option<Timestamp>> {
        let newest = self.newest.iter().filter_map(|(name, time)| {
            let time = time.as_deref().and_then(|time| Timestamp::parse(time).ok());
            Some((MachineName::new(name).ok()?, time))
        });
        newest.collect()
    }

    /// Returns a text field of the report.
    pub(crate) fn text(&self, field: &str) -> Option<&str> {
        self.report.get(field)?.as_str()
    }
}

fn read(path: &Path) -> Result<Option<LastResult>, String> {
    let wrong = |why: String| format!("{} cannot be read: {why}", path.display());
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(error.to_string())),
    };
    let last: LastResult = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
    match last.version {
        VERSION => Ok(Some(last)),
        other => Err(wrong(format!("it has version {other}, and this is one for version {VERSION}"))),
    }
}
