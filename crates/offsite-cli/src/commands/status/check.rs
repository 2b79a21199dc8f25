//! `offsite status --check`: the answer in the form of monitoring plugins.

use serde_json::{Value, json};

use super::{Found, Job};
use crate::error_text::one_line;
use crate::status::{Failure, Status};
use crate::{json, print, render};

/// The severity of a problem. The numbers are the exit statuses of plugins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Severity {
    Warning = 1,
    Critical = 2,
    Unknown = 3,
}

impl Severity {
    const fn word(self) -> &'static str {
        match self {
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
            Self::Unknown => "UNKNOWN",
        }
    }

    /// The order of problems: something wrong comes before something unknown.
    const fn rank(self) -> u8 {
        match self {
            Self::Critical => 2,
            Self::Warning => 1,
            Self::Unknown => 0,
        }
    }
}

/// The problems, the worst first.
pub(super) struct Check(Vec<(Severity, String)>);

impl Check {
    pub(super) fn of(found: &Found) -> Self {
        let mut problems: Vec<(Severity, String)> =
            found.warnings.iter().map(|warning| (Severity::Warning, one_line(warning))).collect();
        match found.daemon() {
            "died" => problems.push((Severity::Critical, "the daemon died".to_owned())),
            "stopped" => problems.push((Severity::Warning, "the daemon was stopped".to_owned())),
            _ => {}
        }
        for (name, job) in &found.jobs {
            let local = job.local();
            let told = |(how, what): (Severity, String)| (how, local.text(&format!("{name}: {what}")));
            problems.extend(job_problems(found, job).into_iter().map(told));
        }
        problems.extend(found.unsent_words().map(|words| (Severity::Warning, words)));
        problems.sort_by_key(|(severity, _)| std::cmp::Reverse(severity.rank()));
        Self(problems)
    }

    fn word(&self) -> &'static str {
        self.0.first().map_or("OK", |(severity, _)| severity.word())
    }

    fn status(&self) -> Status {
        Status::Check(self.0.first().map_or(0, |(severity, _)| *severity as u8))
    }

    pub(super) fn value(&self) -> Value {
        let problem = |(severity, what): &(Severity, String)| json!({ "status": severity.word(), "what": what });
        json!({ "status": self.word(), "problems": self.0.iter().map(problem).collect::<Vec<_>>() })
    }
}

fn job_problems(found: &Found, job: &Job) -> Vec<(Severity, String)> {
    let mut problems = Vec::new();
    if let Some(max_age) = job.max_age {
        let lines = render::overdue(&job.overdue(found.now), max_age, found.now);
        // The words without the columns of a summary.
        let words = |line: String| line.split_whitespace().collect::<Vec<_>>().join(" ");
        problems.extend(lines.into_iter().map(|line| (Severity::Critical, words(line))));
    }
    if let Some(minutes) = found.late_minutes(job) {
        problems.push((Severity::Warning, format!("its next step: {}", super::late_words(minutes))));
    }
    let why = |field| job.last.as_ref().and_then(|last| last.text(field)).map(one_line);
    match job.result() {
        None => problems.push((Severity::Unknown, "it has not run yet".to_owned())),
        Some("failed") => {
            let why = why("failure").unwrap_or_else(|| "see `offsite status`".to_owned());
            problems.push((Severity::Critical, format!("the last run failed: {why}")));
        }
        Some("warning") => problems.push((Severity::Warning, "the last run has warnings".to_owned())),
        Some(_) => {}
    }
    if let Some(verified) = job.damage_found() {
        let (count, first) = (verified.damage().count(), verified.damage().next().unwrap_or_default());
        let damage = render::count(count, "case of damage", "cases of damage");
        problems.push((Severity::Critical, format!("`offsite verify` knows of {damage}: {}", one_line(first))));
    }
    if job.result() != Some("failed")
        && let Some(why) = job.failure()
    {
        problems.push((Severity::Warning, format!("something failed since: {}", one_line(why))));
    }
    problems
}

/// Prints the answer of a plugin: one line that says everything, then a line for each problem.
pub(super) fn answer(found: &Found, is_json: bool) -> Result<Status, Failure> {
    let check = Check::of(found);
    if is_json {
        json::print(&found.value())?;
        return Ok(check.status());
    }
    match &check.0[..] {
        [] => {
            let jobs = render::count(found.jobs.len(), "job", "jobs");
            print::line(format_args!("OFFSITE OK: {jobs}, nothing overdue"));
        }
        [(severity, what)] => print::line(format_args!("OFFSITE {}: {what}", severity.word())),
        [(severity, what), others @ ..] => {
            print::line(format_args!("OFFSITE {}: {what} (and {} more)", severity.word(), others.len()));
            others.iter().for_each(|(severity, what)| print::line(format_args!("{}: {what}", severity.word())));
        }
    }
    Ok(check.status())
}

/// Prints that nothing is known.
pub(super) fn unknown(failure: &Failure) -> Result<Status, Failure> {
    print::line(format_args!("OFFSITE UNKNOWN: {}", one_line(failure.text())));
    Ok(Status::Check(Severity::Unknown as u8))
}
