//! Every call to a repository fails once, in every way; and from every call on, all fail.
//!
//! A run then ends with a typed error or succeeds; what is committed restores to the byte, and the next run succeeds without
//! repair and leaves nothing lying about.

use std::sync::Arc;

use offsite::model::Timestamp;
use offsite::{CopyJob, Error, OpenRepository, Restore, Verify};
use offsite_repository::ErrorKind::{Indeterminate, NoSpace, PermissionDenied, Unavailable};
use offsite_repository::testing::{Fault, Faulty, Memory};
use offsite_repository::{Prefix, Verb};

use crate::support::objects::{fork, stray};
use crate::support::truth::{Truth, causes};
use crate::support::{BLOCK, Machines, copy_job, day, job, keep, machine, memory_repository, open_memory};

const COPY: &str = "Offsite Copy";

/// A source and its copy, one day behind; tomorrow both merge and release.
struct Scene {
    source: Memory,
    target: Memory,
    machines: Machines,
    truth: Truth,
}

/// The repositories of one try.
struct Try {
    source: Memory,
    target: Memory,
    faulty_source: Faulty<Memory>,
    faulty_target: Faulty<Memory>,
}

impl Scene {
    async fn new() -> Self {
        let (source, primary) = memory_repository().await;
        let (target, second) = memory_repository().await;
        let (mut machines, mut truth) = (Machines::new(51), Truth::default());
        machines.add("web01", &[2 * BLOCK + 777]);
        for number in 0..4 {
            machines.change("web01", 2);
            truth.record(&machines, &["web01"], day(number));
            machines.backup(&primary, &["web01"]).keep(keep(3)).run(day(number)).await.unwrap();
            if number < 3 {
                copy_job(&primary, &second).transforms(keep(3)).run(day(number)).await.unwrap();
            }
        }
        machines.change("web01", 2);
        truth.record(&machines, &["web01"], day(4));
        truth.record(&machines, &["web01"], day(5));
        Self { source: (*source).clone(), target: (*target).clone(), machines, truth }
    }

    async fn fork(&self) -> Try {
        let (source, target) = (fork(&self.source).await, fork(&self.target).await);
        let (faulty_source, faulty_target) = (Faulty::new(source.clone()), Faulty::new(target.clone()));
        Try { source, target, faulty_source, faulty_target }
    }

    async fn backup(&self, primary: &OpenRepository, now: Timestamp) -> Result<(), Error> {
        self.machines.backup(primary, &["web01"]).keep(keep(3)).run(now).await.map(drop)
    }

    fn copy(primary: &OpenRepository, second: &OpenRepository) -> CopyJob {
        copy_job(primary, second).transforms(keep(3))
    }

    async fn recovers(&self, source: &Memory, target: &Memory) {
        let (primary, second) = (open_memory(source).await, open_memory(target).await);
        self.truth.check(&primary, "nightly").await;
        self.truth.check(&second, COPY).await;
        self.backup(&primary, day(5)).await.unwrap();
        let report = Self::copy(&primary, &second).run(day(5)).await.unwrap();
        assert_eq!(report.transform.released.held_bytes, 0);
        assert_eq!(self.truth.check(&primary, "nightly").await.len(), 3);
        assert_eq!(self.truth.check(&second, COPY).await.len(), 3);
        assert_eq!(stray(source, "nightly"), [""; 0]);
        assert_eq!(stray(target, COPY), [""; 0]);
    }
}

/// The ways in which a call fails.
fn faults(spare: u64) -> Vec<Fault> {
    let kinds = [Unavailable, NoSpace, PermissionDenied, Indeterminate];
    let once = kinds.map(|kind| Fault::after_calls(spare, kind));
    // The kinds that a lost answer has, and those that stay for ever: the rest would only take time.
    let lost = [Unavailable, Indeterminate].map(|kind| Fault::after_calls(spare, kind).losing_the_answer());
    let for_ever = [Unavailable, NoSpace, PermissionDenied].map(|kind| Fault::after_calls(spare, kind).for_ever());
    once.into_iter().chain(lost).chain(for_ever).collect()
}

/// Which of the two repositories fails.
#[derive(Debug, Clone, Copy)]
enum Side {
    Source,
    Target,
}

/// Runs `run` with every fault at every call. `run` opens its repositories itself, so that opening them fails as well.
async fn at_every_call(side: Side, expected: offsite::Side, run: impl AsyncFn(&Scene, Try) -> Result<(), Error>) {
    let scene = Scene::new().await;
    let (mut calls, mut failed, mut sided) = (0, 0, 0);
    loop {
        let mut struck = false;
        for fault in faults(calls) {
            let attempt = scene.fork().await;
            let (source, target) = (attempt.source.clone(), attempt.target.clone());
            let faulty = match side {
                Side::Source => attempt.faulty_source.clone(),
                Side::Target => attempt.faulty_target.clone(),
            };
            faulty.inject(fault.clone());
            match run(&scene, attempt).await {
                Ok(()) => {}
                Err(error @ (Error::Defect { .. } | Error::Damaged { .. } | Error::SnapshotExpired { .. })) => {
                    panic!("{fault:?}: {}", causes(&error));
                }
                Err(error) => {
                    failed += 1;
                    assert!(faulty.failures() > 0, "{fault:?}: {}", causes(&error));
                    // Opening a repository knows of no side.
                    sided += usize::from(error.side().is_some());
                    assert!(error.side().is_none_or(|told| told == expected), "{fault:?}: {error:?}");
                    assert!(error.side().is_none() || error.location().is_some(), "{fault:?}: {error:?}");
                }
            }
            struck |= faulty.failures() > 0;
            faulty.heal();
            scene.recovers(&source, &target).await;
        }
        if !struck {
            break;
        }
        calls += 1;
    }
    println!("{calls} calls, {failed} failed runs");
    assert!(calls > 4 && failed > 10, "{calls} {failed}");
    assert!(sided > failed / 2, "{sided} of {failed} errors know their side");
}

async fn open(faulty: &Faulty<Memory>) -> Result<OpenRepository, Error> {
    OpenRepository::open(Arc::new(faulty.clone())).await
}

#[tokio::test]
async fn a_backup_that_fails_anywhere() {
    at_every_call(Side::Source, offsite::Side::Target, async |scene, attempt| {
        scene.backup(&open(&attempt.faulty_source).await?, day(4)).await
    })
    .await;
}

#[tokio::test]
async fn a_copy_whose_target_fails_anywhere() {
    at_every_call(Side::Target, offsite::Side::Target, async |_, attempt| {
        let second = open(&attempt.faulty_target).await?;
        Scene::copy(&open(&attempt.faulty_source).await?, &second).run(day(4)).await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn a_copy_whose_source_fails_anywhere() {
    at_every_call(Side::Source, offsite::Side::Source, async |_, attempt| {
        let second = open(&attempt.faulty_target).await?;
        Scene::copy(&open(&attempt.faulty_source).await?, &second).run(day(4)).await.map(drop)
    })
    .await;
}

/// A restore that fails leaves no file, and one that succeeds delivers the exact bytes.
#[tokio::test]
async fn a_restore_that_fails_anywhere() {
    at_every_call(Side::Target, offsite::Side::Source, async |scene, attempt| {
        let second = open(&attempt.faulty_target).await?;
        let to = crate::support::scratch();
        let restored = Restore::new(&second, job(COPY), machine("web01")).run(to.path()).await;
        match &restored {
            Ok(report) => {
                let delivered = std::fs::read(report.disks[0].path.as_ref().unwrap()).unwrap();
                // The copy is two days behind what the machine holds now.
                assert_eq!(report.captured, day(2));
                assert!(scene.truth.is(&[delivered], "web01", day(2)));
            }
            Err(_) => assert_eq!(crate::support::files_in(to.path()), 0),
        }
        restored.map(drop)
    })
    .await;
}

#[tokio::test]
async fn a_verification_that_fails_anywhere() {
    at_every_call(Side::Target, offsite::Side::Source, async |_, attempt| {
        let second = open(&attempt.faulty_target).await?;
        let report = Verify::new(&second, job(COPY)).read_data(true).run().await?;
        assert_eq!(report.damage, [], "a repository that cannot be reached is not damaged");
        Ok(())
    })
    .await;
}

/// A backup file that cannot be written is given up, so that its space comes back at once, and the error says what was being done.
#[tokio::test]
async fn a_file_that_cannot_be_written_is_given_up() {
    let (_, primary) = memory_repository().await;
    let mut machines = Machines::new(52);
    // More than is handed to a repository at once.
    machines.add("web01", &[20 * BLOCK]);
    machines.fill_with_noise("web01");
    machines.backup(&primary, &["web01"]).run(day(0)).await.unwrap();
    let mut errors = Vec::new();
    for spare in 0..4 {
        let faulty = Faulty::new(Memory::new());
        let second = OpenRepository::initialise(Arc::new(faulty.clone()), day(0)).await.unwrap();
        let blocks = Prefix::new(format!("{COPY}/blocks")).unwrap();
        // Copies of heads are written there, too.
        faulty.inject(Fault::after_calls(spare, PermissionDenied).on(Verb::Write).below(blocks));
        let Err(error) = copy_job(&primary, &second).run(day(0)).await else { continue };
        if error.to_string().starts_with("writing a backup file to") {
            assert_eq!(second.block_counts().aborts, 1, "{}", causes(&error));
            return;
        }
        errors.push(causes(&error));
    }
    panic!("no write of a backup file has failed: {errors:?}");
}
