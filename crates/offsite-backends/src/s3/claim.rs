//! Exclusive names for uploads, where the store ignores the condition on completing one.
//!
//! Such a store (Ceph, so far) still honours it on storing a small object. So a writer that is about to complete an upload
//! first creates a claim, a hidden small object named like the one to be; whoever fails at that waits for what becomes of
//! the name. With the claim in hand, the writer looks whether the name is free, and completes. A writer of one request
//! creates its object and looks for a claim then: of the two, one sees the other. If it finds one, it ends the upload that
//! the claim names, which cannot be completed from then on, and looks whose the object is.

use std::sync::Arc;

use object_store::{PutMode, PutPayload};
use offsite_repository::{Error, ErrorKind, Result};
use tokio::time::sleep;

use super::bucket::HIDDEN;
use super::finishing::Finishing;
use super::record::{CLAIMS, RECORD_BYTES_MAX, parse_record, record_of};
use super::shared::Shared;
use super::signed::jittered;
use super::truth::{Owner, doubtful, taken};

/// How often the outcome of another's claim is looked for.
const LOOKS: u32 = 10;

fn claim_of(name: &str) -> String {
    format!("{HIDDEN}/{CLAIMS}/{name}")
}

/// Completes an upload whose name no other may take meanwhile.
pub(super) async fn complete(shared: &Arc<Shared>, finishing: &Finishing) -> Result<()> {
    let name = finishing.name.as_str();
    let claim = claim_of(name);
    if !acquire(shared, finishing, &claim).await? {
        return Err(taken(name));
    }
    let answer = match shared.bucket.describe("finish", name).await {
        Ok(None) => finishing.complete(shared, false).await,
        Ok(Some(_)) => Err(taken(name)),
        Err(error) => Err(error),
    };
    // Where the upload may yet be completed, others must still find the claim.
    if !matches!(&answer, Err(error) if error.kind() == ErrorKind::Indeterminate) {
        let _ = shared.remove(&claim).await;
    }
    answer
}

/// Creates the claim; whether that succeeded before the name was taken.
async fn acquire(shared: &Arc<Shared>, finishing: &Finishing, claim: &str) -> Result<bool> {
    let content = PutPayload::from(record_of(&finishing.id, &finishing.name));
    let mut pause = shared.bucket.options.first_pause;
    for _ in 0..LOOKS {
        match shared.put_new(claim, content.clone(), &finishing.writer, PutMode::Create).await {
            Ok(()) => return Ok(true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            // The object itself is certainly not there.
            Err(error) => {
                return Err(Error::new(ErrorKind::Unavailable, "finish")
                    .with_subject(&finishing.name)
                    .with_source(error));
            }
        }
        if shared.bucket.describe("finish", &finishing.name).await?.is_some() {
            return Ok(false);
        }
        sleep(jittered(pause)).await;
        pause = (pause * 2).min(std::time::Duration::from_secs(5));
    }
    let detail = format!(
        "another writer was about to finish it and did not end; if it is gone, remove {} to use the name again",
        shared.bucket.full_name(claim)
    );
    Err(Error::new(ErrorKind::Unavailable, "finish").with_subject(&finishing.name).with_detail(detail))
}

/// After an object was stored by one request: whether it stays, in view of an upload that claims its name.
pub(super) async fn settle(shared: &Shared, name: &str, writer: &str) -> Result<()> {
    let claim = claim_of(name);
    // What fails from here on leaves the outcome open.
    let open = |error: Error| doubtful(name, error);
    let record = match shared.bucket.read(&claim, None, RECORD_BYTES_MAX).await {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        answer => answer.map_err(open)?,
    };
    let Some((id, _)) = parse_record(&record.bytes) else {
        return Err(open(Error::new(ErrorKind::Corrupt, "read").with_subject(claim)));
    };
    shared.bucket.abort_upload(name, &id).await.map_err(open)?;
    match shared.owner(name, writer).await.map_err(open)? {
        Owner::Own => {
            // While the object is there, a claim is of no use to anyone.
            let _ = shared.remove(&claim).await;
            Ok(())
        }
        Owner::Other => Err(taken(name)),
        Owner::Nobody | Owner::Unknown => Err(Error::new(ErrorKind::Indeterminate, "finish")
            .with_subject(name)
            .with_detail("an upload claimed its name")),
    }
}

/// Ends the upload of an old claim, and removes the claim where its object is there. Where it is not, another's claim may
/// stand in its place by now: that one stays, and with it the name, for uploads.
pub(super) async fn sweep(shared: &Shared, claim: &str) -> Result<()> {
    let record = match shared.bucket.read(claim, None, RECORD_BYTES_MAX).await {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        answer => answer?,
    };
    let Some((id, name)) = parse_record(&record.bytes) else { return Ok(()) };
    shared.bucket.abort_upload(&name, &id).await?;
    if shared.bucket.describe("sweep", &name).await?.is_some() {
        shared.remove(claim).await?;
    }
    Ok(())
}
