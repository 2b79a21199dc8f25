//! Removing a job from a repository.
//!
//! A job is removed in steps, each of which a run that is cut off leaves as it is, and the next removal goes on from there:
//!
//! 1. A head without restore points is committed, which lists all files and indexes for release. From now on no reader sees a point.
//! 2. What no reader holds is deleted.
//! 3. A marker says that the folder is no job's any more.
//!
//! The newest head stays, as a writer that was taken over long ago may still wake up: it finds that its number is taken, and ends. A new
//! job of the same name goes on from that head with an empty chain, and takes the marker away.

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

/// A job that was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct RemovedJob {
    /// How many restore points it had, archives included.
    pub points: u64,
    /// The space that came back. If readers hold some of it, `held_bytes` says how much; a later removal gives it back.
    pub released: Released,
    /// Whether nothing is left of the job. `false` as long as readers hold some of it.
    pub is_gone: bool,
}

impl OpenRepository {
    /// Removes the job of this name with all its restore points, at `now`. Nothing brings them back.
    ///
    /// Readers that are at work go on. What they hold stays until they end, and until the job is removed again.
    ///
    /// # Errors
    /// [`Error::UnknownJob`](crate::Error::UnknownJob) if there is no such job; [`Error::Busy`](crate::Error::Busy) if it is running; those
    /// of the repository. After an error, remove the job again.
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
