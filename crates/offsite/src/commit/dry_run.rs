//! A folder on which operations are planned one after the other. None of them is carried out.

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
    /// The head after the planned operations.
    pub(crate) head: Head,
    /// The files before the planned operations.
    stored: Files,
    pub(crate) indexes: Indexes,
    minter: Minter,
}

impl<'a> DryRun<'a> {
    pub(crate) fn new(repository: &'a OpenRepository, head: Head, indexes: Indexes) -> Self {
        let stored = head.files.clone();
        Self { repository, head, stored, indexes, minter: Minter::imagined() }
    }

    /// Returns the head that the next run starts from. If the folder does not exist or has no restore point, this is its first
    /// head.
    ///
    /// # Errors
    /// The same as [`first_head`].
    pub(crate) fn next_head(
        repository: &OpenRepository,
        settings: &WriterSettings,
        head: Option<Head>,
    ) -> Result<Head> {
        match head {
            Some(head) if head.chain.all().next().is_some() => Ok(head),
            // A writer does the same.
            Some(mut head) => {
                head.chain = first_head(repository, settings, None)?.chain;
                head.role = settings.role;
                Ok(head)
            }
            None => first_head(repository, settings, None),
        }
    }

    /// Returns the context that the next operation is planned in.
    pub(crate) fn context(&mut self) -> PlanContext<'_> {
        PlanContext {
            repository: self.repository,
            head: &self.head,
            stored: &self.stored,
            indexes: &mut self.indexes,
            minter: &mut self.minter,
        }
    }

    /// Continues as if `draft` had been committed. Returns its cost.
    pub(crate) fn imagine(&mut self, draft: Draft) -> Cost {
        let cost = draft.plan.cost();
        let retired = draft.apply(&mut self.head);
        self.imagine_retired(&retired);
        cost
    }

    /// Lists the ranges that would be retired. Nothing is written into them until they are released.
    fn imagine_retired(&mut self, retired: &Retired) {
        if !retired.ranges.is_empty() {
            let list = self.minter.mint();
            self.indexes.imagine_list(list, retired.ranges.clone());
            let what = RetiredObject::Ranges(list);
            self.head.retired.push(Retirement::new(self.head.number, what, retired.range_bytes()));
        }
    }

    /// Continues as if the ranges that were retired on the way had been released.
    pub(crate) fn imagine_released(&mut self) {
        let indexes = &self.indexes;
        self.head.retired.retain(|retirement| match retirement.what {
            RetiredObject::Ranges(list) => indexes.imagined_list(list).is_none(),
            RetiredObject::File(_) | RetiredObject::Index(_) => true,
        });
    }
}
