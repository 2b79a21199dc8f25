//! The letter about all jobs of a day.

use std::time::Duration;

use offsite::model::Timestamp;

use super::letter::{Bar, Cell, Letter, Part, Section, Table, Tone};
use crate::local_time::LocalTime;
use crate::render;
use crate::totals::Totals;

/// The facts of the letter.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Digest {
    /// The host that writes.
    pub(crate) host: String,
    pub(crate) now: Timestamp,
    /// The time of the digest before. `None` if this is the first.
    pub(crate) since: Option<Timestamp>,
    pub(crate) jobs: Vec<JobFacts>,
    /// The reasons why something is missing.
    pub(crate) notes: Vec<String>,
}

/// A job.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct JobFacts {
    pub(crate) name: String,
    /// The repository that it copies to.
    pub(crate) target: String,
    pub(crate) last: Option<Last>,
    /// What failed since the last interval ended.
    pub(crate) failure: Option<String>,
    /// What a verification found, one line each.
    pub(crate) damage: Vec<String>,
    /// What was done since the digest before.
    pub(crate) done: Totals,
    /// The time of the newest state of each machine that has a whole copy. `None` if there is no copy.
    pub(crate) machines: Vec<(String, Option<Timestamp>)>,
    /// The age from which a copy is overdue.
    pub(crate) max_age: Option<Duration>,
    /// The places of the copies. Drives that are used in turn are several places.
    pub(crate) places: Vec<PlaceFacts>,
    /// Why the places cannot be looked at.
    pub(crate) unseen: Option<String>,
}

/// The result of the last interval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Last {
    /// `success`, `warning` or `failed`.
    pub(crate) result: String,
    pub(crate) ended: Option<Timestamp>,
    /// Why it failed.
    pub(crate) failure: Option<String>,
}

/// A place of copies.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct PlaceFacts {
    /// The drive, if it is one of several.
    pub(crate) drive: Option<String>,
    pub(crate) points: usize,
    /// The bytes that the job's backup files take.
    pub(crate) used_bytes: u64,
    /// The free bytes in the repository. `None` if it does not tell.
    pub(crate) free_bytes: Option<u64>,
    /// How many restore points go in the next week, and the bytes that come back. `None` if there is no forecast.
    pub(crate) leaving: Option<(usize, u64)>,
}

impl JobFacts {
    fn overdue(&self, now: Timestamp) -> Vec<&(String, Option<Timestamp>)> {
        self.machines.iter().filter(|(_, captured)| self.is_overdue(*captured, now)).collect()
    }

    fn is_overdue(&self, captured: Option<Timestamp>, now: Timestamp) -> bool {
        self.max_age.is_some_and(|max_age| captured.is_none_or(|captured| age_secs(captured, now) > max_age.as_secs()))
    }

    /// Returns what needs a look, with its rank.
    fn problems(&self, now: Timestamp) -> Vec<(Rank, String)> {
        let mut problems = Vec::new();
        let name = &self.name;
        let result = self.last.as_ref().map(|last| last.result.as_str());
        match (&self.last, &self.failure) {
            (Some(Last { result, failure, .. }), _) if result == "failed" => {
                let why = failure.as_deref().unwrap_or("see `offsite status`");
                problems.push((Rank::Failed, format!("FAILED {name}: {why}")));
            }
            (_, Some(why)) => problems.push((Rank::Failed, format!("FAILED {name}: {why}"))),
            _ => {}
        }
        problems.extend(self.damage.iter().map(|what| (Rank::Failed, format!("DAMAGED {name}: {what}"))));
        for (machine, captured) in self.overdue(now) {
            let age = match captured {
                Some(captured) => format!("the newest copy of {machine} is {} old", age(*captured, now)),
                None => format!("there is no copy of {machine}"),
            };
            problems.push((Rank::Overdue, format!("OVERDUE {name}: {age}")));
        }
        if self.done.failed > 0 && problems.is_empty() {
            let runs = render::count(self.done.failed.try_into().unwrap_or(usize::MAX), "run", "runs");
            problems.push((Rank::Warning, format!("WARNING {name}: {runs} failed, and the last one did not")));
        }
        if result == Some("warning") {
            problems.push((Rank::Warning, format!("WARNING {name}: the last run has warnings: see `offsite status`")));
        }
        if let Some(why) = &self.unseen {
            problems.push((Rank::Warning, format!("WARNING {name}: its copies cannot be looked at: {why}")));
        }
        problems
    }
}

/// How bad something is. The worst comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Failed,
    Overdue,
    Warning,
}

impl Rank {
    const fn word(self) -> &'static str {
        match self {
            Self::Failed => "FAILED",
            Self::Overdue => "OVERDUE",
            Self::Warning => "WARNING",
        }
    }

    const fn tone(self) -> Tone {
        match self {
            Self::Failed | Self::Overdue => Tone::Failed,
            Self::Warning => Tone::Warning,
        }
    }
}

fn age_secs(captured: Timestamp, now: Timestamp) -> u64 {
    u64::try_from(now.unix_secs().saturating_sub(captured.unix_secs())).unwrap_or(0)
}

fn age(captured: Timestamp, now: Timestamp) -> String {
    render::age(now.unix_secs().saturating_sub(captured.unix_secs()))
}

/// Writes the letter, with times in the zone of `local`.
pub(crate) fn digest(digest: &Digest, local: &LocalTime) -> Letter {
    let now = digest.now;
    let mut jobs: Vec<(Option<Rank>, &JobFacts)> =
        digest.jobs.iter().map(|job| (job.problems(now).iter().map(|(rank, _)| *rank).min(), job)).collect();
    // A job without a problem comes last.
    jobs.sort_by_key(|(rank, job)| (rank.is_none(), *rank, job.name.clone()));
    let mut problems: Vec<(Rank, String)> = jobs.iter().flat_map(|(_, job)| job.problems(now)).collect();
    problems.extend(digest.notes.iter().map(|note| (Rank::Warning, format!("WARNING {note}"))));
    problems.sort_by_key(|(rank, _)| *rank);
    let worst = problems.first().map(|(rank, _)| *rank);
    let (tone, result) = match worst {
        None => (Tone::Well, "OK: all is well".to_owned()),
        Some(worst) => {
            let count = jobs.iter().filter(|(rank, _)| *rank == Some(worst)).count();
            let what = match count {
                0 => "see the notes".to_owned(),
                count => format!("{count} of {}", render::count(jobs.len(), "job", "jobs")),
            };
            (worst.tone(), format!("{}: {what}", worst.word()))
        }
    };
    let mut first = Vec::new();
    if problems.is_empty() {
        let count = render::count(jobs.len(), "job", "jobs");
        first.push(Part::Line(format!("All is well: {count}, nothing failed, nothing is overdue.")));
    }
    first.extend(problems.into_iter().map(|(rank, line)| Part::Alert(rank.tone(), local.text(&line))));
    let mut facts = vec![("host", digest.host.clone()), ("written", local.time(now))];
    facts.extend(digest.since.map(|since| ("since", local.time(since))));
    first.push(Part::Facts(facts));
    let mut sections = vec![Section { heading: String::new(), parts: first }];
    sections.extend(jobs.into_iter().map(|(_, job)| job_section(job, digest, local)));
    Letter {
        subject: format!("[offsite] {result} ({})", digest.host),
        tone,
        title: format!("{result} - daily digest"),
        sections,
    }
}

fn job_section(job: &JobFacts, digest: &Digest, local: &LocalTime) -> Section {
    let last = match &job.last {
        None => "it has not run yet".to_owned(),
        Some(Last { result, ended: Some(ended), .. }) => format!("{result}, {}", local.time(*ended)),
        Some(Last { result, ended: None, .. }) => result.clone(),
    };
    let Totals { runs, warnings, failed, carried_bytes, saved_bytes, .. } = job.done;
    let done = match runs {
        0 => "none".to_owned(),
        runs => format!("{runs}, of them {failed} failed and {warnings} with warnings"),
    };
    let mut parts = vec![Part::Facts(vec![
        ("last result", last),
        ("runs", done),
        ("carried", render::bytes(carried_bytes)),
        ("saved", format!("{} were not carried, as the target had them", render::bytes(saved_bytes))),
    ])];
    if !job.machines.is_empty() {
        parts.push(Part::Table(machine_table(job, digest.now, local)));
    }
    for place in &job.places {
        parts.push(Part::Table(place_table(place)));
        parts.extend(outlook(place, job, digest).map(Part::Line));
    }
    Section { heading: format!("{} to {}", job.name, job.target), parts }
}

/// Returns the table of the machines, the oldest copies first. A bar shows the age as a share of `max_age`.
fn machine_table(job: &JobFacts, now: Timestamp, local: &LocalTime) -> Table {
    let mut machines: Vec<&(String, Option<Timestamp>)> = job.machines.iter().collect();
    machines.sort_by_key(|(name, captured)| (*captured, name.clone()));
    let row = |(name, captured): &(String, Option<Timestamp>)| {
        let mut cells = vec![Cell::Text(name.clone())];
        cells.push(Cell::Text(captured.map_or_else(|| "no copy".to_owned(), |captured| local.time(captured))));
        cells.push(Cell::Number(captured.map_or_else(String::new, |captured| age(captured, now))));
        if let Some(max_age) = job.max_age {
            let tone = if job.is_overdue(*captured, now) { Tone::Failed } else { Tone::Well };
            let age = captured.map_or(u64::MAX, |captured| age_secs(captured, now));
            cells.push(Cell::Bar(Bar::of(tone, age, max_age.as_secs())));
        }
        cells
    };
    let head: &[&'static str] = match job.max_age {
        Some(_) => &["machine", "newest copy of", "age", "of max_age"],
        None => &["machine", "newest copy of", "age"],
    };
    Table::of(head, machines.into_iter().map(row))
}

fn place_table(place: &PlaceFacts) -> Table {
    let mut row = Vec::new();
    let mut head = Vec::new();
    if let Some(drive) = &place.drive {
        head.push("drive");
        row.push(Cell::Text(drive.clone()));
    }
    head.extend(["restore points", "used"]);
    row.extend([Cell::Number(place.points.to_string()), Cell::Number(render::bytes(place.used_bytes))]);
    if let Some(free) = place.free_bytes {
        let all = place.used_bytes.saturating_add(free);
        let tone = if free < all / 10 { Tone::Warning } else { Tone::Well };
        head.extend(["free", "used of both"]);
        row.extend([Cell::Number(render::bytes(free)), Cell::Bar(Bar::of(tone, place.used_bytes, all))]);
    }
    Table::of(&head, [row])
}

/// Tells what comes back in the next week, and how long the free space lasts at the pace since the digest before.
fn outlook(place: &PlaceFacts, job: &JobFacts, digest: &Digest) -> Option<String> {
    const WEEK_SECS: u64 = 7 * 86_400;
    /// The shortest time that tells a pace.
    const PACE_SECS_MIN: u64 = 20 * 3600;
    let (points, freed_bytes) = place.leaving?;
    let points_go = if points == 1 { "point goes" } else { "points go" };
    let mut text =
        format!("In the next 7 days {points} restore {points_go}, which gives back {}.", render::bytes(freed_bytes));
    let secs = digest.since.map_or(0, |since| age_secs(since, digest.now));
    if let Some(free) = place.free_bytes.filter(|_| secs >= PACE_SECS_MIN && job.places.len() == 1) {
        let written = u128::from(job.done.written_bytes) * u128::from(WEEK_SECS) / u128::from(secs);
        let grown = written.saturating_sub(u128::from(freed_bytes));
        if let Some(days) = (u128::from(free) * 7).checked_div(grown) {
            text.push_str(&match days {
                1 => " At the present pace, the free space lasts for 1 day.".to_owned(),
                0..=3650 => format!(" At the present pace, the free space lasts for {days} days."),
                _ => " At the present pace, the free space lasts for more than ten years.".to_owned(),
            });
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::super::letter::golden;
    use super::*;

    fn time(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    fn berlin() -> LocalTime {
        LocalTime::of_zone(Some("Europe/Berlin"))
    }

    fn well(name: &str) -> JobFacts {
        JobFacts {
            name: name.to_owned(),
            target: "dr".to_owned(),
            last: Some(Last { result: "success".to_owned(), ended: Some(time("2026-11-22T22:14:00Z")), failure: None }),
            done: Totals {
                runs: 1,
                carried_bytes: 5 << 30,
                saved_bytes: 1 << 30,
                written_bytes: 6 << 30,
                ..Totals::default()
            },
            machines: vec![
                ("db01".to_owned(), Some(time("2026-11-22T21:00:00Z"))),
                ("web01".to_owned(), Some(time("2026-11-22T20:00:00Z"))),
            ],
            max_age: Some(Duration::from_secs(26 * 3600)),
            places: vec![PlaceFacts {
                drive: None,
                points: 9,
                used_bytes: 80 << 30,
                free_bytes: Some(20 << 30),
                leaving: Some((7, 35 << 30)),
            }],
            ..JobFacts::default()
        }
    }

    fn day(jobs: Vec<JobFacts>) -> Digest {
        Digest {
            host: "backup1".to_owned(),
            now: time("2026-11-23T06:00:00Z"),
            since: Some(time("2026-11-22T06:00:00Z")),
            jobs,
            notes: Vec::new(),
        }
    }

    #[test]
    fn a_day_with_nothing_to_say() {
        let letter = digest(&day(vec![well("Offsite Copy")]), &berlin());
        assert_eq!(letter.subject, "[offsite] OK: all is well (backup1)");
        golden(&letter, "digest-well");
    }

    #[test]
    fn what_failed_and_what_is_overdue_comes_first() {
        let mut failed = well("z <failed>");
        failed.last = Some(Last {
            result: "failed".to_owned(),
            ended: Some(time("2026-11-22T22:14:00Z")),
            failure: Some("there is no folder /mnt/dr".to_owned()),
        });
        failed.done = Totals { runs: 2, failed: 1, ..Totals::default() };
        failed.places = Vec::new();
        failed.unseen = Some("there is no folder /mnt/dr".to_owned());
        let mut overdue = well("m overdue");
        overdue.machines.push(("old01".to_owned(), Some(time("2026-11-10T20:00:00Z"))));
        overdue.machines.push(("new01".to_owned(), None));
        overdue.places[0].free_bytes = Some(1 << 30);
        let mut drives = well("drives");
        drives.max_age = None;
        let place = drives.places[0].clone();
        drives.places[0].drive = Some("weekly A".to_owned());
        drives.places.push(PlaceFacts { drive: Some("weekly B".to_owned()), free_bytes: None, leaving: None, ..place });
        let new = JobFacts { name: "new".to_owned(), target: "dr".to_owned(), ..JobFacts::default() };
        let mut all = day(vec![well("a well"), overdue, new, drives, failed]);
        all.notes = vec!["mail: 3 mails that could not be sent were dropped".to_owned()];
        let letter = digest(&all, &berlin());
        assert_eq!(letter.subject, "[offsite] FAILED: 1 of 5 jobs (backup1)");
        golden(&letter, "digest-trouble");
        let headings: Vec<&str> = letter.sections.iter().map(|section| section.heading.as_str()).collect();
        assert_eq!(headings, ["", "z <failed> to dr", "m overdue to dr", "a well to dr", "drives to dr", "new to dr"]);
    }

    #[test]
    fn the_subject_tells_the_worst() {
        let subject = |jobs| digest(&day(jobs), &berlin()).subject;
        let mut warned = well("w");
        warned.last = Some(Last { result: "warning".to_owned(), ended: None, failure: None });
        assert_eq!(subject(vec![well("a"), warned.clone()]), "[offsite] WARNING: 1 of 2 jobs (backup1)");
        let mut overdue = well("o");
        overdue.machines[0].1 = None;
        assert_eq!(subject(vec![overdue.clone(), warned]), "[offsite] OVERDUE: 1 of 2 jobs (backup1)");
        let mut stuck = well("s");
        stuck.failure = Some("cannot be opened".to_owned());
        assert_eq!(subject(vec![stuck, overdue]), "[offsite] FAILED: 1 of 2 jobs (backup1)");
        let mut mended = well("m");
        mended.done.failed = 1;
        assert_eq!(subject(vec![mended]), "[offsite] WARNING: 1 of 1 job (backup1)");
        assert_eq!(subject(Vec::new()), "[offsite] OK: all is well (backup1)");
    }

    #[test]
    fn the_pace_is_told_only_where_it_is_known() {
        let (mut job, mut all) = (well("a"), day(Vec::new()));
        let line = |job: &JobFacts, all: &Digest| outlook(&job.places[0], job, all).unwrap_or_default();
        // Each week, 42 GiB come and 35 GiB go. So 20 GiB last for 20 days.
        assert!(line(&job, &all).ends_with("lasts for 20 days."), "{}", line(&job, &all));
        all.since = Some(time("2026-11-23T05:00:00Z"));
        assert!(!line(&job, &all).contains("pace"));
        all.since = Some(time("2026-11-22T06:00:00Z"));
        job.done.written_bytes = 1;
        assert!(!line(&job, &all).contains("pace"));
        job.places[0].leaving = None;
        assert_eq!(line(&job, &all), "");
    }
}
