//! `offsite status`

use std::path::Path;

use serde_json::{Value, json};

use crate::args::Status as Arguments;
use crate::config::{self, Config};
use crate::daemon::{self, IntervalRecord, JobRecord, StatusRecord};
use crate::status::{Failure, Status};
use crate::{json, print, render};

pub(crate) fn run(arguments: &Arguments, path: &Path) -> Result<Status, Failure> {
    // A daemon goes on by the config that it started with.
    let (status, wrong) = match Config::load(path) {
        Ok(config) => (config.status_path(), None),
        Err(failure) => (config::status_path_in(path), Some(failure)),
    };
    // First the lock: a daemon that ends between the two looks has written its last word by the second.
    let is_held = daemon::is_held(&status);
    let record = match (daemon::read(&status), wrong) {
        (Ok(Some(record)), None) => record,
        (Ok(Some(record)), Some(wrong)) => {
            print::warning(format_args!(
                "{}\n  a daemon that is running goes on by what it had read before",
                wrong.text()
            ));
            return show(&record, is_held, arguments).map(|status| status.and(Status::Warnings));
        }
        (_, Some(wrong)) => return Err(wrong),
        (Err(why), None) => return Err(Failure::Failed(why)),
        (Ok(None), None) => {
            return Err(Failure::Failed(format!(
                "no daemon has run with {}: start one with `offsite daemon --config {}`",
                path.display(),
                path.display()
            )));
        }
    };
    show(&record, is_held, arguments)
}

fn show(record: &StatusRecord, is_held: bool, arguments: &Arguments) -> Result<Status, Failure> {
    if arguments.json {
        json::print(&value(record, is_held))?;
    } else {
        print::text(words(record, is_held));
    }
    let is_well = |job: &JobRecord| job.last_failure.is_none() && result(job).is_none_or(|result| result == "success");
    Ok(if is_held && record.jobs.values().all(is_well) { Status::Done } else { Status::Warnings })
}

fn result(job: &JobRecord) -> Option<&str> {
    job.last.as_ref()?.get("result")?.as_str()
}

/// How it is with the daemon, in one word.
fn state(record: &StatusRecord, is_held: bool) -> &'static str {
    match (is_held, &record.stopped) {
        (true, _) => "running",
        (false, Some(_)) => "stopped",
        (false, None) => "died",
    }
}

fn value(record: &StatusRecord, is_held: bool) -> Value {
    let jobs = record.jobs.iter().map(|(name, job)| {
        json!({
            "job": name,
            "phase": job.phase,
            "is_paused": job.is_paused,
            "interval": job.interval,
            "next_wake": job.next_wake,
            "transferred_bytes": job.transferred_bytes,
            "last": job.last,
            "last_failure": job.last_failure,
        })
    });
    json!({
        "daemon": {
            "state": state(record, is_held),
            "pid": record.pid,
            "host": record.host,
            "config": record.config,
            "started": record.started,
            "stopped": record.stopped,
        },
        "jobs": jobs.collect::<Vec<_>>(),
    })
}

fn words(record: &StatusRecord, is_held: bool) -> String {
    let StatusRecord { pid, host, started, .. } = record;
    let mut text = match (is_held, &record.stopped) {
        (true, _) => format!("The daemon is running: process {pid} on {host}, since {started}.\n"),
        (false, Some(stopped)) => {
            format!("No daemon is running. The last one (process {pid} on {host}) was stopped at {stopped}.\n")
        }
        (false, None) => format!(
            "No daemon is running. The last one (process {pid} on {host}, since {started}) died; what follows is what it wrote last.\n"
        ),
    };
    for (name, job) in &record.jobs {
        text.push_str(&format!("{name}\n"));
        let mut line = |key: &str, value: String| text.push_str(&format!("  {key:<9} {value}\n"));
        let paused = if job.is_paused { ", waiting for the window" } else { "" };
        line("phase", format!("{}{paused}", job.phase));
        if let Some(IntervalRecord { start, end, count }) = &job.interval {
            let count = if *count > 1 { format!(" (stands for {count})") } else { String::new() };
            line("interval", format!("{start} to {end}{count}"));
        }
        if let Some(next) = &job.next_wake {
            line("next", next.clone());
        }
        line("read", format!("{} in this interval", render::bytes(job.transferred_bytes)));
        if let Some(last) = &job.last {
            let field = |key: &str| last.get(key).and_then(Value::as_str).unwrap_or("?").to_owned();
            let point = last.get("point").and_then(Value::as_u64);
            let point = point.map_or_else(|| "no restore point".to_owned(), |point| format!("restore point #{point}"));
            line("last", format!("{} at {}, {point}", field("result"), field("ended")));
        }
        for damage in job.last.iter().filter_map(|last| last.pointer("/transform/damage")?.as_array()).flatten() {
            let machine = damage["machine"].as_str().unwrap_or("?");
            let blocks = usize::try_from(damage["blocks"].as_u64().unwrap_or(0)).unwrap_or(usize::MAX);
            line(
                "damaged",
                format!("{machine} in #{}: {}", damage["sequence"], render::count(blocks, "block", "blocks")),
            );
        }
        if let Some(failure) = &job.last_failure {
            line("failure", format!("at {}: {}", failure.at, failure.why));
        }
    }
    text
}
