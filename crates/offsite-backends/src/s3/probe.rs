//! What a store keeps of what it promises, found out on opening it.
//!
//! Below a random hidden folder, which is empty again afterwards: names are created as the probe of every repository does it, and
//! one more by completing an upload. A store that lets two succeed is found out; one that fails now and then is not taken for
//! one.

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join_all;
use object_store::multipart::MultipartStore;
use object_store::{PutMode, PutPayload};
use offsite_repository::{CreateIfAbsent, CreateProbe, Error, ErrorKind, PROBED_NAMES, Result, probe_create_by};
use tokio::time::sleep;

use super::bucket::{Bucket, CHECKSUM, HIDDEN, WRITER, random_name};
use super::calls::Completion;
use super::errors;
use super::options::S3Checksum;
use super::record::PROBE;
use super::shared::{Abilities, Conditions};
use super::signed::jittered;
use super::wire::{Answer, Trace};

/// How often a name is tried again that other requests are said to be in conflict with.
const CONFLICTS_MAX: u32 = 6;
/// What is there after a wrong checksum was taken.
const WRONG: &str = "wrong";

/// Finds out what the bucket can do.
///
/// # Errors
/// `Unsupported` if writers would destroy each other's work here, and none asserted to be the only one.
pub(super) async fn probe(bucket: &Bucket) -> Result<Abilities> {
    // Whether the bucket is there and the key fits: what fails here is no ability.
    let root = bucket.full_name("");
    let (listed, locks) = futures::join!(bucket.list(&root, None, 1), bucket.has_object_lock());
    listed?;
    let folder = format!("{HIDDEN}/{PROBE}{}", random_name()?);
    let name = format!("{folder}/name");
    match create(bucket, &name, "first").await {
        // Where it is taken, it is by this writer's own earlier try, whose answer was lost: nobody else knows the folder.
        Ok(_) => {}
        // Reading may be all that is wanted.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return Ok(Abilities::reading()),
        Err(error) => return Err(error),
    }
    let wrong = format!("{folder}/{WRONG}");
    let (found, checked) = futures::join!(examine(bucket, &folder, &name, locks.unwrap_or(false)), async {
        match bucket.options.checksum {
            // Each store checks what it is a part of the signature.
            S3Checksum::Sha256 => Ok(true),
            S3Checksum::Crc64Nvme => bucket.checks_crc64nvme(&wrong).await,
        }
    });
    let cleaned = clean_up(bucket, &folder, found.as_ref().is_ok_and(|abilities| abilities.versioned)).await;
    let abilities = found?;
    match cleaned {
        // A bucket may lock what is written to it for a time; a sweep removes it then.
        Err(error) if error.kind() != ErrorKind::PermissionDenied => return Err(error),
        _ => {}
    }
    if !checked? {
        let detail =
            "the store does not check a CRC-64/NVME, so that damage on the way would go unnoticed; use SHA-256";
        return Err(Error::new(ErrorKind::Unsupported, "open").with_location(bucket.location()).with_detail(detail));
    }
    if abilities.conditions == Conditions::Nowhere && !bucket.options.single_writer {
        let detail = "the store ignores conditions on writes (If-None-Match), so that two writers would destroy each other's \
                      work; if only one process ever writes here, say so with the option single_writer";
        return Err(Error::new(ErrorKind::Unsupported, "open").with_location(bucket.location()).with_detail(detail));
    }
    Ok(abilities)
}

async fn examine(bucket: &Bucket, folder: &str, name: &str, locks: bool) -> Result<Abilities> {
    let bare = Bare { bucket, folder };
    let (seen, described, upload, retention) =
        futures::join!(probe_create_by(&bare), bucket.describe("try", name), bucket.begin_upload(name, &[]), async {
            if locks { bucket.retention(name).await.is_ok() } else { false }
        },);
    let described = described?;
    let honoured = seen? == CreateIfAbsent::Kept;
    let (on_complete, copies_parts) = match upload {
        Ok(id) => try_upload(bucket, name, &id).await?,
        Err(error) if error.kind() == ErrorKind::Unsupported => (false, false),
        Err(error) => return Err(error),
    };
    let conditions = match (honoured, on_complete) {
        (true, true) => Conditions::Everywhere,
        (true, false) => Conditions::OnPut,
        (false, _) => Conditions::Nowhere,
    };
    Ok(Abilities {
        writable: true,
        conditions,
        keeps_metadata: described.as_ref().is_some_and(|object| object.writer.is_some()),
        versioned: described.is_some_and(|object| object.version.is_some()),
        copies_parts,
        locks: retention,
    })
}

/// Tries to create a name; whether the store says that it did.
///
/// A store that tells of a conflict with another request has done nothing, and has not said whether the name is taken: it is
/// asked again.
async fn create(bucket: &Bucket, name: &str, writer: &str) -> Result<bool> {
    let payload = PutPayload::from(writer.to_owned());
    let metadata = [(WRITER, writer), (CHECKSUM, "0")];
    let mut pause = bucket.options.first_pause;
    let mut left = CONFLICTS_MAX;
    loop {
        let (answer, answers, trace) = bucket.put(name, payload.clone(), &metadata, PutMode::Create).await?;
        match answer {
            Ok(_) => return Ok(true),
            Err(_) if left > 0 && matches!(answers[..], [.., Answer::Status(409)]) => left -= 1,
            Err(object_store::Error::AlreadyExists { .. }) => return Ok(false),
            Err(error) => return Err(errors::of_store("try", bucket.location(), &error, &trace)),
        }
        sleep(jittered(pause)).await;
        pause *= 2;
    }
}

/// A folder of the bucket by its bare calls, beneath which nothing keeps writers apart.
struct Bare<'a> {
    bucket: &'a Bucket,
    folder: &'a str,
}

#[async_trait]
impl CreateProbe for Bare<'_> {
    async fn create(&self, name: &str, content: Bytes) -> Result<()> {
        let name = format!("{}/{name}", self.folder);
        match create(self.bucket, &name, &String::from_utf8_lossy(&content)).await? {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::AlreadyExists, "try").with_subject(name)),
        }
    }

    async fn content(&self, name: &str) -> Result<Option<Bytes>> {
        let name = format!("{}/{name}", self.folder);
        match self.bucket.describe("try", &name).await? {
            // Each says in its metadata what it holds; some stores keep none.
            Some(object) => Ok(object.writer.map(Bytes::from)),
            None => Err(Error::new(ErrorKind::NotFound, "try").with_subject(name)),
        }
    }
}

/// Whether completing an upload to a name that is taken is refused, and whether a part can be a copy.
async fn try_upload(bucket: &Bucket, name: &str, id: &str) -> Result<(bool, bool)> {
    let (part, copies_parts) = match bucket.copy_part(name, id, 1, name, 0..5).await {
        Ok(part) => (part, true),
        Err(_) => {
            let part = bucket.store.put_part(&bucket.path(name)?, &id.to_owned(), 0, PutPayload::from("third")).await;
            let part = part.map_err(|error| errors::of_store("try", bucket.location(), &error, &Trace::default()))?;
            (part.into(), false)
        }
    };
    let completed = bucket.complete_upload(name, id, &[part], true).await?;
    let refused = match completed {
        Completion::Taken { .. } => true,
        Completion::Done | Completion::Gone => false,
        // Some refuse the condition as such.
        Completion::Conflict | Completion::Refused(_) => false,
        Completion::Unknown(reply) => return Err(errors::of_answer("try", bucket.location(), reply)),
    };
    bucket.abort_upload(name, id).await?;
    Ok((refused, copies_parts))
}

async fn clean_up(bucket: &Bucket, folder: &str, versioned: bool) -> Result<()> {
    let names = PROBED_NAMES.iter().map(|name| format!("{folder}/{name}")).chain([format!("{folder}/name")]);
    let names = names.chain((bucket.options.checksum == S3Checksum::Crc64Nvme).then(|| format!("{folder}/{WRONG}")));
    for answer in join_all(names.map(async |name| bucket.remove(&name, versioned).await)).await {
        answer?;
    }
    Ok(())
}
