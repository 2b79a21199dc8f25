//! What a repair left out stays and is told each time, until a repair is told to let it go.

use offsite::model::MachineName;
use offsite::{Repair, SyncRequest, TransformJob, Unneeded};
use offsite_repository::testing::Memory;

use super::{COPY, Scene, repair};
use crate::support::gates::StopAfter;
use crate::support::objects::{Living, bytes_of, keys, newest_head, pin, stray};
use crate::support::{BLOCK, copy_job, day, job, keep, open_memory};

/// A repair has left out the third point, a block of which became zero, and those that stand on it. Which files it kept for that.
async fn with_points_left_out(scene: &Scene) -> (Memory, Vec<Unneeded>) {
    let points = newest_head(&scene.target, COPY).chain.points().to_vec();
    let lost = points[2].index.id.to_string();
    let memory = scene.without(|key| key.name().starts_with(&lost)).await;
    let report = repair(&memory).await;
    assert_eq!(report.unneeded.len(), points[2..].len(), "{report:?}");
    (memory, report.unneeded)
}

fn is_there(memory: &Memory, file: &Unneeded) -> bool {
    keys(memory, &format!("{COPY}/blocks")).contains(&file.object)
}

#[tokio::test]
async fn what_was_left_out_is_told_each_time_and_goes_once_no_reader_needs_it() {
    let scene = Scene::new().await;
    let (memory, kept) = with_points_left_out(&scene).await;
    assert!(kept.iter().all(|file| bytes_of(&memory, &file.object).len() as u64 == file.bytes), "{kept:?}");
    let again = repair(&memory).await;
    assert!(again.is_intact());
    assert_eq!(again.unneeded, kept);
    let repository = open_memory(&memory).await;
    let discarding = || Repair::new(&repository, job(COPY)).discard(true);
    let before = newest_head(&memory, COPY);
    assert_eq!(discarding().plan().await.unwrap().unneeded, kept);
    assert_eq!(newest_head(&memory, COPY), before);
    let reader = Living::new();
    let pinned = pin(&memory, COPY, &reader.holder).await;
    assert_eq!(discarding().run().await.unwrap().unneeded, kept);
    assert_eq!(newest_head(&memory, COPY).chain, before.chain);
    for is_held in [true, false] {
        assert!(is_held || memory.remove(&pinned));
        TransformJob::new(&repository, job(COPY)).run(day(9)).await.unwrap();
        assert!(kept.iter().all(|file| is_there(&memory, file) == is_held), "held by a reader: {is_held}");
    }
    assert_eq!(discarding().run().await.unwrap().unneeded, []);
    assert_eq!(stray(&memory, COPY), [""; 0]);
    scene.truth.check(&repository, COPY).await;
}

/// What arrived of a machine at which a copy was cut off is in files that no restore point needs yet. It stays, and what was left out is told
/// beside it.
#[tokio::test]
async fn what_arrived_of_an_incomplete_machine_is_not_let_go() {
    let mut scene = Scene::new().await;
    let (memory, kept) = with_points_left_out(&scene).await;
    let (primary, repository) = (open_memory(&scene.source).await, open_memory(&memory).await);
    scene.machines.add("app01", &[6 * BLOCK]);
    scene.machines.fill_with_noise("app01");
    scene.truth.record(&scene.machines, &["app01"], day(8));
    scene.machines.backup(&primary, &["app01"]).run(day(8)).await.unwrap();
    let copy = copy_job(&primary, &repository).transforms(keep(9));
    let only = Some(std::iter::once(MachineName::new("app01").unwrap()).collect());
    let request = SyncRequest::at(day(8)).machines(only);
    let gate = StopAfter::new(4 * BLOCK);
    copy.sync(&request.clone().gate(gate)).await.unwrap();
    let left = copy.plan(day(8)).await.unwrap().sync.unwrap().cost;
    assert!(left.bytes_read < 6 * BLOCK as u64, "some of it has arrived: {left:?}");
    assert_eq!(repair(&memory).await.unneeded, kept);
    assert_eq!(Repair::new(&repository, job(COPY)).discard(true).run().await.unwrap().unneeded, kept);
    assert_eq!(copy.plan(day(8)).await.unwrap().sync.unwrap().cost, left);
    copy.run(day(8)).await.unwrap();
    assert!(!kept.iter().any(|file| is_there(&memory, file)));
    let points = scene.truth.check(&repository, COPY).await;
    assert_eq!(points.len(), newest_head(&memory, COPY).chain.all().count());
    assert_eq!(stray(&memory, COPY), [""; 0]);
}
