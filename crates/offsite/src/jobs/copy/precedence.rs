//! Giving way to backups in the folders that a copy reads.
//!
//! A copy may take hours, and a backup has a window. So a copy reads one request at a time while a backup holds the lease of a folder of
//! its sources. It sees that by the folder's heads: a backup commits one when it begins and one when it ends.
//!
//! - A look is one listing for each folder, at most every [`LOOK_EVERY`], and only while blocks are read.
//! - A copy job or a transform in a source's folder does not count: it has hours, too.
//! - A dead holder does not count. If nobody can ask the holder, it counts as dead once it gave no sign of life for its whole lease.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use offsite_core::{Lease, Role};
use offsite_repository::{Key, Repository};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::source::Sources;
use crate::claims::holder::{Life, describe, life_of};
use crate::folder::heads::Heads;
use crate::folder::layout::Layout;
use crate::mover::GivesWay;
use crate::reader::job_folder::JobFolder;
use crate::{OpenRepository, Progress, Result, Wait};

/// How often the folders are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// A copy that gives way.
pub(super) struct Precedence {
    progress: Arc<dyn Progress>,
    state: Mutex<State>,
}

struct State {
    folders: Vec<Watched>,
    looked: Option<Instant>,
    /// Since when the copy gives way.
    since: Option<Instant>,
    /// How long it did before that.
    before: Duration,
}

/// A folder of the sources.
struct Watched {
    repository: OpenRepository,
    layout: Layout,
    heads: Heads,
    /// The number of the newest head that was read.
    newest: u64,
    /// The lease in that head, if it is a backup's.
    lease: Option<Lease>,
    /// The signs of life of that lease, and when the last new one was seen.
    signs: (Vec<Key>, Instant),
}

impl Precedence {
    /// Of a copy that reads `sources`.
    pub(super) fn new(sources: &Sources, progress: Arc<dyn Progress>) -> Self {
        let folders = sources.folders().map(Watched::new).collect();
        let state = State { folders, looked: None, since: None, before: Duration::ZERO };
        Self { progress, state: Mutex::new(state) }
    }

    /// How long the copy has given way.
    pub(super) async fn gave_way(&self) -> Duration {
        let state = self.state.lock().await;
        state.before + state.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

impl GivesWay for Precedence {
    fn gives_way(&self) -> BoxFuture<'_, bool> {
        Box::pin(async move {
            let mut state = self.state.lock().await;
            if state.looked.is_some_and(|looked| looked.elapsed() < LOOK_EVERY) {
                return state.since.is_some();
            }
            let is_first = state.looked.is_none();
            let mut at_work = None;
            for folder in &mut state.folders {
                // The sources have just been opened when a copy begins. What cannot be looked at holds nothing up.
                let looked = if is_first { Ok(()) } else { folder.look().await };
                if looked.is_ok() && folder.is_at_work().await.unwrap_or(false) {
                    at_work = at_work.or_else(|| {
                        folder.lease.as_ref().map(|lease| (folder.layout.job().clone(), lease.holder.clone()))
                    });
                }
            }
            state.looked = Some(Instant::now());
            match (at_work, state.since) {
                (Some((job, holder)), None) => {
                    state.since = Some(Instant::now());
                    self.progress.wait(&Wait::Backup { job: &job, holder: &describe(&holder) });
                }
                (None, Some(since)) => {
                    state.before += since.elapsed();
                    state.since = None;
                }
                _ => {}
            }
            state.since.is_some()
        })
    }
}

impl Watched {
    fn new(folder: &JobFolder) -> Self {
        let (repository, layout) = (folder.repository().clone(), folder.layout().clone());
        let heads = Heads::new(repository.clone(), layout.clone());
        let (newest, lease) = (folder.head().number, lease_of_backup(folder.head()));
        Self { repository, layout, heads, newest, lease, signs: (Vec::new(), Instant::now()) }
    }

    /// Looks for a newer head.
    async fn look(&mut self) -> Result<()> {
        if self.has_newer_head().await?
            && let Some(newest) = self.heads.newest().await?
        {
            self.newest = newest.head.number;
            self.lease = lease_of_backup(&newest.head);
            self.signs = (Vec::new(), Instant::now());
        }
        Ok(())
    }

    /// Whether a backup is at work, by the newest head that was read.
    async fn is_at_work(&mut self) -> Result<bool> {
        let Some(lease) = &self.lease else { return Ok(false) };
        match life_of(&lease.holder) {
            Life::Alive => Ok(true),
            Life::Dead => Ok(false),
            Life::Unknown => {
                let silence = lease.silence();
                let signs = self.repository.list(&self.layout.lease_renewals()?).await?.into_keys().collect();
                if self.signs.0 != signs {
                    self.signs = (signs, Instant::now());
                }
                Ok(self.signs.1.elapsed() < silence)
            }
        }
    }

    async fn has_newer_head(&self) -> Result<bool> {
        let page =
            self.repository.backend().list(&self.layout.heads()?, Some(&self.layout.head(self.newest)?), 1).await;
        // An error is one of the copy's own reads, too.
        Ok(page.is_ok_and(|page| !page.objects.is_empty()))
    }
}

fn lease_of_backup(head: &offsite_core::Head) -> Option<Lease> {
    head.lease.clone().filter(|_| head.role == Role::Backup)
}
