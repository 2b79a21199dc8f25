//! Every way in which a store's answer to a create is not the truth: what the backend makes of it.
#![allow(clippy::unwrap_used, reason = "what goes wrong fails the test")]

mod support;

use bytes::Bytes;
use offsite_backends::S3;
use offsite_repository::{ErrorKind, Key, Repository, RepositoryExt, Result};
use offsite_s3_server::{Behaviour, Conditions, Effect, Fault, Operation, Server};

/// More than a part.
const LARGE: usize = (5 << 20) + 7;

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

fn small(letter: u8) -> Bytes {
    Bytes::from(vec![letter; 1_000])
}

fn large(letter: u8) -> Bytes {
    Bytes::from(vec![letter; LARGE])
}

fn kind(answer: Result<()>) -> Option<ErrorKind> {
    answer.err().map(|error| error.kind())
}

async fn open(conditions: Conditions) -> (Server, S3) {
    support::open(Behaviour { conditions, ..Behaviour::default() }).await
}

/// A create that won is told so, whatever the answers to its tries were.
#[tokio::test]
async fn a_create_that_was_carried_out_has_won_though_its_answer_was_lost() {
    for effect in [Effect::StatusAfter(500), Effect::StatusAfter(503), Effect::DropAfter] {
        for conditions in [Conditions::Honoured, Conditions::IgnoredOnComplete] {
            for (operation, content) in [(Operation::PutObject, small(1)), (Operation::CompleteUpload, large(1))] {
                let (server, s3) = open(conditions).await;
                server.inject(Fault::once(operation, effect).of("/object"));
                s3.put(&key("object"), content.clone()).await.unwrap_or_else(|error| {
                    panic!("{effect:?} at {operation:?}, {conditions:?}: {error:?}");
                });
                assert!(s3.get(&key("object"), u64::MAX).await.unwrap() == content);
                // Who comes second is told so, also where its own first answer is lost.
                server.inject(Fault::once(operation, effect).of("/object"));
                assert_eq!(kind(s3.put(&key("object"), content.clone()).await), Some(ErrorKind::AlreadyExists));
                assert_eq!(server.uploads(), [""; 0], "{effect:?} at {operation:?}, {conditions:?}");
            }
        }
    }
}

/// 409 means that nothing was stored; object_store reports it as a name that is taken.
#[tokio::test]
async fn a_conflict_is_tried_again_and_never_taken_for_a_name_that_is_taken() {
    let (server, s3) = open(Conditions::Honoured).await;
    server.inject(Fault::once(Operation::PutObject, Effect::StatusBefore(409)).times(2).of("/small"));
    s3.put(&key("small"), small(1)).await.unwrap();
    server.inject(Fault::once(Operation::CompleteUpload, Effect::StatusBefore(409)).times(2).of("/large"));
    s3.put(&key("large"), large(1)).await.unwrap();
    // For ever: nothing is there, and nothing else is said.
    server.inject(Fault::once(Operation::PutObject, Effect::StatusBefore(409)).always().of("/never"));
    assert_eq!(kind(s3.put(&key("never"), small(1)).await), Some(ErrorKind::Unavailable));
    assert_eq!(s3.get(&key("never"), 1).await.unwrap_err().kind(), ErrorKind::NotFound);
}

/// Where it cannot be found out, that is what is said; a head's writer reads back then.
#[tokio::test]
async fn what_cannot_be_known_is_indeterminate() {
    let (server, s3) = open(Conditions::Honoured).await;
    // No try is answered, and nothing is found: it may yet come.
    server.inject(Fault::once(Operation::PutObject, Effect::DropBefore).always().of("/lost"));
    assert_eq!(kind(s3.put(&key("lost"), small(1)).await), Some(ErrorKind::Indeterminate));
    // It is there, and cannot be looked at.
    server.inject(Fault::once(Operation::PutObject, Effect::StatusAfter(500)).of("/hidden"));
    server.inject(Fault::once(Operation::HeadObject, Effect::StatusBefore(500)).always().of("/hidden"));
    assert_eq!(kind(s3.put(&key("hidden"), small(1)).await), Some(ErrorKind::Indeterminate));
    server.heal();
    assert!(s3.get(&key("hidden"), 2_000).await.unwrap() == small(1));
    // A store that forgets who wrote an object.
    let (server, s3) = support::open(Behaviour { forgets_metadata: true, ..Behaviour::default() }).await;
    server.inject(Fault::once(Operation::PutObject, Effect::DropAfter).of("/object"));
    assert_eq!(kind(s3.put(&key("object"), small(1)).await), Some(ErrorKind::Indeterminate));
    assert_eq!(kind(s3.put(&key("object"), small(2)).await), Some(ErrorKind::AlreadyExists));
}

/// An upload whose completion stays unanswered is aborted, and then it is known whether it is there.
#[tokio::test]
async fn an_unanswered_completion_is_settled_by_aborting() {
    let (server, s3) = open(Conditions::Honoured).await;
    server.inject(Fault::once(Operation::CompleteUpload, Effect::DropBefore).always().of("/object"));
    assert_eq!(kind(s3.put(&key("object"), large(1)).await), Some(ErrorKind::Unavailable));
    assert_eq!(server.uploads(), [""; 0]);
    server.heal();
    s3.put(&key("object"), large(2)).await.unwrap();
    // Unless aborting is not answered, either.
    server.inject(Fault::once(Operation::CompleteUpload, Effect::DropBefore).always().of("/other"));
    server.inject(Fault::once(Operation::AbortUpload, Effect::DropBefore).always().of("/other"));
    assert_eq!(kind(s3.put(&key("other"), large(1)).await), Some(ErrorKind::Indeterminate));
}

/// S3 may begin to answer a completion with 200, and find out then.
#[tokio::test]
async fn a_fault_in_a_success_is_no_success() {
    let (server, s3) = open(Conditions::Honoured).await;
    server.inject(Fault::once(Operation::CompleteUpload, Effect::ErrorInSuccessBefore).times(2).of("/object"));
    s3.put(&key("object"), large(1)).await.unwrap();
    assert!(s3.get(&key("object"), u64::MAX).await.unwrap() == large(1));
    server.inject(Fault::once(Operation::CompleteUpload, Effect::ErrorInSuccessBefore).always().of("/never"));
    assert_eq!(kind(s3.put(&key("never"), large(1)).await), Some(ErrorKind::Unavailable));
    assert_eq!(s3.get(&key("never"), 1).await.unwrap_err().kind(), ErrorKind::NotFound);
}

/// The place says no: that is passed on, and nothing is tried again.
#[tokio::test]
async fn refusals_are_told_apart_and_not_repeated() {
    for (status, wanted) in [
        (403, ErrorKind::PermissionDenied),
        (507, ErrorKind::NoSpace),
        (501, ErrorKind::Unsupported),
        (400, ErrorKind::Unavailable),
    ] {
        let (server, s3) = open(Conditions::Honoured).await;
        server.inject(Fault::once(Operation::PutObject, Effect::StatusBefore(status)).always().of("/object"));
        server.reset_counts();
        let answer = kind(s3.put(&key("object"), small(1)).await);
        // 5xx blames the server, so object_store repeats it; it may also have been carried out.
        let repeated = status >= 500;
        assert_eq!(answer, Some(if repeated { ErrorKind::Indeterminate } else { wanted }), "{status}");
        assert_eq!(server.counts().of(Operation::PutObject) > 1, repeated, "{status}");
        server.heal();
        server.inject(Fault::once(Operation::GetObject, Effect::StatusBefore(status)).always().of("/object"));
        assert_eq!(s3.get(&key("object"), 1).await.unwrap_err().kind(), wanted, "{status}");
    }
}

/// Where completing ignores conditions: of a small and a large object of one name, at whatever moment, one wins.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn claims_keep_large_and_small_apart() {
    let (server, s3) = open(Conditions::IgnoredOnComplete).await;
    let mut large_won = 0;
    for round in 0..30 {
        let name = key(&format!("race-{round}"));
        // In the bucket before its finish, so that both finish at about the same time.
        let mut writers = Vec::new();
        for content in [small(1), large(2), large(3)] {
            let mut writer = s3.create(&name).await.unwrap();
            writer.write(vec![content.clone()]).await.unwrap();
            writers.push((writer, content));
        }
        let ended = futures::future::join_all(
            writers.into_iter().map(|(writer, content)| tokio::spawn(async move { (writer.finish().await, content) })),
        )
        .await;
        let mut winners = Vec::new();
        for end in ended {
            match end.unwrap() {
                (Ok(()), content) => winners.push(content),
                (Err(error), _) => assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error:?}"),
            }
        }
        assert_eq!(winners.len(), 1, "round {round}");
        large_won += usize::from(winners[0].len() == LARGE);
        assert!(s3.get(&name, u64::MAX).await.unwrap() == winners[0], "round {round}");
    }
    println!("a large object won {large_won} of 30 races");
    assert_eq!(server.uploads(), [""; 0]);
    let left: Vec<String> = server.names().into_iter().filter(|name| name.contains("/.offsite/")).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A claim whose writer was killed: the name is not taken by what is not there, and a small object still can be.
#[tokio::test]
async fn a_claim_of_a_dead_writer_blocks_no_small_object_and_lies_to_nobody() {
    let (server, s3) = open(Conditions::IgnoredOnComplete).await;
    // Its upload is under way, and its claim is there: it was about to complete.
    let mut writer = s3.create(&key("object")).await.unwrap();
    writer.write(vec![large(1)]).await.unwrap();
    server.overwrite("site a/.offsite/claims/object", "u-nobody\nobject\n");
    assert_eq!(kind(s3.put(&key("object"), large(2)).await), Some(ErrorKind::Unavailable));
    s3.put(&key("object"), small(3)).await.unwrap();
    assert_eq!(kind(writer.finish().await), Some(ErrorKind::AlreadyExists));
    assert!(s3.get(&key("object"), u64::MAX).await.unwrap() == small(3));
}
