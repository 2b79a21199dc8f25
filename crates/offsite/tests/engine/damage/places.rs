//! Intact bytes in the wrong place, and pages of zeros, as a disk leaves them after a lost write.

use offsite::model::ObjectId;
use offsite::model::StoredBlock;
use offsite_repository::{Key, RepositoryExt};

use super::{COPY, Failing, Look, PAGE, Part, Scene, end, look_at, range, unused};
use crate::support::objects::{key, step};

fn place(at: &StoredBlock) -> (ObjectId, u64) {
    (at.file, at.offset)
}

/// Frames of one length in each other's place, in a file and in two files.
#[tokio::test]
async fn two_blocks_in_each_others_place() {
    let scene = Scene::new().await;
    let frames: Vec<(Key, StoredBlock)> = scene
        .files()
        .into_iter()
        .flat_map(|(file, id)| scene.frames(id).into_iter().map(move |at| (file.clone(), at)))
        .collect();
    let (mut within, mut between) = (0, 0);
    for (position, (left_file, left)) in frames.iter().enumerate() {
        for (right_file, right) in frames[position + 1..].iter().filter(|(_, right)| right.length == left.length) {
            let (left_whole, right_whole) = (scene.bytes(left_file), scene.bytes(right_file));
            let (left_frame, right_frame) =
                (range(&left_whole, left.offset, end(left)), range(&right_whole, right.offset, end(right)));
            scene.patch(left_file, left.offset, right_frame).await;
            scene.patch(right_file, right.offset, left_frame).await;
            let is_one = left_file == right_file;
            let objects = if is_one { vec![left_file] } else { vec![left_file, right_file] };
            let expected = scene.needing(|at| place(at) == place(left) || place(at) == place(right));
            let what = format!("{} of {left_file} and {} of {right_file}", left.offset, right.offset);
            scene.is_told(&objects, &expected, Look::Restore, &what).await;
            *(if is_one { &mut within } else { &mut between }) += 1;
            scene.replace(left_file, left_whole).await;
            scene.replace(right_file, right_whole).await;
        }
    }
    assert!(within > 0 && between > 0, "{within} {between}");
    scene.is_harmless(Look::Restore, "put back").await;
}

/// Every page of every object zeroed.
#[tokio::test]
async fn a_page_of_zeros() {
    let scene = Scene::new().await;
    for object in scene.objects() {
        let whole = scene.bytes(&object);
        let length = whole.len() as u64;
        let part = scene.part(&object);
        for page in (0..length).step_by(PAGE as usize) {
            let stop = (page + PAGE).min(length);
            let zeros = vec![0; usize::try_from(stop - page).unwrap()];
            let is_change = range(&whole, page, stop) != zeros;
            scene.patch(&object, page, zeros.into()).await;
            let what = format!("{object}: page at {page} is zero");
            let look = if (page / PAGE).is_multiple_of(5) { Look::Restore } else { Look::Data };
            match part {
                Part::File(id) => {
                    let expected = scene.needing(|at| at.file == id && at.offset < stop && page < end(at));
                    if page > 0 && expected.is_empty() {
                        scene.is_harmless(look, &what).await;
                    } else {
                        assert!(is_change && (page == 0) == expected.is_empty(), "{what}");
                        scene.is_told(&[&object], &expected, look, &what).await;
                    }
                }
                _ => scene.is_useless(&object, look, &what).await,
            }
            scene.replace(&object, whole.clone()).await;
        }
    }
    scene.is_harmless(Look::Restore, "put back").await;
}

/// Whether two objects are of one kind, so that one could be taken for the other.
fn is_alike(left: &Key, right: &Key) -> bool {
    let kind = |key: &Key| {
        let folder = key.as_str().rsplit_once('/').unwrap().0.to_owned();
        (folder, key.name().rsplit_once('.').map(|(_, ending)| ending.to_owned()))
    };
    kind(left) == kind(right)
}

/// Each object stored under the name of each other one of its kind as well, and under a name that nothing has.
#[tokio::test]
async fn a_doubled_object() {
    let scene = Scene::new().await;
    let objects = scene.objects();
    for object in &objects {
        let whole = scene.bytes(object);
        let others = objects.iter().filter(|other| *other != object && is_alike(object, other));
        for (number, other) in (0..).zip(others) {
            let lost = scene.bytes(other);
            scene.replace(other, whole.clone()).await;
            let what = format!("{object} as {other}");
            let part = scene.part(other);
            let look = if part == Part::Head { look_at(number) } else { Look::Restore };
            match part {
                Part::File(id) => {
                    scene.is_told(&[other], &scene.needing(|at| at.file == id), look, &what).await;
                }
                _ => scene.is_useless(other, look, &what).await,
            }
            scene.replace(other, lost).await;
        }
        let new = unused(object);
        scene.target.put(&new, whole.clone()).await.unwrap();
        let what = format!("{object} as {new}");
        match scene.part(object) {
            // It is not the head of that number; a head below all others hides nothing.
            Part::Head => scene.is_told(&[&new], &Failing::new(), Look::Restore, &what).await,
            _ => scene.is_harmless(Look::Restore, &what).await,
        }
        assert!(scene.target.remove(&new));
    }
    // Under the name of the head to come it is as if that one were damaged.
    let newest = scene.newest();
    let next = key(&format!("{COPY}/head/{:020}", newest.name().parse::<u64>().unwrap() + 1));
    scene.target.put(&next, scene.bytes(&newest)).await.unwrap();
    scene.is_told(&[&next], &Failing::new(), Look::Restore, "a head that comes too early").await;
}

/// An older frame of the same block, intact in itself, as a disk returns it that lost a write.
#[tokio::test]
async fn a_stale_frame() {
    let scene = Scene::new().await;
    let points = scene.chain.points().to_vec();
    let steps = points.iter().rev().take(2).map(|point| step(&scene.target, COPY, point));
    let [newer, older] = &steps.collect::<Vec<_>>()[..] else { panic!("two points") };
    let mut stale = 0;
    for (name, disk, block, at) in newer.stored() {
        let before = older.stored().find(|(other, other_disk, other_block, before)| {
            (*other, *other_disk, *other_block, before.length) == (name, disk, block, at.length)
        });
        let Some((_, _, _, before)) = before else { continue };
        let (file, from) = (key(&format!("{COPY}/blocks/{}", at.file)), key(&format!("{COPY}/blocks/{}", before.file)));
        let whole = scene.bytes(&file);
        let frame = range(&scene.bytes(&from), before.offset, end(&before));
        scene.patch(&file, at.offset, frame).await;
        let expected = Failing::from([(points.last().unwrap().sequence.0, name.to_string())]);
        scene.is_told(&[&file], &expected, Look::Restore, &format!("block {block} of {name} is stale")).await;
        scene.replace(&file, whole).await;
        stale += 1;
    }
    assert!(stale > 0);
}
