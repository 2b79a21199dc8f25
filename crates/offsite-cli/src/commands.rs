//! One file a command.

pub(crate) mod backup;
pub(crate) mod chain;
pub(crate) mod check_repository;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod init;
pub(crate) mod map;
pub(crate) mod points;
pub(crate) mod repair;
pub(crate) mod restore;
pub(crate) mod run;
pub(crate) mod simulate;
pub(crate) mod status;
pub(crate) mod verify;

use offsite::{JobName, OpenRepository};

use crate::status::Failure;
use crate::{operation, render};

/// The job that was named, or all of the repository's.
async fn jobs(repository: &OpenRepository, named: Option<&str>) -> Result<Vec<JobName>, Failure> {
    match named {
        None => Ok(repository.jobs().await?),
        Some(name) => Ok(vec![JobName::new(name).map_err(|error| Failure::WrongUse(error.to_string()))?]),
    }
}

/// What a verification with a budget leaves for the next one.
pub(crate) fn left(report: &offsite::VerifyReport) -> String {
    match report.bytes_left {
        0 => String::new(),
        left => format!(" ({} left for the next ones)", render::bytes(left)),
    }
}

/// What a transform phase did, a line each.
pub(crate) fn transform_lines(report: &offsite::report::TransformReport) -> Vec<String> {
    let mut lines = Vec::new();
    for report in &report.operations {
        let (verb, what) = operation::words(&report.operation);
        lines.push(format!(
            "{verb:<9} {what}: {} of blocks read, {} written, in {}, {}",
            render::bytes(report.tally.target.bytes_read),
            render::bytes(report.tally.target.bytes_written),
            render::duration(report.tally.duration),
            render::kept(&report.tally),
        ));
    }
    let released = &report.released;
    if released.bytes > 0 || released.objects > 0 {
        lines.push(format!(
            "released  {} in {} and {}, in {}",
            render::bytes(released.bytes),
            render::count(usize::try_from(released.ranges).unwrap_or(usize::MAX), "hole", "holes"),
            render::count(usize::try_from(released.objects).unwrap_or(usize::MAX), "object", "objects"),
            render::duration(report.release_duration),
        ));
    }
    if released.held_bytes > 0 {
        lines.push(format!(
            "held      {} until readers end; the next run releases them",
            render::bytes(released.held_bytes)
        ));
    }
    if let Some(found) = &report.verification {
        lines.push(format!(
            "verified  {} of blocks{}, in {}{}",
            render::bytes(found.bytes_read),
            left(found),
            render::duration(found.duration),
            render::rate(found.bytes_read, found.duration),
        ));
    }
    lines.extend(report.notes.iter().map(|note| format!("note      {note}")));
    lines
}
