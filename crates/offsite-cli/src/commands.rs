//! One module for each command, and one for the plans that they print.

pub(crate) mod backup;
pub(crate) mod cache;
pub(crate) mod chain;
pub(crate) mod check_repository;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod init;
pub(crate) mod mail;
pub(crate) mod map;
pub(crate) mod media;
pub(crate) mod planned;
pub(crate) mod points;
pub(crate) mod repair;
pub(crate) mod restore;
pub(crate) mod run;
pub(crate) mod simulate;
pub(crate) mod status;
pub(crate) mod transform;
pub(crate) mod verify;

use std::collections::BTreeMap;

use offsite::model::MachineName;
use offsite::{ClosedFolder, JobFolders, JobName, KnownDamage, OpenRepository, PlannedOperation, Released};

use crate::config::Config;
use crate::status::{Failure, Status};
use crate::{operation, print, render, words};

/// Returns the folder of the named job, or all job folders of the repository `repo`. It prints which folders cannot be listed, and
/// returns the status for that.
async fn jobs(
    repository: &OpenRepository,
    repo: &str,
    named: Option<&str>,
    config: &Config,
) -> Result<(Vec<JobName>, Status), Failure> {
    if let Some(name) = named {
        let job = JobName::new(name).map_err(|error| Failure::WrongUse(error.to_string()))?;
        return Ok((vec![config.folder_of(repo, &job)], Status::Done));
    }
    let JobFolders { jobs, headless, closed, .. } = repository.job_folders().await?;
    let mut status = Status::Done;
    for ClosedFolder { name, why, .. } in closed {
        print::warning(format_args!(
            "the folder {name} of {} is left out, though it may be of a job: {why}",
            repository.location()
        ));
        status = Status::Warnings;
    }
    // Opening such a folder says what is wrong, and the way out.
    Ok((jobs.into_iter().chain(headless).collect(), status))
}

/// Prints what is wrong with one of several jobs. The others go on.
fn failed(job: &JobName, failure: &Failure) -> Status {
    print::problem(format_args!("job {job}: {}", failure.text()));
    Status::Failed
}

/// Says what a verification with a budget leaves for the next one.
pub(crate) fn left(report: &offsite::VerifyReport) -> String {
    match report.bytes_left {
        0 => String::new(),
        left => format!(" ({} left for the next ones)", render::bytes(left)),
    }
}

/// Says what an operation would do and cost.
fn planned_line(planned: &PlannedOperation) -> String {
    let (verb, what) = operation::words(&planned.operation);
    let linked = match planned.cost.bytes_linked {
        0 => String::new(),
        bytes => format!(" ({} stay, in files that others share by hard links)", render::bytes(bytes)),
    };
    format!(
        "{verb:<9} {what}: {} to read in {}, {} to write, {} to free{linked}; at most {} more taken meanwhile",
        render::bytes(planned.cost.bytes_read),
        requests(planned.cost.read_requests),
        render::bytes(planned.cost.bytes_written),
        render::bytes(planned.cost.bytes_released),
        render::bytes(planned.cost.peak_extra_bytes),
    )
}

fn requests(count: u64) -> String {
    render::count(usize::try_from(count).unwrap_or(usize::MAX), "request", "requests")
}

/// Says what was given back.
pub(crate) fn freed(released: &Released) -> String {
    let count = |count, one, many| render::count(usize::try_from(count).unwrap_or(usize::MAX), one, many);
    let ranges = (released.ranges > 0).then(|| count(released.ranges, "part of a file", "parts of files"));
    let objects = (released.objects > 0).then(|| count(released.objects, "whole file", "whole files"));
    ranges.into_iter().chain(objects).collect::<Vec<_>>().join(" and ")
}

/// The text about a restore point that needs a damaged index.
pub(crate) const UNREADABLE: &str = "an index that it needs cannot be read; `offsite repair` brings it back";

/// Returns the known damage, one line for each machine.
pub(crate) fn damage_lines(damage: &KnownDamage) -> Vec<String> {
    let mut machines: BTreeMap<&MachineName, Vec<String>> = BTreeMap::new();
    for (point, of_point) in &damage.points {
        for (machine, blocks) in of_point {
            let blocks = render::count(usize::try_from(*blocks).unwrap_or(usize::MAX), "block", "blocks");
            machines.entry(machine).or_default().push(format!("#{point} ({blocks})"));
        }
    }
    let machines =
        machines.into_iter().map(|(machine, points)| format!("DAMAGED   {machine} in {}", points.join(", ")));
    let unreadable = damage.unreadable.iter().map(|point| format!("DAMAGED   #{point}: {UNREADABLE}"));
    machines.chain(unreadable).collect()
}

/// Returns what a transform phase did, one operation per line.
pub(crate) fn transform_lines(report: &offsite::report::TransformReport) -> Vec<String> {
    let mut lines = Vec::new();
    for report in &report.operations {
        let (verb, what) = operation::words(&report.operation);
        lines.push(format!(
            "{verb:<9} {what}: {} read, {} written, in {}, {}",
            render::bytes(report.tally.source.bytes_read + report.tally.target.bytes_read),
            render::bytes(report.tally.target.bytes_written),
            render::duration(report.tally.duration),
            render::kept(&report.tally),
        ));
    }
    let released = &report.released;
    if released.bytes > 0 || released.objects > 0 {
        lines.push(format!(
            "freed     {}: {}, in {}",
            render::bytes(released.bytes),
            freed(released),
            render::duration(report.release_duration),
        ));
    }
    if released.held_bytes > 0 {
        lines.push(format!(
            "held      {} until those who read them have ended; the next run frees them",
            render::bytes(released.held_bytes)
        ));
    }
    if released.linked_bytes > 0 {
        lines.push(format!(
            "kept      {} that nothing needs, in files that others share by hard links; they come back when those files go",
            render::bytes(released.linked_bytes)
        ));
    }
    if let Some(found) = &report.verification {
        lines.push(format!(
            "verified  {}{}, in {}{}",
            render::bytes(found.bytes_read),
            left(found),
            render::duration(found.duration),
            render::rate(found.bytes_read, found.duration),
        ));
    }
    lines.extend(damage_lines(&report.damage));
    lines.extend(report.notes.iter().map(|note| format!("note      {}", words::note(note))));
    lines
}
