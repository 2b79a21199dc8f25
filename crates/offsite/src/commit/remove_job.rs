//! Removes a job from a repository.
//!
//! A removal has these steps. If it is cut off after any of them, the next removal goes on from there:
//!
//! 1. It commits a head without restore points, which lists all files and indexes for release. From now on, no reader sees a point.
//! 2. It deletes everything that no reader holds.
//! 3. It writes a marker: the folder belongs to no job any more.
//!
//! The newest head stays. A writer that was taken over long ago may wake up. It finds that its number is taken, and ends. A new job
//! of the same name goes on from that head with an empty chain, and deletes the marker.

use futures::future::BoxFuture;
use offsite_core::plan::{Plan, RetiredFile};
use offsite_core::{Chain, Timestamp};

use crate::commit::clock_rule::ClockRule;
use crate::commit::draft::{BlockViews, Outline, commit};
use crate::commit::release::release_all;
use crate::commit::writer::{Writer, WriterSettings};
use crate::reader::indexes::Indexes;
use crate::reader::job_folder::JobFolder;
use crate::report::Released;
use crate::{DEFAULT_LEASE, JobName, OpenRepository, Progress, Result};

/// A removed job.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct RemovedJob {
    /// The number of its restore points, archives included.
    pub points: u64,
    /// The space that came back. Readers may hold some of the space: `held_bytes` says how much. A later removal gives it back.
    pub released: Released,
    /// `true` if nothing of the job is left. `false` while readers hold some of it.
    pub is_gone: bool,
}

impl OpenRepository {
    /// Removes the job of this name with all its restore points, at `now`. The restore points cannot be restored afterwards.
    ///
    /// Running readers go on. What they hold stays until they end and the job is removed again.
    ///
    /// # Errors
    /// - [`Error::UnknownJob`](crate::Error::UnknownJob) if there is no such job.
    /// - [`Error::Busy`](crate::Error::Busy) if the job is running.
    /// - Errors of the repository.
    ///
    /// After an error, remove the job again.
    pub fn remove_job<'a>(
        &'a self,
        job: &'a JobName,
        now: Timestamp,
        progress: &'a dyn Progress,
    ) -> BoxFuture<'a, Result<RemovedJob>> {
        Box::pin(async move {
            let folder = JobFolder::open(self, job).await?;
            let settings = WriterSettings {
                role: folder.head().role,
                block_size: folder.chain().block_size(),
                lease_duration: DEFAULT_LEASE,
                now,
                clock: ClockRule::default(),
            };
            let mut writer = Writer::open(self.clone(), job, settings, progress).await?;
            let result = remove(&mut writer, progress).await;
            writer.close(result).await
        })
    }
}

async fn remove(writer: &mut Writer, progress: &dyn Progress) -> Result<RemovedJob> {
    let head = writer.head().clone();
    let points = head.chain.all().count() as u64;
    if points > 0 || !head.files.is_empty() {
        let mut indexes = Indexes::new(writer.repository(), writer.layout(), head.folder);
        let mut plan = Plan::default();
        for (id, file) in &head.files {
            plan.retired.files.insert(*id, RetiredFile { bytes: file.length, ranges: Vec::new() });
        }
        let chain = Chain::new(head.chain.block_size(), Vec::new());
        let outline = Outline::new(plan, chain, Vec::new(), BlockViews::default());
        let draft = writer.plan_context(&mut indexes).draft(outline).await?;
        commit(writer, draft).await?;
    }
    let released = release_all(writer, progress).await?;
    let is_gone = writer.head().retired.is_empty();
    if is_gone {
        for key in writer.repository().list(&writer.layout().verifications()?).await?.into_keys() {
            writer.delete(&key).await?;
        }
        writer.put_if_absent(&writer.layout().removed()?).await?;
    }
    Ok(RemovedJob { points, released, is_gone })
}
