//! Work that is done in one go in each interval: a backup or a verification.

mod due;

use std::sync::Arc;

use futures::future::BoxFuture;
use offsite_core::Timestamp;
use offsite_core::schedule::Span;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use self::due::{Due, due};
use super::control::until;
use super::event::RunnerEvent;
use super::failure::Failure;
use super::job::{OpenJob, Timing};
use super::memory::Memory;
use super::outcome::{Incident, LastRun};
use super::report::{BackupRun, IntervalRun, RunEnd, RunReport, VerifyRun};
use super::setup::{GRACE, PAUSE, Setup, Stop};
use super::status::{Phase, Wait};
use super::tell::after;
use crate::report::{BackupReport, Note, VerifyReport};
use crate::{BackupJob, Error, Verify};

/// A kind of such work.
pub(super) trait Recurrent: Send + Sync + Sized + 'static {
    type Report: Clone + Send + Sync;
    const PHASE: Phase;

    fn run(&self, now: Timestamp) -> BoxFuture<'_, Result<Self::Report, Error>>;

    fn event(report: &Self::Report) -> RunnerEvent<'_>;

    fn report(run: IntervalRun<Self::Report>) -> RunReport;
}

impl Recurrent for BackupJob {
    type Report = BackupReport;
    const PHASE: Phase = Phase::Backup;

    fn run(&self, now: Timestamp) -> BoxFuture<'_, Result<BackupReport, Error>> {
        Self::run(self, now)
    }

    fn event(report: &BackupReport) -> RunnerEvent<'_> {
        RunnerEvent::BackedUp(report)
    }

    fn report(run: BackupRun) -> RunReport {
        RunReport::Backup(run)
    }
}

impl Recurrent for Verify {
    type Report = VerifyReport;
    const PHASE: Phase = Phase::Verify;

    fn run(&self, _now: Timestamp) -> BoxFuture<'_, Result<VerifyReport, Error>> {
        Self::run(self)
    }

    fn event(report: &VerifyReport) -> RunnerEvent<'_> {
        RunnerEvent::Verified(report)
    }

    fn report(run: VerifyRun) -> RunReport {
        RunReport::Verify(run)
    }
}

/// Does the work in each interval until it is stopped. Returns the report of the interval that was at work then.
pub(super) async fn run<Job: Recurrent>(
    setup: &Setup,
    timing: Timing,
    open: Arc<dyn OpenJob<Job>>,
    stop: &mut Stop<'_>,
) -> Option<RunReport> {
    let memory = setup.teller.recall().await;
    let mut recur = Recur { setup, timing, open, memory, told: None };
    recur.finish_last(stop).await;
    loop {
        let (span, answers) = recur.wait(stop).await?;
        let is_asked = !answers.is_empty();
        let end = recur.interval(span, is_asked, stop).await;
        for answer in answers {
            // The caller may have stopped waiting.
            let _ = answer.send(end.clone());
        }
        if let RunEnd::Stopped(report) = end {
            return Some(*report);
        }
    }
}

/// Does the work once, now. What earlier runners remembered does not count.
pub(super) async fn run_once<Job: Recurrent>(
    setup: &Setup,
    timing: Timing,
    open: Arc<dyn OpenJob<Job>>,
    stop: &mut Stop<'_>,
) -> RunEnd {
    let span = timing.interval.at(setup.clock.now());
    let mut recur = Recur { setup, timing, open, memory: Memory::default(), told: None };
    recur.interval(span, true, stop).await
}

struct Recur<'a, Job> {
    setup: &'a Setup,
    timing: Timing,
    open: Arc<dyn OpenJob<Job>>,
    memory: Memory,
    /// What was told last.
    told: Option<(Phase, Span)>,
}

/// How the tries of an interval ended.
struct Tried<Report> {
    done: Option<Report>,
    incidents: Vec<Incident>,
    is_stopped: bool,
}

impl<Job: Recurrent> Recur<'_, Job> {
    /// Runs the post-job activities of an interval whose end an earlier runner did not store.
    async fn finish_last(&mut self, stop: &mut Stop<'_>) {
        let Some(span) = self.memory.last.as_ref().filter(|last| !last.is_finished).map(|last| last.span) else {
            return;
        };
        let tried = Tried { done: None, incidents: Vec::new(), is_stopped: false };
        self.end(span, tried, vec![Note::EndUnknown], stop).await;
    }

    /// Waits until the work is due, or until somebody asks for it.
    ///
    /// Returns the interval, and who asked. `None` if it is stopped.
    async fn wait(&mut self, stop: &mut Stop<'_>) -> Option<(Span, Vec<oneshot::Sender<RunEnd>>)> {
        let Setup { control, clock, .. } = self.setup;
        loop {
            if control.is_stopped() {
                return None;
            }
            let now = clock.now();
            let last = self.memory.last.as_ref().map(|last| last.span);
            let due = due(&self.timing, last.as_ref(), now);
            let asked = control.take_runs();
            let (at, wait) = match due {
                _ if !asked.is_empty() => {
                    let span = due::open(&self.timing, last.as_ref(), now);
                    return Some((span.unwrap_or_else(|| self.timing.interval.at(now)), asked));
                }
                _ if control.is_held() => (None, Wait::Resume),
                Due::Now(span) => return Some((span, asked)),
                Due::At(at, wait) => (Some(at), wait),
            };
            if let Some(last) = last {
                self.tell_phase(Phase::Idle, last);
            }
            self.rest(at, wait, stop).await?;
        }
    }

    fn tell_phase(&mut self, phase: Phase, span: Span) {
        if self.told.replace((phase, span)) != Some((phase, span)) {
            self.setup.teller.tell(RunnerEvent::Phase { phase, span });
        }
    }

    /// Waits until this time, or until somebody asks for something.
    ///
    /// `None` if it is stopped.
    async fn rest(&self, at: Option<Timestamp>, wait: Wait, stop: &mut Stop<'_>) -> Option<()> {
        let Setup { control, clock, teller, .. } = self.setup;
        teller.tell(RunnerEvent::Waiting { until: at });
        teller.waits_for(Some(wait));
        teller.show().await;
        let time = Box::pin(async {
            match at {
                None => std::future::pending().await,
                Some(at) if clock.now() < at => clock.wait_until(at).await,
                // A time in the past is no reason to spin.
                Some(_) => sleep(PAUSE).await,
            }
        });
        let told = Box::pin(control.changed());
        let woken = futures::future::select(stop, futures::future::select(time, told)).await;
        let is_stopped = matches!(woken, futures::future::Either::Left(_)) || control.is_stopped();
        teller.waits_for(None);
        (!is_stopped).then_some(())
    }

    /// Does the work of an interval, and its post-job activities.
    async fn interval(&mut self, span: Span, is_asked: bool, stop: &mut Stop<'_>) -> RunEnd {
        let tried = self.tries(span, is_asked, stop).await;
        if tried.done.is_some() || !(is_asked || tried.is_stopped) {
            let last = LastRun { span, machines: Default::default(), is_finished: false };
            self.memory.last = Some(last);
            self.setup.teller.remember(&self.memory).await;
        }
        if tried.is_stopped {
            return RunEnd::Stopped(Box::new(self.report(span, tried, vec![Note::Stopped])));
        }
        self.end(span, tried, Vec::new(), stop).await
    }

    /// Tries the work until it is done, or until a retry is useless.
    async fn tries(&mut self, span: Span, is_asked: bool, stop: &mut Stop<'_>) -> Tried<Job::Report> {
        let Setup { control, clock, teller, .. } = self.setup;
        let (mut incidents, mut count) = (Vec::new(), 0_u32);
        loop {
            self.tell_phase(Job::PHASE, span);
            teller.tell(RunnerEvent::Waiting { until: None });
            let failure = match self.once(stop).await {
                None => return Tried { done: None, incidents, is_stopped: true },
                Some((Ok(report), is_stopped)) => {
                    teller.tell(Job::event(&report));
                    return Tried { done: Some(report), incidents, is_stopped };
                }
                Some((Err(failure), is_stopped)) => {
                    incidents.push(Incident::Failed { at: clock.now(), why: failure.why.clone() });
                    if is_stopped {
                        return Tried { done: None, incidents, is_stopped };
                    }
                    failure
                }
            };
            count += 1;
            let is_last = is_asked || count > self.timing.retries_max || clock.now() >= span.end;
            let is_retried = (failure.why.is_retryable || failure.is_busy) && !is_last;
            if failure.is_busy && is_retried {
                teller.tell(RunnerEvent::AtWorkElsewhere { why: &failure.why });
            } else {
                teller.tell(RunnerEvent::Failed { why: &failure.why, is_retryable: is_retried });
            }
            if !is_retried || self.pause(count, &span, stop).await.is_none() {
                let is_stopped = control.is_stopped();
                if !is_stopped && !is_asked {
                    incidents.push(Incident::GaveUp { at: clock.now() });
                }
                return Tried { done: None, incidents, is_stopped };
            }
        }
    }

    /// Waits for the next try, which begins inside the window and the interval.
    ///
    /// `None` if there is none.
    async fn pause(&mut self, failures: u32, span: &Span, stop: &mut Stop<'_>) -> Option<()> {
        let Setup { control, clock, .. } = self.setup;
        let pause_secs = i64::from(self.timing.retry_after_secs) << failures.saturating_sub(1).min(20);
        let retry = clock.now().saturating_add_secs(pause_secs);
        loop {
            let now = clock.now();
            let (at, wait) = match () {
                () if now >= span.end => return None,
                () if control.is_held() => (None, Wait::Resume),
                () if control.has_runs() => return Some(()),
                () if now < retry => (Some(retry.min(span.end)), Wait::Retry),
                () if self.timing.window.is_open(now) => return Some(()),
                () => (self.timing.window.next_change(now).map(|at| at.min(span.end)), Wait::Window),
            };
            self.rest(at, wait, stop).await?;
        }
    }

    /// Does the work once, when it has a slot.
    ///
    /// Returns the result, and whether it was stopped meanwhile. `None` if it was cut off.
    async fn once(&mut self, stop: &mut Stop<'_>) -> Option<(Result<Job::Report, Failure>, bool)> {
        let Setup { control, clock, teller, slots, .. } = self.setup;
        teller.waits_for(Some(Wait::Slot));
        teller.show().await;
        let slot = until(slots.take(), stop, control).await?;
        teller.waits_for(None);
        teller.show().await;
        let open = self.open.clone();
        let mut work = Box::pin(async move {
            let job = open.open().await?;
            job.run(clock.now()).await.map_err(|error| Failure::of(open.as_ref(), &error))
        });
        let done = match until(&mut work, stop, control).await {
            Some(done) => Some((done, false)),
            None => timeout(GRACE, work).await.ok().map(|done| (done, true)),
        };
        drop(slot);
        done
    }

    /// Runs the post-job activities of an interval, and reports it.
    async fn end(&mut self, span: Span, tried: Tried<Job::Report>, notes: Vec<Note>, stop: &mut Stop<'_>) -> RunEnd {
        let Setup { control, teller, activities, .. } = self.setup;
        self.tell_phase(Phase::PostJob, span);
        teller.show().await;
        let mut report = self.report(span, tried, notes);
        let mut work = Box::pin(after(activities.clone(), report.clone()));
        let warnings = match until(&mut work, stop, control).await {
            Some(warnings) => Some(warnings),
            None => timeout(GRACE, work).await.ok(),
        };
        let Some(warnings) = warnings else {
            report.note(vec![Note::Stopped]);
            return RunEnd::Stopped(Box::new(report));
        };
        report.note(warnings.into_iter().map(|text| Note::PostJob { text }).collect());
        report.end_at(self.setup.clock.now());
        teller.tell(RunnerEvent::Ended(&report));
        teller.report(&report).await;
        if let Some(last) = self.memory.last.as_mut().filter(|last| !last.is_finished) {
            last.is_finished = true;
            teller.remember(&self.memory).await;
        }
        teller.show().await;
        RunEnd::Done(Box::new(report))
    }

    fn report(&self, span: Span, tried: Tried<Job::Report>, notes: Vec<Note>) -> RunReport {
        let subject = &self.setup.teller.subject;
        Job::report(IntervalRun {
            job: subject.job.clone(),
            repository: subject.repository.clone(),
            span,
            ended: self.setup.clock.now(),
            done: tried.done,
            incidents: tried.incidents,
            notes,
        })
    }
}
