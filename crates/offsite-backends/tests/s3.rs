//! What the conformance suite does not see: the probe, uploads and their end, reads, secrets.
#![allow(clippy::unwrap_used, reason = "what goes wrong fails the test")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use offsite_backends::{S3, S3Checksum, S3CredentialProvider, S3CredentialSource, S3Credentials, S3Location};
use offsite_repository::{Endpoint, ErrorKind, Key, Piece, Prefix, ReadRequest, Repository, RepositoryExt};
use offsite_s3_server::{
    BUCKET, Behaviour, Conditions, Effect, Fault, Operation, READER_KEY_ID, SECRET_ACCESS_KEY, Server,
};

const PART_BYTES: usize = 5 << 20;

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

/// Bytes of which no two pieces are alike.
fn content(length: usize) -> Bytes {
    (0..length as u64 / 8 + 1)
        .flat_map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
        .take(length)
        .collect()
}

async fn plain() -> (Server, S3) {
    support::open(Behaviour::default()).await
}

/// The address behind the endpoint's name, once it has answered.
#[tokio::test]
async fn a_bucket_is_at_the_address_that_answers() {
    let server = Server::start().await;
    let mut options = support::options(&server, "");
    options.endpoint = Some(server.endpoint().replace("127.0.0.1", "localhost"));
    let s3 = S3::open(options).await.unwrap();
    s3.put(&key("object"), content(10)).await.unwrap();
    assert_eq!(s3.endpoint(), Endpoint::Address([127, 0, 0, 1].into()));
}

#[tokio::test]
async fn stores_that_ignore_conditions_are_refused_but_for_a_single_writer() {
    let server = Server::start_with(Behaviour { conditions: Conditions::Ignored, ..Behaviour::default() }).await;
    let error = S3::open(support::options(&server, "")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    for word in ["ignores conditions", "If-None-Match", "single_writer"] {
        assert!(error.to_string().contains(word), "{error}");
    }
    assert_eq!(server.names(), [""; 0], "the refused probe left something");
    let mut options = support::options(&server, "");
    options.single_writer = true;
    let s3 = S3::open(options.clone()).await.unwrap();
    assert!(!s3.keeps_writers_apart());
    s3.put(&key("object"), content(10)).await.unwrap();
    assert_eq!(s3.put(&key("object"), content(11)).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
    // Where the store keeps writers apart by itself, the option gives nothing away.
    server.set_conditions(Conditions::Honoured);
    assert!(S3::open(options).await.unwrap().keeps_writers_apart());
}

/// A store that looks first and writes then, as s3s-fs: found out by racing, not by asking twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_store_that_looks_before_it_writes_is_found_out_by_the_race() {
    let behaviour = Behaviour { conditions: Conditions::LookedAtEarly, ..Behaviour::default() };
    let mut refused = 0;
    for _ in 0..10 {
        let server = Server::start_with(behaviour.clone()).await;
        // So that all look before any of them writes.
        server.set_latency_millis(5);
        refused += usize::from(S3::open(support::options(&server, "")).await.is_err());
    }
    println!("{refused} of 10 probes found it out");
    assert!(refused > 0);
}

#[tokio::test]
async fn a_key_that_may_only_read_opens_for_reading() {
    let (server, s3) = plain().await;
    s3.put(&key("object"), content(10)).await.unwrap();
    let mut options = support::options(&server, "site a");
    options.credentials = std::sync::Arc::new(S3Credentials::new(READER_KEY_ID, SECRET_ACCESS_KEY));
    let reader = S3::open(options).await.unwrap();
    assert_eq!(reader.get(&key("object"), 10).await.unwrap(), content(10));
    let error = reader.put(&key("other"), content(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    assert_eq!(reader.delete(&key("object")).await.unwrap_err().kind(), ErrorKind::PermissionDenied);
}

#[tokio::test]
async fn what_is_not_there_is_said_on_opening() {
    let server = Server::start().await;
    let mut options = support::options(&server, "");
    options.location = S3Location::parse("s3://no-such-bucket").unwrap();
    let error = S3::open(options.clone()).await.unwrap_err();
    assert!(error.kind() == ErrorKind::NotFound && error.to_string().contains("no such bucket"), "{error}");
    options.endpoint = Some("http://127.0.0.1:1".to_owned());
    options.retries = 1;
    assert_eq!(S3::open(options).await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn parts_are_uploaded_at_once_and_no_more_than_allowed() {
    let (server, s3) = plain().await;
    server.set_latency_millis(20);
    let whole = content(11 * PART_BYTES + 3);
    server.reset_counts();
    let mut writers = Vec::new();
    for name in ["one", "two"] {
        let (s3, whole) = (s3.clone(), whole.clone());
        writers.push(tokio::spawn(async move { s3.put(&key(name), whole).await }));
    }
    for writer in writers {
        writer.await.unwrap().unwrap();
    }
    let counts = server.counts();
    assert_eq!(counts.of(Operation::UploadPart), 24);
    assert_eq!((counts.of(Operation::CreateUpload), counts.of(Operation::CompleteUpload)), (2, 2));
    assert_eq!(counts.parts_in_flight_max, 4, "as many as allowed, of both writers together");
    server.set_latency_millis(0);
    assert!(s3.get(&key("two"), u64::MAX).await.unwrap() == whole);
    assert_eq!(s3.list_all(&Prefix::root()).await.unwrap().len(), 2, "records are not listed");
    assert!(!server.names().iter().any(|name| name.contains("/.offsite/")), "{:?}", server.names());
}

#[tokio::test]
async fn a_crc_takes_the_place_of_the_hash_where_the_store_checks_it() {
    let server = Server::start().await;
    let mut options = support::options(&server, "site a");
    options.checksum = S3Checksum::Crc64Nvme;
    let s3 = S3::open(options.clone()).await.unwrap();
    assert_eq!(server.names(), [""; 0], "the probe left something");
    for length in [0, 1, PART_BYTES, 2 * PART_BYTES + 3] {
        let (key, whole) = (key(&format!("of-{length}")), content(length));
        s3.put(&key, whole.clone()).await.unwrap();
        assert!(s3.get(&key, u64::MAX).await.unwrap() == whole, "{length} bytes");
    }
    // A store that takes a wrong one.
    server.inject(Fault::once(Operation::PutObject, Effect::StatusBefore(204)).of("/wrong"));
    let error = S3::open(options).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Unsupported && error.to_string().contains("does not check"), "{error}");
}

#[tokio::test]
async fn an_object_has_its_limit() {
    let (server, s3) = plain().await;
    assert_eq!(s3.limits().object_bytes_max, 10_000 * (5 << 20));
    let mut options = support::options(&server, "");
    for part_bytes in [0, (5 << 20) - 1, (1 << 30) + 1] {
        options.part_bytes = part_bytes;
        assert_eq!(S3::open(options.clone()).await.unwrap_err().kind(), ErrorKind::Unsupported);
    }
}

#[tokio::test]
async fn a_part_that_fails_for_good_fails_the_object_and_leaves_nothing() {
    let (server, s3) = plain().await;
    server.inject(Fault::once(Operation::UploadPart, Effect::StatusBefore(403)).always().after(1));
    let error = s3.put(&key("object"), content(3 * PART_BYTES)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
    s3.sweep().await.unwrap();
    assert_eq!(server.uploads(), [""; 0]);
    // An upload that is gone is no missing object.
    server.heal();
    server.inject(Fault::once(Operation::UploadPart, Effect::StatusBefore(404)).always());
    let error = s3.put(&key("object"), content(3 * PART_BYTES)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
}

/// Dead writers' uploads end; those of writers at work, of other programs, and finished objects stay.
#[tokio::test]
async fn a_later_run_ends_abandoned_uploads_and_spares_writers_at_work() {
    let (server, s3) = plain().await;
    let hour = 3_600;
    let mut dead = s3.create(&key("dead")).await.unwrap();
    dead.write(vec![content(2 * PART_BYTES)]).await.unwrap();
    // Killed: it gives no sign of life any more, and nothing of it is run.
    std::mem::forget(dead);
    drop(s3);
    wait_for_record(&server, 1).await;
    // Another program's, in the same folder.
    let foreign = S3::open(support::options(&server, "site a/tool")).await.unwrap();
    let mut other = foreign.create(&key("foreign")).await.unwrap();
    other.write(vec![content(2 * PART_BYTES)]).await.unwrap();
    let later = S3::open(support::options(&server, "site a")).await.unwrap();
    later.sweep().await.unwrap();
    assert_eq!(sorted(server.uploads()), ["site a/dead", "site a/tool/foreign"], "both are young");
    server.put_clock_forward(3 * hour);
    // Begun just now by the server's clock.
    let mut working = later.create(&key("working")).await.unwrap();
    working.write(vec![content(2 * PART_BYTES)]).await.unwrap();
    wait_for_record(&server, 3).await;
    later.sweep().await.unwrap();
    assert_eq!(sorted(server.uploads()), ["site a/tool/foreign", "site a/working"]);
    working.finish().await.unwrap();
    assert_eq!(later.get(&key("working"), u64::MAX).await.unwrap().len(), 2 * PART_BYTES);
    later.sweep().await.unwrap();
    assert!(!server.names().iter().any(|name| name.starts_with("site a/.offsite/")), "{:?}", server.names());
    // One that was suspended for longer learns that its upload is gone.
    server.put_clock_forward(3 * hour);
    foreign.sweep().await.unwrap();
    assert_eq!(other.finish().await.unwrap_err().kind(), ErrorKind::Unavailable);
}

/// The record is written beside the first part.
async fn wait_for_record(server: &Server, count: usize) {
    while server.names().iter().filter(|name| name.contains("/.offsite/uploads/")).count() < count {
        tokio::task::yield_now().await;
    }
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

/// A writer at work gives signs of life, by the task beside it.
#[tokio::test]
async fn signs_of_life_are_renewed() {
    let server = Server::start().await;
    let mut options = support::options(&server, "");
    options.abandoned_after = Duration::from_millis(40);
    let s3 = S3::open(options).await.unwrap();
    let mut writer = s3.create(&key("object")).await.unwrap();
    writer.write(vec![content(PART_BYTES + 1)]).await.unwrap();
    server.reset_counts();
    while server.counts().of(Operation::PutObject) < 3 {
        tokio::task::yield_now().await;
    }
    writer.abort().await.unwrap();
    assert_eq!((server.uploads(), server.names()), (vec![], vec![]));
}

#[tokio::test]
async fn ranges_are_read_by_few_requests() {
    let (server, s3) = plain().await;
    let whole = content(4 << 20);
    s3.put(&key("object"), whole.clone()).await.unwrap();
    let read = async |ranges: &[std::ops::Range<u64>]| {
        server.reset_counts();
        let buffers = s3.read(&key("object"), ReadRequest::Ranges(ranges)).await.unwrap();
        for (range, buffer) in ranges.iter().zip(&buffers) {
            assert!(buffer[..] == whole[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()]);
        }
        let counts = server.counts();
        (counts.of(Operation::GetObject), counts.of(Operation::HeadObject))
    };
    let neighbours: Vec<_> = (0..100).map(|number| number * 2_000..number * 2_000 + 1_500).collect();
    assert_eq!(read(&neighbours).await, (1, 0), "close to each other");
    assert_eq!(read(&[3 << 20..(3 << 20) + 1, 0..10]).await, (2, 0), "far from each other");
    assert_eq!(read(std::slice::from_ref(&(5..5))).await, (0, 1), "nothing, of an object that must be there");
    let big = content(20 << 20);
    s3.put(&key("big"), big.clone()).await.unwrap();
    server.reset_counts();
    let found = s3.get_range(&key("big"), 1..20 << 20).await.unwrap();
    assert!(found == big[1..]);
    assert_eq!(server.counts().of(Operation::GetObject), 3, "8 MiB each");
}

#[tokio::test]
async fn bodies_that_break_are_read_on_and_those_that_are_cut_are_refused() {
    let (server, s3) = plain().await;
    let whole = content(300_000);
    s3.put(&key("object"), whole.clone()).await.unwrap();
    for effect in [Effect::Truncate(100_000), Effect::Truncate(0), Effect::Pieces(1_000), Effect::StatusBefore(503)] {
        server.inject(Fault::once(Operation::GetObject, effect).times(2));
        assert!(s3.get(&key("object"), u64::MAX).await.unwrap() == whole, "{effect:?}");
        server.inject(Fault::once(Operation::GetObject, effect));
        assert!(s3.get_range(&key("object"), 10..250_000).await.unwrap() == whole[10..250_000], "{effect:?}");
    }
    // Without a length and cut off, nothing but the count of bytes tells.
    server.inject(Fault::once(Operation::GetObject, Effect::Shorten(1_000)).always());
    assert!(s3.get_range(&key("object"), 10..250_000).await.is_err());
    server.heal();
    // For ever.
    server.inject(Fault::once(Operation::GetObject, Effect::Truncate(1)).always());
    assert_eq!(s3.get(&key("object"), u64::MAX).await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn content_that_was_changed_in_the_store_is_damage() {
    let (server, s3) = plain().await;
    s3.put(&key("object"), content(1_000)).await.unwrap();
    assert_eq!(server.metadata("site a/object", "offsite-crc64nvme").map(|sum| sum.len()), Some(16));
    server.overwrite("site a/object", content(1_001).slice(1..));
    assert_eq!(s3.get(&key("object"), 2_000).await.unwrap_err().kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn large_ranges_are_cloned_without_passing_here() {
    let (server, s3) = plain().await;
    let whole = content(4 * PART_BYTES);
    s3.put(&key("source # (1)"), whole.clone()).await.unwrap();
    let ranges = [1_000..3 * PART_BYTES as u64, 10..20, 0..PART_BYTES as u64];
    let pieces: Vec<Piece> = ranges.iter().map(|range| Piece::new(key("source # (1)"), range.clone())).collect();
    server.reset_counts();
    s3.clone_range().unwrap().create_from(&key("clone"), &pieces).await.unwrap();
    let counts = server.counts();
    assert_eq!(counts.of(Operation::CopyPart), 1);
    assert!(counts.bytes_in < 2 * PART_BYTES as u64, "{} bytes passed through here", counts.bytes_in);
    let wanted: Vec<u8> = ranges
        .iter()
        .flat_map(|range| whole[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()].to_vec())
        .collect();
    assert!(s3.get(&key("clone"), u64::MAX).await.unwrap() == wanted);
}

#[tokio::test]
async fn what_is_deleted_where_versions_are_kept_is_deleted_for_good() {
    let (server, s3) = support::open(Behaviour { locks: true, ..Behaviour::default() }).await;
    s3.put(&key("object"), content(10)).await.unwrap();
    server.overwrite("site a/object", content(20));
    assert_eq!(server.versions("site a/object"), 2);
    s3.delete(&key("object")).await.unwrap();
    assert_eq!(server.versions("site a/object"), 0);
}

#[tokio::test]
async fn foreign_objects_are_not_listed_and_do_not_end_a_listing() {
    let (server, s3) = plain().await;
    for number in 0..30 {
        server.overwrite(&format!("site a/b/.hidden {number}"), "x");
    }
    server.overwrite("site a/b/con", "x");
    server.overwrite("site ab", "x");
    s3.put(&key("a"), content(1)).await.unwrap();
    s3.put(&key("b/z"), content(2)).await.unwrap();
    let mut after = None;
    let mut found = Vec::new();
    loop {
        let page = s3.list(&Prefix::root(), after.as_ref(), 1).await.unwrap();
        found.extend(page.objects.iter().map(|object| object.key.to_string()));
        after = page.objects.last().map(|object| object.key.clone());
        if !page.more {
            break;
        }
    }
    assert_eq!(found, ["a", "b/z"]);
}

/// A provider of a user's own: a key that comes from elsewhere, and may be taken back.
#[derive(Debug, Default)]
struct Vault {
    asked: AtomicU32,
    is_locked: AtomicBool,
}

#[async_trait]
impl S3CredentialProvider for Vault {
    async fn credentials(&self) -> offsite_repository::Result<S3Credentials> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.is_locked.load(Ordering::Relaxed) {
            let error = offsite_repository::Error::new(ErrorKind::PermissionDenied, "sign a request");
            return Err(error.with_detail("the vault is locked"));
        }
        Ok(support::credentials())
    }
}

#[tokio::test]
async fn a_provider_of_ones_own_is_asked_for_each_request() {
    let server = Server::start_with(Behaviour::default()).await;
    let vault = Arc::new(Vault::default());
    let mut options = support::options(&server, "vault");
    options.credentials = vault.clone();
    let s3 = S3::open(options).await.unwrap();
    s3.put(&key("a"), content(10)).await.unwrap();
    let asked = vault.asked.load(Ordering::Relaxed);
    assert_eq!(s3.get(&key("a"), 10).await.unwrap(), content(10));
    assert!(vault.asked.load(Ordering::Relaxed) > asked);
    vault.is_locked.store(true, Ordering::Relaxed);
    let piece = Piece::new(key("a"), 0..10);
    let refused = [
        s3.put(&key("b"), content(10)).await.unwrap_err(),
        s3.get(&key("a"), 10).await.unwrap_err(),
        s3.list_all(&Prefix::root()).await.unwrap_err(),
        s3.delete(&key("a")).await.unwrap_err(),
        // Signed by ourselves.
        s3.clone_range().unwrap().create_from(&key("c"), &[piece]).await.unwrap_err(),
    ];
    for error in refused {
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
        assert!(format!("{error:?}").contains("the vault is locked"), "{error:?}");
    }
    vault.is_locked.store(false, Ordering::Relaxed);
    assert_eq!(s3.get(&key("a"), 10).await.unwrap(), content(10), "what was refused was not done");
    assert_eq!(s3.get(&key("b"), 10).await.unwrap_err().kind(), ErrorKind::NotFound);
}

/// Neither what is printed for debugging, nor any error, nor the location has a word of a key.
#[tokio::test]
async fn secrets_are_in_no_text() {
    const CANARIES: [&str; 2] = [SECRET_ACCESS_KEY, "canary-of-a-session"];
    let mut texts = Vec::new();
    let with_token = support::credentials().with_session_token(CANARIES[1].to_owned());
    let (server, s3) = plain().await;
    let mut options = support::options(&server, "site a");
    texts.push(format!("{with_token:?} {:?} {options:?} {s3:?} {}", S3CredentialSource::standard(), s3.location()));
    // With a token the server does not know the signature: its answer has what was signed.
    options.credentials = std::sync::Arc::new(with_token);
    options.retries = 0;
    let errors = |error: offsite_repository::Error| {
        let mut text = format!("{error} {error:?}");
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text.push_str(&format!(" {cause} {cause:?}"));
            source = cause.source();
        }
        text
    };
    if let Err(error) = S3::open(options.clone()).await {
        texts.push(errors(error));
    }
    let mut quick = support::options(&server, "site a");
    quick.retries = 0;
    let s3 = S3::open(quick).await.unwrap();
    let mut writer = s3.create(&key("upload")).await.unwrap();
    writer.write(vec![content(PART_BYTES + 1)]).await.unwrap();
    for effect in [Effect::StatusBefore(403), Effect::StatusBefore(500), Effect::StatusBefore(400), Effect::DropBefore]
    {
        for operation in [
            Operation::PutObject,
            Operation::GetObject,
            Operation::HeadObject,
            Operation::DeleteObject,
            Operation::ListObjects,
            Operation::CreateUpload,
            Operation::UploadPart,
            Operation::CompleteUpload,
            Operation::AbortUpload,
            Operation::ListUploads,
        ] {
            server.inject(Fault::once(operation, effect).always());
        }
        let piece = Piece::new(key("x"), 0..1);
        texts.extend(
            [
                s3.put(&key("x"), content(1)).await.map_err(errors).err(),
                s3.put(&key("x"), content(2 * PART_BYTES)).await.map_err(errors).err(),
                s3.get(&key("x"), 1).await.map_err(errors).err(),
                s3.get_range(&key("x"), 0..1).await.map_err(errors).err(),
                s3.list_all(&Prefix::root()).await.map_err(errors).err(),
                s3.delete(&key("x")).await.map_err(errors).err(),
                s3.unfinished_uploads().await.map_err(errors).err(),
                s3.clone_range().unwrap().create_from(&key("y"), &[piece]).await.map_err(errors).err(),
            ]
            .into_iter()
            .map(|text| text.expect("each of them fails")),
        );
        server.heal();
    }
    server.inject(Fault::once(Operation::AbortUpload, Effect::StatusBefore(403)));
    texts.push(errors(writer.abort().await.unwrap_err()));
    for text in &texts {
        for canary in CANARIES {
            assert!(!text.contains(canary), "{text}");
        }
        assert!(!text.contains("X-Amz-Signature"), "{text}");
    }
    assert!(texts.len() > 30 && texts[0].contains(BUCKET));
}
