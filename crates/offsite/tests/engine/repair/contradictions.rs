//! Indexes that are what the head refers to, to the last bit, and that no reader takes: what else is there of their points comes back.

use std::collections::BTreeSet;

use offsite::model::{Chain, IndexReference, ObjectId, RestorePoint, RetiredObject, Retirement, Run};
use offsite::{Basis, LeftOut, MergeMethod, Verify};
use offsite_core::format::index::Directory;
use offsite_core::format::{ENVELOPE_BYTES, Envelope, Kind, WireFormat};
use offsite_core::{Digest, FolderId, Index};
use offsite_repository::testing::{Memory, MemoryOptions};
use offsite_repository::{Key, Repository, RepositoryExt};

use super::{COPY, is_in, repair, replace};
use crate::support::objects::{bytes_of, copies, fork, key, keys, newest_head, put_successor};
use crate::support::truth::Truth;
use crate::support::{
    BLOCK, Machines, copy_job, day, job, keep, machine, memory_repository, memory_repository_with, open_memory,
};

const NAMES: [&str; 3] = ["app01", "db01", "web01"];

/// A copy of merges that leave all blocks in place, and every index that it ever had.
struct Scene {
    memory: Memory,
    indexes: Vec<(Key, bytes::Bytes)>,
    truth: Truth,
}

impl Scene {
    async fn new() -> Self {
        Self::keeping(3).await
    }

    /// One that keeps so many points in the end.
    async fn keeping(points_in_the_end: u32) -> Self {
        let (_, primary) = memory_repository().await;
        let options = MemoryOptions::default().with_reclaim(false);
        let (target, second) = memory_repository_with(options).await;
        let (mut machines, mut truth) = (Machines::new(76), Truth::default());
        for name in NAMES {
            machines.add(name, &[4 * BLOCK + 99]);
            machines.fill_with_noise(name);
        }
        let mut indexes: Vec<(Key, bytes::Bytes)> = Vec::new();
        for number in 0..6 {
            for name in NAMES {
                machines.change(name, 1);
            }
            truth.record(&machines, &NAMES, day(number));
            machines.backup(&primary, &NAMES).keep(keep(9)).run(day(number)).await.unwrap();
            // No merge before the last evening but one.
            let points = if number < 4 { 9 } else { points_in_the_end };
            let copy = copy_job(&primary, &second)
                .transforms(offsite::Transforms::keeping(keep(points)).merge(MergeMethod::Adopt));
            copy.run(day(number)).await.unwrap();
            for key in keys(&target, &format!("{COPY}/index")) {
                if !indexes.iter().any(|(known, _)| *known == key) {
                    indexes.push((key.clone(), bytes_of(&target, &key)));
                }
            }
        }
        Self { memory: (*target).clone(), indexes, truth }
    }

    /// The index of the chain's full that says most of a machine.
    fn largest(&self) -> IndexReference {
        let head = newest_head(&self.memory, COPY);
        let full = head.chain.points()[0].clone();
        let rows = |index: &&IndexReference| {
            let map = Index::decode(&bytes_of(&self.memory, &object(index.id))).unwrap().map;
            map.machine(&machine("web01"))
                .map_or(0, |web01| web01.disks.values().map(|disk| disk.stored().count()).sum())
        };
        *full.indexes().max_by_key(rows).unwrap()
    }

    /// The copy, with bytes in place of an index and of its second copy that the head refers to.
    async fn with(&self, index: IndexReference, bytes: Vec<u8>) -> Memory {
        let memory = fork(&self.memory).await;
        let record = Envelope::decode(Kind::Index, &bytes).unwrap().record(&bytes).unwrap();
        let new = IndexReference::new(index.id, bytes.len() as u64, Digest::of(record));
        replace(&memory, &object(index.id), bytes.clone()).await;
        replace(&memory, &key(&format!("{COPY}/blocks/{}.index", index.id)), bytes).await;
        put_successor(&memory, COPY, |head| {
            let of = |points: &[RestorePoint]| {
                let exchange = |point: &RestorePoint| {
                    let one = |old: &IndexReference| if *old == index { new } else { *old };
                    let mut point = point.clone();
                    point.index = one(&point.index);
                    point.below = point.below.iter().map(one).collect();
                    point
                };
                points.iter().map(exchange).collect::<Vec<_>>()
            };
            let chain = &head.chain;
            head.chain = Chain::with_archives(chain.block_size(), of(chain.archives()), of(chain.points())).unwrap();
        })
        .await;
        memory
    }
}

fn object(id: ObjectId) -> Key {
    key(&format!("{COPY}/index/{id}"))
}

/// The index with two rows of a machine out of order, and all digests right.
fn out_of_order(bytes: &[u8], name: &str) -> Vec<u8> {
    let directory = Directory::decode(bytes).unwrap();
    let position = directory.machines.iter().position(|(state, _)| state.name.as_str() == name).unwrap();
    let range = directory.part_range(position);
    let (start, end) = (range.start as usize, range.end as usize);
    let index = Index::decode(bytes).unwrap();
    let disk = index.map.machine(&machine(name)).unwrap().disks.values().next().unwrap();
    let zeros = disk.runs().iter().filter(|run| matches!(run, Run::Zero { .. })).count();
    assert!(disk.stored().count() > 1 && index.map.machine(&machine(name)).unwrap().disks.len() == 1);
    let mut changed = bytes.to_vec();
    let blocks = start + 8 * zeros;
    let (left, right) = changed[blocks..blocks + 8].split_at_mut(4);
    left.swap_with_slice(right);
    let (old, new) = (Digest::of(&bytes[start..end]).0, Digest::of(&changed[start..end]).0);
    let record_end = changed.len() - (directory.length() as usize - directory.part_range(0).start as usize);
    let record = changed[ENVELOPE_BYTES..record_end].to_vec();
    let at = record.windows(old.len()).position(|window| window == old).unwrap();
    changed[ENVELOPE_BYTES + at..][..new.len()].copy_from_slice(&new);
    let envelope = Envelope::of(Kind::Index, &changed[ENVELOPE_BYTES..record_end]).encode();
    changed[..ENVELOPE_BYTES].copy_from_slice(&envelope);
    assert!(Directory::decode(&changed).is_ok());
    let error = Index::decode(&changed).unwrap_err().to_string();
    assert!(!error.contains("checksum"), "{error}");
    changed
}

/// Holds that the folder has these parts of the chain, each of which restores, and that nothing is damaged.
async fn holds(scene: &Scene, memory: &Memory, lost: &[&str]) {
    let head = newest_head(memory, COPY);
    let before = newest_head(&scene.memory, COPY);
    let parts = |chain: &Chain| -> BTreeSet<(u64, String)> {
        let parts =
            chain.all().flat_map(|point| point.machines.iter().map(|state| (point.sequence.0, state.name.to_string())));
        parts.collect()
    };
    let expected = parts(&before.chain).into_iter().filter(|(_, name)| !lost.contains(&name.as_str()));
    assert_eq!(parts(&head.chain), expected.collect());
    let repository = open_memory(memory).await;
    assert_eq!(scene.truth.check(&repository, COPY).await.len(), before.chain.all().count());
    assert_eq!(Verify::new(&repository, job(COPY)).read_data(true).run().await.unwrap().damage, []);
}

#[tokio::test]
async fn a_machine_whose_rows_are_out_of_order_is_named_and_the_others_are_kept() {
    let scene = Scene::new().await;
    let index = scene.largest();
    let memory = scene.with(index, out_of_order(&bytes_of(&scene.memory, &object(index.id)), "web01")).await;
    let told = Verify::new(&open_memory(&memory).await, job(COPY)).run().await.unwrap();
    assert!(!told.damage.is_empty(), "a verification sees it");
    let report = repair(&memory).await;
    assert_eq!((report.left_out.len(), report.rewritten.len(), report.salvaged.len()), (3, 1, 0), "{report:#?}");
    for left in &report.left_out {
        assert_eq!(left.machine, Some(machine("web01")));
        assert!(
            left.reason().contains(&format!("index {} is damaged, or contradicts itself", object(index.id))),
            "{left:?}"
        );
    }
    holds(&scene, &memory, &["web01"]).await;
}

/// As after a run that was cut off before its release: older indexes tell the same points.
#[tokio::test]
async fn what_older_indexes_tell_comes_back() {
    let scene = Scene::new().await;
    let index = scene.largest();
    let memory = scene.with(index, out_of_order(&bytes_of(&scene.memory, &object(index.id)), "web01")).await;
    for (key, bytes) in &scene.indexes {
        let _ = memory.put(key, bytes.clone()).await;
    }
    put_successor(&memory, COPY, |head| {
        let what = RetiredObject::File(ObjectId::new(1, 99));
        head.retired.push(Retirement::new(head.number, what, 9));
    })
    .await;
    let report = repair(&memory).await;
    assert_eq!((report.left_out.len(), report.rewritten.len()), (0, 1), "{report:#?}");
    holds(&scene, &memory, &[]).await;
    assert_eq!(newest_head(&memory, COPY).retired, [], "what is needed again is not released");
}

/// What older indexes tell counts only with every block of it: they do not say that none was let go.
#[tokio::test]
async fn what_older_indexes_tell_without_its_blocks_does_not_come_back() {
    let scene = Scene::new().await;
    let index = scene.largest();
    let memory = scene.with(index, out_of_order(&bytes_of(&scene.memory, &object(index.id)), "web01")).await;
    for (key, bytes) in &scene.indexes {
        let _ = memory.put(key, bytes.clone()).await;
    }
    let file = keys(&memory, &format!("{COPY}/blocks")).remove(0);
    memory.delete(&file).await.unwrap();
    let report = repair(&memory).await;
    assert_eq!(report.left_out.len(), 3, "{report:#?}");
    let is_named =
        |left: &LeftOut| left.machine == Some(machine("web01")) && left.reason().contains("let go on purpose");
    assert!(report.left_out.iter().all(is_named), "{report:#?}");
    let lost: Vec<&str> = report.damage.iter().map(|damage| damage.object.as_str()).collect();
    assert_eq!(lost, [file.as_str()], "the head proves the other machines, and that they are damaged");
}

/// The head refers to an index of which another one is in the place, and in that of its second copy.
#[tokio::test]
async fn an_index_of_other_content_is_not_taken_for_the_one_that_is_meant() {
    let scene = Scene::new().await;
    let index = scene.largest();
    let memory = fork(&scene.memory).await;
    let mut other = Index::decode(&bytes_of(&memory, &object(index.id))).unwrap();
    other.time = day(99);
    let bytes = other.encode().unwrap();
    replace(&memory, &object(index.id), bytes.clone()).await;
    replace(&memory, &key(&format!("{COPY}/blocks/{}.index", index.id)), bytes).await;
    for (key, bytes) in &scene.indexes {
        let _ = memory.put(key, bytes.clone()).await;
    }
    let report = repair(&memory).await;
    assert_eq!(report.left_out, [], "{report:#?}");
    holds(&scene, &memory, &[]).await;
}

/// The head knows its digest, and yet it is another folder's: it was put there by hand, as the head was.
#[tokio::test]
async fn an_index_of_another_folder_is_taken_for_lost() {
    let scene = Scene::new().await;
    let index = scene.largest();
    let mut other = Index::decode(&bytes_of(&scene.memory, &object(index.id))).unwrap();
    other.folder = FolderId::new(other.folder.bytes().map(|byte| byte ^ 1));
    let readable = other.encode().unwrap();
    for bytes in [out_of_order(&readable, "web01"), readable] {
        let memory = scene.with(index, bytes).await;
        let report = repair(&memory).await;
        assert!(!report.left_out.is_empty() && report.salvaged.is_empty(), "{report:#?}");
        assert!(report.left_out.iter().all(|left| left.reason().contains("is lost")), "{report:#?}");
    }
}

#[tokio::test]
async fn without_heads_it_is_named_too() {
    // An index knows the digests of those that it stands on: here none stands on it.
    let scene = Scene::keeping(9).await;
    let index = scene.largest();
    let memory = scene.with(index, out_of_order(&bytes_of(&scene.memory, &object(index.id)), "web01")).await;
    for key in keys(&memory, COPY).into_iter().filter(is_in("head")).chain(copies(&memory, COPY)) {
        if !key.name().ends_with(".index") {
            memory.delete(&key).await.unwrap();
        }
    }
    let report = repair(&memory).await;
    assert_eq!((report.basis, report.left_out.len()), (Basis::Indexes, 6), "{report:#?}");
    assert!(report.left_out.iter().all(|left| left.reason().contains("contradicts itself")), "{report:#?}");
    holds(&scene, &memory, &["web01"]).await;
}
