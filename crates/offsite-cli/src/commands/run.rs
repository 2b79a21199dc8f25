//! `offsite run`

mod savings;
mod summary;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use offsite::model::Timestamp;
use offsite::runner::{Clock, CopyRun, JobRunner, OpenJob, RunEnd, RunReport, RunStatus, ScheduledJob};
use offsite::schedule::Schedule;
use offsite::selection::{Decision, Take};
use offsite::{JobName, RunPlan, SyncRequest};
use offsite_backends::EjectedMedium;
use summary::{failures, plan_summary, summary};

use crate::args::Run;
use crate::config::Config;
use crate::host::{self, Host};
use crate::json::events;
use crate::local_time::LocalTime;
use crate::media::{Seen, View};
use crate::progress::Lines;
use crate::signals::Stop;
use crate::status::{Failure, Status};
use crate::{clock, json, place, print, progress, render};

pub(crate) async fn run(arguments: &Run, path: &Path) -> Result<Status, Failure> {
    let config = Arc::new(Config::load(path)?);
    let names = config.job_names(&arguments.jobs, path)?;
    let clock = clock::clock_at(arguments.now)?;
    let stop = Stop::listen()?;
    let mut status: Option<Status> = None;
    // If a job fails, the next one still runs.
    for name in names {
        let one = One::new(name.clone(), &config, &clock, arguments);
        let done = if arguments.dry_run {
            stop.cut_off(one.plan(), "nothing was to be written, and nothing was").await
        } else {
            one.run(&stop).await
        };
        let done = match done {
            Ok(done) => done,
            Err(stopped @ Failure::Stopped { .. }) => return Err(stopped),
            Err(failure) => {
                print::problem(config.local_time(name.as_str()).text(&format!("job {name}: {}", failure.text())));
                if matches!(failure, Failure::WrongUse(_)) { Status::WrongUse } else { Status::Failed }
            }
        };
        status = Some(status.map_or(done, |status| status.and(done)));
    }
    Ok(status.unwrap_or(Status::Done))
}

/// A job to run.
struct One<'a> {
    host: Arc<Host>,
    around: Arc<Around>,
    arguments: &'a Run,
}

/// Hears what happens around a job. Lines of its script are printed as they come. Everything else follows the report.
struct Around {
    job: JobName,
    ejected: Mutex<Vec<EjectedMedium>>,
}

impl host::Listener for Around {
    fn script(&self, line: &str) {
        print::problem(format_args!("{}: script: {line}", self.job));
    }

    fn ejected(&self, ejected: &EjectedMedium) {
        self.ejected.lock().unwrap_or_else(PoisonError::into_inner).push(ejected.clone());
    }
}

impl<'a> One<'a> {
    fn new(name: JobName, config: &Arc<Config>, clock: &Arc<dyn Clock>, arguments: &'a Run) -> Self {
        let around = Arc::new(Around { job: name.clone(), ejected: Mutex::default() });
        let mut host = Host::new(
            name,
            config.clone(),
            clock.clone(),
            progress::shown(Lines::wanted(arguments.json && !arguments.dry_run)),
            around.clone(),
        );
        host.apply_changes_at_once = arguments.apply_policy;
        host.trusts_clock = arguments.trust_clock;
        host.adopts = arguments.adopt;
        Self { host: Arc::new(host), around, arguments }
    }

    fn local(&self) -> LocalTime {
        self.host.config.local_time(self.host.name.as_str())
    }

    fn now(&self) -> Timestamp {
        self.host.clock.now()
    }

    /// Does the work of one interval, with the same runner as the daemon. If the job copies each point as it appears, it copies all
    /// waiting points.
    async fn run(&self, stop: &Stop) -> Result<Status, Failure> {
        let mut status: Option<Status> = None;
        loop {
            let (done, goes_on) = self.run_once(stop).await?;
            let all = status.map_or(done, |status| status.and(done));
            if !goes_on {
                return Ok(all);
            }
            status = Some(all);
        }
    }

    /// Copies once. The second part is `true` if there is more to copy at once.
    async fn run_once(&self, stop: &Stop) -> Result<(Status, bool), Failure> {
        let Host { name, config, clock, .. } = &*self.host;
        let job = config.jobs.get(name.as_str()).ok_or_else(|| format!("the config has no job {name}"))?;
        let settings = job.settings().map_err(|fault| Failure::WrongUse(fault.why))?;
        let max_age = job.max_age().map_err(|fault| Failure::WrongUse(fault.why))?;
        let is_immediate = settings.schedule == Schedule::Immediate;
        let scheduled = ScheduledJob::copy(&job.target, name.clone(), settings, self.host.clone())
            .after(self.host.clone())
            .max_age(max_age);
        let runner = JobRunner::new(scheduled).clock(clock.clone());
        let told = async {
            stop.wait().await;
        };
        let end = runner.run_once(told).await;
        let RunReport::Copy(report) = end.report() else {
            return Err(Failure::Failed(format!("defect in Offsite: job {name} is no copy job; please report it")));
        };
        match end {
            RunEnd::Done(_) => {
                let status = self.tell(report)?;
                // Only a run that has copied a point comes nearer to the newest.
                let has_copied = !report.syncs.is_empty() && report.status() != RunStatus::Failed;
                Ok((status, is_immediate && has_copied && self.has_points_waiting().await))
            }
            RunEnd::Stopped(_) => {
                if report.point.is_some() || report.transform.is_some() {
                    self.keep(report);
                }
                let kept = match report.syncs.last() {
                    Some(sync) => {
                        format!(
                            "what had arrived is kept in restore point #{}, and the next run goes on from there",
                            sync.sequence
                        )
                    }
                    None => "nothing had arrived that a restore point could be made of".to_owned(),
                };
                Err(Failure::Stopped { signal: stop.wait().await, what: format!("job {name}: {kept}") })
            }
        }
    }

    /// Returns `true` if a machine has a point that is newer than its copy. If that cannot be told, the next run says why.
    async fn has_points_waiting(&self) -> bool {
        let Ok(job) = self.host.open().await else { return false };
        let look = job.look(&SyncRequest::at(self.now()).take(Take::Next)).await;
        look.is_ok_and(|look| look.choices.iter().any(|choice| matches!(choice.decision, Decision::Take { .. })))
    }

    /// Keeps the result for `offsite status`, and returns whether that is done. A run that another one kept from its work has none.
    fn keep(&self, report: &CopyRun) -> bool {
        if report.is_refused {
            return true;
        }
        let kept = self.host.config.state_dir().keep(report);
        kept.inspect_err(|why| print::warning(why)).is_ok()
    }

    /// Prints the result.
    fn tell(&self, report: &CopyRun) -> Result<Status, Failure> {
        let local = self.local();
        if self.arguments.json {
            events::print_report(json::interval(report))?;
        } else if report.status() != RunStatus::Failed || !report.syncs.is_empty() || report.transform.is_some() {
            print::text(local.text(&summary(report)));
        }
        for why in failures(report) {
            print::problem(local.text(&format!("job {}: {why}", report.job)));
        }
        if report.status() == RunStatus::Failed {
            // Otherwise, they are in the summary.
            for line in render::overdue_of(report) {
                print::problem(local.text(&format!("job {}: {line}", report.job)));
            }
        }
        let is_kept = self.keep(report);
        for ejected in self.around.ejected.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            if self.arguments.json {
                json::print(&json::safe_to_remove(&ejected))?;
            } else {
                print::line(ejected);
            }
        }
        Ok(match report.status() {
            RunStatus::Success if is_kept => Status::Done,
            RunStatus::Success | RunStatus::Warning => Status::Warnings,
            RunStatus::Failed if self.host.is_wrong_use() => Status::WrongUse,
            RunStatus::Failed => Status::Failed,
        })
    }

    /// Plans on the medium that is there. If none is there, it plans on each medium that is away.
    async fn plan(&self) -> Result<Status, Failure> {
        let Host { name, config, .. } = &*self.host;
        let job = config.jobs.get(name.as_str()).ok_or_else(|| format!("the config has no job {name}"))?;
        let settings = job.settings().map_err(|fault| Failure::WrongUse(fault.why))?;
        let (sources, unseen) = self.host.sources().await?;
        let (views, mut status) = place::views(&job.target, config).await?;
        let is_one_there = views.iter().any(|view| view.medium.as_ref().is_none_or(|medium| !medium.is_away()));
        for View { repository, medium } in views {
            if is_one_there && medium.as_ref().is_some_and(Seen::is_away) {
                continue;
            }
            let on = medium.as_ref().map(|seen| &seen.medium);
            let copy = self.host.copy_job(sources.clone(), unseen.clone(), &repository, on).await?;
            let plan = copy.plan(self.now()).await?;
            if self.arguments.json {
                let mut value = json::plan(name.as_str(), &plan);
                if let Some(medium) = &medium {
                    value["medium"] = medium.json();
                }
                json::print(&value)?;
            } else {
                medium.iter().for_each(|medium| print::line(self.local().text(&medium.words())));
                print::text(self.local().text(&plan_summary(name.as_str(), &plan)));
                if settings.schedule == Schedule::Immediate && plan.sync.is_some() {
                    print::line(
                        "  (an immediate job copies each restore point that waits, oldest first; this plan is of the newest alone)",
                    );
                }
            }
            let fits = plan.sync.as_ref().is_none_or(|sync| sync.room.is_enough());
            status = status.and(warnings(&plan));
            status = status.and(if fits { Status::Done } else { Status::Warnings });
        }
        Ok(status)
    }
}

fn warnings(plan: &RunPlan) -> Status {
    let is_whole = plan.machines.iter().all(|machine| machine.outcome.is_whole());
    if is_whole && plan.notes.is_empty() && plan.doubts.is_empty() { Status::Done } else { Status::Warnings }
}
