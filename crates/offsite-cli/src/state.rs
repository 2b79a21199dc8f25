//! The state folder: what the host keeps. The status of the daemon, what came of each job's last interval, whoever ran it, and the
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

/// The version that is written. A file of another one is not understood.
const VERSION: u32 = 1;
/// The folder of the jobs' files.
const RESULTS: &str = "jobs";
/// The end of the name of a job's file.
const ENDING: &str = ".json";

/// The folder, which need not be there yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StateDir(PathBuf);

/// What came of a job's last interval.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LastResult {
    version: u32,
    /// The report, as scripts get it.
    pub(crate) report: Value,
    /// How old a copy may be, as the config said then.
    pub(crate) max_age_secs: Option<u64>,
    /// When each machine was in the state that was copied last.
    newest: BTreeMap<String, Option<String>>,
    /// What a verification or a repair found since, and what an earlier one found that no run mends or tells of.
    #[serde(default)]
    pub(crate) verified: Option<Verified>,
    /// What its runs have done.
    #[serde(default)]
    pub(crate) totals: Totals,
}

/// What a verification of a job's copies found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Verified {
    /// When it ended.
    pub(crate) at: String,
    /// Damage of backup files, in words, a line for each. Each run tells by itself what of that is still damaged.
    pub(crate) files: Vec<String>,
    /// Damaged heads, indexes and second copies, which stay until a repair.
    pub(crate) others: Vec<String>,
}

impl Verified {
    /// What was found at a time.
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

    /// All that was found.
    pub(crate) fn damage(&self) -> impl Iterator<Item = &str> {
        self.others.iter().chain(&self.files).map(String::as_str)
    }
}

/// A job's file, below the state folder.
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

    /// The catalogue of the drives of the set `name`.
    pub(crate) fn media(&self, name: &str) -> PathBuf {
        self.0.join("media").join(name)
    }

    /// The mails that no server has taken yet.
    pub(crate) fn outbox(&self) -> PathBuf {
        self.0.join("mail")
    }

    fn results(&self) -> PathBuf {
        self.0.join(RESULTS)
    }

    fn result(&self, job: &str) -> PathBuf {
        self.0.join(file(job))
    }

    /// Takes down what came of an interval.
    ///
    /// # Errors
    /// Why it cannot be kept, in words.
    pub(crate) fn keep(&self, report: &CopyRun) -> Result<(), String> {
        let job = report.job.as_str();
        let mut newest: BTreeMap<String, Option<String>> =
            report.newest.iter().map(|(name, time)| (name.to_string(), time.map(|time| time.to_string()))).collect();
        let (mut verified, mut totals) = (None, Totals::default());
        if let Ok(Some(before)) = read(&self.result(job)) {
            if newest.is_empty() {
                // Copies grow older, too, while the target is away.
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

    /// Takes down what a verification of a job's copies found. A job that has not run here has nothing that it could stand beside.
    ///
    /// # Errors
    /// Why it cannot be kept, in words.
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

    /// What came of the last interval of each job, and what is wrong with files that cannot be read.
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

    /// The last result under the old name of a job is now that of `job`.
    pub(crate) fn rename(&self, old: &str, job: &str) {
        // What cannot be taken over, the next interval tells anew.
        let _ = StateFolder::new(&self.0).rename(file(old), file(job));
    }
}

impl LastResult {
    /// When each machine was in the state that was copied last. A machine without a time has no copy.
    pub(crate) fn newest(&self) -> BTreeMap<MachineName, Option<Timestamp>> {
        let newest = self.newest.iter().filter_map(|(name, time)| {
            let time = time.as_deref().and_then(|time| Timestamp::parse(time).ok());
            Some((MachineName::new(name).ok()?, time))
        });
        newest.collect()
    }

    /// A text of the report.
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
