//! The backend on a live store, which the environment names: `tests/servers/run` starts some.
//!
//! `OFFSITE_S3_ENDPOINT` and `OFFSITE_S3_BUCKET`, with the key where AWS's tools look for it; `OFFSITE_S3_LOCK_BUCKET` for a
//! bucket with object lock, in which objects stay locked for a minute. Without them these tests say so, and pass.
#![allow(clippy::unwrap_used, reason = "what goes wrong fails the test")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use offsite_backends::{S3, S3CredentialSource, S3Location, S3Options};
use offsite_repository::testing::conformance::{Options, Report, check};
use offsite_repository::{ErrorKind, Key, Piece, Prefix, Repository, RepositoryExt, StreamRange, StreamShare};

/// S3's least length of a part.
const PART_BYTES: u64 = 5 << 20;

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A folder of its own in the bucket that the variable `bucket` names; none if there is no store to test against.
async fn open(bucket: &str) -> Option<S3> {
    let options = options(bucket)?;
    Some(S3::open(options).await.unwrap())
}

fn options(bucket: &str) -> Option<S3Options> {
    let named = variable("OFFSITE_S3_ENDPOINT").zip(variable(bucket));
    let Some((endpoint, bucket)) = named else {
        println!("not run: OFFSITE_S3_ENDPOINT and {bucket} name no live store (see tests/servers/run)");
        return None;
    };
    let mut random = [0; 8];
    getrandom::fill(&mut random).unwrap();
    let location = format!("s3://{bucket}/test-{:016x}", u64::from_le_bytes(random));
    let mut options = S3Options::new(S3Location::parse(&location).unwrap(), S3CredentialSource::standard());
    options.endpoint = Some(endpoint);
    options.part_bytes = PART_BYTES;
    options.streams = StreamShare::alone(StreamRange::fixed(4));
    options.first_pause = Duration::from_millis(20);
    Some(options)
}

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

/// Bytes that look random.
fn noise(seed: u64, length: u64) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let words = usize::try_from(length.div_ceil(8)).unwrap();
    let bytes: Vec<u8> = std::iter::repeat_with(next).take(words).flatten().collect();
    Bytes::from(bytes).slice(..usize::try_from(length).unwrap())
}

/// Whether the server is known to look whether an object is there and only then to write, so that two may win.
fn lets_two_win() -> bool {
    std::env::var_os("OFFSITE_S3_LETS_TWO_WIN").is_some()
}

/// Nothing failed, but for races for one name where the server is known to let two win.
#[track_caller]
fn assert_kept(report: &Report) {
    let is_race = |name: &str| ["create_if_absent", "race_one_name", "large_create_if_absent"].contains(&name);
    let wrong: Vec<_> = report.failed().filter(|case| !(lets_two_win() && is_race(case.name))).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

async fn remove_all(s3: &S3) {
    for object in s3.list_all(&Prefix::root()).await.unwrap() {
        s3.delete(&object.key).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_store_keeps_the_contract() {
    let Some(s3) = open("OFFSITE_S3_BUCKET").await else { return };
    println!("{s3:?}");
    let report = check(Arc::new(s3), &Options::default()).await;
    println!("{report}");
    assert_kept(&report);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_bucket_with_object_lock_keeps_the_contract() {
    let Some(mut options) = options("OFFSITE_S3_LOCK_BUCKET") else { return };
    let s3 = match S3::open(options.clone()).await {
        // Ceph 16 ignores conditions where versions are kept.
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            println!("{error}");
            options.single_writer = true;
            S3::open(options).await.unwrap()
        }
        answer => answer.unwrap(),
    };
    println!("{s3:?}");
    // Where objects cannot be locked, the case says so.
    let report = check(Arc::new(s3), &Options::default().with_retain_secs(60)).await;
    println!("{report}");
    assert_kept(&report);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_objects_race_and_come_back_as_they_were() {
    let Some(s3) = open("OFFSITE_S3_BUCKET").await else { return };
    for round in 0..3 {
        let name = key(&format!("large/{round}"));
        let racers = (0..3_u64).map(|racer| {
            let (s3, name) = (s3.clone(), name.clone());
            // One of them fits into a single request.
            let content = noise(round * 10 + racer, if racer == 0 { 1_000 } else { 2 * PART_BYTES + 4_321 + racer });
            tokio::spawn(async move { (s3.put(&name, content.clone()).await, content) })
        });
        let mut winner = None;
        let mut winners = 0;
        for racer in join_all(racers).await {
            match racer.unwrap() {
                (Ok(()), content) => {
                    winner = Some(content);
                    winners += 1;
                }
                (Err(error), _) => assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error:?}"),
            }
        }
        let content = winner.expect("one of them won");
        if winners > 1 && lets_two_win() {
            println!("{winners} won the name {name}: this server looks, and writes later");
            continue;
        }
        assert_eq!(winners, 1, "the name {name}");
        assert!(s3.get(&name, u64::MAX).await.unwrap() == content, "{name} reads otherwise than written");
        let range = 77..content.len() as u64 - 5;
        assert!(s3.get_range(&name, range.clone()).await.unwrap() == content[77..content.len() - 5]);
    }
    remove_all(&s3).await;
    s3.sweep().await.unwrap();
    match s3.unfinished_uploads().await {
        Ok(left) => assert_eq!(left, []),
        Err(error) => println!("its uploads cannot be listed: {error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_become_objects_without_passing_here() {
    let Some(s3) = open("OFFSITE_S3_BUCKET").await else { return };
    let Some(cloner) = s3.clone_range() else {
        println!("not run: this store copies no parts");
        return;
    };
    let content = noise(5, 3 * PART_BYTES);
    s3.put(&key("source object (1)"), content.clone()).await.unwrap();
    let ranges = [100..2 * PART_BYTES, 7..9, 0..PART_BYTES + 1, 3 * PART_BYTES - 11..3 * PART_BYTES];
    s3.put(&key("odd%2Fname+%"), content.clone()).await.unwrap();
    let mut pieces: Vec<Piece> =
        ranges.iter().map(|range| Piece::new(key("source object (1)"), range.clone())).collect();
    let cut = |range: &std::ops::Range<u64>| {
        content.slice(usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap())
    };
    pieces.push(Piece::new(key("odd%2Fname+%"), 0..PART_BYTES + 1));
    let wanted: Vec<u8> = ranges.iter().chain([&(0..PART_BYTES + 1)]).flat_map(cut).collect();
    cloner.create_from(&key("clone"), &pieces).await.unwrap();
    assert!(s3.get(&key("clone"), u64::MAX).await.unwrap() == wanted, "the clone is not its pieces");
    let again = cloner.create_from(&key("clone"), &pieces).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AlreadyExists);
    remove_all(&s3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_was_dropped_is_ended() {
    let Some(s3) = open("OFFSITE_S3_BUCKET").await else { return };
    let mut writer = s3.create(&key("dropped")).await.unwrap();
    writer.write(vec![noise(6, PART_BYTES + 1)]).await.unwrap();
    match s3.unfinished_uploads().await {
        Ok(uploads) => assert_eq!(uploads, [key("dropped")]),
        Err(error) => {
            println!("its uploads cannot be listed: {error}");
            return;
        }
    }
    drop(writer);
    s3.sweep().await.unwrap();
    assert_eq!(s3.unfinished_uploads().await.unwrap(), []);
    assert_eq!(s3.get(&key("dropped"), 1).await.unwrap_err().kind(), ErrorKind::NotFound);
}
