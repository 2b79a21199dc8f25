//! Copies that begin with what was carried: seeds, and exports that are imported.

use std::sync::{Arc, Mutex, PoisonError};

use offsite::core::Sequence;
use offsite::{Export, Import, MapSeed, PointSelector};

use crate::judge::{Makes, judge_tally};
use crate::keeping::Keeping;
use crate::machines::modulo;
use crate::operation::Interruption;
use crate::perform::Applied;
use crate::settings::FOLDERS;
use crate::violation::Violation;
use crate::world::{Ended, World};

impl World {
    /// A seed becomes the start of a copy.
    ///
    /// # Errors
    /// What that does wrongly.
    pub async fn map(
        &mut self,
        number: usize,
        seed: usize,
        interruption: Option<Interruption>,
    ) -> Result<Option<Applied>, Violation> {
        let before = self.proven(number);
        let is_free = before.as_ref().is_none_or(|before| before.head.chain.latest().is_none());
        let source = self.proven(seed).filter(|source| source.head.chain.latest().is_some());
        if !is_free || source.is_none() || FOLDERS[seed].place == FOLDERS[number].place || !self.is_there(seed) {
            return Ok(None);
        }
        let (from, to, now) = (self.faulty(seed), self.faulty(number), self.now());
        let (job, seed_job) = (self.job(number), self.job(seed));
        let run = async {
            let (target, source) = (Self::open(&to).await?, Self::open(&from).await?);
            MapSeed::new(&target, job, &source, seed_job)?.run(now).await
        };
        let at_source = interruption.is_some_and(|interruption| interruption.at_source);
        let place = FOLDERS[if at_source { seed } else { number }].place;
        let Ended { result, is_struck } = self.carry_out(place, interruption, run).await;
        self.look()?;
        let keeping = Keeping { policy: None, now, elsewhere: &[], deletes_machines: false };
        self.judge_points(number, before.as_ref(), Makes::Many, &keeping)?;
        match result {
            Some(Ok(report)) => {
                judge_tally("mapping", &report.tally)?;
                self.did("seeds mapped", 1);
            }
            Some(Err(error)) => {
                let is_excused = !self.folders[seed].is_intact();
                self.judge_failure("mapping", &[seed, number], &error, is_excused, is_struck)?;
            }
            None => {}
        }
        Ok(Some(Applied { is_struck }))
    }

    /// A point is exported, and imported as the start of a copy.
    ///
    /// # Errors
    /// What that does wrongly.
    pub async fn carry(
        &mut self,
        number: usize,
        from: usize,
        point: u32,
        interruption: Option<Interruption>,
    ) -> Result<Option<Applied>, Violation> {
        let before = self.proven(number);
        let is_free = before.as_ref().is_none_or(|before| before.head.chain.latest().is_none());
        let Some(source) = self.proven(from).filter(|_| is_free && from != number && self.is_there(from)) else {
            return Ok(None);
        };
        let points: Vec<Sequence> = source
            .points()
            .filter(|point| point.machines.iter().any(|machine| machine.is_whole()))
            .map(|point| point.sequence)
            .collect();
        let Some(position) = modulo(point, points.len()) else { return Ok(None) };
        let selector = PointSelector::Sequence(points[position]);
        let (out_of, into, now) = (self.faulty(from), self.faulty(number), self.now());
        let (job, exported) = (self.job(number), self.job(from));
        let run = async {
            let (target, source) = (Self::open(&into).await?, Self::open(&out_of).await?);
            let stream = Stream::default();
            Export::new(&source, exported).point(selector).run(stream.clone()).await?;
            Import::new(&target, job).run(std::io::Cursor::new(stream.bytes()), now).await
        };
        let at_source = interruption.is_some_and(|interruption| interruption.at_source);
        let place = FOLDERS[if at_source { from } else { number }].place;
        let Ended { result, is_struck } = self.carry_out(place, interruption, run).await;
        self.look()?;
        let keeping = Keeping { policy: None, now, elsewhere: &[], deletes_machines: false };
        self.judge_points(number, before.as_ref(), Makes::Many, &keeping)?;
        match result {
            Some(Ok(report)) => {
                judge_tally("an import", &report.tally)?;
                self.did("points imported", 1);
            }
            Some(Err(error)) => {
                let is_excused = !self.folders[from].is_intact();
                self.judge_failure("an export and its import", &[from, number], &error, is_excused, is_struck)?;
            }
            None => {}
        }
        Ok(Some(Applied { is_struck }))
    }
}

/// Bytes that are written, to be read later.
#[derive(Debug, Clone, Default)]
struct Stream(Arc<Mutex<Vec<u8>>>);

impl Stream {
    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl std::io::Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
