//! What can go wrong in a job.

use std::collections::BTreeMap;
use std::path::PathBuf;

use offsite_core::format::FormatError;
use offsite_core::{MachineName, Sequence, Timestamp};
use offsite_repository::{CreateIfAbsent, ErrorKind};

use crate::{Bytes, FileUser, JobName};

/// The result of an engine's call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation failed. The text names the thing and, where there is one, the way out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A repository's call failed; its kind tells whether trying again helps.
    #[error("{while_doing}")]
    Repository {
        /// What was being done, to which job.
        while_doing: String,
        /// The repository's error.
        #[source]
        source: offsite_repository::Error,
    },
    /// An object is not what was stored.
    #[error("{object} in {location} is damaged; {advice}")]
    Damaged {
        /// The object's key.
        object: String,
        /// The repository.
        location: String,
        /// The way out.
        advice: String,
        /// What is wrong with it.
        #[source]
        source: Option<FormatError>,
    },
    /// A place that is no repository.
    #[error(
        "{location} is no Offsite repository: nothing of one is there. If a drive or share belongs there, mount it; a new repository is \
         made with `offsite init {location}`"
    )]
    NotARepository {
        /// The place.
        location: String,
    },
    /// A place with something in it that is no repository.
    #[error("{location} is not empty and no Offsite repository (it has {found:?}); choose an empty place")]
    NotEmpty {
        /// The place.
        location: String,
        /// Something that is there.
        found: String,
    },
    /// A repository where an empty place was expected.
    #[error("{location} is a repository already")]
    AlreadyARepository {
        /// The place.
        location: String,
    },
    /// A place on which two writers would destroy each other's work.
    #[error(
        "{location} must not hold backups: {seen}, so that two runs would destroy each other's work; choose another place, or, if its \
         backend is your own, let finishing an object fail with AlreadyExists where its name is taken"
    )]
    NamesNotExclusive {
        /// The place.
        location: String,
        /// What a probe saw there.
        seen: CreateIfAbsent,
    },
    /// A copy needs two repositories.
    #[error(
        "{source_location} and {target_location} are the same repository; a copy beside its original is no copy: name another target"
    )]
    SameRepository {
        /// The place read from.
        source_location: String,
        /// The place written to.
        target_location: String,
    },
    /// A copy that would not fit into its target.
    #[error(
        "the copy was not begun: it would take {} of {location}, and {} are free there{}; make room, or keep fewer restore points",
        Bytes(*.needed_bytes), Bytes(*.free_bytes), staying(*.min_free_bytes)
    )]
    NoRoom {
        /// The target.
        location: String,
        /// What the copy would take at its peak.
        needed_bytes: u64,
        /// What is free.
        free_bytes: u64,
        /// What is to stay free.
        min_free_bytes: u64,
    },
    /// None of a copy job's sources can be looked at now.
    #[error("no source can be looked at: {why}")]
    NoSource {
        /// Why, for each of them.
        why: String,
    },
    /// No job of that name has restore points there.
    #[error("{location} has no job {job:?}{}", list(.known))]
    UnknownJob {
        /// The name asked for.
        job: String,
        /// The repository.
        location: String,
        /// The jobs that are there.
        known: Vec<String>,
    },
    /// No such machine in the job, or in that restore point.
    #[error("{place} has no machine {machine:?}{}", list(.known))]
    UnknownMachine {
        /// The name asked for.
        machine: String,
        /// Where it was looked for.
        place: String,
        /// The machines that are there.
        known: Vec<String>,
    },
    /// No such restore point.
    #[error("job {job} has no restore point {wanted}{}", list(.known))]
    UnknownPoint {
        /// The job.
        job: JobName,
        /// What was asked for.
        wanted: String,
        /// The restore points that are there.
        known: Vec<String>,
    },
    /// A machine of the copy came from a job folder that is none of the job's sources.
    #[error(
        "machine {machine:?} of this copy came from a job folder with the id {known}, which is none of the job's sources; the machine of \
         that name in job {job} in {location} is in the folder {found} and may be another one. Copy it under another job name; or, if it \
         is the same machine, take it over once (`offsite run --adopt`)"
    )]
    Stranger {
        /// The machine.
        machine: String,
        /// The job that has it now.
        job: JobName,
        /// The repository of that job.
        location: String,
        /// The id of the folder that the copy came from.
        known: String,
        /// The id of that job's folder.
        found: String,
    },
    /// Another run of the same job is at work.
    #[error("job {job} in {location} is being written by another run ({holder}); try again when it has ended")]
    Busy {
        /// The job.
        job: JobName,
        /// The repository.
        location: String,
        /// Who works on it.
        holder: String,
    },
    /// Another writer took the job over; what this run had not committed is void.
    #[error("job {job} was taken over by another writer; nothing of this run's last step was committed")]
    Fenced {
        /// The job.
        job: JobName,
    },
    /// Whether a commit happened could not be found out.
    #[error("whether job {job} committed head {number} is unknown; run it again: it goes on from what was committed")]
    CommitUnknown {
        /// The job.
        job: JobName,
        /// The head's number.
        number: u64,
        /// The last error.
        #[source]
        source: offsite_repository::Error,
    },
    /// A disk image cannot be used.
    #[error("disk image {}: {detail}", .path.display())]
    Image {
        /// The image.
        path: PathBuf,
        /// What is wrong, and the way out.
        detail: String,
        /// The cause.
        #[source]
        source: Option<std::io::Error>,
    },
    /// The file of an export cannot be made. There is none of that name, unless it was there before.
    #[error("export {}: {detail}", .path.display())]
    ExportFile {
        /// The file.
        path: PathBuf,
        /// What is wrong, and the way out.
        detail: String,
        /// The cause.
        #[source]
        source: Option<std::io::Error>,
    },
    /// A file that is to be made, or written over, lies among a repository's own. Nothing was changed there.
    #[error(
        "{} lies in the Offsite repository {}, among its own files, and is not written; choose another target",
        .path.display(), .repository.display()
    )]
    InRepository {
        /// The file.
        path: PathBuf,
        /// The folder of the repository.
        repository: PathBuf,
    },
    /// What is to be written over is in use. Nothing of it was changed.
    #[error(
        "{} is in use, and is left as it is: {}; end that, or restore to another path", .path.display(), held_by(.holders)
    )]
    InUse {
        /// The file or block device.
        path: PathBuf,
        /// Who uses it; nobody who could be seen from here, if it is empty.
        holders: Vec<FileUser>,
    },
    /// A block device cannot hold the disk. Nothing of it was changed.
    #[error(
        "{} has {device_bytes} bytes, and the disk has {disk_bytes}: name a device that is as large, or restore to a file",
        .path.display()
    )]
    DeviceTooSmall {
        /// The device.
        path: PathBuf,
        /// Its size.
        device_bytes: u64,
        /// The size of the disk that was to be restored to it.
        disk_bytes: u64,
    },
    /// A machine's state is damaged where it is stored, and was not restored.
    #[error("machine {machine} is damaged in restore point {sequence}; {}", way_out(.intact, *.is_salvageable))]
    MachineDamaged {
        /// The machine.
        machine: String,
        /// The restore point.
        sequence: Sequence,
        /// The newest restore point in which nothing of it is known to be damaged, with its time. Its blocks were not read.
        intact: Option<(Sequence, Timestamp)>,
        /// Whether [`Restore::salvage`](crate::Restore::salvage) would restore the rest of it: not without its index.
        is_salvageable: bool,
        /// What is damaged.
        #[source]
        source: Box<Error>,
    },
    /// A restore to a block device ended before the device held the disk.
    #[error(
        "{} is not restored: it holds a part of the disk now, and elsewhere what was on it before; restore to it again", .path.display()
    )]
    Torn {
        /// The device.
        path: PathBuf,
        /// Why the restore ended.
        #[source]
        source: Box<Error>,
    },
    /// The machine has no such disk.
    #[error("machine {machine} has no disk {disk:?}{}", list(.known))]
    UnknownDisk {
        /// The machine.
        machine: String,
        /// What was asked for.
        disk: String,
        /// The disks that it has.
        known: Vec<String>,
    },
    /// Of none of a run's machines could all images be read.
    #[error("no machine of job {job} could be backed up{}", each(.failed))]
    NoMachine {
        /// The job.
        job: JobName,
        /// Its machines, and why each could not.
        failed: Vec<(MachineName, String)>,
    },
    /// An export that cannot be imported: cut off, damaged, or none at all. Nothing was taken over.
    #[error("the export cannot be imported, and nothing of it was: export the restore point again")]
    Export {
        /// What is wrong with it.
        #[source]
        source: FormatError,
    },
    /// A stream that an export or a disk goes through failed.
    #[error("{while_doing} failed")]
    Stream {
        /// What was being done.
        while_doing: &'static str,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// Settings that contradict each other or the state of the job.
    #[error("{0}")]
    Settings(String),
    /// What a reader needed was released while it read; its pin had been lost.
    #[error("job {job} has released what this run was reading; start again from a newer restore point")]
    SnapshotExpired {
        /// The job.
        job: JobName,
    },
    /// An invariant of this library does not hold. Nothing was changed.
    #[error("defect in Offsite, nothing was changed: {0}; please report it")]
    Defect(String),
}

impl Error {
    pub(crate) fn image(path: &std::path::Path, detail: impl Into<String>, source: Option<std::io::Error>) -> Self {
        Self::Image { path: path.to_owned(), detail: detail_of(detail.into(), source.as_ref()), source }
    }

    pub(crate) fn export_file(path: &std::path::Path, detail: &str, source: Option<std::io::Error>) -> Self {
        Self::ExportFile { path: path.to_owned(), detail: detail_of(detail.to_owned(), source.as_ref()), source }
    }

    /// That no machine of a run could be backed up.
    pub(crate) fn no_machine(job: &JobName, mut failed: BTreeMap<MachineName, Self>) -> Self {
        match failed.pop_first() {
            Some((_, error)) if failed.is_empty() => error,
            first => {
                let failed = first.into_iter().chain(failed).map(|(name, error)| (name, causes(&error))).collect();
                Self::NoMachine { job: job.clone(), failed }
            }
        }
    }

    /// Whether something was not there as it was stored: it is damaged, or it was let go meanwhile.
    pub(crate) fn is_loss(&self) -> bool {
        let error = self.innermost();
        matches!(error, Self::Damaged { .. })
            || matches!(error, Self::Repository { source, .. }
                if matches!(source.kind(), ErrorKind::NotFound | ErrorKind::Corrupt))
    }

    /// What went wrong, where this error is about what that means for a restore.
    #[must_use]
    pub fn innermost(&self) -> &Self {
        match self {
            Self::Torn { source, .. } | Self::MachineDamaged { source, .. } => source.innermost(),
            error => error,
        }
    }

    /// The kind of the repository's error behind this one, if one is.
    #[must_use]
    pub fn repository_kind(&self) -> Option<ErrorKind> {
        match self.innermost() {
            Self::Repository { source, .. } | Self::CommitUnknown { source, .. } => Some(source.kind()),
            _ => None,
        }
    }
}

/// Adds what was being done to a repository's error.
pub(crate) trait Context<T> {
    fn while_doing(self, text: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Context<T> for offsite_repository::Result<T> {
    fn while_doing(self, text: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Repository { while_doing: text(), source })
    }
}

/// What is wrong with a file: a limit of this process, where that is the cause, and no fault of the file.
fn detail_of(detail: String, source: Option<&std::io::Error>) -> String {
    let errno = source.and_then(rustix::io::Errno::from_io_error);
    match errno {
        Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) => {
            "too many files are open: raise the limit (ulimit -n)".to_owned()
        }
        _ => detail,
    }
}

/// An error with what caused it, on one line.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    text
}

fn held_by(holders: &[FileUser]) -> String {
    match holders {
        [] => "by something that cannot be seen from here, as a process of another user or a container".to_owned(),
        holders => holders.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}

fn way_out(intact: &Option<(Sequence, Timestamp)>, is_salvageable: bool) -> String {
    let other = match intact {
        Some((sequence, time)) => {
            format!(
                "the newest that has it intact, as far as is known, is {sequence}, of {time} (`--point {sequence}`)"
            )
        }
        None => "no restore point is known to have it intact".to_owned(),
    };
    let rest = match is_salvageable {
        true => "`--salvage` restores this one with zeros for what is damaged",
        false => {
            "where its blocks lie is lost, so there is nothing to salvage it by; `offsite repair` may bring that back"
        }
    };
    format!("{other}; {rest}")
}

/// How many names an error lists.
const KNOWN_MAX: usize = 12;

/// What is to stay free, in words.
fn staying(bytes: u64) -> String {
    if bytes == 0 { String::new() } else { format!(", of which {} are to stay free (min_free)", Bytes(bytes)) }
}

/// A line each.
fn each(failed: &[(MachineName, String)]) -> String {
    let lines = failed.iter().take(KNOWN_MAX).map(|(name, why)| format!("\n  {name}: {why}"));
    let more = failed.len().checked_sub(KNOWN_MAX).filter(|more| *more > 0);
    lines.chain(more.map(|more| format!("\n  and {more} more"))).collect()
}

fn list(names: &[String]) -> String {
    match names {
        [] => String::new(),
        names if names.len() <= KNOWN_MAX => format!("; there are: {}", names.join(", ")),
        names => format!("; there are: {}, and {} more", names[..KNOWN_MAX].join(", "), names.len() - KNOWN_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_use_is_told_with_all_who_use_it() {
        let told = |holders| Error::InUse { path: PathBuf::from("/dev/sdx"), holders }.to_string();
        let several = told(vec![FileUser::Mount(PathBuf::from("/mnt/data")), FileUser::Swap]);
        assert!(several.contains(": it is mounted at /mnt/data, it is swap space; end that"), "{several}");
        let nobody = told(Vec::new());
        assert!(nobody.contains(": by something that cannot be seen from here"), "{nobody}");
    }
}
