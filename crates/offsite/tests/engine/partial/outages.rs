//! A place that cannot be reached for a time: the copy waits, and goes on.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use offsite::report::{MachineOutcome, Note, SyncOutcome};
use offsite::{CopyJob, Error, Progress, RetryPolicy, SyncRequest, Wait};
use offsite_repository::testing::{Fault, Faulty, Memory};
use offsite_repository::{ErrorKind, Verb};
use tokio::time::{Instant, sleep};

use super::{COPY, Scene, is_tidy, outcome};
use crate::checkpoints::every;
use crate::support::objects::{fork, newest_head};
use crate::support::{BLOCK, copy_job, day, memory_repository, open_memory};

const MINUTE: Duration = Duration::from_secs(60);
/// A block that does not shrink, with its header and padding, at most.
const FRAME_BYTES: u64 = BLOCK as u64 + 8192;

/// Whoever waits tells why.
#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Progress for Heard {
    fn wait(&self, wait: &Wait<'_>) {
        self.0.lock().unwrap().push(wait.to_string());
    }
}

/// Two places that can fail, and a copy between them with a checkpoint for each block.
struct Link {
    source: Faulty<Memory>,
    target: Faulty<Memory>,
    memory: Memory,
    copy: CopyJob,
    heard: Arc<Heard>,
}

impl Link {
    async fn new(scene: &Scene) -> Self {
        let (memory, _) = memory_repository().await;
        let memory = (*memory).clone();
        let (source, target) = (Faulty::new(fork(&scene.source).await), Faulty::new(memory.clone()));
        let open =
            async |faulty: &Faulty<Memory>| offsite::OpenRepository::open(Arc::new(faulty.clone())).await.unwrap();
        let heard = Arc::new(Heard::default());
        let copy = copy_job(&open(&source).await, &open(&target).await).checkpoints(every(1));
        let copy = copy.retry(RetryPolicy::default()).progress(heard.clone());
        Self { source, target, memory, copy, heard }
    }

    /// The copy, while `faulty` does not answer for a minute, from a call on.
    async fn copy_through(&self, faulty: &Faulty<Memory>, fault: Fault) -> (Result<SyncOutcome, Error>, bool) {
        let before = faulty.failures();
        faulty.inject(fault);
        let mending = tokio::spawn({
            let faulty = faulty.clone();
            async move {
                while faulty.failures() == before {
                    sleep(Duration::from_millis(10)).await;
                }
                faulty.inject(Fault::after_calls(0, ErrorKind::Unavailable).for_ever());
                sleep(MINUTE).await;
                faulty.heal();
            }
        });
        let synced = self.copy.sync(&SyncRequest::at(day(1))).await;
        let has_failed = faulty.failures() > before;
        mending.abort();
        faulty.heal();
        (synced, has_failed)
    }
}

fn is_whole(synced: &SyncOutcome) -> bool {
    ["db01", "web01"].iter().all(|name| matches!(outcome(synced, name), MachineOutcome::Complete { .. }))
}

async fn all_bytes(scene: &Scene) -> u64 {
    let (_, whole) = memory_repository().await;
    let primary = open_memory(&scene.source).await;
    let synced = copy_job(&primary, &whole).sync(&SyncRequest::at(day(1))).await.unwrap();
    synced.sync.unwrap().tally.source.bytes_read
}

/// An outage of a minute at any call of the source: the copy does not fail, and reads no byte twice.
#[tokio::test(start_paused = true)]
async fn a_source_that_is_away_for_a_minute_costs_no_byte_twice() {
    let scene = Scene::new().await;
    let all = all_bytes(&scene).await;
    let (mut calls, mut waited) = (0, 0);
    loop {
        let link = Link::new(&scene).await;
        let fault = Fault::after_calls(calls, ErrorKind::Unavailable).for_ever();
        let (synced, has_failed) = link.copy_through(&link.source, fault).await;
        // The pins that the end of the copy removes are no reason to wait, and none to fail.
        let synced = match synced {
            Err(error) if newest_head(&link.memory, COPY).lease.is_none() => {
                assert!(error.is_retryable(), "{calls}: {error}");
                calls += 1;
                continue;
            }
            synced => synced.unwrap(),
        };
        assert!(is_whole(&synced), "{calls}: {synced:?}");
        let sync = synced.sync.unwrap();
        assert_eq!(sync.tally.source.bytes_read, all, "{calls}");
        assert!(sync.tally.kept_to_plan(), "{calls}: {:?}", sync.tally);
        let note = synced.notes.iter().find(|note| matches!(note, Note::Outages { .. }));
        if let Some(Note::Outages { outages, waited_secs }) = note {
            assert!(*outages == 1 && (55..100).contains(waited_secs), "{calls}: {note:?}");
            let heard = link.heard.0.lock().unwrap();
            assert!(
                heard[0].starts_with("job Offsite Copy waits ") && heard[0].contains("fails on purpose"),
                "{heard:?}"
            );
            waited += 1;
        }
        scene.truth.check(&open_memory(&link.memory).await, COPY).await;
        is_tidy(&link.memory, COPY).await;
        if !has_failed {
            break;
        }
        calls += 1;
    }
    assert!(waited > 12 && calls > waited, "{waited} of {calls}");
}

/// The same of the target, whose calls may also be carried out and not answered. What is lost is what no checkpoint has committed: two legs,
/// the block in hand, and the one that was on its way.
#[tokio::test(start_paused = true)]
async fn a_target_that_is_away_for_a_minute_costs_two_legs_at_most() {
    let scene = Scene::new().await;
    let all = all_bytes(&scene).await;
    for lost_answer in [false, true] {
        let (mut calls, mut waited) = (0, 0);
        loop {
            let link = Link::new(&scene).await;
            let fault = match lost_answer {
                false => Fault::after_calls(calls, ErrorKind::Unavailable).for_ever(),
                true => Fault::after_calls(calls, ErrorKind::Indeterminate).losing_the_answer(),
            };
            let (synced, has_failed) = link.copy_through(&link.target, fault).await;
            let synced = synced.unwrap_or_else(|error| panic!("{calls}, {lost_answer}: {error}"));
            assert!(is_whole(&synced), "{calls}: {synced:?}");
            let sync = synced.sync.unwrap();
            assert!(sync.tally.source.bytes_read <= all + 4 * FRAME_BYTES, "{calls}: {:?}", sync.tally);
            waited += usize::from(synced.notes.iter().any(|note| matches!(note, Note::Outages { .. })));
            let second = open_memory(&link.memory).await;
            scene.truth.check(&second, COPY).await;
            // What an unanswered call has stored goes with the next run.
            copy_job(&scene.primary, &second).transform(day(1), 1).await.unwrap();
            is_tidy(&link.memory, COPY).await;
            assert_eq!(newest_head(&link.memory, COPY).chain.points().len(), 1);
            if !has_failed {
                break;
            }
            calls += 1;
        }
        assert!(waited > 60, "{waited} of {calls}");
    }
}

/// What arrived before is kept, and the error is that of the outage.
#[tokio::test(start_paused = true)]
async fn an_outage_beyond_the_deadline_ends_the_copy() {
    let scene = Scene::new().await;
    let link = Link::new(&scene).await;
    link.source.inject(Fault::after_calls(3, ErrorKind::Unavailable).on(Verb::Read).for_ever().below(blocks()));
    let start = Instant::now();
    let error = link.copy.sync(&SyncRequest::at(day(1))).await.unwrap_err();
    assert_eq!(error.repository_kind(), Some(ErrorKind::Unavailable), "{error}");
    let passed = start.elapsed();
    assert!(passed >= 9 * MINUTE && passed < 11 * MINUTE, "{passed:?}");
    assert_eq!(newest_head(&link.memory, COPY).lease, None);
    link.source.heal();
    let synced = link.copy.sync(&SyncRequest::at(day(1))).await.unwrap();
    assert!(synced.sync.unwrap().tally.source.bytes_read < all_bytes(&scene).await);
    scene.truth.check(&open_memory(&link.memory).await, COPY).await;
}

/// A link that comes and goes: each time it is there, it brings something, and nothing comes twice.
#[tokio::test(start_paused = true)]
async fn a_link_that_comes_and_goes_brings_everything_once() {
    let scene = Scene::new().await;
    let link = Link::new(&scene).await;
    let all = all_bytes(&scene).await;
    let flapping = tokio::spawn({
        let source = link.source.clone();
        async move {
            loop {
                source.inject(Fault::delaying(0, Duration::from_secs(4)).on(Verb::Read).below(blocks()).for_ever());
                sleep(Duration::from_secs(10)).await;
                source.heal();
                source.inject(Fault::after_calls(0, ErrorKind::Unavailable).for_ever());
                sleep(Duration::from_secs(20)).await;
                source.heal();
            }
        }
    });
    let synced = link.copy.sync(&SyncRequest::at(day(1))).await.unwrap();
    flapping.abort();
    assert!(is_whole(&synced), "{synced:?}");
    let outages = synced.notes.iter().find_map(|note| match note {
        Note::Outages { outages, .. } => Some(*outages),
        _ => None,
    });
    assert!(outages.is_some_and(|outages| outages >= 2), "{:?}", synced.notes);
    assert_eq!(synced.sync.unwrap().tally.source.bytes_read, all);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_pass_by_itself_is_not_waited_for() {
    let scene = Scene::new().await;
    for kind in [ErrorKind::PermissionDenied, ErrorKind::NoSpace, ErrorKind::MediaAbsent] {
        let link = Link::new(&scene).await;
        link.target.inject(Fault::after_calls(0, kind).on(Verb::Write).below(blocks_of(COPY)).for_ever());
        let start = Instant::now();
        let error = link.copy.sync(&SyncRequest::at(day(1))).await.unwrap_err();
        assert_eq!((error.repository_kind(), start.elapsed()), (Some(kind), Duration::ZERO), "{error}");
        assert_eq!(*link.heard.0.lock().unwrap(), [""; 0]);
    }
}

fn blocks() -> offsite_repository::Prefix {
    blocks_of("nightly")
}

fn blocks_of(job: &str) -> offsite_repository::Prefix {
    offsite_repository::Prefix::new(format!("{job}/blocks")).unwrap()
}
