//! What a run lists to be given back, in which order it goes, and what becomes of it if a step fails.

use std::sync::Arc;

use offsite::model::{RetiredObject, Retirement};
use offsite::report::TransformReport;
use offsite::retention::Policy;
use offsite::{Error, MergeMethod, OpenRepository, TransformJob, Transforms};
use offsite_core::FolderId;
use offsite_core::format::records::ReleaseList;
use offsite_core::format::{Kind, decode_record, encode_record};
use offsite_repository::testing::{Fault, Faulty, Memory, MemoryOptions};
use offsite_repository::{ErrorKind, Key, Prefix, RepositoryExt, Verb};

use crate::support::objects::{Living, bytes_of, fork, key, keys, newest_head, pin, stray};
use crate::support::truth::Truth;
use crate::support::{BLOCK, Machines, day, job, keep, memory_repository_with, open_memory};

const JOB: &str = "nightly";
const DAYS: i64 = 5;

async fn transform(repository: &OpenRepository) -> Result<TransformReport, Error> {
    let policy = Policy::new(keep(3));
    let transforms = Transforms::keeping(policy).merge(MergeMethod::Adopt).apply_changes_at_once(true);
    TransformJob::new(repository, job(JOB)).transforms(transforms).run(day(DAYS)).await
}

/// A chain that was merged while a reader held all that the merge let go. The increments change `changed` blocks of six.
struct Scene {
    memory: Arc<Memory>,
    pin: Key,
    truth: Truth,
}

impl Scene {
    async fn new(options: MemoryOptions, changed: usize) -> Self {
        let (memory, repository) = memory_repository_with(options).await;
        let (mut machines, mut truth) = (Machines::new(crate::support::seed(61)), Truth::default());
        machines.add("web01", &[6 * BLOCK]);
        for number in 0..DAYS {
            machines.overwrite("web01", |disk| {
                let value = u8::try_from(number).unwrap();
                disk[..changed * BLOCK].iter_mut().enumerate().for_each(|(at, byte)| *byte = value ^ (at / 7) as u8);
            });
            truth.record(&machines, &["web01"], day(number));
            machines.backup(&repository, &["web01"]).keep(keep(99)).run(day(number)).await.unwrap();
        }
        let reader = Living::new();
        let pin = pin(&memory, JOB, &reader.holder).await;
        let report = transform(&repository).await.unwrap();
        assert!(report.released.held_bytes > 0 && report.released.objects == 0, "{:?}", report.released);
        Self { memory, pin, truth }
    }

    fn retired(&self) -> Vec<Retirement> {
        newest_head(&self.memory, JOB).retired
    }

    /// What a later run may give back: nobody reads any more.
    async fn without_reader(&self) -> Memory {
        let memory = fork(&self.memory).await;
        assert!(memory.remove(&self.pin));
        memory
    }
}

fn has_list(retired: &[Retirement]) -> bool {
    retired.iter().any(|retirement| matches!(retirement.what, RetiredObject::Ranges { .. }))
}

fn is_there(memory: &Memory, retirement: &Retirement) -> bool {
    let path = match retirement.what {
        RetiredObject::File(id) => format!("{JOB}/blocks/{id}"),
        RetiredObject::Index(id) => format!("{JOB}/index/{id}"),
        RetiredObject::Ranges { list, .. } => format!("{JOB}/release/{list}"),
    };
    keys(memory, JOB).contains(&key(&path))
}

#[tokio::test]
async fn ranges_are_listed_where_they_can_be_punched_or_written_into() {
    for (reclaim, patch) in [(true, true), (true, false), (false, true), (false, false)] {
        let options = MemoryOptions::default().with_reclaim(reclaim).with_patch(patch);
        // Half of the full is let go.
        let retired = Scene::new(options.clone(), 3).await.retired();
        assert_eq!(has_list(&retired), reclaim || patch, "{options:?}: {retired:?}");
        // All of it is: its file goes, and no range of it.
        let retired = Scene::new(options.clone(), 6).await.retired();
        assert!(!has_list(&retired), "{options:?}: {retired:?}");
        assert!(retired.iter().any(|retirement| matches!(retirement.what, RetiredObject::File(_))), "{retired:?}");
    }
}

/// The next commit may need the room that an object takes, and cannot use that of a hole: so holes come first.
#[tokio::test]
async fn a_hole_that_cannot_be_punched_leaves_every_object() {
    let scene = Scene::new(MemoryOptions::default(), 3).await;
    let retired = scene.retired();
    assert!(retired.len() > 1 && has_list(&retired), "{retired:?}");
    let memory = scene.without_reader().await;
    let faulty = Arc::new(Faulty::new(memory.clone()));
    faulty.inject(Fault::after_calls(0, ErrorKind::PermissionDenied).on(Verb::Punch).for_ever());
    let error = transform(&OpenRepository::open(faulty).await.unwrap()).await.unwrap_err();
    assert_eq!(error.repository_kind(), Some(ErrorKind::PermissionDenied), "{error}");
    assert!(retired.iter().all(|retirement| is_there(&memory, retirement)), "{:?}", keys(&memory, JOB));
    let report = transform(&open_memory(&memory).await).await.unwrap();
    let objects = retired.iter().filter(|retirement| !matches!(retirement.what, RetiredObject::Ranges { .. })).count();
    assert_eq!((report.released.objects, report.released.ranges > 0), (objects as u64, true));
    assert_eq!(stray(&memory, JOB), [""; 0]);
    scene.truth.check(&open_memory(&memory).await, JOB).await;
}

/// A list that cannot be read now may be read later. One that is lost, or another than the head names, never will.
#[tokio::test]
async fn a_list_that_is_away_keeps_its_ranges_and_another_list_releases_nothing() {
    let scene = Scene::new(MemoryOptions::default(), 3).await;
    let list = keys(&scene.memory, &format!("{JOB}/release")).pop().unwrap();

    let memory = scene.without_reader().await;
    let faulty = Arc::new(Faulty::new(memory.clone()));
    let lists = Prefix::new(format!("{JOB}/release")).unwrap();
    faulty.inject(Fault::after_calls(0, ErrorKind::PermissionDenied).on(Verb::Read).below(lists).for_ever());
    let error = transform(&OpenRepository::open(faulty).await.unwrap()).await.unwrap_err();
    assert_eq!(error.repository_kind(), Some(ErrorKind::PermissionDenied), "{error}");
    assert!(transform(&open_memory(&memory).await).await.unwrap().released.ranges > 0);

    type Forge = fn(&mut ReleaseList);
    let foreign: Forge = |list| list.folder = FolderId::new(list.folder.bytes().map(|byte| byte ^ 1));
    // Whoever may write to the store may put a list there that names blocks which are needed.
    let forged: Forge = |list| list.files.iter_mut().for_each(|(_, ranges)| *ranges = vec![(0, 1 << 30)]);
    for change in [foreign, forged] {
        let memory = scene.without_reader().await;
        let mut record: ReleaseList = decode_record(Kind::ReleaseList, &bytes_of(&memory, &list)).unwrap();
        change(&mut record);
        assert!(memory.remove(&list));
        memory.put(&list, encode_record(Kind::ReleaseList, &record).unwrap().into()).await.unwrap();
        let report = transform(&open_memory(&memory).await).await.unwrap();
        assert_eq!(report.released.ranges, 0);
        assert_eq!(stray(&memory, JOB), [""; 0]);
        scene.truth.check(&open_memory(&memory).await, JOB).await;
    }
}
