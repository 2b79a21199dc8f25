//! What a snapshot holds while it lives.

use std::sync::Arc;

use offsite::report::CopyReport;
use offsite::{DiskReader, Error, OpenRepository, PointSelector, Snapshot};
use offsite_core::Sequence;
use offsite_repository::testing::{Fault, Faulty, Memory};
use offsite_repository::{ErrorKind, Prefix, Verb};

use super::whole;
use crate::support::objects::{bytes_of, keys};
use crate::support::{BLOCK, Machines, copy_job, day, job, keep, machine, memory_repository};

const COPY: &str = "Offsite Copy";

/// A copy that keeps two points, of a machine whose every block changes every day.
struct Scene {
    memory: Arc<Memory>,
    primary: OpenRepository,
    second: OpenRepository,
    machines: Machines,
    days: i64,
}

impl Scene {
    async fn new() -> Self {
        let (_, primary) = memory_repository().await;
        let (memory, second) = memory_repository().await;
        let mut machines = Machines::new(9);
        machines.add("web01", &[5 * BLOCK + 77]);
        let mut scene = Self { memory, primary, second, machines, days: 0 };
        scene.copy().await;
        scene.copy().await;
        scene
    }

    async fn copy(&mut self) -> CopyReport {
        let now = day(self.days);
        self.days += 1;
        self.machines.fill_with_noise("web01");
        self.machines.backup(&self.primary, &["web01"]).run(now).await.unwrap();
        copy_job(&self.primary, &self.second).transforms(keep(2)).run(now).await.unwrap()
    }

    /// The oldest point, and what its disk held.
    async fn oldest(&self, repository: &OpenRepository) -> (Snapshot, DiskReader) {
        let snapshot = Snapshot::open(repository, &job(COPY), PointSelector::Sequence(Sequence(1))).await.unwrap();
        let reader = snapshot.disk(&machine("web01"), "0").await.unwrap();
        (snapshot, reader)
    }

    fn pins(&self) -> usize {
        keys(&self.memory, &format!("{COPY}/pin")).len()
    }
}

#[tokio::test]
async fn what_a_snapshot_reads_stays_until_it_is_closed() {
    let mut scene = Scene::new().await;
    let (snapshot, reader) = scene.oldest(&scene.second).await;
    let expected = whole(&reader).await.unwrap();
    snapshot.set_cache_bytes(0);
    for _ in 0..3 {
        let released = scene.copy().await.transform.released;
        assert!(released.bytes == 0 && released.held_bytes > 0, "{released:?}");
        assert!(whole(&reader).await.unwrap() == expected);
    }
    // Another disk of a point that is no more can still be opened.
    assert!(whole(&snapshot.disk(&machine("web01"), "0").await.unwrap()).await.unwrap() == expected);
    snapshot.close().await.unwrap();
    assert_eq!(scene.pins(), 0);
    let released = scene.copy().await.transform.released;
    assert!(released.bytes > 0 && released.held_bytes == 0, "{released:?}");
    let error = whole(&reader).await.unwrap_err().downcast::<Error>().unwrap();
    assert!(matches!(error, Error::SnapshotExpired { .. }), "{error}");
}

#[tokio::test]
async fn a_snapshot_that_is_dropped_holds_nothing_after_its_last_reader() {
    let mut scene = Scene::new().await;
    let (snapshot, reader) = scene.oldest(&scene.second).await;
    drop(snapshot);
    let released = scene.copy().await.transform.released;
    assert!(released.held_bytes > 0, "a reader is left: {released:?}");
    whole(&reader).await.unwrap();
    drop(reader);
    assert_eq!(scene.pins(), 1, "nobody has given it back");
    let released = scene.copy().await.transform.released;
    assert!(released.bytes > 0 && released.held_bytes == 0, "{released:?}");
    assert_eq!(scene.pins(), 0);
}

/// As after a sleep in which a writer took the reader for dead.
#[tokio::test]
async fn a_lost_pin_gives_right_bytes_or_an_error_that_says_so() {
    let mut scene = Scene::new().await;
    let (snapshot, reader) = scene.oldest(&scene.second).await;
    let expected = whole(&reader).await.unwrap();
    snapshot.set_cache_bytes(0);
    for pin in keys(&scene.memory, &format!("{COPY}/pin")) {
        assert!(scene.memory.remove(&pin));
    }
    assert!(whole(&reader).await.unwrap() == expected, "nothing was freed yet");
    for _ in 0..3 {
        scene.copy().await;
    }
    for block in 0..6 {
        let mut buffer = vec![0; 64];
        match reader.read_at((block * BLOCK) as u64, &mut buffer).await {
            Ok(_) => assert!(buffer == expected[block * BLOCK..][..64], "block {block}"),
            Err(error) => assert!(matches!(error, Error::SnapshotExpired { .. }), "block {block}: {error}"),
        }
    }
    let error = reader.read_at(0, &mut [0; 64]).await.unwrap_err();
    assert!(matches!(error, Error::SnapshotExpired { .. }), "{error}");
    // Where the blocks of the point lie is not known any more, either.
    let fresh = Snapshot::open(&scene.second, &job(COPY), PointSelector::Sequence(Sequence(1))).await;
    assert!(matches!(fresh, Err(Error::UnknownPoint { .. })), "{fresh:?}");
}

/// While the pin is held, what is missing is damaged, however far the chain has gone on.
#[tokio::test]
async fn damage_is_not_taken_for_what_was_freed() {
    let mut scene = Scene::new().await;
    let (snapshot, reader) = scene.oldest(&scene.second).await;
    whole(&reader).await.unwrap();
    snapshot.set_cache_bytes(0);
    scene.copy().await;
    for file in keys(&scene.memory, &format!("{COPY}/blocks")) {
        let length = bytes_of(&scene.memory, &file).len() as u64;
        (0..length).step_by(4_096).for_each(|offset| assert!(scene.memory.corrupt(&file, offset, 0x10)));
    }
    let error = reader.read_at(0, &mut [0; 64]).await.unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
}

#[tokio::test]
async fn what_cannot_be_written_to_is_read_without_a_pin() {
    let scene = Scene::new().await;
    let faulty = Faulty::new((*scene.memory).clone());
    let reader = OpenRepository::open(Arc::new(faulty.clone())).await.unwrap();
    let pins = Prefix::new(format!("{COPY}/pin")).unwrap();
    faulty.inject(Fault::after_calls(0, ErrorKind::PermissionDenied).on(Verb::Create).below(pins).for_ever());
    let (snapshot, disk) = scene.oldest(&reader).await;
    assert_eq!(scene.pins(), 0);
    let (_, pinned) = scene.oldest(&scene.second).await;
    assert!(whole(&disk).await.unwrap() == whole(&pinned).await.unwrap());
    snapshot.close().await.unwrap();
}
