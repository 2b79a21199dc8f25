//! Pins of readers on other hosts: one that lives keeps what it reads, one that is dead keeps nothing, and one that slept too long is
//! told so.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use offsite::model::RestorePoint;
use offsite::report::CopyReport;
use offsite::{Error, JobFolder, OpenRepository, Verify};
use offsite_core::format::frame::HEADER_BYTES;
use offsite_repository::testing::{Fault, Faulty, Gate, Memory, MemoryOptions};
use offsite_repository::{ErrorKind, Prefix, RepositoryExt, Verb};
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use crate::support::drive::poll_times;
use crate::support::elsewhere::Elsewhere;
use crate::support::objects::{FOREIGN_HOLDER, Living, fork, key, keys, pin, space, step, stray};
use crate::support::truth::{Truth, causes};
use crate::support::{BLOCK, Machines, copy_job, day, job, keep, memory_repository_with, open_memory, scratch};

const COPY: &str = "Offsite Copy";
/// A reader is silent for so long at most.
const RENEWAL: Duration = Duration::from_secs(15);
const PIN: Duration = Duration::from_secs(60);

type Reading<'a> = Pin<Box<dyn Future<Output = Result<(), Error>> + 'a>>;

/// A copy of three days whose next runs merge, and a source of many days.
struct Scene {
    source: Memory,
    target: Memory,
    truth: Truth,
}

impl Scene {
    async fn new() -> Self {
        let yields = || MemoryOptions::default().with_yields(true);
        let (source, primary) = memory_repository_with(yields()).await;
        let (target, second) = memory_repository_with(yields()).await;
        let (mut machines, mut truth) = (Machines::new(crate::support::seed(61)), Truth::default());
        machines.add("web01", &[3 * BLOCK + 777]);
        for number in 0..3 {
            machines.change("web01", 2);
            truth.record(&machines, &["web01"], day(number));
            machines.backup(&primary, &["web01"]).keep(keep(99)).run(day(number)).await.unwrap();
            copy_job(&primary, &second).transforms(keep(3)).run(day(number)).await.unwrap();
        }
        // For each day to come there is something that the copy has not.
        for number in 3..9 {
            machines.change("web01", 3);
            truth.record(&machines, &["web01"], day(number));
            machines.backup(&primary, &["web01"]).keep(keep(99)).run(day(number)).await.unwrap();
        }
        Self { source: (*source).clone(), target: (*target).clone(), truth }
    }

    async fn fork(&self) -> (OpenRepository, Memory, OpenRepository) {
        let (source, target) = (fork(&self.source).await, fork(&self.target).await);
        let (primary, second) = (open_memory(&source).await, open_memory(&target).await);
        (primary, target, second)
    }

    /// A reader on another host, restoring the oldest point or verifying all.
    async fn reader<'a>(&'a self, target: &Memory, verifies: bool, to: &'a Path) -> (Faulty<Elsewhere>, Reading<'a>) {
        let faulty = Faulty::new(Elsewhere(target.clone()));
        let reader = OpenRepository::open(Arc::new(faulty.clone())).await.unwrap();
        let oldest = oldest(&reader).await;
        let reading: Reading<'a> = if verifies {
            Box::pin(async move {
                let report = Verify::new(&reader, job(COPY)).read_data(true).run().await?;
                assert_eq!(report.damage, [], "what was let go is not damaged");
                Ok(())
            })
        } else {
            Box::pin(async move { self.truth.restore(&reader, COPY, &oldest, "web01", to).await })
        };
        (faulty, reading)
    }
}

async fn oldest(repository: &OpenRepository) -> RestorePoint {
    JobFolder::open(repository, &job(COPY)).await.unwrap().chain().points()[0].clone()
}

/// The state of a day goes into the copy, which keeps three.
async fn copy(primary: &OpenRepository, second: &OpenRepository, number: i64) -> CopyReport {
    copy_job(primary, second)
        .transforms(keep(3))
        .run(day(number))
        .await
        .unwrap_or_else(|error| panic!("{}", causes(&error)))
}

/// Brings a reading to its first block, and holds it there.
async fn hold(faulty: &Faulty<Elsewhere>, reading: &mut Reading<'_>) -> Gate {
    let gate = Gate::new();
    let blocks = Prefix::new(format!("{COPY}/blocks")).unwrap();
    faulty.inject(Fault::holding(0, &gate).on(Verb::Read).below(blocks));
    tokio::select! {
        ended = reading => panic!("it read nothing: {ended:?}"),
        () = gate.reached() => gate,
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_lives_keeps_what_it_reads() {
    let scene = Scene::new().await;
    for loses_an_answer in [false, true] {
        let (primary, target, second) = scene.fork().await;
        let to = scratch();
        let (faulty, mut reading) = scene.reader(&target, false, to.path()).await;
        let gate = hold(&faulty, &mut reading).await;
        if loses_an_answer {
            // Of every second renewal: what was put is not known to be there.
            let pins = Prefix::new(format!("{COPY}/pin")).unwrap();
            for spare in [0, 2, 4, 6] {
                let lost = Fault::after_calls(spare, ErrorKind::Unavailable).on(Verb::Finish).below(pins.clone());
                faulty.inject(lost.losing_the_answer());
            }
        }
        let mut names = std::collections::BTreeSet::new();
        for number in 3..9 {
            let start = Instant::now();
            let report = copy(&primary, &second, number).await;
            let waited = start.elapsed();
            assert_eq!((report.transform.released.bytes, report.transform.operations.len()), (0, 1), "day {number}");
            assert!(report.transform.released.held_bytes > 0, "day {number}");
            assert!(waited <= RENEWAL + Duration::from_secs(3), "day {number}: {waited:?}");
            let now = keys(&target, &format!("{COPY}/pin"));
            assert!(now.len() <= 2, "{now:?}");
            names.extend(now);
        }
        assert!(names.len() > 3, "{names:?}");
        assert_eq!(faulty.failures() > 1, loses_an_answer);
        gate.release();
        reading.await.unwrap_or_else(|error| panic!("{}", causes(&error)));
        assert_eq!(keys(&target, &format!("{COPY}/pin")), [], "given back under all its names");
        let report = copy(&primary, &second, 9).await;
        assert!(report.transform.released.bytes > 0 && report.transform.released.held_bytes == 0);
        assert_eq!(stray(&target, COPY), [""; 0]);
        let (taken, needed) = space(&target, COPY).await;
        assert_eq!(taken, needed);
    }
}

/// A reader that ends while a writer waits for a sign of its life holds nothing any more.
#[tokio::test(start_paused = true)]
async fn a_reader_that_ends_meanwhile_is_not_waited_for() {
    let scene = Scene::new().await;
    let (primary, target, second) = scene.fork().await;
    let to = scratch();
    let (faulty, mut reading) = scene.reader(&target, false, to.path()).await;
    let gate = hold(&faulty, &mut reading).await;
    let ending = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        gate.release();
        reading.await.unwrap();
    };
    let start = Instant::now();
    let (report, ()) = tokio::join!(copy(&primary, &second, 3), ending);
    assert!(start.elapsed() < RENEWAL, "{:?}", start.elapsed());
    assert!(report.transform.released.bytes > 0 && report.transform.released.held_bytes == 0);
}

/// A runtime of its own stands still whenever it is not driven.
fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

/// Two readers: one whose host falls silent at any moment of a renewal, for ever; and nobody waits for it twice.
#[test]
fn a_dead_reader_holds_nothing_after_one_run() {
    let scene = runtime().block_on(Scene::new());
    let mut names_left = std::collections::BTreeSet::new();
    for steps in 0..12 {
        let (dying, other) = (runtime(), runtime());
        let (primary, target, second) = other.block_on(scene.fork());
        let to = scratch();
        let (faulty, mut reading) = dying.block_on(scene.reader(&target, false, to.path()));
        dying.block_on(async {
            hold(&faulty, &mut reading).await;
            tokio::time::advance(RENEWAL).await;
            for _ in 0..steps {
                tokio::task::yield_now().await;
            }
        });
        let left = keys(&target, &format!("{COPY}/pin"));
        names_left.insert(left.len());
        other.block_on(async {
            let start = Instant::now();
            let report = copy(&primary, &second, 3).await;
            let waited = start.elapsed();
            assert!((PIN..PIN + Duration::from_secs(6)).contains(&waited), "{steps} steps: {waited:?}");
            assert_eq!(keys(&target, &format!("{COPY}/pin")), [], "{steps} steps, of {left:?}");
            assert!(report.transform.released.bytes > 0, "{steps} steps: {:?}", report.transform.released);
            assert_eq!(report.transform.released.held_bytes, 0, "{steps} steps");
            assert_eq!(stray(&target, COPY), [""; 0], "{steps} steps");
            let (taken, needed) = space(&target, COPY).await;
            assert_eq!(taken, needed, "{steps} steps");
            let start = Instant::now();
            copy(&primary, &second, 4).await;
            assert!(start.elapsed() < Duration::from_secs(3), "{steps} steps: {:?}", start.elapsed());
        });
        // Its host never comes back.
        drop(reading);
        dying.shutdown_background();
    }
    assert_eq!(names_left.into_iter().collect::<Vec<_>>(), [1, 2], "in the middle of a renewal there are two names");
}

/// Whether what such a reader misses was let go or is damaged, it cannot tell during an outage. Then it tells of the outage.
#[test]
fn a_reader_that_slept_calls_nothing_damaged_when_it_cannot_look() {
    let scene = runtime().block_on(Scene::new());
    for verifies in [false, true] {
        let (sleeping, waking) = (runtime(), runtime());
        let (primary, target, second) = waking.block_on(scene.fork());
        let to = scratch();
        let (faulty, mut reading) = sleeping.block_on(scene.reader(&target, verifies, to.path()));
        let gate = sleeping.block_on(hold(&faulty, &mut reading));
        waking.block_on(async {
            for number in 3..6 {
                copy(&primary, &second, number).await;
            }
        });
        let heads = Prefix::new(format!("{COPY}/head")).unwrap();
        faulty.inject(Fault::after_calls(0, ErrorKind::Unavailable).on(Verb::List).below(heads).for_ever());
        gate.release();
        let error = sleeping.block_on(reading).unwrap_err();
        assert_eq!(error.repository_kind(), Some(ErrorKind::Unavailable), "{}", causes(&error));
    }
}

/// A reader on this host renews its pin just before any call of the run that would release what it reads: between being listed and
/// being read, too, when the name that was listed is gone.
#[tokio::test(start_paused = true)]
async fn a_pin_that_is_renewed_at_any_moment_holds() {
    let scene = Scene::new().await;
    let reader = Living::new();
    let (mut moments, mut is_done) = (0, false);
    while !is_done {
        let (primary, target, second) = scene.fork().await;
        let old = pin(&target, COPY, &reader.holder).await;
        let next = key(&old.as_str().replace("-0000000000", "-0000000001"));
        let mut run = Box::pin(copy(&primary, &second, 3));
        let ended = poll_times(&mut run, moments).await;
        is_done = ended.is_some();
        target.put(&next, target.get(&old, 1 << 10).await.unwrap()).await.unwrap();
        assert!(target.remove(&old));
        let report = match ended {
            Some(report) => report,
            None => run.await,
        };
        let released = report.transform.released;
        assert!(released.bytes == 0 && released.held_bytes > 0, "before call {moments}: {released:?}");
        moments += 1;
    }
    println!("renewed at {moments} moments");
    assert!(moments > 50);
}

/// One of several readers is dead: the other is waited for no longer than it is silent, and both are told apart.
#[tokio::test(start_paused = true)]
async fn a_dead_reader_and_one_that_lives() {
    let scene = Scene::new().await;
    let (primary, target, second) = scene.fork().await;
    let dead = pin(&target, COPY, FOREIGN_HOLDER).await;
    let to = scratch();
    let (faulty, mut reading) = scene.reader(&target, false, to.path()).await;
    let gate = hold(&faulty, &mut reading).await;
    let report = copy(&primary, &second, 3).await;
    assert!(report.transform.released.held_bytes > 0 && report.transform.released.bytes == 0);
    let left = keys(&target, &format!("{COPY}/pin"));
    assert!(!left.contains(&dead) && left.len() == 1, "{left:?}");
    gate.release();
    reading.await.unwrap();
    let report = copy(&primary, &second, 4).await;
    assert!(report.transform.released.held_bytes == 0 && report.transform.released.bytes > 0);
}

/// Readers that sleep at any moment for longer than their pins last: what they deliver is right, or they say that it is no more.
#[test]
fn a_reader_that_sleeps_too_long_is_told() {
    let scene = runtime().block_on(Scene::new());
    let (mut expired, mut moments) = ([0, 0], 0);
    for verifies in [false, true] {
        let mut polls = 0;
        loop {
            let (sleeping, waking) = (runtime(), runtime());
            let (primary, target, second) = waking.block_on(scene.fork());
            let to = scratch();
            let (_, mut reading) = sleeping.block_on(scene.reader(&target, verifies, to.path()));
            let ended = sleeping.block_on(async {
                let ended = poll_times(&mut reading, polls).await;
                // What yielded is woken before all sleep, as nobody wakes it afterwards.
                tokio::task::yield_now().await;
                ended
            });
            if let Some(ended) = ended {
                ended.unwrap();
                break;
            }
            // Every second one has just begun to renew its pin.
            if polls % 2 == 1 {
                sleeping.block_on(async {
                    tokio::time::advance(RENEWAL).await;
                    for _ in 0..polls % 9 {
                        tokio::task::yield_now().await;
                    }
                });
            }
            waking.block_on(async {
                copy(&primary, &second, 3).await;
                let report = copy(&primary, &second, 4).await;
                assert_eq!(report.transform.released.held_bytes, 0, "{polls}");
            });
            match sleeping.block_on(reading) {
                Ok(()) | Err(Error::UnknownPoint { .. }) => {}
                Err(Error::SnapshotExpired { .. }) => expired[usize::from(verifies)] += 1,
                Err(error) => panic!("{polls}, verifies {verifies}: {}", causes(&error)),
            }
            waking.block_on(async {
                copy(&primary, &second, 5).await;
                assert_eq!(keys(&target, &format!("{COPY}/pin")), [], "{polls}");
                scene.truth.check(&second, COPY).await;
            });
            moments += 1;
            polls += 1;
        }
    }
    println!("slept at {moments} moments; told that it is no more: {expired:?}");
    assert!(expired.iter().all(|count| *count > 0), "{expired:?}");
}

/// A renewal that fails is none: the pin keeps its name, and is renewed at the next time.
#[tokio::test(start_paused = true)]
async fn a_pin_whose_renewal_fails_stays_as_it_was() {
    let scene = Scene::new().await;
    let (_, target, _) = scene.fork().await;
    let to = scratch();
    let (faulty, mut reading) = scene.reader(&target, false, to.path()).await;
    let gate = hold(&faulty, &mut reading).await;
    let pins = format!("{COPY}/pin");
    let before = keys(&target, &pins);
    let failing = Fault::after_calls(0, ErrorKind::Unavailable).on(Verb::Create);
    faulty.inject(failing.below(Prefix::new(pins.clone()).unwrap()));
    tokio::time::sleep(RENEWAL + Duration::from_secs(1)).await;
    assert_eq!((faulty.failures(), keys(&target, &pins)), (1, before.clone()));
    tokio::time::sleep(RENEWAL).await;
    let after = keys(&target, &pins);
    assert!(after.len() == 1 && after != before, "{after:?}");
    gate.release();
    reading.await.unwrap();
}

/// Whoever took the reader for dead has let go what it reads: it does not take that back.
#[tokio::test(start_paused = true)]
async fn a_pin_that_was_taken_away_is_not_renewed() {
    let scene = Scene::new().await;
    let (_, target, _) = scene.fork().await;
    let to = scratch();
    let (faulty, mut reading) = scene.reader(&target, false, to.path()).await;
    let _gate = hold(&faulty, &mut reading).await;
    let pins = keys(&target, &format!("{COPY}/pin"));
    assert!(pins.len() == 1 && target.remove(&pins[0]));
    tokio::time::sleep(RENEWAL + Duration::from_secs(1)).await;
    assert_eq!(keys(&target, &format!("{COPY}/pin")), []);
}

/// While its pin holds, what a reader misses was not let go, though the point that it is of is no more.
#[tokio::test(start_paused = true)]
async fn damage_in_a_point_that_is_no_more_is_damage_while_a_pin_holds() {
    let scene = Scene::new().await;
    let (primary, target, second) = scene.fork().await;
    let full = oldest(&second).await;
    let says = step(&target, COPY, &full);
    let (.., at) = says.stored().next().unwrap();
    let file = key(&format!("{COPY}/blocks/{}", at.file));
    assert!(target.corrupt(&file, at.offset + HEADER_BYTES as u64, 1));
    let faulty = Faulty::new(Elsewhere(target.clone()));
    let reader = OpenRepository::open(Arc::new(faulty.clone())).await.unwrap();
    let mut reading: Reading<'_> = Box::pin(async move {
        let report = Verify::new(&reader, job(COPY)).read_data(true).run().await?;
        assert_eq!(report.damage.len(), 1, "{:?}", report.damage);
        Ok(())
    });
    let gate = hold(&faulty, &mut reading).await;
    let report = copy(&primary, &second, 3).await;
    assert!(report.transform.released.held_bytes > 0);
    assert_ne!(oldest(&second).await.sequence, full.sequence);
    gate.release();
    reading.await.unwrap_or_else(|error| panic!("{}", causes(&error)));
}

/// Who holds a pin that cannot be read, and what, nobody knows. It holds everything, until its reader has given no sign of life for as
/// long as a living one may be silent. What has another name is no pin.
#[tokio::test(start_paused = true)]
async fn a_pin_that_cannot_be_read_holds_while_its_reader_may_live() {
    let scene = Scene::new().await;
    let (primary, target, second) = scene.fork().await;
    let nonsense = key(&format!("{COPY}/pin/nonsense"));
    target.put(&nonsense, vec![7; 90].into()).await.unwrap();
    for (number, is_damaged) in [(3, true), (4, false), (5, true)] {
        if is_damaged {
            let damaged = pin(&target, COPY, FOREIGN_HOLDER).await;
            assert!(target.corrupt(&damaged, 70, 1));
        }
        let start = Instant::now();
        let report = copy(&primary, &second, number).await;
        assert_eq!(start.elapsed() >= Duration::from_secs(60), is_damaged, "{:?}", start.elapsed());
        assert!(report.transform.released.bytes > 0 && report.transform.released.held_bytes == 0);
        assert_eq!(keys(&target, &format!("{COPY}/pin")), std::slice::from_ref(&nonsense));
    }
}

/// A store may list for ever what it never finds. A pin that is so is one that cannot be read: who looks for readers comes to an end.
#[tokio::test(start_paused = true)]
async fn a_pin_that_is_listed_and_never_there_is_one_that_cannot_be_read() {
    let scene = Scene::new().await;
    let (primary, target, _) = scene.fork().await;
    pin(&target, COPY, FOREIGN_HOLDER).await;
    let faulty = Faulty::new(target.clone());
    let second = OpenRepository::open(Arc::new(faulty.clone())).await.unwrap();
    let pins = Prefix::new(format!("{COPY}/pin")).unwrap();
    faulty.inject(Fault::after_calls(0, ErrorKind::NotFound).on(Verb::Read).below(pins.clone()).for_ever());
    // A run that looked so often would look for ever.
    faulty.inject(Fault::after_calls(1_000, ErrorKind::Unavailable).on(Verb::List).below(pins).for_ever());
    let start = Instant::now();
    let report = copy(&primary, &second, 3).await;
    assert!(start.elapsed() >= PIN, "{:?}", start.elapsed());
    assert!((2..100).contains(&faulty.failures()), "{}", faulty.failures());
    assert!(report.transform.released.bytes > 0 && report.transform.released.held_bytes == 0);
    assert_eq!(keys(&target, &format!("{COPY}/pin")), []);
}
