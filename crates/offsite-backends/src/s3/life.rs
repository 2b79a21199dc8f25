//! Signs of life of uploads.
//!
//! The store forgets no upload by itself, and charges for its parts. So each upload has a record, a small hidden object that
//! names it, from its start to its end; a task of its writer writes the record anew four times within
//! [`abandoned_after`](super::S3Options::abandoned_after). A sweep ends the uploads whose record is older than that, and no
//! others: neither those of other programs nor those of writers at work. Both times, the record's and the present, are of
//! the store's clock. A writer that was suspended for longer finds its upload gone, and says so: nothing is torn by that.

use std::sync::Arc;

use object_store::{PutMode, PutPayload};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::bucket::HIDDEN;
use super::record::{UPLOADS, record_of};
use super::shared::Shared;

/// Signs of life within the time after which an upload counts as abandoned.
const SIGNS: u32 = 4;

/// Gives signs of life until it is dropped.
#[derive(Debug)]
pub(super) struct Life {
    record: String,
    task: JoinHandle<()>,
}

impl Life {
    /// For the upload `id` of `name`, named by the word of its writer.
    pub(super) fn begin(shared: &Arc<Shared>, name: &str, id: &str, writer: &str) -> Self {
        let record = format!("{HIDDEN}/{UPLOADS}/{writer}");
        let (shared, place) = (Arc::clone(shared), record.clone());
        let content = record_of(id, name);
        let task = tokio::spawn(async move {
            loop {
                // Without a record the upload is not swept; the next sign may come through.
                let _ = shared.bucket.put(&place, PutPayload::from(content.clone()), &[], PutMode::Overwrite).await;
                sleep(shared.bucket.options.abandoned_after / SIGNS).await;
            }
        });
        Self { record, task }
    }

    /// The record's name.
    pub(super) fn record(&self) -> &str {
        &self.record
    }

    /// The upload has ended: removes the record.
    pub(super) async fn end(mut self, shared: &Shared) {
        self.task.abort();
        // Lest it write the record once more.
        let _ = (&mut self.task).await;
        // A record that stays is removed by a sweep.
        let _ = shared.remove(&self.record).await;
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.task.abort();
    }
}
