//! A folder as it would be: operations are planned on it one after the other, and none is carried out.

use offsite_core::plan::{Cost, Files, Retired};
use offsite_core::{Head, RetiredObject, Retirement};

use crate::commit::draft::Draft;
use crate::commit::plan_context::{Minter, PlanContext};
use crate::commit::writer::{WriterSettings, first_head};
use crate::reader::indexes::Indexes;
use crate::{OpenRepository, Result};

/// A folder on which operations are only planned.
pub(crate) struct DryRun<'a> {
    repository: &'a OpenRepository,
    /// What the head would be.
    pub(crate) head: Head,
    /// The files before all that is only planned.
    stored: Files,
    pub(crate) indexes: Indexes,
    minter: Minter,
}

impl<'a> DryRun<'a> {
    pub(crate) fn new(repository: &'a OpenRepository, head: Head, indexes: Indexes) -> Self {
        let stored = head.files.clone();
        Self { repository, head, stored, indexes, minter: Minter::imagined() }
    }

    /// The head that the next run goes on from. For a folder that is not there yet, or has no restore point, this is its first.
    ///
    /// # Errors
    /// As for [`first_head`].
    pub(crate) fn next_head(
        repository: &OpenRepository,
        settings: &WriterSettings,
        head: Option<Head>,
    ) -> Result<Head> {
        match head {
            Some(head) if head.chain.all().next().is_some() => Ok(head),
            // As a writer does.
            Some(mut head) => {
                head.chain = first_head(repository, settings, None)?.chain;
                head.role = settings.role;
                Ok(head)
            }
            None => first_head(repository, settings, None),
        }
    }

    /// What the next operation is planned on.
    pub(crate) fn context(&mut self) -> PlanContext<'_> {
        PlanContext {
            repository: self.repository,
            head: &self.head,
            stored: &self.stored,
            indexes: &mut self.indexes,
            minter: &mut self.minter,
        }
    }

    /// Goes on as if `draft` had been committed. Returns what it costs.
    pub(crate) fn imagine(&mut self, draft: Draft) -> Cost {
        let cost = draft.plan.cost();
        let retired = draft.apply(&mut self.head);
        self.imagine_retired(&retired);
        cost
    }

    /// Lists the ranges that would be retired: until they are released, nothing is written into them.
    fn imagine_retired(&mut self, retired: &Retired) {
        if !retired.ranges.is_empty() {
            let list = self.minter.mint();
            self.indexes.imagine_list(list, retired.ranges.clone());
            let what = RetiredObject::Ranges(list);
            self.head.retired.push(Retirement::new(self.head.number, what, retired.range_bytes()));
        }
    }

    /// Goes on as if what was retired on the way had been released.
    pub(crate) fn imagine_released(&mut self) {
        let indexes = &self.indexes;
        self.head.retired.retain(|retirement| match retirement.what {
            RetiredObject::Ranges(list) => indexes.imagined_list(list).is_none(),
            RetiredObject::File(_) | RetiredObject::Index(_) => true,
        });
    }
}
