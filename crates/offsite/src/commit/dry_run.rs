//! A folder on which operations are planned one after the other. None of them is carried out.

use offsite_core::plan::{Cost, Files, Retired};
use offsite_core::{Digest, Head, RetiredObject, Retirement};

use crate::commit::draft::Draft;
use crate::commit::plan_context::{Minter, PlanContext};
use crate::commit::writer::{WriterSettings, first_head, refuse_role, refuse_same_folder};
use crate::reader::indexes::Indexes;
use crate::reader::job_folder::JobFolder;
use crate::{JobName, OpenRepository, Result};

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

    /// Returns the head that the next run of `job` starts from. `folder` is the job's folder, `None` if there is none yet. If it has
    /// no restore point, this is its first head.
    ///
    /// It refuses what a writer refuses as it opens the folder, so that no plan promises what the run then refuses.
    ///
    /// # Errors
    /// - [`Error::Damaged`](crate::Error::Damaged) if the newest head is damaged.
    /// - [`Error::WrongKindOfJob`](crate::Error::WrongKindOfJob) if the folder is of another kind of job.
    /// - [`Error::NameTaken`](crate::Error::NameTaken) if another job has the same name but for case.
    /// - Errors of the repository.
    pub(crate) async fn next_head(
        repository: &OpenRepository,
        job: &JobName,
        settings: &WriterSettings,
        folder: Option<&JobFolder>,
    ) -> Result<Head> {
        let Some(folder) = folder else {
            refuse_same_folder(repository, job).await?;
            return first_head(repository, settings, None);
        };
        let mut head = folder.head_for_next_run().await?;
        refuse_role(job, repository, &head, settings.role)?;
        if head.chain.all().next().is_none() {
            head.chain = first_head(repository, settings, None)?.chain;
            head.role = settings.role;
        }
        Ok(head)
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
            let what = RetiredObject::Ranges { list, digest: Digest::of(&[]) };
            self.head.retired.push(Retirement::new(self.head.number, what, retired.range_bytes()));
        }
    }

    /// Continues as if the ranges that were retired on the way had been released.
    pub(crate) fn imagine_released(&mut self) {
        let indexes = &self.indexes;
        self.head.retired.retain(|retirement| match retirement.what {
            RetiredObject::Ranges { list, .. } => indexes.imagined_list(list).is_none(),
            RetiredObject::File(_) | RetiredObject::Index(_) => true,
        });
    }
}
