//! What comes after damage: runs that go on, or refuse and lose nothing.

use offsite::{Error, JobFolder, OpenRepository, Verify};
use offsite_repository::RepositoryExt;

use super::{COPY, DAYS, Failing, Look, Part, Scene, copy, unused};
use crate::support::objects::{fork, key, keys, stray};
use crate::support::truth::causes;
use crate::support::{day, job, open_memory};

/// What nothing refers to goes with the next run.
#[tokio::test]
async fn doubled_objects_do_not_stay() {
    let scene = Scene::new().await;
    for object in scene.objects() {
        // A head below all others goes with the boundary; a pin holds what it holds.
        if scene.part(&object) == Part::Head || object == scene.pin {
            continue;
        }
        let (source, target) = (fork(&scene.source).await, fork(&scene.target).await);
        target.remove(&scene.pin);
        target.put(&unused(&object), scene.bytes(&object)).await.unwrap();
        let (primary, second) = (open_memory(&source).await, open_memory(&target).await);
        copy(&primary, &second, 3).run(day(DAYS)).await.unwrap();
        assert_eq!(stray(&target, COPY), [""; 0], "{object}");
        assert_eq!(scene.truth.check(&second, COPY).await.len(), 4, "{object}");
    }
}

/// Readers fall back behind a damaged newest head and say so; writers refuse, and lose nothing.
#[tokio::test]
async fn a_damaged_newest_head() {
    let scene = Scene::new().await;
    let primary = open_memory(&scene.source).await;
    let newest = scene.newest();
    let points = scene.truth.check(&scene.second, COPY).await;
    assert!(scene.target.corrupt(&newest, 200, 1));
    let folder = JobFolder::open(&scene.second, &job(COPY)).await.unwrap();
    assert!(folder.damaged_heads()[0].key == newest, "{:?}", folder.damaged_heads());
    assert_eq!(scene.truth.check(&scene.second, COPY).await, points);
    scene.is_told(&[&newest], &Failing::new(), Look::Restore, "newest head").await;
    let before = scene.target.contents();
    let error = copy(&primary, &scene.second, 2).run(day(DAYS)).await.unwrap_err();
    assert!(matches!(&error, Error::Damaged { object, .. } if object == newest.as_str()), "{}", causes(&error));
    assert!(scene.target.contents() == before, "a writer that refuses writes nothing");
    assert!(scene.target.corrupt(&newest, 200, 1));
    copy(&primary, &scene.second, 2).run(day(DAYS)).await.unwrap();
    // The policy is another one than in the last run, so only one generation goes.
    assert_eq!(scene.truth.check(&scene.second, COPY).await.len(), 3);
}

/// The repository's marker says what it is, or the repository is not opened.
#[tokio::test]
async fn a_damaged_marker() {
    let scene = Scene::new().await;
    let marker = key("offsite-repository");
    for offset in 0..scene.bytes(&marker).len() as u64 {
        assert!(scene.target.corrupt(&marker, offset, 0x10));
        let error = OpenRepository::open(std::sync::Arc::new(scene.target.clone())).await.unwrap_err();
        assert!(matches!(&error, Error::Damaged { object, .. } if object == marker.as_str()), "{}", causes(&error));
        assert!(scene.target.corrupt(&marker, offset, 0x10));
    }
}

/// Whatever becomes of a release list or a pin, the next run succeeds, and releases nothing that is needed. A damaged pin of a reader that
/// gives no sign of life goes.
#[tokio::test(start_paused = true)]
async fn damaged_release_lists_and_pins_stop_nobody() {
    let scene = Scene::new().await;
    let list = keys(&scene.target, &format!("{COPY}/release")).pop().unwrap();
    let length = scene.bytes(&list).len() as u64;
    for offset in 0..=length {
        for unpinned in [true, false] {
            let (source, target) = (fork(&scene.source).await, fork(&scene.target).await);
            let what = format!("release list, byte {offset}, pin removed: {unpinned}");
            assert!(if offset == length { target.remove(&list) } else { target.corrupt(&list, offset, 4) });
            assert!(if unpinned { target.remove(&scene.pin) } else { target.corrupt(&scene.pin, offset % 20, 4) });
            let (primary, second) = (open_memory(&source).await, open_memory(&target).await);
            let report = copy(&primary, &second, 2).run(day(DAYS)).await;
            let report = report.unwrap_or_else(|error| panic!("{what}: {}", causes(&error)));
            assert_eq!(report.transform.released.held_bytes, 0, "{what}");
            assert_eq!(scene.truth.check(&second, COPY).await.len(), 3, "{what}");
            assert_eq!(stray(&target, COPY), [""; 0], "{what}");
        }
    }
}

/// A chain with a damaged backup file goes on: what is intact stays, and new points are made.
#[tokio::test]
async fn a_chain_with_a_damaged_file_goes_on() {
    let scene = Scene::new().await;
    for (file, _) in scene.files() {
        for cut in [0, 4_100] {
            let (source, target) = (fork(&scene.source).await, fork(&scene.target).await);
            target.truncate(&file, cut);
            target.remove(&scene.pin);
            let (primary, second) = (open_memory(&source).await, open_memory(&target).await);
            for number in [DAYS, DAYS + 1] {
                scene.machines.backup(&primary, &["web01", "db01"]).run(day(DAYS)).await.unwrap();
                let report = copy(&primary, &second, 2).run(day(number)).await;
                report.unwrap_or_else(|error| panic!("{file} cut to {cut}: {}", causes(&error)));
            }
            let report = Verify::new(&second, job(COPY)).read_data(true).run().await.unwrap();
            assert!(report.damage.iter().all(|damage| damage.object == file), "{:?}", report.damage);
        }
    }
}
