//! Long-term points that are read whole from the source, though they were copied as increments.

use offsite::model::{PointKind, RestorePoint, Sequence, Status};
use offsite::report::{FullFrom, Note, Operation, TransformReport};
use offsite::retention::{Anchors, ArchiveMethod, Gfs, Policy};
use offsite::{CopyJob, OpenRepository, Selection, SyncRequest, TransformJob, Transforms};
use offsite_core::format::frame::HEADER_BYTES;
use offsite_repository::testing::Memory;

use crate::support::objects::{key, newest_head, space, step, stray};
use crate::support::truth::Truth;
use crate::support::{BLOCK, Machines, copy_job, day, job, keep, machine, memory_repository, open_memory, seed};

const COPY: &str = "Offsite Copy";
const NAMES: [&str; 2] = ["db01", "web01"];

/// Weekly points are those next to this hour of Sunday, as that of day 7 is, which is of 22 hours.
fn weekly(hour: u32) -> Transforms {
    let anchors = Anchors::default().at_hour(hour).unwrap();
    let gfs = Gfs::new(3, 0, 0, 0).unwrap().with_method(ArchiveMethod::Active).with_anchors(anchors);
    Transforms::keeping(Policy::new(keep(20)).with_gfs(gfs))
}

/// A copy of nine evenings, the last of which tells that the one before it is the week's. No transform has run since.
struct Scene {
    source: Memory,
    primary: OpenRepository,
    target: Memory,
    second: OpenRepository,
    machines: Machines,
    truth: Truth,
}

impl Scene {
    async fn new() -> Self {
        let (source, primary) = memory_repository().await;
        let (target, second) = memory_repository().await;
        let mut scene = Self {
            source: (*source).clone(),
            primary,
            target: (*target).clone(),
            second,
            machines: Machines::new(seed(96)),
            truth: Truth::default(),
        };
        for name in NAMES {
            scene.machines.add(name, &[3 * BLOCK]);
            scene.machines.fill_with_noise(name);
        }
        for number in 0..9 {
            scene.back_up(number).await;
            scene.copy().sync(&SyncRequest::at(day(number))).await.unwrap();
            if number < 8 {
                assert_eq!(scene.copy().transform(day(number), 1).await.unwrap().operations, []);
            }
        }
        scene
    }

    async fn back_up(&mut self, number: i64) {
        for name in NAMES {
            self.machines.overwrite(name, |disk| disk[0] = disk[0].wrapping_add(1));
        }
        self.truth.record(&self.machines, &NAMES, day(number));
        self.machines.backup(&self.primary, &NAMES).keep(keep(99)).run(day(number)).await.unwrap();
    }

    fn copy(&self) -> CopyJob {
        copy_job(&self.primary, &self.second).transforms(weekly(23))
    }

    /// Holds that the week's point was made a full with blocks of its own, and nothing else was done; where its blocks are from.
    async fn is_whole(&self, report: &TransformReport) -> FullFrom {
        let done: Vec<&Operation> = report.operations.iter().map(|done| &done.operation).collect();
        let [Operation::MakeFull { sequence: Sequence(8), from }] = &done[..] else { panic!("{report:?}") };
        let chain = newest_head(&self.target, COPY).chain;
        let full = chain.get(Sequence(8)).unwrap();
        assert_eq!((full.kind, full.machines.len()), (PointKind::Full, 2));
        let own = step(&self.target, COPY, full).files();
        for other in chain.all().filter(|other| other.sequence != full.sequence) {
            assert!(step(&self.target, COPY, other).files().is_disjoint(&own), "#{}", other.sequence);
        }
        assert_eq!(self.truth.check(&open_memory(&self.target).await, COPY).await.len(), 9);
        assert_eq!(stray(&self.target, COPY), [""; 0]);
        let (taken, needed) = space(&self.target, COPY).await;
        assert_eq!(taken, needed);
        *from
    }
}

#[tokio::test]
async fn a_flagged_increment_is_read_whole_from_the_source() {
    let scene = Scene::new().await;
    let report = scene.copy().transform(day(8), 1).await.unwrap();
    assert_eq!(scene.is_whole(&report).await, FullFrom::Source);
    assert_eq!(report.notes, []);
}

#[tokio::test]
async fn one_that_is_damaged_at_the_source_is_made_of_the_chain() {
    let scene = Scene::new().await;
    let full = newest_head(&scene.source, "nightly").chain.points()[0].clone();
    // A block that has not changed since.
    let says = step(&scene.source, "nightly", &full);
    let (.., at) = says.stored().nth(1).unwrap();
    let file = key(&format!("nightly/blocks/{}", at.file));
    assert!(scene.source.corrupt(&file, at.offset + HEADER_BYTES as u64, 1));
    let report = scene.copy().transform(day(8), 1).await.unwrap();
    assert!(matches!(scene.is_whole(&report).await, FullFrom::Chain(_)));
    let is_told = |note: &Note| matches!(note, Note::FullNotRead { sequence: Sequence(8), .. });
    assert!(report.notes.iter().any(is_told), "{:?}", report.notes);
}

#[tokio::test]
async fn one_that_the_source_has_no_more_is_made_of_the_chain() {
    let mut scene = Scene::new().await;
    scene.back_up(9).await;
    let policy = Policy::new(keep(2));
    let two = Transforms::keeping(policy).apply_changes_at_once(true);
    TransformJob::new(&scene.primary, job("nightly")).transforms(two).run(day(9)).await.unwrap();
    let report = scene.copy().transform(day(9), 0).await.unwrap();
    assert!(matches!(scene.is_whole(&report).await, FullFrom::Chain(_)));
    assert!(report.notes.iter().any(|note| matches!(note, Note::FullFromChain { .. })), "{:?}", report.notes);
}

#[tokio::test]
async fn one_whose_index_the_source_has_damaged_is_made_of_the_chain() {
    let scene = Scene::new().await;
    let point = newest_head(&scene.source, "nightly").chain.get(Sequence(8)).unwrap().clone();
    assert!(scene.source.corrupt(&key(&format!("nightly/index/{}", point.index.id)), 100, 1));
    let report = scene.copy().transform(day(8), 1).await.unwrap();
    assert!(matches!(scene.is_whole(&report).await, FullFrom::Chain(_)));
}

/// Of a machine that is no longer selected, a full that is read whole carries what the chain has, and where that is from.
#[tokio::test]
async fn a_carried_machine_is_known_by_its_origin() {
    let (_, primary) = memory_repository().await;
    let (target, second) = memory_repository().await;
    let mut machines = Machines::new(seed(97));
    NAMES.iter().for_each(|name| machines.add(name, &[2 * BLOCK]));
    let copy = || copy_job(&primary, &second).transforms(weekly(22));
    machines.backup(&primary, &NAMES).run(day(6)).await.unwrap();
    copy().run(day(6)).await.unwrap();
    machines.change("web01", 1);
    machines.backup(&primary, &["web01"]).run(day(7)).await.unwrap();
    copy().select(Selection::machines(vec![machine("web01")])).run(day(7)).await.unwrap();
    let chain = newest_head(&target, COPY).chain;
    let [first, full] = chain.points() else { panic!("{chain:?}") };
    let (before, carried) = (first.machine(&machine("db01")).unwrap(), full.machine(&machine("db01")).unwrap());
    assert_eq!((full.kind, carried.status), (PointKind::Full, Status::Carried));
    assert!(before.origin.is_some() && carried.origin == before.origin, "{carried:?}");
}

/// A run asks for what is new. A full that is read whole has the other machines of the selection from the source as well, not from the
/// chain: else all long-term points would share their blocks.
#[tokio::test]
async fn a_full_that_is_read_whole_has_machines_that_were_not_asked_for() {
    let (_, primary) = memory_repository().await;
    let (target, second) = memory_repository().await;
    let mut machines = Machines::new(seed(99));
    let names = ["app01", "web01"];
    for name in names {
        machines.add(name, &[3 * BLOCK]);
        machines.fill_with_noise(name);
    }
    let copy = copy_job(&primary, &second).transforms(weekly(22));
    machines.backup(&primary, &names).run(day(6)).await.unwrap();
    copy.run(day(6)).await.unwrap();
    machines.change("app01", 1);
    machines.backup(&primary, &["app01"]).run(day(7)).await.unwrap();
    let asked = Some(std::iter::once(machine("app01")).collect());
    let request = SyncRequest::at(day(7)).machines(asked);
    let planned = copy.plan(day(7)).await.unwrap().sync.unwrap();
    let synced = copy.sync(&request).await.unwrap().sync.unwrap();
    assert!(synced.full && synced.tally.kept_to_plan());
    assert_eq!(synced.tally.planned, planned.cost);
    let chain = newest_head(&target, COPY).chain;
    let [first, full] = chain.points() else { panic!("{chain:?}") };
    let files = |point: &RestorePoint| step(&target, COPY, point).files();
    assert!(full.machines.iter().all(|state| state.status == Status::Complete), "{full:?}");
    assert!(files(full).is_disjoint(&files(first)));
}

/// Of two machines a block cannot be read at the source. The one that has not changed stays with the blocks that the chain has, and only
/// that one: the other is not whole yet, and a machine that is intact is read whole, though it has not changed.
#[tokio::test]
async fn only_what_is_damaged_and_has_not_changed_is_taken_from_the_chain() {
    let (source, primary) = memory_repository().await;
    let (target, second) = memory_repository().await;
    let (mut machines, mut truth) = (Machines::new(seed(98)), Truth::default());
    let names = ["app01", "db01", "web01"];
    for name in names {
        machines.add(name, &[3 * BLOCK]);
        machines.fill_with_noise(name);
    }
    let copy = copy_job(&primary, &second).transforms(weekly(22));
    truth.record(&machines, &names, day(6));
    machines.backup(&primary, &names).run(day(6)).await.unwrap();
    copy.run(day(6)).await.unwrap();
    machines.overwrite("app01", |disk| disk[0] = disk[0].wrapping_add(1));
    truth.record(&machines, &["app01"], day(7));
    machines.backup(&primary, &["app01"]).run(day(7)).await.unwrap();
    let chain = newest_head(&source, "nightly").chain;
    let [full, increment] = chain.points() else { panic!("{chain:?}") };
    for (point, damaged) in [(increment, "app01"), (full, "db01")] {
        let says = step(&source, "nightly", point);
        let (.., at) = says.stored().find(|(name, ..)| name.as_str() == damaged).unwrap();
        let file = key(&format!("nightly/blocks/{}", at.file));
        assert!(source.corrupt(&file, at.offset + HEADER_BYTES as u64, 1));
    }
    let report = copy.run(day(7)).await.unwrap();
    assert!(report.sync.unwrap().tally.kept_to_plan());
    let kept = |note: &Note| match note {
        Note::KeptFromChain { machine, .. } => Some(machine.clone()),
        _ => None,
    };
    let kept: Vec<_> = report.notes.iter().filter_map(kept).collect();
    assert_eq!(kept, [machine("db01")], "{:?}", report.notes);
    let chain = newest_head(&target, COPY).chain;
    let [first, full] = chain.points() else { panic!("{chain:?}") };
    let status = |name: &str| full.machine(&machine(name)).unwrap().status;
    assert_eq!(full.kind, PointKind::Full);
    assert_eq!(names.map(status), [Status::Incomplete, Status::Carried, Status::Complete]);
    let files =
        |point: &RestorePoint, name: &str| step(&target, COPY, point).project(|own| own.as_str() == name).files();
    assert_eq!(files(full, "db01"), files(first, "db01"));
    assert!(files(full, "web01").is_disjoint(&files(first, "web01")));
    assert_eq!(truth.check(&second, COPY).await, [1, 2]);
    assert_eq!(stray(&target, COPY), [""; 0]);
    let (taken, needed) = space(&target, COPY).await;
    assert_eq!(taken, needed);
}
