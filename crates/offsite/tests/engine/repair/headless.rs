//! Without heads: what the indexes tell, what is not believed of them, and folders in which nothing tells anything.

use offsite::model::{MachineNumber, ObjectId, Sequence};
use offsite::report::{IndexLoss, Note};
use offsite::{Basis, ErrorClass, Repair};
use offsite_core::Index;
use offsite_core::format::WireFormat;
use offsite_repository::Key;
use offsite_repository::testing::Memory;

use super::{BACKUP, COPY, Scene, flip, is_in, repair, repair_job, replace};
use crate::support::objects::{bytes_of, copies, fork, is_copy, key, keys, newest_head, step};
use crate::support::truth::{Truth, causes};
use crate::support::{BLOCK, Machines, copy_job, day, job, keep, memory_repository, open_memory};

fn is_head(key: &Key) -> bool {
    is_in("head")(key) || key.name().ends_with(".head")
}

fn is_index(key: &Key) -> bool {
    is_in("index")(key) || key.name().ends_with(".index")
}

fn is_backup_file(key: &Key) -> bool {
    is_in("blocks")(key) && !is_copy(key)
}

/// Backups of so many days, of noise.
async fn backed_up(days: i64) -> (Memory, Truth) {
    let (memory, repository) = memory_repository().await;
    let (mut machines, mut truth) = (Machines::new(80), Truth::default());
    machines.add("web01", &[3 * BLOCK]);
    machines.fill_with_noise("web01");
    for number in 0..days {
        machines.overwrite("web01", |disk| disk[0] = disk[0].wrapping_add(1));
        truth.record(&machines, &["web01"], day(number));
        machines.backup(&repository, &["web01"]).run(day(number)).await.unwrap();
    }
    ((*memory).clone(), truth)
}

/// The same without the objects of which `is_lost` says so.
async fn without(memory: &Memory, is_lost: impl Fn(&Key) -> bool) -> Memory {
    let memory = fork(memory).await;
    for key in keys(&memory, BACKUP) {
        assert!(!is_lost(&key) || memory.remove(&key));
    }
    memory
}

/// Puts bytes in the place of an index and of its second copy.
async fn replace_both(memory: &Memory, id: ObjectId, bytes: &[u8]) {
    for place in [format!("{BACKUP}/index/{id}"), format!("{BACKUP}/blocks/{id}.index")] {
        replace(memory, &key(&place), bytes.to_vec()).await;
    }
}

/// The newest heads are lost, and the second copy that tells what they have committed cannot be read. The head before them is intact and
/// knows nothing of it; the indexes do.
#[tokio::test]
async fn a_second_copy_that_is_damaged_and_newer_than_any_head_lets_the_indexes_tell() {
    let mut scene = Scene::new().await;
    let memory = fork(&scene.target).await;
    let before = newest_head(&memory, COPY);
    let primary = open_memory(&fork(&scene.source).await).await;
    let names = ["web01", "db01"];
    scene.machines.change("web01", 1);
    scene.truth.record(&scene.machines, &names, day(8));
    scene.machines.backup(&primary, &names).keep(keep(4)).run(day(8)).await.unwrap();
    copy_job(&primary, &open_memory(&memory).await).transforms(keep(9)).run(day(8)).await.unwrap();
    let after = newest_head(&memory, COPY);
    let points: Vec<Sequence> = after.chain.all().map(|point| point.sequence).collect();
    assert_eq!(points.len(), before.chain.all().count() + 1);
    for number in before.number + 1..=after.number {
        assert!(memory.remove(&key(&format!("{COPY}/head/{number:020}"))));
    }
    let copy = copies(&memory, COPY).into_iter().find(|key| key.name().ends_with(".head")).unwrap();
    flip(&memory, &copy).await;
    let report = repair(&memory).await;
    assert_eq!((report.basis, &report.left_out[..]), (Basis::Indexes, &[][..]), "{report:?}");
    assert_eq!(report.points, points);
    assert_eq!(scene.truth.check(&open_memory(&memory).await, COPY).await.len(), points.len());
}

/// Blocks alone do not tell which of them belong together, and indexes without any block of theirs tell of nothing that is there.
#[tokio::test]
async fn a_folder_in_which_nothing_proves_a_restore_point_is_left_as_it_is() {
    let (memory, _) = backed_up(3).await;
    let blocks = without(&memory, |key| is_head(key) || is_index(key)).await;
    let unreadable = without(&memory, is_head).await;
    for key in keys(&unreadable, BACKUP).iter().filter(|key| is_index(key)) {
        replace(&unreadable, key, vec![0; 100]).await;
    }
    let indexes = without(&memory, |key| is_head(key) || is_backup_file(key)).await;
    // An old head is there, and something was committed after it.
    let doubtful = without(&memory, is_index).await;
    for head in &keys(&doubtful, &format!("{BACKUP}/head"))[1..] {
        assert!(doubtful.remove(head));
    }
    let copy = copies(&doubtful, BACKUP).into_iter().find(|key| key.name().ends_with(".head"));
    flip(&doubtful, &copy.unwrap()).await;
    let cases = [
        (doubtful, "may not be the last one, as later ones are damaged"),
        (blocks, "no head can be read, and no index or second copy of one can be read"),
        (unreadable, "no head can be read, and none of 3 indexes"),
        (indexes, "none of the restore points that they describe is there"),
    ];
    for (memory, why) in cases {
        let before = memory.contents();
        let repository = open_memory(&memory).await;
        let repair = Repair::new(&repository, job(BACKUP));
        for error in [repair.plan().await.unwrap_err(), repair.run().await.unwrap_err()] {
            assert!(error.class() == ErrorClass::Damaged && causes(&error).contains(why), "{why}: {}", causes(&error));
        }
        assert_eq!(memory.contents(), before, "{why}");
    }
}

/// The name of an index is all that tells then which one it is, and the index knows its name.
#[tokio::test]
async fn an_index_under_the_name_of_another_is_not_taken_for_that_one() {
    let (memory, truth) = backed_up(3).await;
    let points = newest_head(&memory, BACKUP).chain.points().to_vec();
    let memory = without(&memory, is_head).await;
    let first = bytes_of(&memory, &key(&format!("{BACKUP}/index/{}", points[0].index.id)));
    let lost = points[2].index.id;
    replace_both(&memory, lost, &first).await;
    let report = repair_job(&memory, BACKUP).await;
    assert_eq!((report.basis, &report.left_out[..]), (Basis::Indexes, &[][..]), "{report:?}");
    let why = IndexLoss::WithCopy { index: key(&format!("{BACKUP}/index/{lost}")) };
    assert_eq!(report.notes, [Note::IndexUnassigned { why }]);
    assert_eq!(report.points, [points[0].sequence, points[1].sequence]);
    assert_eq!(truth.check(&open_memory(&memory).await, BACKUP).await.len(), 2);
}

/// A list of the machines up to that number is not even begun.
#[tokio::test]
async fn an_index_that_tells_of_more_machines_than_a_job_has_is_refused() {
    let (memory, _) = backed_up(1).await;
    let id = newest_head(&memory, BACKUP).chain.points()[0].index.id;
    let memory = without(&memory, is_head).await;
    let mut index = Index::decode(&bytes_of(&memory, &key(&format!("{BACKUP}/index/{id}")))).unwrap();
    index.machines[0].1 = MachineNumber(1 << 20);
    replace_both(&memory, id, &index.encode().unwrap()).await;
    let before = memory.contents();
    let error = Repair::new(&open_memory(&memory).await, job(BACKUP)).run().await.unwrap_err();
    assert!(causes(&error).contains("claims 1048577 machines"), "{}", causes(&error));
    assert_eq!(memory.contents(), before);
}

/// One index is written anew, as the point that it stood on is lost. The others are as they were, and get their second copies again.
#[tokio::test]
async fn second_copies_are_put_back_beside_an_index_that_is_written_anew() {
    let (memory, truth) = backed_up(4).await;
    let points = newest_head(&memory, BACKUP).chain.points().to_vec();
    let (.., at) = step(&memory, BACKUP, &points[1]).stored().next().unwrap();
    let file = key(&format!("{BACKUP}/blocks/{}", at.file));
    let index = key(&format!("{BACKUP}/index/{}", points[3].index.id));
    let second_copy = key(&format!("{BACKUP}/blocks/{}.index", points[3].index.id));
    let memory = without(&memory, |key| is_head(key) || *key == file || *key == second_copy).await;
    let report = repair_job(&memory, BACKUP).await;
    assert_eq!((report.basis, report.rewritten.len()), (Basis::Indexes, 1), "{report:?}");
    assert_eq!(report.points, [points[0].sequence, points[2].sequence, points[3].sequence]);
    assert_eq!(report.restored, std::slice::from_ref(&second_copy));
    assert_eq!(bytes_of(&memory, &second_copy), bytes_of(&memory, &index));
    assert_eq!(truth.check(&open_memory(&memory).await, BACKUP).await, [1, 3, 4]);
}
