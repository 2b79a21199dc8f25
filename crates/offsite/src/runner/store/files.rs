//! A folder whose files are replaced as a whole.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// A folder for what a host keeps.
///
/// It need not exist yet. A file in it is named by its path below the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateFolder(PathBuf);

impl StateFolder {
    /// The folder at `path`.
    ///
    /// This creates nothing.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The path of the folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Creates the folder and its parents.
    ///
    /// # Errors
    /// The error of the operating system.
    pub fn make(&self) -> std::io::Result<()> {
        fs::create_dir_all(&self.0)
    }

    /// Reads a file.
    ///
    /// Returns `None` if it does not exist.
    ///
    /// # Errors
    /// The error of the operating system.
    pub fn read(&self, file: impl AsRef<Path>) -> std::io::Result<Option<Vec<u8>>> {
        match fs::read(self.0.join(file)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes a file as a whole in place of the old one.
    ///
    /// A reader never sees half of it.
    ///
    /// Its folder is created. If `is_durable`, the new file survives a power cut when the call returns.
    ///
    /// # Errors
    /// The error of the operating system. The old file is then unchanged.
    pub fn replace(&self, file: impl AsRef<Path>, bytes: &[u8], is_durable: bool) -> std::io::Result<()> {
        let path = self.0.join(file);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        replace(&path, bytes, is_durable)
    }

    /// Renames a file, unless the new name is taken or there is no such file.
    ///
    /// # Errors
    /// The error of the operating system.
    pub fn rename(&self, old: impl AsRef<Path>, new: impl AsRef<Path>) -> std::io::Result<()> {
        let (old, new) = (self.0.join(old), self.0.join(new));
        if new.exists() {
            return Ok(());
        }
        or_absent(fs::rename(old, new))
    }

    /// Deletes a file, if it exists.
    ///
    /// # Errors
    /// The error of the operating system.
    pub fn remove(&self, file: impl AsRef<Path>) -> std::io::Result<()> {
        or_absent(fs::remove_file(self.0.join(file)))
    }
}

fn or_absent(done: std::io::Result<()>) -> std::io::Result<()> {
    match done {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Deletes what killed processes have left of such a write.
///
/// Nobody has a lock on it. Another process may have their number by now. `own` is the name under which this process writes.
fn remove_left_over(path: &Path, own: &OsStr) {
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

/// Returns `true` if nobody has a lock on the file.
///
/// This process then has it until the file is closed.
fn is_free(file: &File) -> bool {
    file.try_lock().is_ok()
}

fn replace(path: &Path, bytes: &[u8], is_durable: bool) -> std::io::Result<()> {
    let mut name = OsString::from(".");
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
        StateFolder::new(folder.path()).replace("job.json", b"{}", true).unwrap();
        let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, [".job.json.2", ".other.json.1", "job.json"]);
    }

    #[test]
    fn a_name_that_is_taken_stays() {
        let folder = tempfile::tempdir().unwrap();
        let folder = StateFolder::new(folder.path());
        folder.replace("jobs/old", b"1", false).unwrap();
        folder.rename("jobs/old", "jobs/new").unwrap();
        folder.replace("jobs/old", b"2", false).unwrap();
        folder.rename("jobs/old", "jobs/new").unwrap();
        assert_eq!(folder.read("jobs/new").unwrap().as_deref(), Some(&b"1"[..]));
        folder.remove("jobs/new").unwrap();
        folder.remove("jobs/new").unwrap();
        assert_eq!(folder.read("jobs/new").unwrap(), None);
    }
}
