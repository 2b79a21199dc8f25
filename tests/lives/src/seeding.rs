//! Copies that begin with what was carried: seeds, and exports that are imported.

use std::sync::{Arc, Mutex, PoisonError};

use offsite::model::Sequence;
use offsite::report::Tally;
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
        let source = self.proven(seed).filter(|source| source.head.chain.latest().is_some());
        if !self.is_free(number)
            || source.is_none()
            || FOLDERS[seed].place == FOLDERS[number].place
            || !self.is_there(seed)
        {
            return Ok(None);
        }
        let (from, to, now) = (self.faulty(seed), self.faulty(number), self.now());
        let (job, seed_job) = (self.job(number), self.job(seed));
        let run = async {
            let (target, source) = (Self::open(&to).await?, Self::open(&from).await?);
            Ok(MapSeed::new(&target, job, &source, seed_job)?.run(now).await?.tally)
        };
        self.begin(Beginning { what: "mapping", deed: "seeds mapped", from: seed, number }, interruption, run).await
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
        let is_free = self.is_free(number);
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
            Ok(Import::new(&target, job).run(std::io::Cursor::new(stream.bytes()), now).await?.tally)
        };
        let beginning = Beginning { what: "an export and its import", deed: "points imported", from, number };
        self.begin(beginning, interruption, run).await
    }

    /// Whether a folder has no restore point yet.
    fn is_free(&self, number: usize) -> bool {
        self.proven(number).is_none_or(|proven| proven.head.chain.latest().is_none())
    }

    async fn begin(
        &mut self,
        Beginning { what, deed, from, number }: Beginning,
        interruption: Option<Interruption>,
        run: impl Future<Output = Result<Tally, offsite::Error>>,
    ) -> Result<Option<Applied>, Violation> {
        let (before, now) = (self.proven(number), self.now());
        let at_source = interruption.is_some_and(|interruption| interruption.at_source);
        let place = FOLDERS[if at_source { from } else { number }].place;
        let Ended { result, is_struck } = self.carry_out(place, interruption, run).await;
        self.look()?;
        let keeping = Keeping { policy: None, now, elsewhere: &[], deletes_machines: false };
        self.judge_points(number, before.as_ref(), Makes::Many, &keeping)?;
        match result {
            Some(Ok(tally)) => {
                judge_tally(what, &tally)?;
                self.did(deed, 1);
            }
            Some(Err(error)) => {
                let is_excused = !self.folders[from].is_intact();
                self.judge_failure(what, &[from, number], &error, is_excused, is_struck)?;
            }
            None => {}
        }
        Ok(Some(Applied { is_struck }))
    }
}

/// How a copy begins that is carried.
struct Beginning {
    what: &'static str,
    /// What is counted.
    deed: &'static str,
    from: usize,
    number: usize,
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
