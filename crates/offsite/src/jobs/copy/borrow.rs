//! What a copy reads at the side of its target, as it need not cross the link.

use offsite_core::plan::{Loans, SyncInput, missing};

use super::CopyJob;
use super::source::Sources;
use crate::Result;
use crate::commit::plan_context::PlanContext;
use crate::lending::lenders::{Lenders, Own};
use crate::report::LookUp;

impl CopyJob {
    /// Looks up what the sources need not send. `lenders` holds what it finds.
    pub(super) async fn borrowed(
        &self,
        context: &mut PlanContext<'_>,
        sources: &Sources,
        sync: SyncInput<'_>,
        lenders: &mut Lenders,
    ) -> Result<Loans> {
        let judged: Vec<LookUp> =
            sources.folders().map(|folder| self.lending.judge(folder.repository(), &self.target)).collect();
        let is_worth = |number: u32| {
            let judged = usize::try_from(number).ok().and_then(|number| judged.get(number));
            judged.is_some_and(|judged| is_looked_up(*judged))
        };
        lenders.away =
            (0..).zip(&judged).filter(|(_, judged)| is_looked_up(**judged)).map(|(number, _)| number).collect();
        let digests = missing(sync, is_worth);
        let first = u32::try_from(judged.len()).unwrap_or(u32::MAX);
        if digests.is_empty() {
            let others = judged.iter().find(|judged| !is_looked_up(**judged)).copied();
            let others = others.filter(|_| !missing(sync, |_| true).is_empty());
            lenders.look_up = others.unwrap_or(LookUp::NothingMissing);
            return Ok(Loans::new());
        }
        lenders.look_up = match judged.contains(&LookUp::Made) {
            true => LookUp::Made,
            false => LookUp::CacheOnly,
        };
        // A frame that is known to be damaged is no help. Where that is not known, its digest tells.
        let noted = context.noted().await.unwrap_or_default();
        let own = Own {
            repository: context.repository,
            layout: context.indexes.layout(),
            head: context.head,
            spare: sync.spare,
        };
        lenders.find(&self.lending, own, digests, first, |at| noted.names(at)).await
    }
}

fn is_looked_up(judged: LookUp) -> bool {
    matches!(judged, LookUp::Made | LookUp::CacheOnly)
}
