//! `offsite run`

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use offsite::core::Timestamp;
use offsite::report::{CopyReport, MachineOutcome, MachineReport};
use offsite::{CopyJob, OpenRepository, RunPlan, Source};
use offsite_backends::Medium;
use serde_json::json;

use crate::args::Run;
use crate::commands::transform_lines;
use crate::config::{Config, JobConfig};
use crate::job::Opening;
use crate::media::{Inserted, Seen, View};
use crate::post_job::Told;
use crate::status::{Failure, Status, chain_of};
use crate::{job, json, operation, place, print, progress, render};

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
    let mut used = Vec::new();
    for (name, job) in jobs {
        let one = One { name, job, config: &config, arguments, now };
        let done = if arguments.dry_run { one.plan().await } else { one.run(&mut used).await };
        // One job's failure does not keep the next from running.
        let done = match done {
            Ok(done) => done,
            Err(Failure::WrongUse(text)) => return Err(Failure::WrongUse(text)),
            Err(Failure::Failed(text)) => {
                print::problem(format_args!("job {name}: {text}"));
                Status::Failed
            }
        };
        status = status.and(done);
    }
    Ok(status.and(let_go(used, arguments.json).await?))
}

/// Makes durable what was written to media, and tells that they can be taken out.
async fn let_go(used: Vec<Inserted>, json: bool) -> Result<Status, Failure> {
    let mut status = Status::Done;
    let mut done = BTreeSet::new();
    for inserted in used {
        if !done.insert(inserted.removable.medium().id) {
            continue;
        }
        match inserted.removable.eject().await {
            Ok(ejected) if json => json::print(&json!({
                "safe_to_remove": {
                    "id": ejected.medium.id.to_string(),
                    "label": ejected.medium.label,
                    "path": ejected.path.display().to_string(),
                }
            }))?,
            Ok(ejected) => print::line(ejected),
            Err(error) => {
                print::problem(format_args!("do not take the medium out: {}", chain_of(&error)));
                status = Status::Failed;
            }
        }
    }
    Ok(status)
}

/// A job that is to be run.
struct One<'a> {
    name: &'a str,
    job: &'a JobConfig,
    config: &'a Config,
    arguments: &'a Run,
    now: Timestamp,
}

/// A run that came to its end.
struct Done {
    report: CopyReport,
    status: Status,
}

impl One<'_> {
    async fn run(&self, used: &mut Vec<Inserted>) -> Result<Status, Failure> {
        let done = self.run_copy(used).await;
        if let Ok(done) = &done {
            if self.arguments.json {
                json::print(&json::copy(self.name, &done.report))?;
            } else {
                print::text(summary(self.name, &done.report));
            }
        }
        let after = self.after(&done).await;
        Ok(done?.status.and(after))
    }

    /// Sync and transform.
    async fn run_copy(&self, used: &mut Vec<Inserted>) -> Result<Done, Failure> {
        let sources = self.sources().await?;
        let (target, medium) = place::target(&self.job.target, self.config).await?;
        let (copy, counted) =
            self.copy(&sources, &target, medium.as_ref().map(|medium| medium.removable.medium())).await?;
        let report = copy.run(self.now).await;
        if let Some(medium) = medium {
            let remembered = medium.remember(self.now).await;
            used.push(medium);
            // Of two errors, the first tells why.
            if report.is_ok() {
                remembered?;
            }
        }
        let report = report?;
        let status = warnings(&report.machines, &[&report.transform.notes, &report.notes]).and(counted);
        Ok(Done { report, status })
    }

    /// Plans on the medium that is there; if none is, on each that is away.
    async fn plan(&self) -> Result<Status, Failure> {
        let sources = self.sources().await?;
        let mut status = Status::Done;
        let views = place::views(&self.job.target, self.config).await?;
        let is_one_there = views.iter().any(|view| view.medium.as_ref().is_none_or(|medium| !medium.is_away()));
        for View { repository, medium } in views {
            if is_one_there && medium.as_ref().is_some_and(Seen::is_away) {
                continue;
            }
            let (copy, counted) = self.copy(&sources, &repository, medium.as_ref().map(|seen| &seen.medium)).await?;
            let plan = copy.plan(self.now).await?;
            if self.arguments.json {
                let mut value = json::plan(self.name, &plan);
                if let Some(medium) = &medium {
                    value["medium"] = medium.json();
                }
                json::print(&value)?;
            } else {
                medium.iter().for_each(|medium| print::line(medium.words()));
                print::text(plan_summary(self.name, &plan));
            }
            status = status.and(warnings(&plan.machines, &[&plan.notes])).and(counted);
        }
        Ok(status)
    }

    /// The job's sources, each repository opened once.
    async fn sources(&self) -> Result<Vec<Source>, Failure> {
        let mut open: BTreeMap<&str, OpenRepository> = BTreeMap::new();
        for source in self.job.sources() {
            if !open.contains_key(source.repository.as_str()) {
                open.insert(&source.repository, place::open(&source.repository, self.config).await?);
            }
        }
        job::sources(self.job, &open)
    }

    /// The job, and whether retention counts all it should.
    async fn copy(
        &self,
        sources: &[Source],
        target: &OpenRepository,
        medium: Option<&Medium>,
    ) -> Result<(CopyJob, Status), Failure> {
        let opening = Opening {
            name: self.name,
            job: self.job,
            config: self.config,
            apply_changes_at_once: self.arguments.apply_policy,
            progress: progress::bars(),
        };
        let (copy, untold) = opening.copy(sources, target, medium).await?;
        untold.iter().for_each(print::warning);
        Ok((copy, if untold.is_empty() { Status::Done } else { Status::Warnings }))
    }

    /// The post-job activities: the script, told of the end as it is.
    async fn after(&self, done: &Result<Done, Failure>) -> Status {
        let Ok(Some(script)) = self.job.script(self.config.folder()) else { return Status::Done };
        let ended = place::now().to_string();
        let (result, report) = match done {
            Ok(done) => (done.status.word(), Ok(&done.report)),
            Err(Failure::Failed(why) | Failure::WrongUse(why)) => (Status::Failed.word(), Err(why.as_str())),
        };
        let point = report.ok().and_then(|report| report.sync.as_ref()).map(|sync| sync.sequence.0);
        let told = Told { job: self.name, result, point };
        let log = |line: &str| print::problem(format_args!("{}: script: {line}", self.name));
        match script.run(told, &json::typed(self.name, result, &ended, report), &log).await {
            Ok(()) => Status::Done,
            Err(why) => {
                print::warning(why);
                Status::Warnings
            }
        }
    }
}

fn warnings(machines: &[MachineReport], notes: &[&Vec<String>]) -> Status {
    let is_whole = machines.iter().all(|machine| machine.outcome.is_whole());
    if is_whole && notes.iter().all(|notes| notes.is_empty()) { Status::Done } else { Status::Warnings }
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
            ) + &healed(sync.healed)
        }
    };
    for line in transform_lines(&report.transform) {
        text.push_str(&format!("  {line}\n"));
    }
    text.push_str(&machine_lines(&report.machines, &report.notes));
    text
}

/// Blocks that came again because they were damaged.
fn healed(blocks: u64) -> String {
    match usize::try_from(blocks).unwrap_or(usize::MAX) {
        0 => String::new(),
        blocks => {
            format!("  healed    {} that verification had found damaged\n", render::count(blocks, "block", "blocks"))
        }
    }
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
    text.push_str(&machine_lines(&plan.machines, &plan.notes));
    text
}

fn requests(count: u64) -> String {
    render::count(usize::try_from(count).unwrap_or(usize::MAX), "request", "requests")
}

/// What is to be known of machines that are not as they should be, a line each.
fn machine_lines(machines: &[MachineReport], notes: &[String]) -> String {
    let mut text = String::new();
    for MachineReport { name, outcome } in machines {
        let line = match outcome {
            MachineOutcome::Complete { .. } | MachineOutcome::Unchanged { .. } => continue,
            MachineOutcome::Incomplete { transferred, why, .. } => format!(
                "warning   {name} is incomplete, with {} done and {} left: {why}",
                render::bytes(transferred.done_bytes),
                render::bytes(transferred.left_bytes),
            ),
            MachineOutcome::Waiting { job } => {
                let job = job.as_ref().map_or_else(String::new, |job| format!(" of job {job}"));
                format!("waiting   {name}: a backup{job} is at work; run the copy again when it has ended")
            }
            MachineOutcome::Absent { why } => format!("warning   {name} was not copied: {why}"),
        };
        text.push_str(&format!("  {line}\n"));
    }
    for note in notes {
        text.push_str(&format!("  warning   {note}\n"));
    }
    text
}
