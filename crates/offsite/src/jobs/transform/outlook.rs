//! The outlook of transforms: what they keep and why, and when each point goes.

use futures::future::BoxFuture;
use offsite_core::Timestamp;
use offsite_core::retention::{BlockLives, Departure, Outlook, Verdict, forecast, judge};

use super::Transforms;
use super::agenda::{conditions, is_settled};
use crate::{JobFolder, Result};

impl JobFolder {
    /// The verdict on each archive and point, oldest first, if a run at `now` copies nothing.
    ///
    /// A verdict has every reason to keep the point. `None` if `transforms` have no retention, so that everything is kept.
    #[must_use]
    pub fn verdicts(&self, transforms: &Transforms, now: Timestamp) -> Option<Vec<Verdict>> {
        let policy = transforms.retention.as_ref()?;
        let clock = Some(transforms.clock().judge(self.head().clock, now));
        let conditions = conditions(self.head(), transforms, now, 0).with_clock(clock);
        Some(judge(self.chain(), &transforms.elsewhere, policy, now, &conditions))
    }

    /// The forecast for each archive and point, oldest first, if `transforms` stay as they are: when it goes, and what that
    /// frees.
    ///
    /// `next` returns the time of the run after the given one. It reads the indexes of all points. `None` if `transforms` have no
    /// retention.
    ///
    /// # Errors
    /// [`Error::Damaged`](crate::Error::Damaged) with an index that cannot be used.
    pub fn forecast<'a>(
        &'a self,
        transforms: &'a Transforms,
        now: Timestamp,
        next: impl Fn(Timestamp) -> Option<Timestamp> + Send + 'a,
    ) -> BoxFuture<'a, Result<Option<Vec<Departure>>>> {
        Box::pin(async move {
            let Some(policy) = &transforms.retention else { return Ok(None) };
            let rule = transforms.clock();
            let outlook = Outlook::new(policy, now)
                .with_ageing(transforms.ageing)
                .with_elsewhere(&transforms.elsewhere)
                .with_clock(Some(rule.known(self.head().clock, now)), rule.ahead_max_secs)
                .with_settled(is_settled(self.head(), transforms));
            Ok(Some(forecast(self.chain(), &outlook, &self.lives().await?.finish(), next)))
        })
    }

    fn lives(&self) -> BoxFuture<'_, Result<BlockLives>> {
        Box::pin(async move {
            let (mut indexes, mut lives) = (self.indexes(), BlockLives::default());
            for point in self.chain().all() {
                let steps = self.chain().steps_to(point.sequence).unwrap_or_default();
                lives.add(point.sequence, &indexes.state(&steps).await?);
            }
            Ok(lives)
        })
    }
}
