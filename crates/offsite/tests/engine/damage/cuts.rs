//! Objects that are cut off, or gone.

use std::collections::BTreeSet;

use super::{Failing, Look, PAGE, Part, Scene, end, look_at};
use crate::support::{Random, seed};

/// Every object that is no backup file, cut off at every length.
#[tokio::test]
async fn a_small_object_cut_off_at_every_length() {
    let scene = Scene::new().await;
    for object in scene.objects() {
        let part = scene.part(&object);
        if object.as_str().contains("/blocks/") && !object.name().contains('.') {
            continue;
        }
        let whole = scene.bytes(&object);
        for cut in (0..whole.len() as u64).rev() {
            assert!(scene.target.truncate(&object, cut));
            let look = if cut % 251 == 0 { Look::Restore } else { look_at(cut) };
            scene.is_useless(&object, look, &format!("{object} cut to {cut}")).await;
        }
        if part == Part::Head {
            // Longer than any head: not read, and no reason not to fall back.
            scene.replace(&object, vec![0; 18 << 20].into()).await;
            scene.is_useless(&object, Look::Restore, "a huge head").await;
        }
        scene.replace(&object, whole).await;
    }
    scene.is_harmless(Look::Restore, "put back").await;
}

/// Backup files, cut off at the ends of every frame and of its header, and a byte before and after these, at every fourth page, at every
/// length below 200, and at a hundred by chance. At every single length it would take hours.
#[tokio::test]
async fn a_backup_file_cut_off() {
    let scene = Scene::new().await;
    let mut random = Random::new(seed(73));
    for object in scene.objects() {
        if !object.as_str().contains("/blocks/") || object.name().contains('.') {
            continue;
        }
        let whole = scene.bytes(&object);
        let length = whole.len() as u64;
        let frames = match scene.part(&object) {
            Part::File(id) => scene.frames(id),
            _ => Vec::new(),
        };
        let edges = frames.iter().flat_map(|at| [at.offset, at.offset + 96, end(at)]).chain([length]);
        let mut cuts: BTreeSet<u64> = edges.flat_map(|edge| [edge.saturating_sub(1), edge, edge + 1]).collect();
        cuts.extend((0..length).step_by(4 * PAGE as usize));
        cuts.extend(0..200);
        cuts.extend((0..100).map(|_| random.below(whole.len()) as u64));
        for (number, cut) in cuts.into_iter().filter(|cut| *cut < length).rev().enumerate() {
            assert!(scene.target.truncate(&object, cut));
            let what = format!("{object} cut to {cut}");
            let look = if number % 17 == 0 { Look::Restore } else { Look::Data };
            match scene.part(&object) {
                Part::File(id) => {
                    let expected = scene.needing(|at| at.file == id && end(at) > cut);
                    scene.is_told(&[&object], &expected, look, &what).await;
                }
                _ => scene.is_harmless(look, &what).await,
            }
        }
        scene.replace(&object, whole).await;
    }
    scene.is_harmless(Look::Restore, "put back").await;
}

/// Each object missing.
#[tokio::test]
async fn a_missing_object() {
    let scene = Scene::new().await;
    for object in scene.objects() {
        let whole = scene.bytes(&object);
        assert!(scene.target.remove(&object));
        let what = format!("{object} removed");
        match scene.part(&object) {
            // The newest head that is gone is a return to the one before, which nobody can tell.
            Part::Head => scene.is_harmless(Look::Restore, &what).await,
            Part::File(id) => {
                let expected = scene.needing(|at| at.file == id);
                assert_ne!(expected, Failing::new(), "{what}");
                scene.is_told(&[&object], &expected, Look::Restore, &what).await;
                assert_eq!(scene.look(Look::Data).await.damage.len(), 1, "{what}: told once, not for each block");
            }
            _ => scene.is_useless(&object, Look::Restore, &what).await,
        }
        scene.replace(&object, whole).await;
    }
    scene.is_harmless(Look::Restore, "put back").await;
}
