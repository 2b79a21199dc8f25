//! A world around a job: machines that are backed up, a network, a runner that dies. And the laws, after each step.
#![allow(clippy::disallowed_methods, reason = "the seed is asked of the environment")]

use offsite_core::FolderId;
use offsite_core::RepositoryId;
use std::collections::{BTreeMap, BTreeSet};

use offsite_core::phase::{
    Absence, Action, Event, Job, LastRun, Note, Outcome, Past, Phase, RunResult, Settings, Sighting,
};
use offsite_core::schedule::{Interval, PointRange, Schedule, Span};
use offsite_core::selection::{Candidate, CopiedState, Decision, Request, Scope, SelectionRules, Take, decide};
use offsite_core::{MachineName, Origin, Sequence, Timestamp};

use crate::machine;

const PRIMARY: RepositoryId = RepositoryId::new([1; 16]);
const TARGET: RepositoryId = RepositoryId::new([9; 16]);

/// A small xorshift generator.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound
    }

    fn secs(&mut self, bound: i64) -> i64 {
        i64::try_from(self.below(u64::try_from(bound.max(1)).unwrap())).unwrap()
    }

    /// True in so many of a thousand.
    fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }
}

/// What goes wrong, in so many of a thousand.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Trouble {
    /// Backups that are not made.
    pub(crate) missed_backups: u64,
    /// Backups that take up to two days instead of an hour.
    pub(crate) long_backups: u64,
    pub(crate) future_dated: u64,
    pub(crate) look_failures: u64,
    pub(crate) sync_failures: u64,
    pub(crate) close_failures: u64,
    pub(crate) transform_failures: u64,
    /// Of the steps, after which the runner is killed.
    pub(crate) restarts: u64,
    /// Of the restarts, which take up to ten days.
    pub(crate) outages: u64,
    /// Of the steps, after which the clock is set back by up to three days.
    pub(crate) clocks_back: u64,
    /// How long the copy of a machine takes at most.
    pub(crate) copy_secs: i64,
    pub(crate) transform_secs: i64,
    /// Whether what was copied is committed at once, and not with the restore point only.
    pub(crate) commits_early: bool,
}

/// A running sync.
struct Sync {
    /// Machine, time of its point, seconds that its copy takes yet, seconds that it took.
    left: Vec<(MachineName, Timestamp, i64, i64)>,
    is_paused: bool,
    since: Timestamp,
    /// After so many seconds it fails.
    fails_after: Option<(i64, bool)>,
}

pub(crate) struct World {
    pub(crate) random: Random,
    pub(crate) trouble: Trouble,
    settings: Settings,
    job: Job,
    pub(crate) now: Timestamp,
    wake: Option<Timestamp>,
    answers: BTreeMap<(Timestamp, u64), Event>,
    answered: u64,
    sync: Option<Sync>,
    backup_every_secs: i64,
    /// By machine: when the next backup starts, and the points that there are, each with the end of its backup.
    backups: BTreeMap<MachineName, (Timestamp, Vec<(Candidate, Timestamp)>)>,
    copied: BTreeMap<MachineName, CopiedState>,
    /// In the restore point that is open.
    in_point: BTreeMap<MachineName, Timestamp>,
    progress: BTreeMap<MachineName, (u64, u64)>,
    seen: BTreeSet<MachineName>,
    last: Option<LastRun>,
    is_working: bool,
    /// The end of the last span that was closed, unless a clock or a first run leaves that open.
    closed_until: Option<Timestamp>,
    is_closing: Option<Span>,
    may_join: bool,
    pub(crate) results: Vec<RunResult>,
    pub(crate) steps: u64,
    pub(crate) pauses: u64,
}

impl World {
    pub(crate) fn new(
        settings: Settings,
        machines: u32,
        backup_every_secs: i64,
        trouble: Trouble,
        seed: u64,
        now: Timestamp,
    ) -> Self {
        let mut random = Random::new(seed);
        let backups = (0..machines).map(|number| {
            let first = now.saturating_add_secs(random.secs(backup_every_secs) - backup_every_secs);
            (machine(&format!("machine{number}")), (first, Vec::new()))
        });
        let backups = backups.collect();
        let (job, actions) = Job::resume(settings.clone(), Past::default(), now);
        let mut world = Self {
            random,
            trouble,
            settings,
            job,
            now,
            wake: None,
            answers: BTreeMap::new(),
            answered: 0,
            sync: None,
            backup_every_secs,
            backups,
            copied: BTreeMap::new(),
            in_point: BTreeMap::new(),
            progress: BTreeMap::new(),
            seen: BTreeSet::new(),
            last: None,
            is_working: false,
            closed_until: None,
            is_closing: None,
            may_join: false,
            results: Vec::new(),
            steps: 0,
            pauses: 0,
        };
        world.carry_out(actions);
        world
    }

    fn interval(&self) -> Option<&Interval> {
        self.settings.schedule.interval()
    }

    /// Lives until then.
    pub(crate) fn live(&mut self, until: Timestamp) {
        while self.now < until {
            self.step();
        }
    }

    fn step(&mut self) {
        self.steps += 1;
        let answer = self.answers.keys().next().copied();
        let transfer = self.sync.as_ref().filter(|sync| !sync.is_paused).map(Sync::next);
        let next = [self.wake, answer.map(|(at, _)| at), transfer].into_iter().flatten().min();
        let next = next.expect("the job waits for nothing and asks for nothing");
        self.now = self.now.max(next);
        let mut events = self.transfer();
        if let Some((_, event)) = self.answers.first_key_value().filter(|((at, _), _)| *at <= self.now) {
            events.push(event.clone());
            self.answers.pop_first();
        }
        if events.is_empty() {
            events.push(Event::Tick);
        }
        for event in events {
            self.note(&event);
            let actions = self.job.step(event, self.now);
            self.carry_out(actions);
        }
        if self.random.chance(1) && self.trouble.clocks_back > 0 && self.random.chance(self.trouble.clocks_back) {
            self.set_clock_back();
        }
        if self.trouble.restarts > 0 && self.random.chance(self.trouble.restarts) {
            self.restart();
        }
    }

    /// What the running sync has come to.
    fn transfer(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        let Some(sync) = &mut self.sync else { return events };
        let mut secs = if sync.is_paused { 0 } else { self.now.unix_secs() - sync.since.unix_secs() };
        sync.since = self.now;
        if let Some((left, is_retryable)) = sync.fails_after {
            if left <= secs {
                events.push(Event::SyncFailed { is_retryable, why: "the network is down".to_owned() });
            }
            sync.fails_after = Some((left - secs, is_retryable));
        }
        while let Some((machine, captured, left, all)) = sync.left.first_mut() {
            if *left > secs {
                if secs > 0 {
                    *left -= secs;
                    let (done, left) = ((*all - *left).unsigned_abs(), left.unsigned_abs());
                    events.insert(0, Event::Progress { machine: machine.clone(), done_bytes: done, left_bytes: left });
                }
                return events;
            }
            secs -= *left;
            events.insert(0, Event::MachineCopied { machine: machine.clone(), captured: *captured });
            sync.left.remove(0);
        }
        if !matches!(events.last(), Some(Event::SyncFailed { .. })) {
            events.push(Event::SyncEnded);
        }
        events
    }

    /// What the world knows after an event, whatever the job makes of it.
    fn note(&mut self, event: &Event) {
        match event {
            Event::MachineCopied { machine, captured } => {
                let earlier = self.in_point.insert(machine.clone(), *captured);
                assert_eq!(earlier, None, "{machine} is twice in one restore point");
                let had = CopiedState::new(*captured, None);
                let earlier = self.copied.insert(machine.clone(), had);
                assert!(earlier.is_none_or(|earlier| earlier.captured < *captured));
            }
            Event::Progress { machine, done_bytes, left_bytes } => {
                self.progress.insert(machine.clone(), (*done_bytes, *left_bytes));
            }
            Event::SourcesSeen(sightings) if self.job.phase() == Phase::Sync && self.interval().is_some() => {
                self.seen.extend(sightings.iter().map(|sighting| sighting.machine.clone()));
            }
            Event::SyncEnded | Event::SyncFailed { .. } => self.sync = None,
            Event::PointClosed => {
                self.sync = None;
                self.is_closing = None;
            }
            Event::PostJobDone | Event::TransformDone => self.is_working = false,
            _ => {}
        }
    }

    fn answer(&mut self, after_secs: i64, event: Event) {
        self.answered += 1;
        self.answers.insert((self.now.saturating_add_secs(after_secs), self.answered), event);
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        self.wake = None;
        for action in actions {
            assert_eq!(self.wake, None, "the last action tells the time");
            match action {
                Action::WakeAt(time) => {
                    assert!(time > self.now, "{time} is not after {}", self.now);
                    self.wake = Some(time);
                }
                Action::LookAtSources { range } => self.look(range),
                Action::StartSync { range, machines } => self.start_sync(range, &machines),
                Action::Pause => {
                    self.pauses += 1;
                    let sync = self.sync.as_mut().expect("a sync runs");
                    assert!(!std::mem::replace(&mut sync.is_paused, true));
                }
                Action::Resume => {
                    let sync = self.sync.as_mut().expect("a sync runs");
                    assert!(std::mem::replace(&mut sync.is_paused, false));
                    sync.since = self.now;
                }
                Action::ClosePoint { span, machines } => self.close(span, &machines),
                Action::StartTransform => self.start_transform(),
                Action::RunPostJob { result } => self.post_job(result),
            }
        }
        // Nothing is transferred while the window is closed: neither now nor until the job is asked again.
        if let Some(sync) = self.sync.as_ref().filter(|_| self.is_closing.is_none()) {
            assert_eq!(sync.is_paused, !self.settings.window.is_open(self.now), "at {}", self.now);
            let change = self.settings.window.next_change(self.now);
            assert!(change.is_none_or(|change| self.wake.is_some_and(|wake| wake <= change)));
        }
        assert!(
            self.wake.is_some() || self.sync.is_some() || !self.answers.is_empty(),
            "nothing will ever happen again"
        );
        assert!(!self.is_working || self.sync.is_none(), "a transform during a transfer");
    }

    fn look(&mut self, range: PointRange) {
        assert_eq!(range.not_after, self.now);
        assert!(matches!(self.job.phase(), Phase::Sync | Phase::Idle));
        if self.random.chance(self.trouble.look_failures) {
            return self.answer(20, Event::LookFailed { why: "the source is away".to_owned() });
        }
        let (choices, _) = self.choices(range);
        let sightings: Vec<Sighting> = choices.iter().map(Sighting::from).collect();
        let after_secs = self.random.secs(30);
        self.answer(after_secs, Event::SourcesSeen(sightings));
    }

    fn choices(&mut self, range: PointRange) -> (Vec<offsite_core::selection::Choice>, Vec<Candidate>) {
        self.back_up();
        let all = self.backups.values().flat_map(|(_, points)| points);
        let here = all.filter(|(point, _)| {
            point.captured <= self.now || point.captured.unix_secs() - self.now.unix_secs() > 20 * 86_400
        });
        let candidates: Vec<Candidate> = here.map(|(point, end)| point.clone().with_lock(*end > self.now)).collect();
        let selection = SelectionRules::new(vec![Scope::infrastructure(PRIMARY)]);
        let take = if self.interval().is_some() { Take::Newest } else { Take::Next };
        let request = Request::new(TARGET, &self.copied, range).with_take(take);
        (decide(&selection, &candidates, &request), candidates)
    }

    /// The backups that have begun since.
    fn back_up(&mut self) {
        let Self { random, trouble, backups, now, backup_every_secs, .. } = self;
        for (machine, (next, points)) in backups {
            while *next <= *now {
                let start = *next;
                *next = start.saturating_add_secs(*backup_every_secs + random.secs(1200) - 600);
                if random.chance(trouble.missed_backups) {
                    continue;
                }
                let long = random.chance(trouble.long_backups);
                let secs = random.secs(if long { 2 * 86_400 } else { 3600.min(*backup_every_secs / 2) });
                let ahead = if random.chance(trouble.future_dated) { 40 * 86_400 } else { 0 };
                let captured = start.saturating_add_secs(ahead);
                let origin = Origin::new(FolderId::new([1; 16]), Sequence(start.unix_secs().unsigned_abs()));
                let point = Candidate::new(PRIMARY, origin, "nightly", machine.clone(), captured);
                points.push((point, start.saturating_add_secs(secs)));
                if points.len() > 6 {
                    points.remove(0);
                }
            }
        }
    }

    fn start_sync(&mut self, range: PointRange, machines: &BTreeSet<MachineName>) {
        assert!(self.sync.is_none() && !self.is_working && self.is_closing.is_none());
        assert_eq!(self.job.phase(), Phase::Sync);
        assert!(self.settings.window.is_open(self.now));
        assert!(!machines.is_empty() && machines.iter().all(|machine| !self.in_point.contains_key(machine)));
        let (choices, candidates) = self.choices(range);
        let mut left = Vec::new();
        for choice in choices.iter().filter(|choice| machines.contains(&choice.machine)) {
            if let Decision::Take { candidate } = choice.decision {
                assert!(range.contains(candidates[candidate].captured));
                let secs = 1 + self.random.secs(self.trouble.copy_secs);
                left.push((choice.machine.clone(), candidates[candidate].captured, secs, secs));
            }
        }
        let fails = self.random.chance(self.trouble.sync_failures);
        let fails_after = fails.then(|| (1 + self.random.secs(self.trouble.copy_secs), self.random.chance(900)));
        self.sync = Some(Sync { left, is_paused: false, since: self.now, fails_after });
    }

    fn close(&mut self, span: Span, machines: &BTreeMap<MachineName, Outcome>) {
        assert!(!self.is_working);
        if let Some(interval) = self.interval().filter(|_| self.is_closing != Some(span)) {
            let whole = interval.joined(interval.at(span.start), span.end.saturating_add_secs(-1));
            assert_eq!(span, whole, "a span counts its intervals");
            if let Some(until) = self.closed_until {
                assert_eq!(span.start, until, "an interval was dropped, or was there twice");
            }
            assert!(span.intervals == 1 || self.may_join || !self.settings.window.is_always_open());
            assert!(self.now >= span.start || self.trouble.clocks_back > 0);
            let is_in = |outcome: &Outcome| {
                matches!(outcome, Outcome::Complete { .. } | Outcome::Absent(Absence::Missing | Absence::NotSelected))
            };
            assert!(self.now >= span.end || machines.values().all(is_in), "closed too early: {machines:?}");
        }
        self.is_closing = Some(span);
        // What still runs stops, and what it has done until now counts.
        let events = self.transfer();
        self.sync = None;
        for event in events {
            if matches!(event, Event::MachineCopied { .. } | Event::Progress { .. }) {
                self.note(&event);
                self.job.step(event, self.now);
            }
        }
        let after_secs = self.random.secs(120);
        if self.random.chance(self.trouble.close_failures) {
            let is_retryable = self.random.chance(800);
            self.answer(after_secs, Event::CloseFailed { is_retryable, why: "the target is full".to_owned() });
        } else {
            self.answer(after_secs, Event::PointClosed);
        }
    }

    fn start_transform(&mut self) {
        assert!(self.sync.is_none());
        if let Some(span) = self.is_closing.take() {
            // Given up.
            self.closed_until = (self.now >= span.start).then_some(span.end);
        }
        if self.last.as_ref().is_none_or(|last| last.is_finished) || !self.in_point.is_empty() {
            let span = *self.job.span();
            self.last = Some(LastRun::new(span, self.job.outcomes()));
            // A clock that was set back meanwhile begins anew.
            self.closed_until = self.interval().filter(|_| self.now >= span.start).map(|_| span.end);
            self.may_join = false;
        }
        self.is_working = true;
        let after_secs = self.random.secs(self.trouble.transform_secs);
        if self.random.chance(self.trouble.transform_failures) {
            self.is_working = false;
            let is_retryable = self.random.chance(900);
            self.answer(after_secs, Event::TransformFailed { is_retryable, why: "no space".to_owned() });
        } else {
            self.answer(after_secs, Event::TransformDone);
        }
    }

    fn post_job(&mut self, result: RunResult) {
        assert!(self.sync.is_none() && !self.is_working);
        for machine in &self.seen {
            let outcome = result.machines.get(machine).unwrap_or_else(|| panic!("{machine} was dropped"));
            let is_lost = *outcome == Outcome::Absent(Absence::NotCommitted);
            match (self.in_point.get(machine), self.progress.get(machine)) {
                _ if is_lost => {}
                (Some(captured), _) => assert_eq!(*outcome, Outcome::Complete { captured: *captured }),
                (None, Some((done_bytes, left_bytes))) => {
                    assert_eq!(*outcome, Outcome::Incomplete { done_bytes: *done_bytes, left_bytes: *left_bytes });
                }
                // What was committed and nobody told of, a look finds.
                (None, None) if self.job.elsewhere().contains(machine) => {
                    assert_eq!(*outcome, Outcome::Complete { captured: self.copied[machine].captured });
                }
                (None, None) => assert!(matches!(outcome, Outcome::Absent(_)), "{outcome:?}"),
            }
        }
        let is_late = self.interval().is_some_and(|interval| self.now >= interval.next(&result.span).end);
        self.may_join |= is_late;
        self.in_point.clear();
        self.progress.clear();
        self.seen.clear();
        self.results.push(result);
        if let Some(last) = &mut self.last {
            last.is_finished = true;
        }
        self.is_working = true;
        let after_secs = self.random.secs(60);
        self.answer(after_secs, Event::PostJobDone);
    }

    /// The runner dies, and starts again.
    fn restart(&mut self) {
        let down_secs = if self.random.chance(self.trouble.outages) {
            self.random.secs(10 * 86_400)
        } else {
            self.random.secs(900)
        };
        self.now = self.now.saturating_add_secs(down_secs);
        self.answers.clear();
        (self.sync, self.is_working, self.is_closing, self.may_join) = (None, false, None, true);
        let is_open_still = self.job.phase() == Phase::Sync && self.job.span().contains(self.now);
        let mut copied = BTreeMap::new();
        if self.trouble.commits_early && is_open_still {
            copied.clone_from(&self.in_point);
        } else if self.last.as_ref().is_none_or(|last| last.is_finished) && !self.trouble.commits_early {
            // What was not committed was not copied.
            for machine in self.in_point.keys() {
                self.copied.remove(machine);
            }
        }
        if self.last.as_ref().is_none_or(|last| last.is_finished) {
            self.in_point.clone_from(&copied);
            self.progress.clear();
            self.seen.clear();
        }
        let past = Past::default().with_last(self.last.clone()).with_copied(copied);
        let (job, actions) = Job::resume(self.settings.clone(), past, self.now);
        self.job = job;
        self.carry_out(actions);
    }

    fn set_clock_back(&mut self) {
        let secs = self.random.secs(3 * 86_400);
        self.now = self.now.saturating_add_secs(-secs);
        self.closed_until = None;
        self.may_join = true;
        // What was to come comes as much later by the new clock.
        self.answers = std::mem::take(&mut self.answers)
            .into_iter()
            .map(|((at, number), event)| ((at.saturating_add_secs(-secs), number), event))
            .collect();
        if let Some(sync) = &mut self.sync {
            sync.since = sync.since.min(self.now);
        }
        for (next, points) in self.backups.values_mut() {
            *next =
                next.saturating_add_secs(-secs).max(points.last().map_or(Timestamp::MIN, |(point, _)| point.captured));
        }
        let actions = self.job.step(Event::Tick, self.now);
        self.carry_out(actions);
    }

    /// The results stand for all intervals from the first to the last.
    pub(crate) fn assert_none_dropped(&self) {
        let Schedule::Interval(interval) = &self.settings.schedule else { return };
        let has_ran_back =
            |result: &RunResult| result.notes.iter().any(|note| matches!(note, Note::ClockRanBack { .. }));
        assert!(!self.results.iter().any(has_ran_back));
        let (first, last) = (&self.results[0].span, &self.results[self.results.len() - 1].span);
        let mut counted = 0;
        let mut until = first.start;
        for RunResult { span, .. } in &self.results {
            if span.end == until {
                // The runner died before it knew that its activities were done, and they were done again.
                continue;
            }
            assert_eq!(span.start, until);
            until = span.end;
            counted += span.intervals;
        }
        let whole = interval.joined(interval.at(first.start), last.end.saturating_add_secs(-1));
        assert_eq!(counted, whole.intervals);
    }
}

impl Sync {
    /// When something becomes of it.
    fn next(&self) -> Timestamp {
        let first = self.left.first().map_or(0, |(.., left, _)| *left);
        let secs = self.fails_after.map_or(first, |(left, _)| first.min(left));
        self.since.saturating_add_secs(secs.max(0))
    }
}

/// A seed for random tests: that of `OFFSITE_SEED`, to see a failure again, or the one given.
pub(crate) fn seed(default: u64) -> u64 {
    let seed = std::env::var("OFFSITE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(default);
    println!("OFFSITE_SEED={seed}");
    seed
}

/// How many lives: a long campaign sets the variable.
pub(crate) fn lives() -> u64 {
    std::env::var("OFFSITE_JOB_LIVES").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}
