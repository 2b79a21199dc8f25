//! `offsite status`

mod check;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use offsite::model::MachineName;
use offsite::model::Timestamp;
use offsite::runner::Overdue;
use serde_json::{Value, json};

use crate::args::Status as Arguments;
use crate::commands::UNREADABLE;
use crate::config::{self, Config};
use crate::daemon::{self, IntervalRecord, JobRecord, StatusRecord};
use crate::host::one_line;
use crate::local_time::LocalTime;
use crate::state::{LastResult, Verified};
use crate::status::{Failure, Status};
use crate::{clock, json, print, render};

use check::Check;

pub(crate) fn run(arguments: &Arguments, path: &Path) -> Result<Status, Failure> {
    match (Found::look(path), arguments.check) {
        (Ok(found), true) => check::answer(&found, arguments.json),
        (Ok(found), false) => found.show(arguments),
        (Err(failure), true) => check::unknown(&failure),
        (Err(failure), false) => Err(failure),
    }
}

/// What the state folder tells.
struct Found {
    now: Timestamp,
    /// Whether a daemon is at work.
    is_held: bool,
    record: Option<StatusRecord>,
    jobs: BTreeMap<String, Job>,
    /// What keeps the whole from being told.
    warnings: Vec<String>,
}

/// What is known of a job.
#[derive(Default)]
struct Job {
    /// By the daemon.
    record: Option<JobRecord>,
    last: Option<LastResult>,
    max_age: Option<Duration>,
    /// Where its times are told.
    local: Option<LocalTime>,
}

impl Found {
    fn look(path: &Path) -> Result<Self, Failure> {
        let now = clock::clock()?.now();
        // A daemon goes on by the config that it started with.
        let (state, config) = match Config::load(path) {
            Ok(config) => (config.state_dir(), Ok(config)),
            Err(failure) => (config::state_dir_in(path), Err(failure)),
        };
        // First the lock: a daemon that ends between the two looks has written its last word by the second.
        let is_held = daemon::is_held(&state.daemon());
        let (mut results, mut warnings) = state.last_results();
        let record = match (daemon::read(&state.daemon()), &config) {
            (Ok(record), _) => record,
            (Err(why), Ok(_)) if results.is_empty() => return Err(Failure::Failed(why)),
            (Err(why), _) => {
                warnings.push(why);
                None
            }
        };
        let is_empty = record.is_none() && results.is_empty();
        let known = match config {
            Err(failure) if is_empty => return Err(failure),
            Ok(_) if is_empty => return Err(nothing(path, warnings)),
            Err(failure) => {
                let why = failure.text();
                warnings.push(format!("{why}\n  a daemon that is running goes on by what it had read before"));
                None
            }
            Ok(config) => Some(config),
        };
        let mut records = record.as_ref().map(|record| record.jobs.clone()).unwrap_or_default();
        let names: BTreeSet<String> = match &known {
            Some(config) => config.jobs.keys().cloned().collect(),
            None => records.keys().chain(results.keys()).cloned().collect(),
        };
        let job = |name: String| {
            let last = results.remove(&name);
            // The config has been held against its rules already.
            let config = known.as_ref().and_then(|config| config.jobs.get(&name));
            let max_age = match config {
                Some(job) => job.max_age().ok().flatten(),
                None => last.as_ref().and_then(|last| last.max_age_secs).map(Duration::from_secs),
            };
            let local = known.as_ref().map(|config| LocalTime::of(config, &name));
            (name.clone(), Job { record: records.remove(&name), last, max_age, local })
        };
        let jobs = names.into_iter().map(job).collect();
        Ok(Self { now, is_held, record, jobs, warnings })
    }

    fn show(&self, arguments: &Arguments) -> Result<Status, Failure> {
        self.warnings.iter().for_each(print::warning);
        if arguments.json {
            json::print(&self.value())?;
        } else {
            print::text(self.words());
        }
        let is_alive = self.is_held || self.record.is_none();
        let is_well = is_alive && self.warnings.is_empty() && self.jobs.values().all(|job| job.is_well(self.now));
        Ok(if is_well { Status::Done } else { Status::Warnings })
    }

    /// How it is with the daemon, in one word.
    fn daemon(&self) -> &'static str {
        match &self.record {
            None => "none",
            Some(_) if self.is_held => "running",
            Some(StatusRecord { stopped: Some(_), .. }) => "stopped",
            Some(_) => "died",
        }
    }

    fn value(&self) -> Value {
        let jobs = self.jobs.iter().map(|(name, job)| {
            let Job { record, last, max_age, .. } = job;
            let record = record.as_ref();
            json!({
                "job": name,
                "phase": record.map(|record| record.phase.as_str()),
                "is_paused": record.is_some_and(|record| record.is_paused),
                "interval": record.and_then(|record| record.interval.as_ref()),
                "next_wake": record.and_then(|record| record.next_wake.as_deref()),
                "transferred_bytes": record.map(|record| record.transferred_bytes),
                "last": last.as_ref().map(|last| &last.report),
                "last_failure": record.and_then(|record| record.last_failure.as_ref()),
                "newest": job.newest().iter().map(|(name, captured)| json!({
                    "name": name.as_str(),
                    "captured": captured.map(|captured| captured.to_string()),
                    "age_secs": captured.map(|captured| self.secs_since(captured)),
                })).collect::<Vec<_>>(),
                "verified": last.as_ref().and_then(|last| last.verified.as_ref()),
                "max_age_secs": max_age.map(|max_age| max_age.as_secs()),
                "overdue": job.overdue(self.now).iter().map(|one| json::overdue(one, self.now)).collect::<Vec<_>>(),
            })
        });
        let record = self.record.as_ref();
        json!({
            "daemon": {
                "state": self.daemon(),
                "pid": record.map(|record| record.pid),
                "host": record.map(|record| record.host.as_str()),
                "config": record.map(|record| record.config.as_str()),
                "started": record.map(|record| record.started.as_str()),
                "stopped": record.and_then(|record| record.stopped.as_deref()),
            },
            "jobs": jobs.collect::<Vec<_>>(),
            "check": Check::of(self).value(),
            "warnings": self.warnings,
        })
    }

    fn secs_since(&self, time: Timestamp) -> i64 {
        self.now.unix_secs().saturating_sub(time.unix_secs())
    }

    /// A time and how long ago it is.
    fn ago(&self, text: &str) -> String {
        match Timestamp::parse(text) {
            Ok(time) if time <= self.now => format!("{text} ({} ago)", render::age(self.secs_since(time))),
            _ => text.to_owned(),
        }
    }

    fn words(&self) -> String {
        let mut text = self.daemon_words();
        for (name, job) in &self.jobs {
            let mut lines: Vec<String> =
                self.job_lines(job).into_iter().map(|(key, value)| format!("{key:<9} {value}")).collect();
            if let Some(max_age) = job.max_age {
                lines.extend(render::overdue(&job.overdue(self.now), max_age, self.now));
            }
            text.push_str(&format!("{name}\n"));
            text.extend(lines.iter().map(|line| format!("  {}\n", job.local().text(line))));
        }
        text
    }

    fn daemon_words(&self) -> String {
        let Some(record) = &self.record else { return "No daemon has run with this config.\n".to_owned() };
        let StatusRecord { pid, host, started, .. } = record;
        match (self.is_held, &record.stopped) {
            (true, _) => format!("The daemon is running: process {pid} on {host}, since {started}.\n"),
            (false, Some(stopped)) => format!(
                "No daemon is running. The last one (process {pid} on {host}) was stopped at {}.\n",
                self.ago(stopped)
            ),
            (false, None) => format!(
                "No daemon is running. The last one (process {pid} on {host}, since {started}) died; what follows is what it wrote last.\n"
            ),
        }
    }

    fn job_lines(&self, job: &Job) -> Vec<(&'static str, String)> {
        let mut lines = Vec::new();
        if let Some(record) = &job.record {
            let paused = if record.is_paused { ", waiting for the window" } else { "" };
            lines.push(("phase", format!("{}{paused}", record.phase)));
            if let Some(IntervalRecord { start, end, count }) = &record.interval {
                let count = if *count > 1 { format!(" ({count} intervals in one)") } else { String::new() };
                lines.push(("interval", format!("{start} to {end}{count}")));
            }
            if let Some(next) = &record.next_wake {
                lines.push(("next", next.clone()));
            }
            lines.push(("read", format!("{} in this interval", render::bytes(record.transferred_bytes))));
        }
        match &job.last {
            None => lines.push(("last", "it has not run yet".to_owned())),
            Some(last) => {
                let point = last.report.get("point").and_then(Value::as_u64);
                let point =
                    point.map_or_else(|| "no restore point".to_owned(), |point| format!("restore point #{point}"));
                let (result, ended) = (last.text("result").unwrap_or("?"), last.text("ended").unwrap_or("?"));
                lines.push(("last", format!("{result} at {}, {point}", self.ago(ended))));
                if let Some(why) = last.text("failure") {
                    lines.push(("reason", one_line(why)));
                }
                // What was verified since tells what is damaged now.
                let is_superseded = last.verified.as_ref().is_some_and(|verified| verified.at.as_str() > ended);
                let told = last.report.pointer("/transform/damage").and_then(Value::as_array);
                for damage in told.into_iter().flatten().filter(|_| !is_superseded) {
                    let blocks = usize::try_from(damage["blocks"].as_u64().unwrap_or(0)).unwrap_or(usize::MAX);
                    let blocks = render::count(blocks, "block", "blocks");
                    let sequence = &damage["sequence"];
                    lines.push((
                        "damaged",
                        match damage["machine"].as_str() {
                            Some(machine) => format!("{machine} in #{sequence}: {blocks}"),
                            None => format!("#{sequence}: {UNREADABLE}"),
                        },
                    ));
                }
            }
        }
        if let Some(verified) = job.damage_found() {
            let at = self.ago(&verified.at);
            lines.extend(verified.damage().map(|what| ("damaged", format!("{}, verified {at}", one_line(what)))));
        }
        if let Some(failure) = job.record.as_ref().and_then(|record| record.last_failure.as_ref()) {
            lines.push(("failure", format!("at {}: {}", self.ago(&failure.at), failure.why)));
        }
        let newest = job.newest();
        let oldest = newest.iter().filter_map(|(name, captured)| Some(((*captured)?, name))).min();
        if let Some((captured, name)) = oldest {
            let machines = render::count(newest.len(), "machine", "machines");
            let age = render::age(self.secs_since(captured));
            lines.push(("copies", format!("{machines}; the oldest copy is {age} old, of {name}")));
        }
        lines
    }
}

impl Job {
    fn local(&self) -> LocalTime {
        self.local.clone().unwrap_or_else(LocalTime::host)
    }

    fn newest(&self) -> BTreeMap<MachineName, Option<Timestamp>> {
        self.last.as_ref().map(LastResult::newest).unwrap_or_default()
    }

    fn overdue(&self, now: Timestamp) -> Vec<Overdue> {
        let Some(max_age) = self.max_age else { return Vec::new() };
        let newest = self.newest();
        Overdue::of(newest.iter().map(|(name, captured)| (name, *captured)), max_age, now)
    }

    fn result(&self) -> Option<&str> {
        self.last.as_ref()?.text("result")
    }

    /// What a verification found since the last interval ended, if that is damage.
    fn damage_found(&self) -> Option<&Verified> {
        self.last.as_ref()?.verified.as_ref().filter(|verified| verified.damage().next().is_some())
    }

    /// What failed since the last interval ended.
    fn failure(&self) -> Option<&str> {
        Some(self.record.as_ref()?.last_failure.as_ref()?.why.as_str())
    }

    fn is_well(&self, now: Timestamp) -> bool {
        self.failure().is_none()
            && self.result().is_none_or(|result| result == "success")
            && self.damage_found().is_none()
            && self.overdue(now).is_empty()
    }
}

fn nothing(path: &Path, warnings: Vec<String>) -> Failure {
    let path = path.display();
    let warnings: String = warnings.iter().map(|warning| format!("\n  {warning}")).collect();
    Failure::Failed(format!(
        "no daemon has run with {path}, and no job by `offsite run`: start one with `offsite daemon --config {path}`{warnings}"
    ))
}
