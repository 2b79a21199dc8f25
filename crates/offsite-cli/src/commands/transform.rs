//! `offsite transform`

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use offsite::{JobName, TransformJob};
use offsite_backends::EjectedMedium;
use serde_json::json;

use crate::args::Transform;
use crate::commands::{failed, planned_line, transform_lines};
use crate::config::Config;
use crate::host::{self, Host};
use crate::json::events;
use crate::local_time::LocalTime;
use crate::progress::Lines;
use crate::signals::Stop;
use crate::status::{Failure, Status};
use crate::{clock, json, print, progress, words};

pub(crate) async fn run(arguments: &Transform, path: &Path) -> Result<Status, Failure> {
    let config = Arc::new(Config::load(path)?);
    let names = config.job_names(&arguments.jobs, path)?;
    let stop = Stop::listen()?;
    let mut status = Status::Done;
    for name in names {
        let what = format!("job {name}: what was committed stays, and the next run goes on from there");
        match stop.cut_off(transform(arguments, &config, &name), &what).await {
            Ok(done) => status = status.and(done),
            Err(stopped @ Failure::Stopped { .. }) => return Err(stopped),
            // If a job fails, the next one is still transformed.
            Err(failure) => status = status.and(failed(&name, &failure)),
        }
    }
    Ok(status)
}

/// Hears that the medium can be taken out.
#[derive(Default)]
struct Around(Mutex<Vec<EjectedMedium>>);

impl host::Listener for Around {
    fn script(&self, _line: &str) {}

    fn ejected(&self, ejected: &EjectedMedium) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(ejected.clone());
    }
}

async fn transform(arguments: &Transform, config: &Arc<Config>, name: &JobName) -> Result<Status, Failure> {
    let clock = clock::clock_at(arguments.now)?;
    let around = Arc::new(Around::default());
    let mut host = Host::new(
        name.clone(),
        config.clone(),
        clock.clone(),
        progress::shown(Lines::wanted(arguments.json && !arguments.dry_run)),
        around.clone(),
    );
    host.apply_changes_at_once = arguments.apply_policy;
    host.trusts_clock = arguments.trust_clock;
    let (target, medium) = host.target().await?;
    let (transforms, untold) = host.transforms(medium.as_ref()).await?;
    let notes: Vec<String> = untold.iter().map(words::unseen).collect();
    let job = TransformJob::new(&target, host.folder()?)
        .transforms(transforms)
        .progress(progress::shown(Lines::wanted(arguments.json && !arguments.dry_run)));
    let status = if notes.is_empty() { Status::Done } else { Status::Warnings };
    if arguments.dry_run {
        let planned = job.plan(clock.now()).await?;
        let of_plan = words::notes(&planned.notes, &[]);
        if arguments.json {
            let operations = json::operations(&planned.operations);
            let notes: Vec<&String> = of_plan.iter().chain(&notes).collect();
            json::print(&json!({ "job": name.as_str(), "operations": operations, "notes": notes }))?;
        } else {
            let operations = planned.operations.iter().map(planned_line);
            let lines = operations.chain(of_plan.iter().map(|note| format!("note      {note}")));
            told(name, lines.collect(), &notes, &config.local_time(name.as_str()));
        }
        return Ok(if planned.notes.is_empty() { status } else { Status::Warnings });
    }
    let report = job.run(clock.now()).await?;
    if arguments.json {
        let transform = json::transform(&report);
        events::print_report(json!({ "job": name.as_str(), "transform": transform, "notes": notes }))?;
    } else {
        told(name, transform_lines(&report), &notes, &config.local_time(name.as_str()));
    }
    host.let_go().await?;
    for ejected in around.0.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        if arguments.json { json::print(&json::safe_to_remove(&ejected))? } else { print::line(ejected) }
    }
    Ok(if report.is_well() { status } else { Status::Warnings })
}

/// Prints what is done to a chain.
fn told(name: &JobName, lines: Vec<String>, notes: &[String], local: &LocalTime) {
    let what = if lines.is_empty() { " there is nothing to do" } else { "" };
    print::line(format_args!("{name}:{what}"));
    lines.iter().for_each(|line| print::line(local.text(&format!("  {line}"))));
    notes.iter().for_each(|note| print::line(local.text(&format!("  warning   {note}"))));
}
