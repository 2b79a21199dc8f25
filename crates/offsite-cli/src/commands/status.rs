//! `offsite status`

mod check;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use check::Check;
use offsite::model::{MachineName, Timestamp};
use offsite::runner::{ActivityStatus, DaemonStatus, FolderStore, JobStatus, Overdue, Wait};
use offsite::schedule::Span;
use serde_json::{Value, json};

use crate::args::Status as Arguments;
use crate::commands::UNREADABLE;
use crate::config::{self, Config};
use crate::error_text::{chain_of, one_line};
use crate::json::events;
use crate::local_time::LocalTime;
use crate::mail::{Outbox, Unsent};
use crate::state::{LastResult, Verified};
use crate::status::{Failure, Status};
use crate::{clock, json, print, render};

pub(crate) fn run(arguments: &Arguments, path: &Path) -> Result<Status, Failure> {
    match (Found::look(path), arguments.check) {
        (Ok(found), true) => check::answer(&found, arguments.json),
        (Ok(found), false) => found.show(arguments),
        (Err(failure), true) => check::unknown(&failure),
        (Err(failure), false) => Err(failure),
    }
}

/// How long after the time of its next step a waiting job's status is still taken for the present one.
const LATE_MINUTES_MIN: i64 = 5;

/// What the state folder contains.
struct Found {
    now: Timestamp,
    daemon: Option<DaemonStatus>,
    jobs: BTreeMap<String, Job>,
    /// The mails that no server has taken yet.
    unsent: Vec<Unsent>,
    /// The reasons why something is missing.
    warnings: Vec<String>,
}

/// Returns how far an activity is, in words.
fn doing(activity: &ActivityStatus) -> String {
    let mut text = format!("{}, {}", activity.task.word(), activity.step.word());
    if let Some(machine) = &activity.machine {
        text.push_str(&format!(" of {machine}"));
    }
    if let Some(disk) = activity.disk {
        text.push_str(&format!(", disk {}", disk.0));
    }
    let (done, total) = (render::bytes(activity.done_bytes), render::bytes(activity.total_bytes));
    text.push_str(&format!(": {done} of {total}"));
    if let Some(rate) = activity.bytes_per_sec {
        text.push_str(&format!(", {}/s", render::bytes(rate)));
    }
    if let Some(left) = activity.left() {
        text.push_str(&format!(", about {} left", render::duration(left)));
    }
    if let Some(wait) = &activity.waits_for {
        text.push_str(&format!("; {wait}"));
    }
    text
}

/// What is known of a job.
#[derive(Default)]
struct Job {
    /// The status from the daemon. `None` if the daemon knows nothing of the job.
    status: Option<JobStatus>,
    last: Option<LastResult>,
    max_age: Option<Duration>,
    /// The time zone of the job.
    local: Option<LocalTime>,
}

impl Found {
    fn look(path: &Path) -> Result<Self, Failure> {
        let now = clock::clock()?.now();
        // A daemon goes on with the config that it started with.
        let (state, config) = match Config::load(path) {
            Ok(config) => (config.state_dir(), Ok(config)),
            Err(failure) => (config::state_dir_in(path), Err(failure)),
        };
        // The lock comes first. A daemon that ends between the two looks has written its last status before the second.
        let looked = FolderStore::look(state.path());
        let (mut results, mut warnings) = state.last_results();
        let (unsent, faults) = Outbox::new(state.outbox()).unsent();
        warnings.extend(faults);
        let daemon = match (looked, &config) {
            (Ok(daemon), _) => daemon,
            (Err(error), Ok(_)) if results.is_empty() => return Err(Failure::Failed(chain_of(&error))),
            (Err(error), _) => {
                warnings.push(chain_of(&error));
                None
            }
        };
        let is_empty = daemon.is_none() && results.is_empty();
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
        let shown = daemon.iter().flat_map(|daemon| &daemon.jobs);
        let mut statuses: BTreeMap<String, JobStatus> =
            shown.map(|(name, status)| (name.to_string(), status.clone())).collect();
        let names: BTreeSet<String> = match &known {
            Some(config) => config.jobs.keys().cloned().collect(),
            None => statuses.keys().chain(results.keys()).cloned().collect(),
        };
        let job = |name: String| {
            let last = results.remove(&name);
            // The config was checked when it was loaded.
            let config = known.as_ref().and_then(|config| config.jobs.get(&name));
            let max_age = match config {
                Some(job) => job.max_age().ok().flatten(),
                None => last.as_ref().and_then(|last| last.max_age_secs).map(Duration::from_secs),
            };
            let local = known.as_ref().map(|config| config.local_time(&name));
            (name.clone(), Job { status: statuses.remove(&name), last, max_age, local })
        };
        let jobs = names.into_iter().map(job).collect();
        Ok(Self { now, daemon, jobs, unsent, warnings })
    }

    fn show(&self, arguments: &Arguments) -> Result<Status, Failure> {
        self.warnings.iter().for_each(print::warning);
        if arguments.json {
            json::print(&self.value())?;
        } else {
            print::text(self.words());
        }
        let is_alive = self.daemon.as_ref().is_none_or(|daemon| daemon.is_running);
        let is_well = is_alive
            && self.unsent.is_empty()
            && self.warnings.is_empty()
            && self.jobs.values().all(|job| job.is_well(self.now) && self.late_minutes(job).is_none());
        Ok(if is_well { Status::Done } else { Status::Warnings })
    }

    /// Returns the state of the daemon in one word.
    fn daemon(&self) -> &'static str {
        match &self.daemon {
            None => "none",
            Some(daemon) if daemon.is_running => "running",
            Some(DaemonStatus { stopped: Some(_), .. }) => "stopped",
            Some(_) => "died",
        }
    }

    fn value(&self) -> Value {
        let jobs = self.jobs.iter().map(|(name, job)| {
            let Job { status, last, max_age, .. } = job;
            let status = status.as_ref();
            json!({
                "job": name,
                "phase": status.map(|status| status.phase.word()),
                "is_paused": status.is_some_and(|status| status.is_paused),
                "waits_for": status.and_then(|status| status.waits_for).map(Wait::word),
                "interval": status.and_then(|status| status.interval).as_ref().map(json::span),
                "late_minutes": self.late_minutes(job),
                "next_wake": status.and_then(|status| status.next).map(|next| next.to_string()),
                "transferred_bytes": status.map(|status| status.transferred_bytes),
                "activity": status.and_then(|status| status.activity.as_ref()).map(events::activity),
                "last": last.as_ref().map(|last| &last.report),
                "last_failure": status.and_then(|status| status.failure.as_ref()).map(|failure| json!({
                    "at": failure.at.to_string(),
                    "why": failure.why,
                    "is_retried": failure.is_retryable,
                })),
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
        let daemon = self.daemon.as_ref();
        json!({
            "daemon": {
                "state": self.daemon(),
                "pid": daemon.map(|daemon| daemon.holder.pid),
                "host": daemon.map(|daemon| daemon.holder.host.as_str()),
                "config": daemon.map(|daemon| daemon.holder.about.as_str()),
                "started": daemon.map(|daemon| daemon.started.to_string()),
                "stopped": daemon.and_then(|daemon| daemon.stopped).map(|stopped| stopped.to_string()),
            },
            "jobs": jobs.collect::<Vec<_>>(),
            "unsent_mails": self.unsent,
            "check": Check::of(self).value(),
            "warnings": self.warnings,
        })
    }

    /// Returns for how many minutes the daemon has not shown what it does of a job, though it runs and something was due.
    ///
    /// Its state folder may be full, so that nothing of what it shows holds.
    fn late_minutes(&self, job: &Job) -> Option<i64> {
        let is_running = self.daemon.as_ref().is_some_and(|daemon| daemon.is_running);
        job.status.as_ref().filter(|_| is_running).and_then(|status| late_minutes(status, self.now))
    }

    fn secs_since(&self, time: Timestamp) -> i64 {
        self.now.unix_secs().saturating_sub(time.unix_secs())
    }

    /// Returns a time, and how long ago it was.
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
        if let Some(line) = self.unsent_words() {
            text.push_str(&format!("{line}\n"));
        }
        text
    }

    /// How many mails wait, and why the oldest of them does.
    fn unsent_words(&self) -> Option<String> {
        let oldest = self.unsent.first()?;
        let mails = render::count(self.unsent.len(), "mail was", "mails were");
        let why = oldest.why.as_deref().map(|why| format!(": {}", one_line(why))).unwrap_or_default();
        Some(format!("{mails} not sent, the oldest of {}{why}", self.ago(&oldest.written)))
    }

    fn daemon_words(&self) -> String {
        let Some(daemon) = &self.daemon else { return "No daemon has run with this config.\n".to_owned() };
        let (pid, host, started) = (daemon.holder.pid, &daemon.holder.host, daemon.started);
        match (daemon.is_running, &daemon.stopped) {
            (true, _) => format!("The daemon is running: process {pid} on {host}, since {started}.\n"),
            (false, Some(stopped)) => format!(
                "No daemon is running. The last one (process {pid} on {host}) was stopped at {}.\n",
                self.ago(&stopped.to_string())
            ),
            (false, None) => format!(
                "No daemon is running. The last one (process {pid} on {host}, since {started}) died; what follows is what it wrote last.\n"
            ),
        }
    }

    fn job_lines(&self, job: &Job) -> Vec<(&'static str, String)> {
        let mut lines = Vec::new();
        if let Some(status) = &job.status {
            let paused = if status.is_paused { ", waiting for the window" } else { "" };
            lines.push(("phase", format!("{}{paused}", status.phase.word())));
            if let Some(Span { start, end, intervals, .. }) = &status.interval {
                let count = if *intervals > 1 { format!(" ({intervals} intervals in one)") } else { String::new() };
                lines.push(("interval", format!("{start} to {end}{count}")));
            }
            if let Some(next) = status.next {
                let late = self.late_minutes(job).map(|minutes| format!(": {}", late_words(minutes)));
                lines.push(("next", format!("{next}{}", late.unwrap_or_default())));
            }
            if let Some(activity) = &status.activity {
                lines.push(("doing", doing(activity)));
            }
            lines.push(("read", format!("{} in this interval", render::bytes(status.transferred_bytes))));
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
                // A later verification says what is damaged now.
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
        if let Some(failure) = job.status.as_ref().and_then(|status| status.failure.as_ref()) {
            lines.push(("failure", format!("at {}: {}", self.ago(&failure.at.to_string()), failure.why)));
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

    /// Returns the verification since the last interval ended, if it has found damage.
    fn damage_found(&self) -> Option<&Verified> {
        self.last.as_ref()?.verified.as_ref().filter(|verified| verified.damage().next().is_some())
    }

    /// Returns what has failed since the last interval ended.
    fn failure(&self) -> Option<&str> {
        Some(self.status.as_ref()?.failure.as_ref()?.why.as_str())
    }

    fn is_well(&self, now: Timestamp) -> bool {
        self.failure().is_none()
            && self.result().is_none_or(|result| result == "success")
            && self.damage_found().is_none()
            && self.overdue(now).is_empty()
    }
}

/// Returns how long ago a waiting job was to do something, in minutes, if that is too long ago for a daemon at work.
fn late_minutes(status: &JobStatus, now: Timestamp) -> Option<i64> {
    // Nothing is due at a certain time while somebody has paused the job, or other jobs have the slots.
    let is_due = matches!(status.waits_for, Some(Wait::Interval | Wait::Points | Wait::Window | Wait::Retry));
    let next = status.next.filter(|_| is_due)?;
    let minutes = now.unix_secs().saturating_sub(next.unix_secs()) / 60;
    (minutes >= LATE_MINUTES_MIN).then_some(minutes)
}

fn late_words(minutes: i64) -> String {
    format!("that was {minutes} min ago, and the daemon has shown nothing since; its log says why")
}

fn nothing(path: &Path, warnings: Vec<String>) -> Failure {
    let path = path.display();
    let warnings: String = warnings.iter().map(|warning| format!("\n  {warning}")).collect();
    Failure::Failed(format!(
        "no daemon has run with {path}, and no job by `offsite run`: start one with `offsite daemon --config {path}`{warnings}"
    ))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use offsite::JobName;
    use offsite::runner::{Phase, Subject, WorkKind};

    use super::*;

    /// What a job waits for, and when its next step was due.
    fn waiting(waits_for: Option<Wait>, next: Option<Timestamp>) -> JobStatus {
        JobStatus {
            subject: Subject { repository: "dr".to_owned(), job: JobName::new("copy").unwrap() },
            kind: WorkKind::Copy,
            phase: Phase::Idle,
            waits_for,
            is_paused: false,
            interval: None,
            is_window_open: true,
            next,
            transferred_bytes: 0,
            activity: None,
            newest: BTreeMap::new(),
            max_age: None,
            last: None,
            failure: None,
        }
    }

    /// The state folder of a daemon is full: what it wrote last looks well for ever.
    #[test]
    fn a_status_that_is_not_written_any_more_is_late() {
        let next = Timestamp::parse("2026-11-22T22:00:00Z").unwrap();
        let late =
            |wait, minutes: i64| late_minutes(&waiting(wait, Some(next)), next.saturating_add_secs(minutes * 60));
        for wait in Wait::ALL {
            let is_due = !matches!(wait, Wait::Slot | Wait::Resume);
            assert_eq!(late(Some(wait), 90), is_due.then_some(90), "{wait:?}");
        }
        assert_eq!([late(Some(Wait::Interval), 4), late(Some(Wait::Interval), -60), late(None, 90)], [None; 3]);
        assert_eq!(late(Some(Wait::Interval), 5), Some(5));
        assert_eq!(late_minutes(&waiting(Some(Wait::Interval), None), next), None);
    }
}
