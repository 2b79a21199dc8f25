//! `offsite run`

use std::path::Path;

use offsite::core::Timestamp;
use offsite::report::CopyReport;
use offsite::{CopyJob, JobName, RunPlan, Transforms};

use crate::args::Run;
use crate::commands::transform_lines;
use crate::config::{Config, JobConfig};
use crate::status::{Failure, Status};
use crate::{json, operation, place, progress, render};

pub(crate) async fn run(arguments: &Run, config: &Path) -> Result<Status, Failure> {
    let path = config;
    let config = Config::load(path)?;
    let jobs: Vec<(&String, &JobConfig)> = if arguments.jobs.is_empty() {
        config.jobs.iter().collect()
    } else {
        let find = |name: &String| {
            config.jobs.get_key_value(name).ok_or_else(|| {
                let known: Vec<&str> = config.jobs.keys().map(String::as_str).collect();
                Failure::WrongUse(format!(
                    "config {} has no job {name:?}; it has: {}",
                    path.display(),
                    known.join(", ")
                ))
            })
        };
        arguments.jobs.iter().map(find).collect::<Result<_, _>>()?
    };
    if jobs.is_empty() {
        return Err(Failure::WrongUse(format!(
            "no copy job: {} has no [jobs.NAME]; see `offsite demo`, which leaves one to look at",
            path.display()
        )));
    }
    let now = arguments.now.unwrap_or_else(place::now);
    let mut status = Status::Done;
    for (name, job) in jobs {
        // One job's failure does not keep the next from running.
        let done = match run_one(name, job, &config, arguments, now).await {
            Ok(done) => done,
            Err(Failure::WrongUse(text)) => return Err(Failure::WrongUse(text)),
            Err(Failure::Failed(text)) => {
                eprintln!("offsite: job {name}: {text}");
                Status::Failed
            }
        };
        status = status.and(done);
    }
    Ok(status)
}

async fn run_one(
    name: &str,
    job: &JobConfig,
    config: &Config,
    arguments: &Run,
    now: Timestamp,
) -> Result<Status, Failure> {
    let wrong = |error: offsite::JobNameError| Failure::WrongUse(error.to_string());
    let source = place::open(&job.source.repository, config).await?;
    let target = place::open(&job.target, config).await?;
    let source_job = JobName::new(&job.source.job).map_err(wrong)?;
    let transforms = job.transforms().map_err(Failure::WrongUse)?;
    let transforms = Transforms { apply_changes_at_once: arguments.apply_policy, ..transforms };
    let copy = CopyJob::new(JobName::new(name).map_err(wrong)?, &source, source_job, &target)?
        .select(job.selection().map_err(Failure::WrongUse)?)
        .transforms(transforms)
        .progress(progress::bars());
    if arguments.dry_run {
        let plan = copy.plan(now).await?;
        if arguments.json {
            json::print(&json::plan(name, &plan))?;
        } else {
            print!("{}", plan_summary(name, &plan));
        }
        return Ok(warnings(&plan.missing, &[]));
    }
    let report = copy.run(now).await?;
    if arguments.json {
        json::print(&json::copy(name, &report))?;
    } else {
        print!("{}", summary(name, &report));
    }
    Ok(warnings(&report.missing, &report.transform.notes))
}

fn warnings(missing: &[offsite::core::MachineName], notes: &[String]) -> Status {
    if missing.is_empty() && notes.is_empty() { Status::Done } else { Status::Warnings }
}

/// The report in words.
pub(crate) fn summary(name: &str, report: &CopyReport) -> String {
    let mut text = match &report.sync {
        None => format!("{name}: nothing new in the source\n"),
        Some(sync) => {
            let kind = if sync.full { "full" } else { "increment" };
            let machines: Vec<String> = sync.machines.iter().map(|machine| machine.name.to_string()).collect();
            format!(
                "{name}: restore point #{} of {} ({kind}): {}\n  copied    {}: {} read, {} written, in {}{}, {}\n",
                sync.sequence,
                sync.time,
                machines.join(", "),
                render::count(usize::try_from(sync.tally.planned.blocks).unwrap_or(usize::MAX), "block", "blocks"),
                render::bytes(sync.tally.source.bytes_read),
                render::bytes(sync.tally.target.bytes_written),
                render::duration(sync.tally.duration),
                render::rate(sync.tally.target.bytes_written, sync.tally.duration),
                render::kept(&sync.tally),
            )
        }
    };
    for line in transform_lines(&report.transform) {
        text.push_str(&format!("  {line}\n"));
    }
    text.push_str(&missing_line(&report.missing));
    text
}

fn plan_summary(name: &str, plan: &RunPlan) -> String {
    let mut text = match &plan.sync {
        None => format!("{name}: nothing new in the source\n"),
        Some(sync) => {
            let kind = if sync.full { "full" } else { "increment" };
            let machines: Vec<String> =
                sync.machines.iter().map(|machine| format!("{} of {}", machine.name, machine.captured)).collect();
            format!(
                "{name}: would make a restore point ({kind}): {}\n  copy      {}: {} to read in {}, {} to write\n",
                machines.join(", "),
                render::count(usize::try_from(sync.cost.blocks).unwrap_or(usize::MAX), "block", "blocks"),
                render::bytes(sync.cost.bytes_read),
                requests(sync.cost.read_requests),
                render::bytes(sync.cost.bytes_written),
            )
        }
    };
    for planned in &plan.operations {
        let (verb, what) = operation::words(&planned.operation);
        text.push_str(&format!(
            "  {verb:<9} {what}: {} of blocks to read in {}, {} to write, {} to release; at most {} more taken meanwhile\n",
            render::bytes(planned.cost.bytes_read),
            requests(planned.cost.read_requests),
            render::bytes(planned.cost.bytes_written),
            render::bytes(planned.cost.bytes_released),
            render::bytes(planned.cost.peak_extra_bytes),
        ));
    }
    text.push_str(&missing_line(&plan.missing));
    text
}

fn requests(count: u64) -> String {
    render::count(usize::try_from(count).unwrap_or(usize::MAX), "request", "requests")
}

fn missing_line(missing: &[offsite::core::MachineName]) -> String {
    if missing.is_empty() {
        return String::new();
    }
    let names: Vec<&str> = missing.iter().map(|name| name.as_str()).collect();
    format!("  warning   not copied, as the source has no whole restore point of them: {}\n", names.join(", "))
}
