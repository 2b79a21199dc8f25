//! Constructors of errors.

use std::collections::BTreeMap;
use std::path::Path;

use offsite_core::MachineName;

use super::{DamagedPart, Error, ErrorPlace, Located};
use crate::{JobName, Task};

impl Error {
    pub(crate) fn repository(while_doing: String, source: offsite_repository::Error) -> Self {
        Self::Repository { while_doing, at: ErrorPlace::default(), source: Box::new(source) }
    }

    /// The error for a damaged object of which nothing more is known.
    pub(crate) fn damaged(part: DamagedPart, object: impl ToString, repository: impl Into<Located>) -> Self {
        Self::Damaged { part, object: object.to_string(), at: ErrorPlace::of(repository), source: None }
    }

    /// The error for a damaged export.
    pub(crate) fn bad_export(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let (part, object) = (DamagedPart::Export, "the export".to_owned());
        Self::Damaged { part, object, at: ErrorPlace::default(), source: Some(source.into()) }
    }

    /// Adds what is wrong with the damaged part.
    pub(crate) fn because(self, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        match self {
            Self::Damaged { part, object, at, .. } => Self::Damaged { part, object, at, source: Some(why.into()) },
            other => other,
        }
    }

    pub(crate) fn image(path: &Path, detail: impl Into<String>, source: Option<std::io::Error>) -> Self {
        let detail = detail_of(detail.into(), source.as_ref());
        Self::Image { path: path.to_owned(), detail, at: ErrorPlace::default(), source }
    }

    pub(crate) fn export_file(path: &Path, detail: &str, source: Option<std::io::Error>) -> Self {
        let detail = detail_of(detail.to_owned(), source.as_ref());
        Self::ExportFile { path: path.to_owned(), detail, at: ErrorPlace::default(), source }
    }

    pub(crate) fn path_taken(path: &Path, is_device: bool) -> Self {
        Self::PathTaken { path: path.to_owned(), is_device, at: ErrorPlace::default() }
    }

    pub(crate) fn unknown_job(job: &JobName, location: String, known: Vec<String>) -> Self {
        Self::UnknownJob { job: job.to_string(), location, known, at: ErrorPlace::default() }
    }

    pub(crate) fn fenced(job: &JobName) -> Self {
        Self::Fenced { job: job.clone(), at: ErrorPlace::default() }
    }

    pub(crate) fn commit_unknown(job: &JobName, number: u64, source: Box<offsite_repository::Error>) -> Self {
        Self::CommitUnknown { job: job.clone(), number, at: ErrorPlace::default(), source }
    }

    pub(crate) fn stopped(task: Task, job: &JobName) -> Self {
        Self::Stopped { task, job: job.clone(), at: ErrorPlace::default() }
    }

    pub(crate) fn expired(job: &JobName) -> Self {
        Self::SnapshotExpired { job: job.clone(), at: ErrorPlace::default() }
    }

    pub(crate) fn nothing_yet(what: &'static str, place: String) -> Self {
        Self::NothingYet { what, place, at: ErrorPlace::default() }
    }

    pub(crate) fn setting(setting: &'static str, why: impl Into<String>) -> Self {
        Self::InvalidSetting { setting, why: why.into(), at: ErrorPlace::default() }
    }

    pub(crate) fn io(while_doing: &'static str, source: std::io::Error) -> Self {
        Self::Io { while_doing, at: ErrorPlace::default(), source }
    }

    pub(crate) fn defect(what: impl ToString) -> Self {
        Self::Defect { what: what.to_string(), at: ErrorPlace::default() }
    }

    /// The error for a run in which no machine could be backed up.
    pub(crate) fn no_machine(job: &JobName, mut failed: BTreeMap<MachineName, Self>) -> Self {
        match failed.pop_first() {
            Some((machine, error)) if failed.is_empty() => error.of_machine(&machine),
            first => {
                let failed = first.into_iter().chain(failed);
                let failed = failed.map(|(machine, error)| (machine.clone(), error.of_machine(&machine))).collect();
                Self::NoMachine { job: job.clone(), failed, at: ErrorPlace::default() }
            }
        }
    }
}

/// What is wrong with a file.
///
/// If a limit of this process is the cause, it says so instead of blaming the file.
fn detail_of(detail: String, source: Option<&std::io::Error>) -> String {
    let errno = source.and_then(rustix::io::Errno::from_io_error);
    match errno {
        Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) => {
            "it cannot be opened, as too many files are open".to_owned()
        }
        _ => detail,
    }
}
