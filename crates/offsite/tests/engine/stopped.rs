//! A writer that stops for longer than its lease, at any of its moments, and wakes up when another has done its work: it is fenced, and
//! what it still does hurts nobody.
//!
//! `OFFSITE_STOPS` sets how many real processes are stopped and woken by signals; where it is set, the other test sleeps at every moment
//! and not at some of them.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use offsite::model::Head;
use offsite::retention::Policy;
use offsite::{Error, MergeMethod, OpenRepository, TransformJob, Transforms, Verify};
use offsite_backends::Local;
use offsite_core::format::WireFormat;
use offsite_repository::testing::{Fault, Faulty, Gate, Memory};
use offsite_repository::{Repository, RepositoryExt};
use tokio::runtime::{Builder, Runtime};

use crate::support::drive::poll_times;
use crate::support::objects::{FOREIGN_HOLDER, bytes_of, copies, fork, key, newest_head, stray};
use crate::support::truth::{Truth, causes};
use crate::support::{BLOCK, Machines, Random, day, job, keep, memory_repository, open_memory, scratch};

const JOB: &str = "nightly";

fn transforms(merge: MergeMethod) -> Transforms {
    let policy = Policy::new(keep(3));
    Transforms::keeping(policy).merge(merge).apply_changes_at_once(true)
}

async fn transform(repository: &OpenRepository, merge: MergeMethod, today: i64) -> Result<(), Error> {
    TransformJob::new(repository, job(JOB)).transforms(transforms(merge)).run(day(today)).await.map(drop)
}

/// Points of five days, once merged, with two more to be merged: a fold writes into what the first one freed.
async fn scene() -> (Arc<Memory>, Machines, Truth) {
    let (memory, repository) = memory_repository().await;
    let (mut machines, mut truth) = (Machines::new(crate::support::seed(93)), Truth::default());
    machines.add("web01", &[3 * BLOCK + 777]);
    for number in 0..7 {
        machines.change("web01", 2);
        truth.record(&machines, &["web01"], day(number));
        machines.backup(&repository, &["web01"]).keep(keep(99)).run(day(number)).await.unwrap();
        if number == 4 {
            transform(&repository, MergeMethod::Fold, 4).await.unwrap();
        }
    }
    (memory, machines, truth)
}

/// A head as another host would see it: who holds the lease, it cannot ask the kernel.
fn held_elsewhere(head: &[u8]) -> Vec<u8> {
    let mut head = Head::decode(head).unwrap();
    if let Some(lease) = &mut head.lease {
        lease.holder = FOREIGN_HOLDER.to_owned();
    }
    head.encode().unwrap()
}

/// A runtime of its own stands still whenever it is not driven: its timers, its signs of life, everything.
fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

#[test]
fn a_writer_that_sleeps_at_any_moment_hurts_nobody() {
    let is_exhaustive = std::env::var("OFFSITE_STOPS").is_ok();
    let mut random = Random::new(crate::support::seed(95));
    for merge in [MergeMethod::Adopt, MergeMethod::Fold] {
        let (memory, mut machines, mut truth) = runtime().block_on(scene());
        machines.change("web01", 3);
        for number in 7..11 {
            truth.record(&machines, &["web01"], day(number));
        }
        let (mut polls, mut moments, mut fenced) = (0, 0, 0);
        loop {
            let (sleeper, waking) = (runtime(), runtime());
            let attempt = waking.block_on(fork(&memory));
            let slow = sleeper.block_on(open_memory(&attempt));
            let mut run = Box::pin(transform(&slow, merge, 7));
            if let Some(ended) = sleeper.block_on(poll_times(&mut run, polls)) {
                ended.unwrap();
                break;
            }
            let before = newest_head(&attempt, JOB);
            waking.block_on(async {
                let newest = key(&format!("{JOB}/head/{:020}", before.number));
                let copies = copies(&attempt, JOB).into_iter().filter(|key| key.name().ends_with(".head"));
                for head in copies.chain([newest]) {
                    let bytes = held_elsewhere(&bytes_of(&attempt, &head));
                    assert!(attempt.remove(&head));
                    attempt.put(&head, bytes.into()).await.unwrap();
                }
                let other = open_memory(&attempt).await;
                // Enough for what was let go to be used again.
                for number in 7..9 {
                    machines.backup(&other, &["web01"]).keep(keep(99)).run(day(number)).await.unwrap();
                    transform(&other, merge, number).await.unwrap();
                }
            });
            let taken = newest_head(&attempt, JOB);
            if before.lease.is_some() {
                assert!(taken.sealed_epoch == before.epoch, "{polls}");
                match sleeper.block_on(run) {
                    Err(Error::Fenced { .. }) => fenced += 1,
                    Err(error) => panic!("{merge:?}, {polls}: {}", causes(&error)),
                    Ok(()) => panic!("{merge:?}, {polls}: a fenced writer succeeds"),
                }
                assert!(newest_head(&attempt, JOB) == taken, "{polls}: a fenced writer commits nothing");
            } else {
                // It had not taken the lease yet, and is the later one now.
                let _ = sleeper.block_on(run);
            }
            waking.block_on(async {
                let other = open_memory(&attempt).await;
                let report = Verify::new(&other, job(JOB)).read_data(true).run().await.unwrap();
                assert_eq!(report.damage, [], "{merge:?}, after {polls} polls");
                transform(&other, merge, 10).await.unwrap();
                assert_eq!(truth.check(&other, JOB).await.len(), 3);
                assert_eq!(stray(&attempt, JOB), [""; 0], "{merge:?}, {polls}");
            });
            moments += 1;
            polls += if is_exhaustive { 1 } else { 1 + random.below(3) };
        }
        println!("{merge:?}: slept at {moments} moments, fenced {fenced} times");
        assert!(fenced > 10, "{fenced}");
    }
}

/// Tells this binary to be the writer that is stopped: where, and after how many calls.
const PLACE: &str = "OFFSITE_TEST_PLACE";
const SPARE: &str = "OFFSITE_TEST_SPARE";
const MERGE: &str = "OFFSITE_TEST_MERGE";
/// The shortest lease that there is: so long is a stopped writer watched.
const LEASE: Duration = Duration::from_secs(1);
const STOPS: u64 = 6;

async fn slow_transform(repository: &OpenRepository, merge: MergeMethod) -> Result<(), Error> {
    let run = TransformJob::new(repository, job(JOB)).transforms(transforms(merge)).lease_duration(LEASE);
    run.run(day(7)).await.map(drop)
}

async fn open_folder(path: &Path) -> OpenRepository {
    OpenRepository::open(Arc::new(Local::open(path).await.unwrap())).await.unwrap()
}

/// A writer that says when it has come to a call, and goes on once it is told to: in between it is stopped by a signal.
async fn be_stopped(place: &str) {
    let variable = |name| std::env::var(name).unwrap();
    let merge = if variable(MERGE) == "Fold" { MergeMethod::Fold } else { MergeMethod::Adopt };
    let faulty = Faulty::new(Local::open(place).await.unwrap());
    let gate = Gate::new();
    faulty.inject(Fault::holding(variable(SPARE).parse().unwrap(), &gate));
    let run = async {
        let repository = OpenRepository::open(Arc::new(faulty)).await?;
        slow_transform(&repository, merge).await
    };
    let word = async {
        gate.reached().await;
        println!("held");
        // The whole process waits here, as it does when it is stopped: its signs of life, too.
        std::io::stdin().lock().read_line(&mut String::new()).unwrap();
        gate.release();
    };
    let (ended, ()) = tokio::join!(run, word);
    match ended {
        Ok(()) => println!("done"),
        Err(Error::Fenced { .. }) => println!("fenced"),
        Err(error) => println!("failed: {}", causes(&error)),
    }
}

fn signal(name: &str, pid: u32) {
    assert!(Command::new("kill").arg(name).arg(pid.to_string()).status().unwrap().success(), "kill {name} {pid}");
}

/// Stops a process, and waits until all its threads stand still: one that is in the middle of a system call ends it first.
fn stop_all_of(pid: u32) {
    signal("-STOP", pid);
    let state = |thread: std::io::Result<std::fs::DirEntry>| {
        // A thread that ended meanwhile stands still, too.
        let text = std::fs::read_to_string(thread.unwrap().path().join("stat")).unwrap_or_default();
        text.rsplit(") ").next().and_then(|rest| rest.chars().next()).unwrap_or('T')
    };
    while !std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().all(|thread| state(thread) == 'T') {
        std::thread::yield_now();
    }
}

/// One process that is stopped in the call after `spare` others, while another one takes over. Whether it was fenced.
fn stop(place: PathBuf, machines: &Machines, truth: &Truth, merge: MergeMethod, spare: u64) -> bool {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args(["--exact", "stopped::a_stopped_process_is_fenced", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    child.env(PLACE, &place).env(SPARE, spare.to_string()).env(MERGE, format!("{merge:?}"));
    let mut child = child.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().ends_with("held")), "{merge:?}: it never came to call {spare}");
    stop_all_of(child.id());
    // From now on it would go on, if it could.
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let files = |folder| std::fs::read_dir(place.join(JOB).join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let newest = files("head").max().unwrap();
    let before = Head::decode(&std::fs::read(&newest).unwrap()).unwrap();
    let copies = files("blocks").filter(|path| path.extension().is_some_and(|extension| extension == "head"));
    for head in copies.chain([newest]) {
        let bytes = held_elsewhere(&std::fs::read(&head).unwrap());
        std::fs::write(&head, bytes).unwrap();
    }
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let taken = runtime.block_on(async {
        let other = open_folder(&place).await;
        for number in 7..9 {
            machines.backup(&other, &["web01"]).keep(keep(99)).run(day(number)).await.unwrap();
            transform(&other, merge, number).await.unwrap();
        }
        other
    });
    signal("-CONT", child.id());
    // All of it, as it may not be able to end before.
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert!(child.wait().unwrap().success(), "{rest:?}");
    let last = rest.into_iter().find(|line| ["done", "fenced"].contains(&line.as_str()) || line.contains("failed: "));
    let last = last.unwrap_or_default();
    println!("{merge:?}, stopped after {spare} calls: {last}");
    if before.lease.is_some() {
        assert_eq!(last, "fenced", "{merge:?}, stopped after {spare} calls");
    }
    runtime.block_on(async {
        let report = Verify::new(&taken, job(JOB)).read_data(true).run().await.unwrap();
        assert_eq!(report.damage, [], "{merge:?}, stopped after {spare} calls");
        transform(&taken, merge, 9).await.unwrap();
        assert_eq!(truth.check(&taken, JOB).await.len(), 3);
    });
    last == "fenced"
}

#[test]
fn a_stopped_process_is_fenced() {
    if let Ok(place) = std::env::var(PLACE) {
        return Builder::new_current_thread().enable_all().build().unwrap().block_on(be_stopped(&place));
    }
    let seed = crate::support::seed(94);
    let stops = std::env::var("OFFSITE_STOPS").map_or(STOPS, |text| text.parse().unwrap());
    let mut random = Random::new(seed);
    let (memory, mut machines, mut truth) = runtime().block_on(scene());
    machines.change("web01", 3);
    for number in 7..10 {
        truth.record(&machines, &["web01"], day(number));
    }
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let folder = scratch();
    let copy = |name: String| {
        let place = folder.path().join(name);
        runtime.block_on(async {
            let local = Local::create(&place).await.unwrap();
            for (key, bytes) in memory.contents() {
                local.put(&key, bytes).await.unwrap();
            }
        });
        place
    };
    let mut fenced = 0;
    for round in 0..stops.div_ceil(STOPS) {
        let attempts: Vec<_> = (round * STOPS..stops.min((round + 1) * STOPS))
            .map(|number| {
                let merge = if number % 2 == 0 { MergeMethod::Fold } else { MergeMethod::Adopt };
                // How many calls a whole run has.
                let whole = copy(format!("whole-{number}"));
                let calls = runtime.block_on(async {
                    let faulty = Faulty::new(Local::open(&whole).await.unwrap());
                    let backend: Arc<dyn Repository> = Arc::new(faulty.clone());
                    slow_transform(&OpenRepository::open(backend).await.unwrap(), merge).await.unwrap();
                    faulty.calls()
                });
                std::fs::remove_dir_all(whole).unwrap();
                (copy(format!("stopped-{number}")), merge, random.below(calls as usize) as u64)
            })
            .collect();
        // Side by side, as each waits for a lease to run out.
        fenced += std::thread::scope(|scope| {
            let (machines, truth) = (&machines, &truth);
            let running: Vec<_> = attempts
                .into_iter()
                .map(|(place, merge, spare)| scope.spawn(move || stop(place, machines, truth, merge, spare)))
                .collect();
            running.into_iter().map(|thread| thread.join().unwrap()).filter(|fenced| *fenced).count()
        });
    }
    println!("{fenced} of {stops} stopped writers were fenced");
    assert!(fenced > 0);
}
