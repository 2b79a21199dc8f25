//! Copies: runs, syncs and transforms.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use offsite::model::Digest;
use offsite::model::MachineName;
use offsite::model::Sequence;
use offsite::model::Status;
use offsite::report::{CopyReport, MachineOutcome, MachineReport, SyncReport};
use offsite::{Activity, CopyJob, Gate, Passage, RunPlan, Transforms};
use offsite_simulation::job::checkpoints;

use crate::expect::{Asking, Expected};
use crate::judge::{Makes, judge_operations, judge_tally};
use crate::keeping::Keeping;
use crate::operation::{Interruption, Weather};
use crate::perform::Applied;
use crate::proof::Proven;
use crate::settings::{FOLDERS, Select};
use crate::violation::{Law, Violation, ensure};
use crate::world::{Ended, LEASE, World};

/// A gate that ends a transfer once so many bytes have passed.
#[derive(Debug)]
struct Until {
    left: AtomicU64,
    has_stopped: AtomicBool,
}

impl Until {
    fn new(bytes: u64) -> Arc<Self> {
        Arc::new(Self { left: AtomicU64::new(bytes), has_stopped: AtomicBool::new(false) })
    }
}

#[async_trait]
impl Gate for Until {
    async fn pass(&self, _activity: &Activity<'_>, bytes: u64) -> Passage {
        let left = self.left.load(Ordering::Relaxed);
        if bytes > left {
            self.has_stopped.store(true, Ordering::Relaxed);
            return Passage::Stop;
        }
        self.left.store(left - bytes, Ordering::Relaxed);
        Passage::Go
    }
}

/// What a copy found and came to.
struct Copied<'a> {
    number: usize,
    before: Option<Rc<Proven>>,
    expected: &'a Expected,
    is_struck: bool,
}

impl World {
    /// The place that meets what comes between, and what it is.
    fn met(&self, number: usize, interruption: Option<Interruption>) -> (usize, Option<Interruption>) {
        let own = FOLDERS[number].place;
        let Some(Interruption { at_source: true, .. }) = interruption else { return (own, interruption) };
        let folders = self.sources(number).into_iter().flat_map(|source| source.folders());
        let place = folders.map(|folder| FOLDERS[folder].place).find(|place| *place != own);
        (place.unwrap_or(own), interruption)
    }

    fn copy_keeping<'a>(&self, transforms: &'a Transforms) -> Keeping<'a> {
        Keeping {
            policy: transforms.retention.as_ref(),
            now: self.now(),
            elsewhere: &transforms.elsewhere,
            deletes_machines: transforms.deleted_machines.is_some(),
        }
    }

    /// Why a copy may fail though nothing comes between: there is nothing to copy, or none of it can be read.
    fn is_excused(&self, number: usize, expected: &Expected) -> bool {
        !expected.has_source
            || expected.offered.is_empty()
            || !expected.is_intact()
            || !expected.is_certain
            || expected.offered.values().any(|offered| offered.is_strange)
            || self.is_split(number)
    }

    /// Whether a copy was begun with a source that has something in the same place.
    fn is_split(&self, number: usize) -> bool {
        let places = self.sources(number).into_iter().flat_map(|source| source.folders());
        places.into_iter().any(|folder| FOLDERS[folder].place == FOLDERS[number].place)
    }

    fn involved(number: usize, expected: &Expected) -> Vec<usize> {
        expected.folders.iter().copied().chain([number]).collect()
    }

    /// A run of a copy job, its plan being asked first if `how` is odd.
    ///
    /// # Errors
    /// What it does wrongly.
    pub async fn run(
        &mut self,
        number: usize,
        how: u32,
        which: u32,
        interruption: Option<Interruption>,
    ) -> Result<Option<Applied>, Violation> {
        let now = self.now();
        // Odd numbers ask for the plan first, large ones take machines from wherever they are found.
        let asking = Asking::at(now).adopting(how >= 150);
        let expected = self.expected(number, &asking);
        let before = self.proven(number);
        let transforms = self.transforms(number);
        let (specs, ways, faulty, job) = (self.sources(number), self.ways(), self.faulty(number), self.job(number));
        let selection = self.copy_settings(number).select.selection();
        let planned: Mutex<Option<RunPlan>> = Mutex::default();
        let has_checkpoints = how.is_multiple_of(2) && which.is_multiple_of(2);
        let run = async {
            let target = Self::open(&faulty).await?;
            let sources = Self::open_sources(&specs, &ways).await?;
            let run = CopyJob::of(job, sources, &target)?.lease_duration(LEASE).select(selection);
            let run = run.adopt(asking.adopts).transforms(transforms.clone());
            // No plan knows of checkpoints.
            let run = if has_checkpoints { run.checkpoints(checkpoints()) } else { run };
            if how % 2 == 1 {
                let plan = run.plan(now).await?;
                *planned.lock().unwrap_or_else(PoisonError::into_inner) = Some(plan);
            }
            run.run(now).await
        };
        let (place, interruption) = self.met(number, interruption);
        let Ended { result, is_struck } = self.carry_out(place, interruption, run).await;
        self.look()?;
        self.count_checkpoints(number, has_checkpoints, before.as_ref());
        let copied = Copied { number, before, expected: &expected, is_struck };
        let new = self.judge_points(number, copied.before.as_ref(), Makes::One, &self.copy_keeping(&transforms))?;
        match result {
            Some(Ok(report)) => {
                let CopyReport { sync, machines, transform, .. } = &report;
                self.judge_sync(&copied, sync.as_ref(), machines, &new)?;
                self.judge_selected(&copied)?;
                self.count_sync(sync.as_ref(), machines);
                self.judge_transform(number, transform)?;
                if !is_struck && expected.is_certain {
                    self.judge_healing(number, &expected)?;
                }
                let plan = planned.into_inner().unwrap_or_else(PoisonError::into_inner);
                if let Some(plan) = plan.filter(|_| !is_struck) {
                    self.judge_plan(number, &expected, &plan, &report)?;
                }
            }
            Some(Err(error)) => {
                let is_excused = self.is_excused(number, &expected);
                self.judge_failure("a copy", &Self::involved(number, &expected), &error, is_excused, is_struck)?;
            }
            None => {}
        }
        Ok(Some(Applied { is_struck }))
    }

    /// A sync alone, behind a gate.
    ///
    /// # Errors
    /// What it does wrongly.
    pub async fn sync(
        &mut self,
        number: usize,
        how: u32,
        which: u32,
        interruption: Option<Interruption>,
    ) -> Result<Option<Applied>, Violation> {
        let now = self.now();
        let asking = Asking::numbered(now, which);
        let expected = self.expected(number, &asking);
        let before = self.proven(number);
        let transforms = self.transforms(number);
        let (specs, ways, faulty, job) = (self.sources(number), self.ways(), self.faulty(number), self.job(number));
        let selection = self.copy_settings(number).select.selection();
        let bytes = interruption.filter(|interruption| interruption.weather == Weather::Gate);
        let gate = Until::new(bytes.map_or(u64::MAX, |interruption| interruption.after.into()));
        let joins = before.as_ref().filter(|_| how % 3 == 1).and_then(|before| before.head.chain.latest());
        let joins: Option<Sequence> = joins.map(|point| point.sequence);
        let has_checkpoints = (how / 3).is_multiple_of(2);
        let request = asking.request().gate(Arc::clone(&gate) as Arc<dyn Gate>).joins(joins);
        let run = async {
            let target = Self::open(&faulty).await?;
            let sources = Self::open_sources(&specs, &ways).await?;
            let run = CopyJob::of(job, sources, &target)?.lease_duration(LEASE).select(selection);
            let run = if has_checkpoints { run.checkpoints(checkpoints()) } else { run };
            run.transforms(transforms.clone()).sync(&request).await
        };
        let (place, interruption) = self.met(number, interruption);
        let Ended { result, is_struck } = self.carry_out(place, interruption, run).await;
        let is_struck = is_struck || gate.has_stopped.load(Ordering::Relaxed);
        self.look()?;
        let copied = Copied { number, before, expected: &expected, is_struck };
        let keeping = Keeping { policy: None, deletes_machines: false, ..self.copy_keeping(&transforms) };
        let new = self.judge_points(number, copied.before.as_ref(), Makes::One, &keeping)?;
        match result {
            Some(Ok(outcome)) => {
                self.judge_sync(&copied, outcome.sync.as_ref(), &outcome.machines, &new)?;
                self.count_sync(outcome.sync.as_ref(), &outcome.machines);
            }
            Some(Err(error)) => {
                let is_excused = self.is_excused(number, &expected);
                self.judge_failure("a sync", &Self::involved(number, &expected), &error, is_excused, is_struck)?;
            }
            None => {}
        }
        Ok(Some(Applied { is_struck }))
    }

    fn count_checkpoints(&mut self, number: usize, has_checkpoints: bool, before: Option<&Rc<Proven>>) {
        let head = |proven: Option<&Rc<Proven>>| proven.map_or(0, |proven| proven.head.number);
        let commits = head(self.proven(number).as_ref()).saturating_sub(head(before));
        self.did("commits of copies with checkpoints", if has_checkpoints { commits } else { 0 });
    }

    fn count_sync(&mut self, sync: Option<&SyncReport>, machines: &[MachineReport]) {
        self.did("points copied", u64::from(sync.is_some()));
        self.did("points joined", u64::from(sync.is_some_and(|sync| sync.joined)));
        let is_incomplete = |report: &&MachineReport| matches!(report.outcome, MachineOutcome::Incomplete { .. });
        self.did("machines copied in part", machines.iter().filter(is_incomplete).count() as u64);
    }

    /// What a sync that ended well has brought.
    fn judge_sync(
        &self,
        copied: &Copied<'_>,
        sync: Option<&SyncReport>,
        machines: &[MachineReport],
        new: &[Sequence],
    ) -> Result<(), Violation> {
        let Copied { number, before, expected, is_struck } = copied;
        let job = FOLDERS[*number].job;
        if let Some(sync) = sync {
            judge_tally(&format!("{job}: a sync"), &sync.tally)?;
            ensure(sync.joined || new == [sync.sequence], Law::Points, || format!("{job}: {sync:?}, new are {new:?}"))?;
        } else {
            ensure(new.is_empty(), Law::Points, || format!("{job}: {new:?} are new, and nothing was copied"))?;
        }
        let Some(after) = self.proven(*number) else { return Ok(()) };
        let labels = |name: &MachineName| after.head.labels.get(name).cloned().unwrap_or_default();
        let told = |name: &MachineName| expected.labels.get(name).cloned().unwrap_or_default();
        let held = after.whole();
        let unknown = expected.offered.keys().find(|name| held.contains(name) && labels(name) != told(name));
        ensure(unknown.is_none() || sync.is_none() || *is_struck || !expected.is_certain, Law::Points, || {
            format!("{job}: {unknown:?} is known by {:?}, in the sources by {:?}", after.head.labels, expected.labels)
        })?;
        let held = after.newest();
        for (name, offered) in &expected.offered {
            let Some(due) = offered.due else { continue };
            let may_lack = *is_struck || !offered.is_intact() || !expected.is_certain || offered.is_strange;
            // A machine that is removed with the same run was copied before.
            let may_go = self.copy_settings(*number).transforms.deleted_machines.is_some();
            ensure(held.get(name) == Some(&due) || may_lack || may_go, Law::Points, || {
                format!("{job}: {name} of {due} is offered and not there: {machines:?}")
            })?;
        }
        let outcomes: BTreeMap<&MachineName, &MachineOutcome> =
            machines.iter().map(|report| (&report.name, &report.outcome)).collect();
        for (name, outcome) in outcomes {
            if let MachineOutcome::Complete { captured } = outcome {
                let is_offered = expected.offered.get(name).is_some_and(|offered| offered.has(*captured));
                ensure(is_offered || !expected.is_certain, Law::Points, || {
                    format!("{job}: {name} of {captured} was copied, which was not offered")
                })?;
            }
        }
        let newest = sync.and_then(|sync| after.head.chain.get(sync.sequence));
        let incomplete = newest.into_iter().flat_map(|point| &point.machines);
        let incomplete = incomplete.filter(|machine| machine.status == Status::Incomplete).count();
        let was_cut = before.as_ref().is_some_and(|before| {
            before.head.chain.latest().is_some_and(|point| point.machines.iter().any(|machine| !machine.is_whole()))
        });
        let is_intact = expected.is_intact();
        ensure(incomplete == 0 || *is_struck || was_cut || !is_intact || !expected.is_certain, Law::Points, || {
            format!("{job}: machines are incomplete, and nothing came between: {machines:?}")
        })?;
        Ok(())
    }

    /// A machine that is selected and that a source has does not go, and none does while the tag that is selected by is nowhere.
    fn judge_selected(&self, copied: &Copied<'_>) -> Result<(), Violation> {
        let Copied { number, before, expected, is_struck } = copied;
        let (Some(before), Some(after)) = (before, self.proven(*number)) else { return Ok(()) };
        if *is_struck {
            return Ok(());
        }
        let is_in_doubt = match self.copy_settings(*number).select {
            Select::Tagged(tag) => !expected.labels.values().any(|labels| labels.tags().any(|known| known == tag)),
            _ => false,
        };
        let (had, held) = (before.newest(), after.whole());
        let stays = |name: &&MachineName| is_in_doubt || expected.offered.contains_key(*name);
        let lost = had.keys().filter(stays).find(|name| !held.contains(*name));
        ensure(lost.is_none(), Law::Kept, || {
            format!("{}: {lost:?} is selected, or may be, and no point has it any more", FOLDERS[*number].job)
        })
    }

    /// What verification had noted is well again in every point, if its bytes are intact anywhere: in the chain, or in any point of a source.
    fn judge_healing(&self, number: usize, expected: &Expected) -> Result<(), Violation> {
        let Some(after) = self.proven(number).filter(|_| self.folders[number].is_sound()) else { return Ok(()) };
        let intact = |proven: &Proven| -> BTreeSet<Digest> {
            let frames = proven.frames.values().filter(|frame| frame.flaw.is_none() && !frame.users.is_empty());
            frames.map(|frame| frame.at.digest).collect()
        };
        let mut found = intact(&after);
        let is_source = |folder: &&usize| FOLDERS[**folder].place != FOLDERS[number].place;
        for folder in expected.folders.iter().filter(is_source) {
            found.extend(self.proven(*folder).iter().flat_map(|proven| intact(proven)));
        }
        for ((file, offset), frame) in after.damaged() {
            let is_noted = self.folders[number].noted.get(&(*file, *offset)) == Some(&frame.at.digest);
            ensure(!is_noted || !found.contains(&frame.at.digest), Law::Healed, || {
                let job = FOLDERS[number].job;
                format!(
                    "{job}: the frame at {offset} of {file} was noted, {:?} need it, and it was not put back",
                    frame.users
                )
            })?;
        }
        Ok(())
    }

    fn judge_plan(
        &self,
        number: usize,
        expected: &Expected,
        plan: &RunPlan,
        report: &CopyReport,
    ) -> Result<(), Violation> {
        // What is damaged is known only once it was read.
        if expected.folders.iter().chain([&number]).any(|folder| !self.folders[*folder].is_intact()) {
            return Ok(());
        }
        let job = FOLDERS[number].job;
        judge_operations(job, &self.transforms(number), &plan.operations, &report.transform)?;
        let planned = plan.sync.as_ref().map(|sync| sync.cost);
        let done = report.sync.as_ref().map(|sync| sync.tally.planned);
        ensure(planned == done, Law::Planned, || format!("{job}: planned {planned:?}, done {done:?}"))
    }

    /// The transforms of a copy job alone.
    ///
    /// # Errors
    /// What they do wrongly.
    pub async fn transform(
        &mut self,
        number: usize,
        interruption: Option<Interruption>,
    ) -> Result<Option<Applied>, Violation> {
        let before = self.proven(number);
        if before.is_none() {
            return Ok(None);
        }
        let now = self.now();
        let expected = self.expected(number, &Asking::at(now));
        let transforms = self.transforms(number);
        let (specs, ways, faulty, job) = (self.sources(number), self.ways(), self.faulty(number), self.job(number));
        let selection = self.copy_settings(number).select.selection();
        let run = async {
            let target = Self::open(&faulty).await?;
            let sources = Self::open_sources(&specs, &ways).await?;
            CopyJob::of(job, sources, &target)?
                .lease_duration(LEASE)
                .select(selection)
                .transforms(transforms.clone())
                .transform(now, 1)
                .await
        };
        let (place, interruption) = self.met(number, interruption);
        let Ended { result, is_struck } = self.carry_out(place, interruption, run).await;
        self.look()?;
        self.judge_points(number, before.as_ref(), Makes::None, &self.copy_keeping(&transforms))?;
        match result {
            Some(Ok(report)) => {
                self.judge_selected(&Copied { number, before, expected: &expected, is_struck })?;
                self.judge_transform(number, &report)?;
                if !is_struck && expected.is_certain {
                    self.judge_healing(number, &expected)?;
                }
            }
            Some(Err(error)) => {
                let is_excused = !expected.has_source || self.is_split(number);
                let involved = Self::involved(number, &expected);
                self.judge_failure("transforms of a copy", &involved, &error, is_excused, is_struck)?;
            }
            None => {}
        }
        Ok(Some(Applied { is_struck }))
    }
}
