//! Readers: restores, and those that stand still in the middle while others work.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use offsite::model::MachineName;
use offsite::model::Sequence;
use offsite::report::RestoreReport;
use offsite::simulation::on_host;
use offsite::{PointSelector, Restore};
use offsite_repository::testing::{Fault, Faulty, Gate};
use offsite_repository::{Prefix, Verb};
use offsite_simulation::machines::DiskTruth;
use tokio::task::JoinHandle;

use crate::machines::modulo;
use crate::operation::Interruption;
use crate::perform::Applied;
use crate::proof::Proven;
use crate::settings::FOLDERS;
use crate::violation::{Law, Violation, ensure};
use crate::world::{Ended, World, words};

/// A reader that stands still.
#[derive(Debug)]
pub struct Reader {
    /// The folder that it reads.
    pub folder: usize,
    gate: Gate,
    task: JoinHandle<Result<RestoreReport, offsite::Error>>,
    wanted: Wanted,
    to: PathBuf,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a restore is to bring.
#[derive(Debug, Clone)]
struct Wanted {
    sequence: Sequence,
    machine: MachineName,
    truth: Vec<DiskTruth>,
    /// Whether all that it needs is intact.
    is_intact: bool,
}

impl World {
    fn wanted(&self, number: usize, point: u32, which: u32) -> Option<Wanted> {
        let proven: Rc<Proven> = self.proven(number)?;
        let points: Vec<Sequence> = proven.points().map(|point| point.sequence).collect();
        let sequence = points[modulo(point, points.len())?];
        let machines: Vec<_> = proven.machines(sequence).collect();
        let held = machines.get(modulo(which, machines.len())?)?;
        let truth = self.machines.truth(held.name.as_str(), held.captured.unix_secs())?.to_vec();
        let is_lost = proven.lost().contains(&(sequence, held.name.clone()));
        let is_intact = !is_lost && self.folders[number].is_sound();
        Some(Wanted { sequence, machine: held.name.clone(), truth, is_intact })
    }

    /// Restores a machine.
    ///
    /// # Errors
    /// What it does wrongly.
    pub async fn restore(
        &mut self,
        number: usize,
        point: u32,
        which: u32,
        interruption: Option<Interruption>,
    ) -> Result<Option<Applied>, Violation> {
        let Some(wanted) = self.wanted(number, point, which) else { return Ok(None) };
        let to = self.restore_folder();
        let (faulty, job, machine) = (self.faulty(number), self.job(number), wanted.machine.clone());
        let selector = PointSelector::Sequence(wanted.sequence);
        let run = async {
            let repository = Self::open(&faulty).await?;
            Restore::new(&repository, job, machine).point(selector).run(&to).await
        };
        let Ended { result, is_struck } = self.carry_out(FOLDERS[number].place, interruption, run).await;
        let judged = result.map_or(Ok(()), |result| self.judge_restore(number, &wanted, result, &to, is_struck));
        clear(&to);
        judged?;
        self.look()?;
        Ok(Some(Applied { is_struck }))
    }

    fn restore_folder(&mut self) -> PathBuf {
        self.restores += 1;
        let to = self.machines.folder().join(format!("restored-{}", self.restores));
        let _ = std::fs::create_dir_all(&to);
        to
    }

    fn judge_restore(
        &self,
        number: usize,
        wanted: &Wanted,
        result: Result<RestoreReport, offsite::Error>,
        to: &Path,
        is_struck: bool,
    ) -> Result<(), Violation> {
        let what = format!("{}: {} of point {}", FOLDERS[number].job, wanted.machine, wanted.sequence);
        match result {
            Ok(report) => {
                ensure(report.disks.len() == wanted.truth.len(), Law::Reads, || format!("{what}: disks are missing"))?;
                for (disk, truth) in report.disks.iter().zip(&wanted.truth) {
                    let bytes = disk.path.as_ref().and_then(|path| std::fs::read(path).ok()).unwrap_or_default();
                    ensure(bytes == truth.plain(), Law::Reads, || format!("{what} is restored wrongly"))?;
                }
                Ok(())
            }
            Err(error) => {
                let left = std::fs::read_dir(to).map_or(0, Iterator::count);
                ensure(left == 0, Law::Reads, || format!("{what}: a restore that failed left something"))?;
                ensure(!wanted.is_intact || is_struck, Law::Reads, || format!("{what}: {}", words(&error)))?;
                self.judge_error(&[number], &error, is_struck)
            }
        }
    }

    /// A reader begins, and stands still.
    pub async fn hold(&mut self, number: usize, point: u32, which: u32) -> Option<Applied> {
        if self.readers.len() >= 3 {
            return None;
        }
        let wanted = self.wanted(number, point, which)?;
        let faulty = Faulty::new(self.places[FOLDERS[number].place].disk.clone());
        let gate = Gate::new();
        let blocks = Prefix::new(format!("{}/blocks", FOLDERS[number].job)).ok()?;
        faulty.inject(Fault::holding(0, &gate).on(Verb::Read).below(blocks));
        let to = self.restore_folder();
        let (job, host, path) = (self.job(number), self.host(), to.clone());
        let (machine, selector) = (wanted.machine.clone(), PointSelector::Sequence(wanted.sequence));
        let run = async move {
            let repository = Self::open(&faulty).await?;
            Restore::new(&repository, job, machine).point(selector).run(&path).await
        };
        let task = tokio::spawn(async move { on_host(&host, run).await });
        let reader = Reader { folder: number, gate, task, wanted, to };
        // It comes to its first block, or ends, as a machine of zeros alone has none. Calls take no time, so a second is for ever.
        let _ = tokio::time::timeout(Duration::from_secs(1), reader.gate.reached()).await;
        self.readers.push(reader);
        Some(Applied { is_struck: false })
    }

    /// A reader goes on, and ends.
    ///
    /// # Errors
    /// What it does wrongly.
    pub async fn let_go(&mut self, which: u32) -> Result<Option<Applied>, Violation> {
        let Some(position) = modulo(which, self.readers.len()) else { return Ok(None) };
        let mut reader = self.readers.remove(position);
        reader.gate.release();
        let Ok(result) = (&mut reader.task).await else {
            return Err(Violation::new(Law::NoPanic, "a reader panicked"));
        };
        let wanted =
            Wanted { is_intact: reader.wanted.is_intact && !self.is_hurt(reader.folder), ..reader.wanted.clone() };
        self.did("readers that went on and read", u64::from(result.is_ok()));
        let judged = self.judge_restore(reader.folder, &wanted, result, &reader.to, false);
        clear(&reader.to);
        judged?;
        self.look()?;
        Ok(Some(Applied { is_struck: false }))
    }

    /// Whether something of a folder was damaged, now or in the past, so that a reader may meet it.
    fn is_hurt(&self, number: usize) -> bool {
        let folder = &self.folders[number];
        !folder.is_intact() || folder.was_hurt
    }
}

fn clear(folder: &Path) {
    let _ = std::fs::remove_dir_all(folder);
}
