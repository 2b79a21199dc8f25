//! Known damage, from what verifications have noted.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use offsite_core::{MachineName, RestorePoint, Sequence};

use crate::Result;
use crate::folder::verification_notes::VerificationNotes;
use crate::reader::indexes::Indexes;
use crate::reader::job_folder::JobFolder;
use crate::report::KnownDamage;

impl KnownDamage {
    /// The same as [`JobFolder::known_damage`], for a chain whose indexes may be known already.
    pub(crate) async fn of<'a>(
        points: impl Iterator<Item = &'a RestorePoint>,
        steps_to: impl Fn(Sequence) -> Vec<&'a RestorePoint>,
        indexes: &mut Indexes,
        noted: &VerificationNotes,
    ) -> Result<Self> {
        let mut known = Self::default();
        if noted.is_empty() && noted.indexes.is_empty() {
            return Ok(known);
        }
        let files = noted.files();
        for point in points {
            let steps = steps_to(point.sequence);
            let mut is_touched = false;
            for step in &steps {
                for reference in step.indexes() {
                    is_touched |= noted.indexes.contains(&reference.id);
                    is_touched |= match indexes.files(reference, step).await {
                        // An index that cannot be read is damage of another kind. Opening the point reports it.
                        Err(error) if error.is_loss() => false,
                        listed => listed?.iter().any(|file| files.contains(file)),
                    };
                }
            }
            if !is_touched {
                continue;
            }
            let state = match indexes.state(&steps).await {
                // The noted blocks may have been put back since. If not, opening the point reports it.
                Err(error) if error.is_loss() => {
                    let is_noted = |step: &&RestorePoint| step.indexes().any(|index| noted.indexes.contains(&index.id));
                    known.unreadable.extend(steps.iter().any(is_noted).then_some(point.sequence));
                    continue;
                }
                state => state?,
            };
            let is_held = |name: &MachineName| point.machine(name).is_some_and(|machine| machine.is_whole());
            let machines: BTreeMap<MachineName, u64> =
                noted.machines(&state).into_iter().filter(|(name, _)| is_held(name)).collect();
            if !machines.is_empty() {
                known.points.insert(point.sequence, machines);
            }
        }
        Ok(known)
    }
}

impl JobFolder {
    /// The damage that verifications have found, and that nothing has repaired since.
    ///
    /// It reads no blocks. If no damage is known, it reads no indexes either.
    ///
    /// # Errors
    /// The errors of the repository.
    pub fn known_damage(&self) -> BoxFuture<'_, Result<KnownDamage>> {
        Box::pin(async move {
            let noted = VerificationNotes::load(self.repository(), self.layout(), self.id()).await?;
            let steps = |sequence| self.chain().steps_to(sequence).unwrap_or_default();
            KnownDamage::of(self.chain().all(), steps, &mut self.indexes(), &noted).await
        })
    }
}
