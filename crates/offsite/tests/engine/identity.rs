//! What is new is told by folder and number, and a chain's machines come from the folders that it knows.

use offsite::report::{CopyReport, MachineOutcome, Note, Unseen};
use offsite::{CopyJob, Error, JobFolder, MapSeed, OpenRepository, Source};

use crate::support::objects::newest_head;
use crate::support::truth::Truth;
use crate::support::{BLOCK, Machines, copy_job, day, job, keep, memory_repository, restored};

const COPY: &str = "Offsite Copy";

/// One machine with one disk, and what it held.
fn machines(seed: u64) -> (Machines, Truth) {
    let mut machines = Machines::new(seed);
    machines.add("web01", &[3 * BLOCK]);
    (machines, Truth::default())
}

async fn backed_up(machines: &mut Machines, repository: &OpenRepository, at: i64) {
    machines.change("web01", 1);
    machines.backup(repository, &["web01"]).keep(keep(99)).run(day(at)).await.unwrap();
}

fn is_unchanged(report: &CopyReport) -> bool {
    report.sync.is_none() && matches!(report.machines[0].outcome, MachineOutcome::Unchanged { .. })
}

/// One backup was made by a clock that was nine days ahead, and copied. Those made by the right clock are copied all the same, and the run says
/// that the clock went back.
#[tokio::test]
async fn one_date_ahead_does_not_end_copying() {
    let (_, primary) = memory_repository().await;
    let (target, second) = memory_repository().await;
    let (mut machines, _) = machines(1);
    let copy = copy_job(&primary, &second);
    for at in [0, 1, 10] {
        backed_up(&mut machines, &primary, at).await;
        copy.run(day(at)).await.unwrap();
    }
    for at in [2, 3] {
        backed_up(&mut machines, &primary, at).await;
        let report = copy.run(day(at)).await.unwrap();
        assert_eq!(report.sync.as_ref().unwrap().machines[0].captured, day(at));
        assert_eq!(
            report.notes.iter().any(|note| matches!(note, Note::ClockWentBack { .. })),
            at == 2,
            "{:?}",
            report.notes
        );
        assert_eq!(restored(&second, COPY, "web01", None).await, machines.content("web01"));
    }
    assert!(is_unchanged(&copy.run(day(11)).await.unwrap()));
    assert_eq!(newest_head(&target, COPY).chain.points().len(), 5);
}

/// What is dated after the present waits until then, and each run says so.
#[tokio::test]
async fn what_is_left_out_for_its_date_is_told() {
    let (_, primary) = memory_repository().await;
    let (_, second) = memory_repository().await;
    let (mut machines, _) = machines(2);
    backed_up(&mut machines, &primary, 0).await;
    backed_up(&mut machines, &primary, 7).await;
    for number in 0..2 {
        let report = copy_job(&primary, &second).run(day(1)).await.unwrap();
        assert_eq!(report.sync.is_some(), number == 0);
        assert!(report.notes.iter().any(|note| matches!(note, Note::FutureDated { .. })), "{:?}", report.notes);
    }
    let report = copy_job(&primary, &second).run(day(7)).await.unwrap();
    assert_eq!((report.notes.len(), report.sync.unwrap().machines[0].captured), (0, day(7)));
}

/// Two points of one second are two.
#[tokio::test]
async fn two_points_of_one_second_are_two() {
    let (_, primary) = memory_repository().await;
    let (_, second) = memory_repository().await;
    let (mut machines, _) = machines(3);
    for _ in 0..3 {
        backed_up(&mut machines, &primary, 0).await;
        assert!(copy_job(&primary, &second).run(day(0)).await.unwrap().sync.is_some());
        assert_eq!(restored(&second, COPY, "web01", None).await, machines.content("web01"));
    }
    assert_eq!(JobFolder::open(&second, &job(COPY)).await.unwrap().chain().points().len(), 3);
}

/// Two hosts have a job of one name and one target. The second's machine is not taken for the first's; it is when somebody says so.
#[tokio::test]
async fn machines_of_two_hosts_are_not_mixed() {
    let (_, first_host) = memory_repository().await;
    let (_, other_host) = memory_repository().await;
    let (target, second) = memory_repository().await;
    let (mut first, mut truth) = machines(4);
    let (mut other, _) = machines(5);
    backed_up(&mut first, &first_host, 0).await;
    truth.record(&first, &["web01"], day(0));
    copy_job(&first_host, &second).run(day(0)).await.unwrap();
    backed_up(&mut other, &other_host, 1).await;
    let refused = copy_job(&other_host, &second).run(day(1)).await.unwrap_err();
    assert!(matches!(refused, Error::OtherOrigin { .. }), "{refused}");
    for named in ["web01", "nightly", "take it over once", "another job name"] {
        assert!(refused.to_string().contains(named), "{named}: {refused}");
    }
    // Both folders are told by their ids: names do not tell them apart.
    for (words, host) in [("with the id", &first_host), ("in the folder", &other_host)] {
        let id = JobFolder::open(host, &job("nightly")).await.unwrap().id();
        assert!(refused.to_string().contains(&format!("{words} {id}")), "{id}: {refused}");
    }
    assert!(copy_job(&other_host, &second).plan(day(1)).await.is_err());
    truth.check(&second, COPY).await;
    // A host that has both as sources may go from one to the other.
    let sources = || vec![Source::infrastructure(&first_host), Source::infrastructure(&other_host)];
    let both = CopyJob::of(job(COPY), sources(), &second).unwrap();
    assert_eq!(both.plan(day(1)).await.unwrap().sync.unwrap().machines[0].captured, day(1));
    // A drive that is away, and known.
    let folder = JobFolder::open(&first_host, &job("nightly")).await.unwrap().id();
    assert!(copy_job(&other_host, &second).known_origins([folder]).plan(day(1)).await.is_ok());
    let adopted = copy_job(&other_host, &second).adopt(true).run(day(1)).await.unwrap();
    assert!(adopted.sync.is_some());
    // From then on the other folder is its own.
    backed_up(&mut other, &other_host, 2).await;
    assert!(copy_job(&other_host, &second).run(day(2)).await.unwrap().sync.is_some());
    backed_up(&mut first, &first_host, 3).await;
    assert!(copy_job(&first_host, &second).run(day(3)).await.is_err());
    assert_eq!(restored(&second, COPY, "web01", None).await, other.content("web01"));
    assert_eq!(newest_head(&target, COPY).chain.points().len(), 3);
}

/// The primary was lost and made anew, and the clock of the lost host was ahead. What the new one has is dated before the last copy, or at the
/// same second: it is refused all the same, and taken when somebody says so.
#[tokio::test]
async fn a_new_primary_is_told_whatever_its_dates_say() {
    for at in [1, 2] {
        let (_, lost) = memory_repository().await;
        let (_, second) = memory_repository().await;
        let (mut machines, _) = machines(7);
        backed_up(&mut machines, &lost, 2).await;
        copy_job(&lost, &second).run(day(2)).await.unwrap();
        let (_, primary) = memory_repository().await;
        backed_up(&mut machines, &primary, at).await;
        let refused = copy_job(&primary, &second).run(day(3)).await.unwrap_err();
        assert!(matches!(refused, Error::OtherOrigin { .. }), "{refused}");
        assert!(matches!(copy_job(&primary, &second).plan(day(3)).await, Err(Error::OtherOrigin { .. })));
        // While another source cannot be seen, that may be the one. Then dates decide.
        let why = (&refused).into();
        let unseen = copy_job(&primary, &second).unseen(vec![Unseen::Source { why }]);
        assert!(is_unchanged(&unseen.run(day(3)).await.unwrap()));
        let report = copy_job(&primary, &second).adopt(true).run(day(3)).await.unwrap();
        assert!(!report.sync.as_ref().unwrap().full);
        let went_back = report.notes.iter().any(|note| matches!(note, Note::ClockWentBack { .. }));
        assert_eq!(went_back, at < 2, "{:?}", report.notes);
        assert_eq!(restored(&second, COPY, "web01", None).await, machines.content("web01"));
        // From then on, the new primary is its own.
        assert!(is_unchanged(&copy_job(&primary, &second).run(day(3)).await.unwrap()));
        assert!(is_unchanged(&copy_job(&primary, &second).adopt(true).run(day(3)).await.unwrap()));
        backed_up(&mut machines, &primary, at).await;
        assert!(copy_job(&primary, &second).run(day(3)).await.unwrap().sync.is_some());
        assert_eq!(restored(&second, COPY, "web01", None).await, machines.content("web01"));
    }
}

/// A seed that was backed up by a job of its own goes on from the source, without a word.
#[tokio::test]
async fn a_mapped_seed_goes_on_from_any_source() {
    let (_, primary) = memory_repository().await;
    let (_, seed) = memory_repository().await;
    let (_, second) = memory_repository().await;
    let (mut machines, _) = machines(6);
    backed_up(&mut machines, &seed, 0).await;
    MapSeed::new(&second, job(COPY), &seed, job("nightly")).unwrap().run(day(0)).await.unwrap();
    backed_up(&mut machines, &primary, 1).await;
    let sync = copy_job(&primary, &second).run(day(1)).await.unwrap().sync.unwrap();
    assert!(!sync.full);
    backed_up(&mut machines, &primary, 2).await;
    copy_job(&primary, &second).run(day(2)).await.unwrap();
    assert_eq!(restored(&second, COPY, "web01", None).await, machines.content("web01"));
}
