//! The letter about one interval of a job.

use std::time::Duration;

use offsite::model::Timestamp;
use offsite::report::MachineOutcome;
use offsite::runner::{CopyRun, RunStatus};
use offsite::schedule::Span;

use super::letter::{Bar, Cell, Letter, Part, Section, Table, Tone};
use crate::local_time::LocalTime;
use crate::{render, words};

/// The facts of the letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RunFacts {
    pub(crate) job: String,
    /// The repository that it copies to.
    pub(crate) target: String,
    /// The host that writes.
    pub(crate) host: String,
    pub(crate) status: RunStatus,
    pub(crate) span: Span,
    pub(crate) ended: Timestamp,
    /// The newest restore point that was made.
    pub(crate) point: Option<u64>,
    /// Why it failed.
    pub(crate) failure: Option<String>,
    /// Warnings, one sentence each.
    pub(crate) notes: Vec<String>,
    pub(crate) overdue: Vec<String>,
    pub(crate) machines: Vec<MachineFacts>,
    pub(crate) traffic: TrafficFacts,
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MachineFacts {
    pub(crate) name: String,
    /// What became of it, in one or two words.
    pub(crate) outcome: &'static str,
    /// What is wrong with it.
    pub(crate) problem: Option<String>,
    /// The time of its newest state that has a whole copy. `None` if there is no copy.
    pub(crate) newest: Option<Timestamp>,
}

/// The data that was moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct TrafficFacts {
    /// The bytes that were read from the sources.
    pub(crate) carried_bytes: u64,
    /// The bytes that were not read from the sources, because the target had them.
    pub(crate) saved_bytes: u64,
    pub(crate) written_bytes: u64,
    pub(crate) freed_bytes: u64,
    pub(crate) duration: Duration,
}

impl RunFacts {
    /// Returns the facts of a report. `warnings` is what went wrong after the run, one sentence each.
    pub(crate) fn of(report: &CopyRun, warnings: &[String], host: String) -> Self {
        let status = match report.status() {
            RunStatus::Success if !warnings.is_empty() => RunStatus::Warning,
            status => status,
        };
        let incidents = report.result.incidents.iter().map(ToString::to_string);
        let notes = incidents.chain(words::notes(&report.notes, &report.doubts)).chain(warnings.iter().cloned());
        let mut traffic = TrafficFacts::default();
        for sync in &report.syncs {
            traffic.carried_bytes += sync.tally.source.bytes_read;
            traffic.saved_bytes += sync.tally.target.bytes_read;
            traffic.written_bytes += sync.tally.target.bytes_written;
            traffic.duration += sync.tally.duration;
        }
        traffic.freed_bytes = report.transform.as_ref().map_or(0, |transform| transform.released.bytes);
        let machines = report.result.machines.iter().map(|(name, outcome)| MachineFacts {
            name: name.to_string(),
            outcome: word(outcome),
            problem: match render::is_told(report, outcome) {
                true => Some(format!("{name} was not copied")),
                false => render::outcome(name, outcome),
            },
            newest: report.newest.get(name).copied().flatten(),
        });
        let plain = |line: String| line.split_whitespace().collect::<Vec<_>>().join(" ");
        Self {
            job: report.job.to_string(),
            target: report.repository.clone(),
            host,
            status,
            span: report.result.span,
            ended: report.ended,
            point: report.point.map(|point| point.0),
            failure: report.failure().map(|why| why.text.clone()),
            notes: notes.collect(),
            overdue: render::overdue_of(report).into_iter().map(plain).collect(),
            machines: machines.collect(),
            traffic,
        }
    }
}

const fn word(outcome: &MachineOutcome) -> &'static str {
    match outcome {
        MachineOutcome::Complete { .. } => "copied",
        MachineOutcome::Unchanged { .. } => "unchanged",
        MachineOutcome::Incomplete { .. } => "INCOMPLETE",
        MachineOutcome::Waiting { .. } => "waits",
        MachineOutcome::Absent { .. } => "NOT COPIED",
    }
}

/// Writes the letter, with times in the zone of `local`.
pub(crate) fn run(facts: &RunFacts, local: &LocalTime) -> Letter {
    let (tone, result) = match facts.status {
        RunStatus::Success => (Tone::Well, "SUCCESS"),
        RunStatus::Warning => (Tone::Warning, "WARNING"),
        RunStatus::Failed => (Tone::Failed, "FAILED"),
    };
    let mut letter = Letter {
        subject: format!("[offsite] {result}: {} ({})", facts.job, facts.host),
        tone,
        title: format!("{result}: {}", facts.job),
        sections: vec![summary(facts, local)],
    };
    let mut problems: Vec<Part> = Vec::new();
    problems.extend(facts.overdue.iter().map(|line| Part::Alert(Tone::Failed, local.text(line))));
    let broken = facts.machines.iter().filter_map(|machine| machine.problem.as_ref());
    problems.extend(broken.map(|line| Part::Line(local.text(line))));
    problems.extend(facts.notes.iter().map(|line| Part::Line(local.text(line))));
    if !problems.is_empty() {
        letter.sections.push(Section { heading: "Needs a look".to_owned(), parts: problems });
    }
    if !facts.machines.is_empty() {
        letter.sections.push(machines(facts, local));
    }
    if facts.traffic != TrafficFacts::default() {
        letter.sections.push(traffic(&facts.traffic));
    }
    letter
}

fn summary(facts: &RunFacts, local: &LocalTime) -> Section {
    let mut parts = Vec::new();
    if let Some(why) = &facts.failure {
        parts.push(Part::Alert(Tone::Failed, local.text(why)));
    }
    let joined = match facts.span.intervals {
        0 | 1 => String::new(),
        count => format!(" ({count} intervals in one)"),
    };
    let point = facts.point.map_or_else(|| "none was made".to_owned(), |point| format!("#{point}"));
    let mut rows = vec![("host", facts.host.clone()), ("target", facts.target.clone())];
    if facts.span.start < facts.span.end {
        rows.push(("interval", format!("{} to {}{joined}", local.time(facts.span.start), local.time(facts.span.end))));
    }
    rows.extend([("ended", local.time(facts.ended)), ("restore point", point)]);
    parts.push(Part::Facts(rows));
    Section { heading: String::new(), parts }
}

fn machines(facts: &RunFacts, local: &LocalTime) -> Section {
    let mut machines: Vec<&MachineFacts> = facts.machines.iter().collect();
    // Machines that need a look come first. The sort is stable, so the others stay sorted by name.
    machines.sort_by_key(|machine| machine.problem.is_none());
    let row = |machine: &MachineFacts| {
        let newest = machine.newest.map_or_else(|| "none".to_owned(), |time| local.time(time));
        vec![Cell::Text(machine.name.clone()), Cell::Text(machine.outcome.to_owned()), Cell::Text(newest)]
    };
    let table = Table::of(&["machine", "result", "state of the newest copy"], machines.into_iter().map(row));
    Section { heading: "Machines".to_owned(), parts: vec![Part::Table(table)] }
}

fn traffic(traffic: &TrafficFacts) -> Section {
    let rows = [
        ("carried from the source", traffic.carried_bytes),
        ("not carried, as the target had it", traffic.saved_bytes),
        ("written to the target", traffic.written_bytes),
        ("given back by the target", traffic.freed_bytes),
    ];
    let largest = rows.iter().map(|(_, bytes)| *bytes).max().unwrap_or(0);
    let row = |(what, bytes): (&str, u64)| {
        vec![
            Cell::Text(what.to_owned()),
            Cell::Bar(Bar::of(Tone::Well, bytes, largest)),
            Cell::Number(render::bytes(bytes)),
        ]
    };
    let table = Table::of(&["", "", ""], rows.into_iter().map(row));
    let mut parts = vec![Part::Table(table)];
    if !traffic.duration.is_zero() {
        parts.push(Part::Line(format!("The copy took {}.", render::duration(traffic.duration))));
    }
    Section { heading: "Data".to_owned(), parts }
}

#[cfg(test)]
mod tests {
    use offsite::model::Timestamp;

    use super::super::letter::golden;
    use super::*;

    fn time(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    fn facts() -> RunFacts {
        RunFacts {
            job: "Offsite Copy".to_owned(),
            target: "dr".to_owned(),
            host: "backup1".to_owned(),
            status: RunStatus::Success,
            span: Span::new(time("2026-11-21T21:00:00Z"), time("2026-11-22T21:00:00Z")),
            ended: time("2026-11-22T20:14:03Z"),
            point: Some(12),
            failure: None,
            notes: Vec::new(),
            overdue: Vec::new(),
            machines: vec![
                MachineFacts {
                    name: "db01".to_owned(),
                    outcome: "copied",
                    problem: None,
                    newest: Some(time("2026-11-22T20:00:00Z")),
                },
                MachineFacts {
                    name: "web01".to_owned(),
                    outcome: "unchanged",
                    problem: None,
                    newest: Some(time("2026-11-21T20:00:00Z")),
                },
            ],
            traffic: TrafficFacts {
                carried_bytes: 3 << 30,
                saved_bytes: 1 << 30,
                written_bytes: 4 << 30,
                freed_bytes: 700 << 20,
                duration: Duration::from_secs(95),
            },
        }
    }

    fn berlin() -> LocalTime {
        LocalTime::of_zone(Some("Europe/Berlin"))
    }

    #[test]
    fn a_run_that_went_well() {
        let letter = run(&facts(), &berlin());
        assert_eq!(letter.subject, "[offsite] SUCCESS: Offsite Copy (backup1)");
        golden(&letter, "run-success");
    }

    #[test]
    fn a_run_that_failed_with_names_that_want_to_be_markup() {
        let mut facts = facts();
        facts.status = RunStatus::Failed;
        facts.job = "R&D <Copy>".to_owned();
        facts.failure = Some("repository dr: there is no folder /mnt/<dr> since 2026-11-22T20:00:00Z".to_owned());
        facts.point = None;
        facts.span = facts.span.with_intervals(3);
        facts.notes = vec!["the script ./notify.sh failed: exit status: 7".to_owned()];
        facts.overdue = vec![
            "OVERDUE web01: its newest copy is 3 days old, of 2026-11-19T20:00:00Z; at most 26 h (max_age)".to_owned(),
        ];
        facts.machines[1].outcome = "NOT COPIED";
        facts.machines[1].problem = Some("web01 was not copied: \"a <b> & 'c'\"".to_owned());
        facts.machines[0].newest = None;
        facts.traffic = TrafficFacts::default();
        let letter = run(&facts, &berlin());
        assert_eq!(letter.subject, "[offsite] FAILED: R&D <Copy> (backup1)");
        golden(&letter, "run-failed");
    }

    #[test]
    fn a_run_with_warnings_of_an_immediate_job() {
        let mut facts = facts();
        facts.status = RunStatus::Warning;
        facts.span = Span::new(facts.ended, facts.ended);
        facts.notes = vec!["select.tags has \"gold\", which matches nothing\r\nSubject: x".to_owned()];
        golden(&run(&facts, &berlin()), "run-warning");
    }
}
