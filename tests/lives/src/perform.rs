//! Carrying out the steps of a life.

use std::collections::BTreeMap;
use std::rc::Rc;

use offsite::model::BlockSize;
use offsite::model::Labels;
use offsite::model::MachineName;
use offsite::{BackupJob, BackupMethod, FullKind, TransformJob, Transforms};
use offsite_simulation::machines::machine;

use crate::judge::{Makes, judge_operations, judge_tally};
use crate::keeping::Keeping;
use crate::machines::modulo;
use crate::operation::{Interruption, Kind, Operation, Step};
use crate::proof::Proven;
use crate::settings::{self, BACKUPS, COPIES, DRIVES, FOLDERS, Select, ageing};
use crate::violation::{Law, Violation, ensure};
use crate::world::{Ended, LEASE, World};

/// That a step was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// Whether what was to come between did.
    pub is_struck: bool,
}

/// Nothing stood in the way, and nothing came between.
pub const DONE: Option<Applied> = Some(Applied { is_struck: false });

impl World {
    /// Carries out a step; none, if there is nothing that it could be done to.
    ///
    /// # Errors
    /// What does not hold afterwards.
    pub async fn perform(&mut self, step: Step) -> Result<Option<Applied>, Violation> {
        let kind = step.operation.kind;
        // What there is nothing for takes no time, so that it can be left out.
        if kind.calls() {
            self.pass(self.step_secs);
        }
        let before: Vec<Option<Rc<Proven>>> = (0..FOLDERS.len()).map(|folder| self.proven(folder)).collect();
        let applied = self.apply(step).await?;
        self.judge_others(step.operation, &before)?;
        if kind.calls() && applied.is_none() {
            self.pass(-self.step_secs);
        }
        Ok(applied)
    }

    /// Whether every folder but the operation's own has the chain that it had.
    fn judge_others(&self, operation: Operation, before: &[Option<Rc<Proven>>]) -> Result<(), Violation> {
        let Operation { kind, numbers: [first, ..] } = operation;
        let own = match kind {
            Kind::Backup => first as usize % BACKUPS,
            Kind::Run | Kind::Sync | Kind::Transform | Kind::Map | Kind::Carry => BACKUPS + first as usize % COPIES,
            // What is put back may be of any folder.
            Kind::Mend => return Ok(()),
            _ => first as usize % FOLDERS.len(),
        };
        for (folder, before) in before.iter().enumerate().filter(|(folder, _)| *folder != own) {
            let after = self.proven(folder);
            let (before, after) = (before.as_ref(), after.as_ref());
            let is_same = before.map(|proven| &proven.head.chain) == after.map(|proven| &proven.head.chain);
            ensure(is_same, Law::Alone, || {
                format!("{kind} changed the points of folder {folder}, which is not its own")
            })?;
        }
        Ok(())
    }

    async fn apply(&mut self, step: Step) -> Result<Option<Applied>, Violation> {
        let Step { operation: Operation { kind, numbers }, interruption } = step;
        let [first, second, third] = numbers;
        let folder = first as usize % FOLDERS.len();
        let copy = BACKUPS + first as usize % COPIES;
        let of_copy = usize::from(first % 2 == 1);
        let is_away = |world: &Self, number: usize| !world.is_there(number);
        match kind {
            Kind::Backup => self.back_up(first as usize % BACKUPS, second, interruption).await,
            Kind::Run | Kind::Sync | Kind::Transform if is_away(self, copy) => Ok(None),
            Kind::Run => self.run(copy, second, third, interruption).await,
            Kind::Sync => self.sync(copy, second, third, interruption).await,
            Kind::Transform => self.transform(copy, interruption).await,
            Kind::Map | Kind::Carry if is_away(self, copy) => Ok(None),
            Kind::Map => self.map(copy, second as usize % FOLDERS.len(), interruption).await,
            Kind::Carry => self.carry(copy, second as usize % FOLDERS.len(), third, interruption).await,
            Kind::Compact
            | Kind::Verify
            | Kind::Repair
            | Kind::Restore
            | Kind::Forget
            | Kind::Hold
            | Kind::Damage
            | Kind::Idle
                if is_away(self, folder) =>
            {
                Ok(None)
            }
            Kind::Compact => self.compact(folder, second, third, interruption).await,
            Kind::Verify => self.verify(folder, second, interruption).await,
            Kind::Repair => self.repair(folder, second, interruption).await,
            Kind::Restore => self.restore(folder, second, third, interruption).await,
            Kind::Forget => self.forget(folder),
            Kind::Hold => Ok(self.hold(folder, second, third).await),
            Kind::LetGo => self.let_go(first).await,
            Kind::Damage => Ok(self.damage(folder, second, third)?.and(DONE)),
            Kind::Mend => Ok(self.mend(first).await?.and(DONE)),
            Kind::Idle => self.idle(folder).await,
            Kind::Drive => Ok(self.connect(first)),
            Kind::Restart => {
                self.restart();
                // They die with their host, and what they held waits for a sign of their life.
                self.readers.clear();
                Ok(DONE)
            }
            Kind::Clock => Ok(self.set_clock(first)),
            Kind::Sources
            | Kind::Select
            | Kind::Policy
            | Kind::Merge
            | Kind::Compaction
            | Kind::Deleted
            | Kind::Share => {
                self.tell_copy(of_copy, kind, second, third);
                Ok(DONE)
            }
            _ => Ok(self.change_machines(kind, numbers).and(DONE)),
        }
    }

    fn connect(&mut self, which: u32) -> Option<Applied> {
        let drive = [None, Some(DRIVES[0]), Some(DRIVES[1])][which as usize % 3];
        (drive != self.drive).then(|| self.drive = drive).and(DONE)
    }

    fn set_clock(&mut self, how: u32) -> Option<Applied> {
        const DAY: i64 = 86_400;
        match how % 12 {
            0 => self.skew_secs = 0,
            1 => self.skew_secs = -DAY,
            2 => self.skew_secs = -25 * DAY,
            3 => self.skew_secs = 30 * DAY,
            4 => self.skew_secs = 200 * DAY,
            5 => self.skew_secs = 4 * 365 * DAY,
            6..9 => self.pass(DAY),
            9 => self.pass(8 * DAY),
            10 => self.pass(40 * DAY),
            _ => self.pass(120 * DAY),
        }
        DONE
    }

    fn tell_copy(&mut self, number: usize, kind: Kind, second: u32, third: u32) {
        let names = self.machines.names();
        let copy = &mut self.copies[number];
        let transforms = &mut copy.transforms;
        match kind {
            Kind::Sources => copy.sources = second,
            Kind::Select => copy.select = Select::numbered(&names, second, third),
            Kind::Policy => transforms.retention = settings::policy(second, third, second / 8),
            Kind::Merge => {
                transforms.merge = settings::merge_method(second);
                transforms.apply_changes_at_once = third % 2 == 1;
            }
            Kind::Compaction => transforms.compact = settings::compact(second, third),
            Kind::Deleted => transforms.deleted_machines = settings::deleted(second),
            _ => transforms.verify_bytes = [None, Some(700), Some(5_000)][second as usize % 3],
        }
    }

    fn change_machines(&mut self, kind: Kind, [first, second, third]: [u32; 3]) -> Option<()> {
        let job = first as usize % BACKUPS;
        let names = self.machines.names();
        match kind {
            Kind::Method => {
                self.backups[job].method = settings::backup_method(second);
                return Some(());
            }
            Kind::Keep => {
                self.backups[job].keep = (second % 5 > 0).then_some(1 + second % 5);
                return Some(());
            }
            Kind::Join => {
                let name = self.machines.create(second)?;
                self.backups[job].members.insert(name);
                return Some(());
            }
            Kind::Leave => {
                let members: Vec<String> = self.backups[job].members.iter().cloned().collect();
                let name = &members[modulo(second, members.len())?];
                self.backups[job].members.remove(name);
                // One that nobody backs up may be done away with.
                if third % 3 == 0 && !self.backups.iter().any(|other| other.members.contains(name)) {
                    self.machines.remove(name);
                }
                return Some(());
            }
            Kind::Return => {
                let others: Vec<String> =
                    names.into_iter().filter(|name| !self.backups[job].members.contains(name)).collect();
                let name = others[modulo(second, others.len())?].clone();
                self.backups[job].members.insert(name);
                return Some(());
            }
            _ => {}
        }
        let name = names[modulo(first, names.len())?].clone();
        let machines = &mut self.machines;
        match kind {
            Kind::Write => machines.write(&name, second, third),
            Kind::Zero => machines.zero(&name, second),
            Kind::Revert => machines.revert(&name, second, third),
            Kind::Repeat => machines.repeat(&name, second, third),
            Kind::Grow => machines.grow(&name, second, third),
            Kind::Shrink => machines.shrink(&name, second, third),
            Kind::AddDisk => machines.add_disk(&name, second),
            Kind::DropDisk => machines.drop_disk(&name, second),
            Kind::SwapDisks => machines.swap_disks(&name, second),
            Kind::Tag => machines.tag(&name, second),
            Kind::Rename => {
                let fresh = machines.rename(&name)?;
                for backup in &mut self.backups {
                    if backup.members.remove(&name) {
                        backup.members.insert(fresh.clone());
                    }
                }
                Some(())
            }
            _ => None,
        }
    }

    /// What a run of a backup job may let go.
    fn backup_keeping<'a>(&self, policy: Option<&'a offsite::retention::Policy>) -> Keeping<'a> {
        Keeping { policy, now: self.now(), elsewhere: &[], deletes_machines: false }
    }

    async fn back_up(
        &mut self,
        number: usize,
        full: u32,
        interruption: Option<Interruption>,
    ) -> Result<Option<Applied>, Violation> {
        let backup = self.backups[number].clone();
        if backup.members.is_empty() {
            return Ok(None);
        }
        while self.machines.is_past(self.now().unix_secs()) {
            self.pass(1);
        }
        let now = self.now();
        self.machines.record(backup.members.iter().cloned(), now.unix_secs());
        let told = backup.members.iter().map(|name| (machine(name), self.machines.labels(name)));
        let labels: BTreeMap<MachineName, Labels> = told.collect();
        let images: Vec<_> = backup.members.iter().map(|name| (machine(name), self.machines.images(name))).collect();
        let full = [None, None, None, Some(FullKind::Active), Some(FullKind::Synthetic)][full as usize % 5];
        let (faulty, job) = (self.faulty(number), self.job(number));
        let run = async {
            let repository = Self::open(&faulty).await?;
            let mut run = BackupJob::new(&repository, job).block_size(BlockSize::KiB256).method(backup.method);
            run = run.lease_duration(LEASE);
            if let Some(keep) = backup.keep {
                run = run.keep(settings::simple(keep));
            }
            if let Some(full) = full {
                run = run.full(full);
            }
            run = labels.into_iter().fold(run, |run, (name, labels)| run.labels(name, labels));
            images.into_iter().fold(run, |run, (name, images)| run.machine(name, images)).run(now).await
        };
        let before = self.proven(number);
        let Ended { result, is_struck } = self.carry_out(FOLDERS[number].place, interruption, run).await;
        self.look()?;
        let policy = backup.keep.and_then(settings::policy_of);
        let keeping = self.backup_keeping(policy.as_ref());
        let new = self.judge_points(number, before.as_ref(), Makes::One, &keeping)?;
        self.judge_backup(number, &new)?;
        match result {
            Some(Ok(report)) => {
                ensure(new == [report.sequence], Law::Points, || format!("{report:?} and {new:?} are new"))?;
                judge_tally("a backup", &report.tally)?;
                self.did("backups", 1);
                self.did("rollbacks made", u64::from(report.rolled_back.is_some()));
                self.judge_transform(number, &report.transform)?;
            }
            Some(Err(error)) => {
                // Reverse-incremental runs go back from a full.
                let is_refused = matches!(error, offsite::Error::InvalidSetting { setting: "method", .. })
                    && backup.method == BackupMethod::Reverse;
                self.judge_failure("a backup", &[number], &error, is_refused, is_struck)?;
            }
            None => {}
        }
        Ok(Some(Applied { is_struck }))
    }

    /// A new point has the machines of the job, as they are now, and of a full the others.
    fn judge_backup(&self, number: usize, new: &[offsite::model::Sequence]) -> Result<(), Violation> {
        let (Some(after), [sequence]) = (self.proven(number), new) else { return Ok(()) };
        let Some(point) = after.head.chain.get(*sequence) else { return Ok(()) };
        let members = &self.backups[number].members;
        let complete = point.machines.iter().filter(|machine| machine.status == offsite::model::Status::Complete);
        let complete: Vec<&str> = complete.map(|machine| machine.name.as_str()).collect();
        let has_labels = |name: &&str| {
            let known = after.head.labels.get(&machine(name)).cloned().unwrap_or_default();
            known == self.machines.labels(name)
        };
        let unknown = complete.iter().find(|name| !has_labels(name));
        ensure(unknown.is_none(), Law::Points, || format!("{unknown:?} is known by {:?}", after.head.labels))?;
        ensure(complete.iter().copied().eq(members.iter().map(String::as_str)), Law::Points, || {
            format!("a backup of {members:?} has {complete:?}")
        })?;
        let incomplete = point.machines.iter().find(|machine| !machine.is_whole());
        ensure(incomplete.is_none(), Law::Points, || format!("a backup has {incomplete:?}"))
    }

    /// A run of the transforms alone.
    pub(crate) async fn transform_alone(
        &mut self,
        number: usize,
        transforms: Transforms,
        is_planned: bool,
        interruption: Option<Interruption>,
    ) -> Result<Option<Applied>, Violation> {
        let before: Option<Rc<Proven>> = self.proven(number);
        if before.is_none() {
            return Ok(None);
        }
        let (faulty, job, now) = (self.faulty(number), self.job(number), self.now());
        let run = async {
            let repository = Self::open(&faulty).await?;
            let run = TransformJob::new(&repository, job).lease_duration(LEASE).transforms(transforms.clone());
            let plan = if is_planned { Some(run.plan(now).await?) } else { None };
            run.run(now).await.map(|report| (plan, report))
        };
        let Ended { result, is_struck } = self.carry_out(FOLDERS[number].place, interruption, run).await;
        self.look()?;
        let keeping = Keeping {
            policy: transforms.retention.as_ref(),
            now,
            elsewhere: &transforms.elsewhere,
            deletes_machines: transforms.deleted_machines.is_some(),
        };
        self.judge_points(number, before.as_ref(), Makes::None, &keeping)?;
        match result {
            Some(Ok((plan, report))) => {
                self.judge_transform(number, &report)?;
                if let Some(plan) = plan.filter(|_| !is_struck && self.folders[number].is_intact()) {
                    judge_operations(FOLDERS[number].job, &transforms, &plan.operations, &report)?;
                }
            }
            Some(Err(error)) => self.judge_failure("transforms", &[number], &error, false, is_struck)?,
            None => {}
        }
        Ok(Some(Applied { is_struck }))
    }

    async fn compact(
        &mut self,
        number: usize,
        threshold: u32,
        budget: u32,
        interruption: Option<Interruption>,
    ) -> Result<Option<Applied>, Violation> {
        let compact = settings::compact(1 + threshold % 44, budget);
        let transforms = Transforms::default().compact(compact);
        self.transform_alone(number, transforms, budget >= 40, interruption).await
    }

    /// The transforms of a folder's own job.
    #[must_use]
    pub fn own_transforms(&self, number: usize) -> Transforms {
        match self.backups.get(number) {
            None => self.transforms(number),
            Some(backup) => {
                let retention = backup.keep.and_then(settings::policy_of);
                Transforms::default().ageing(ageing(backup.method)).retention(retention)
            }
        }
    }
}
