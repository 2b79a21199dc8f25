//! The state folder: what the host keeps. The status of the daemon, what came of each job's last interval, whoever ran it, and the
//! catalogues of drives.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use offsite::model::MachineName;
use offsite::model::Timestamp;
use offsite::runner::RunReport;
use offsite::{Damage, JobName};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::json;
use crate::status::Failure;

/// The version that is written. A file of another one is not understood.
const VERSION: u32 = 1;
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
            let mut parts = damage.object.rsplit('/');
            let name = parts.next().unwrap_or_default();
            let is_file = parts.next() == Some("blocks") && !name.contains('.');
            let list = if is_file { &mut found.files } else { &mut found.others };
            list.push(format!("{}: {}", damage.object, damage.what));
        }
        found
    }

    /// All that was found.
    pub(crate) fn damage(&self) -> impl Iterator<Item = &str> {
        self.others.iter().chain(&self.files).map(String::as_str)
    }
}

impl StateDir {
    pub(crate) const fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The status file of the daemon.
    pub(crate) fn daemon(&self) -> PathBuf {
        self.0.join("status.json")
    }

    /// The catalogue of the drives of the set `name`.
    pub(crate) fn media(&self, name: &str) -> PathBuf {
        self.0.join("media").join(name)
    }

    fn results(&self) -> PathBuf {
        self.0.join("jobs")
    }

    fn result(&self, job: &str) -> PathBuf {
        self.results().join(format!("{job}{ENDING}"))
    }

    /// Makes the folder.
    pub(crate) fn make(&self) -> Result<(), Failure> {
        fs::create_dir_all(&self.0).map_err(|error| {
            Failure::Failed(format!(
                "cannot make the folder {}: {error}; choose one that this user may write to, with state_dir in the config",
                self.0.display()
            ))
        })
    }

    /// Takes down what came of an interval.
    ///
    /// # Errors
    /// Why it cannot be kept, in words.
    pub(crate) fn keep(&self, report: &RunReport) -> Result<(), String> {
        let path = self.result(report.job.as_str());
        let mut newest: BTreeMap<String, Option<String>> =
            report.newest.iter().map(|(name, time)| (name.to_string(), time.map(|time| time.to_string()))).collect();
        let mut verified = None;
        if let Ok(Some(before)) = read(&path) {
            if newest.is_empty() {
                // Copies grow older, too, while the target is away.
                newest = before.newest;
            }
            let lasting = before.verified.filter(|verified| !verified.others.is_empty());
            verified = lasting.map(|verified| Verified { files: Vec::new(), ..verified });
        }
        let last = LastResult {
            version: VERSION,
            report: json::interval(report),
            max_age_secs: report.max_age.map(|max_age| max_age.as_secs()),
            newest,
            verified,
        };
        self.write(&path, &last)
    }

    /// Takes down what a verification of a job's copies found. A job that has not run here has nothing that it could stand beside.
    ///
    /// # Errors
    /// Why it cannot be kept, in words.
    pub(crate) fn keep_verified(&self, job: &str, verified: Verified) -> Result<(), String> {
        let path = self.result(job);
        match read(&path)? {
            Some(last) => self.write(&path, &LastResult { verified: Some(verified), ..last }),
            None => Ok(()),
        }
    }

    fn write(&self, path: &Path, last: &LastResult) -> Result<(), String> {
        let kept = (|| {
            fs::create_dir_all(self.results())?;
            replace(path, &serde_json::to_vec_pretty(last)?, true)
        })();
        kept.map_err(|error: std::io::Error| {
            format!(
                "the result cannot be kept for `offsite status` in {}: {error}; choose another folder with state_dir in the config",
                path.display()
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
        let (old, new) = (self.result(old), self.result(job));
        // What cannot be taken over, the next interval tells anew.
        if !new.exists() {
            let _ = fs::rename(old, new);
        }
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

/// Removes what processes that were killed have left of such writing: nobody holds a lock on it. Their number may be another process's by
/// now. `own` is the name that this process writes under.
fn remove_left_over(path: &Path, own: &std::ffi::OsStr) {
    let (Some(folder), Some(own)) = (path.parent(), own.to_str()) else { return };
    let Some((prefix, _)) = own.rsplit_once('.') else { return };
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.strip_prefix(prefix)?.strip_prefix('.')) else { continue };
        let is_pid = !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit());
        if is_pid && File::open(entry.path()).is_ok_and(|file| is_free(&file)) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Whether nobody has a lock on a file; this process has it then, until the file is closed.
fn is_free(file: &File) -> bool {
    rustix::fs::flock(file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_ok()
}

/// Writes a file whole and puts it in the old one's place, so that a reader never sees half of it. If it `is_durable`, it outlives
/// a power cut.
pub(crate) fn replace(path: &Path, bytes: &[u8], is_durable: bool) -> std::io::Result<()> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    // Of one process: a run and a daemon may write at the same time.
    name.push(format!(".{}", std::process::id()));
    remove_left_over(path, &name);
    let new = path.with_file_name(name);
    let written = (|| {
        let mut file = File::create(&new)?;
        // Until it has its name: whoever looks for what is left over sees that it is not. Some file systems have no locks.
        let _ = is_free(&file);
        file.write_all(bytes)?;
        if is_durable {
            file.sync_all()?;
        }
        fs::rename(&new, path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if is_durable {
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
        }
        Ok(())
    })();
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_another_writes_stays() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| File::create(folder.path().join(name)).unwrap();
        let (_left, written, other) = (file(".job.json.1"), file(".job.json.2"), file(".other.json.1"));
        drop(other);
        assert!(is_free(&written));
        replace(&folder.path().join("job.json"), b"{}", true).unwrap();
        let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, [".job.json.2", ".other.json.1", "job.json"]);
    }
}
