//! Each loss, alone and with the heads, their copies, or both: what is kept is what a naive look at the truth says can be kept, to the
//! machine and the point; each of that restores, or is named as damaged; and a verification afterwards says what the repair said.

use std::collections::{BTreeMap, BTreeSet};

use offsite::model::{DiskMap, Head, ObjectId, PointKind, RestorePoint, Run, StoredBlock};
use offsite::report::Operation;
use offsite::retention::{Gfs, Policy};
use offsite::{BackupMethod, Damage, TransformJob, Transforms, Verify};
use offsite_core::Index;
use offsite_core::format::WireFormat;
use offsite_core::format::frame::HEADER_BYTES;
use offsite_repository::Repository;
use offsite_repository::testing::Memory;

use super::{flip_at, is_in, repair_job, replace};
use crate::support::objects::{bytes_of, fork, is_copy, key, keys, newest_head, step};
use crate::support::truth::Truth;
use crate::support::{BLOCK, Machines, copy_job, day, job, keep, memory_repository, open_memory};

const NAMES: [&str; 3] = ["app01", "db01", "web01"];

/// A machine of a restore point.
type Part = (u64, String);

/// What of heads and their copies is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heads {
    Intact,
    Gone,
    CopiesGone,
    AllGone,
}

#[derive(Debug, Clone, Copy)]
enum Loss {
    Nothing,
    Index(ObjectId),
    Twin(ObjectId),
    Both(ObjectId),
    File(ObjectId),
    Cut(ObjectId, u64),
    Zeroed(StoredBlock),
    Header(StoredBlock),
    Payload(StoredBlock),
}

struct Scene {
    folder: &'static str,
    memory: Memory,
    head: Head,
    truth: Truth,
}

impl Scene {
    /// A copy with merges, an archive, a full that stands on other indexes, and a machine that joined in an increment.
    async fn copied() -> Self {
        let (_, primary) = memory_repository().await;
        let (target, second) = memory_repository().await;
        let (mut machines, mut truth) = (Machines::new(73), Truth::default());
        for number in 0..12 {
            evening(&mut machines, number, 10);
            let names = machines.names();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            truth.record(&machines, &names, day(number));
            machines.backup(&primary, &names).keep(keep(9)).run(day(number)).await.unwrap();
            copy_job(&primary, &second).transforms(with_archives()).run(day(number)).await.unwrap();
        }
        let head = newest_head(&target, "Offsite Copy");
        assert!(!head.chain.archives().is_empty(), "{:?}", head.chain);
        assert!(head.chain.all().any(|point| !point.below.is_empty()), "{:?}", head.chain);
        Self { folder: "Offsite Copy", memory: (*target).clone(), head, truth }
    }

    /// A backup whose newest point is the full, with rollbacks that lead back from it.
    async fn reverse() -> Self {
        let (memory, primary) = memory_repository().await;
        let (mut machines, mut truth) = (Machines::new(74), Truth::default());
        for number in 0..6 {
            evening(&mut machines, number, 3);
            let names = machines.names();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            truth.record(&machines, &names, day(number));
            let backup = machines.backup(&primary, &names).method(BackupMethod::Reverse).keep(keep(9));
            backup.run(day(number)).await.unwrap();
        }
        let head = newest_head(&memory, "nightly");
        assert_eq!(head.chain.points()[0].kind, PointKind::Rollback);
        Self { folder: "nightly", memory: (*memory).clone(), head, truth }
    }

    fn parts(&self) -> BTreeSet<Part> {
        parts(&self.head)
    }

    fn state(&self, sequence: u64) -> Vec<(String, StoredBlock)> {
        let point = self.head.chain.all().find(|point| point.sequence.0 == sequence).unwrap();
        let path = self.head.chain.steps_to(point.sequence).unwrap();
        let state = path.into_iter().map(|point| step(&self.memory, self.folder, point));
        let state = state.reduce(|state, step| state.overlay(&step)).unwrap();
        let of_point = state.project(|name| point.machine(name).is_some());
        of_point.stored().map(|(name, _, _, at)| (name.as_str().to_owned(), at)).collect()
    }

    /// The first frame of each machine in each file that a state needs: full, increments and archives have files of their own.
    fn frames(&self) -> Vec<StoredBlock> {
        let mut frames = BTreeMap::new();
        for (sequence, _) in self.parts() {
            for (name, at) in self.state(sequence) {
                frames.entry((at.file, name)).or_insert(at);
            }
        }
        frames.into_values().collect()
    }

    fn losses(&self, heads: Heads) -> Vec<Loss> {
        let mut losses = vec![Loss::Nothing];
        for index in self.head.chain.indexes() {
            losses.extend([Loss::Index(index.id), Loss::Twin(index.id), Loss::Both(index.id)]);
        }
        for (id, file) in &self.head.files {
            losses.extend([Loss::File(*id), Loss::Cut(*id, file.length / 2)]);
        }
        for at in self.frames() {
            losses.push(Loss::Payload(at));
            if heads == Heads::AllGone {
                losses.extend([Loss::Zeroed(at), Loss::Header(at)]);
            }
        }
        losses
    }

    async fn with(&self, heads: Heads, loss: Loss) -> Memory {
        let memory = fork(&self.memory).await;
        let of_job = keys(&memory, self.folder);
        for key in &of_job {
            let is_head = is_in("head")(key) && matches!(heads, Heads::Gone | Heads::AllGone);
            let is_head_copy = key.name().ends_with(".head") && matches!(heads, Heads::CopiesGone | Heads::AllGone);
            let is_lost = match loss {
                Loss::Index(id) => is_in("index")(key) && key.name() == id.to_string(),
                Loss::Twin(id) => key.name() == format!("{id}.index"),
                Loss::Both(id) => {
                    key.name() == format!("{id}.index") || is_in("index")(key) && key.name() == id.to_string()
                }
                Loss::File(id) => is_in("blocks")(key) && key.name() == id.to_string(),
                _ => false,
            };
            if is_head || is_head_copy || is_lost {
                memory.delete(key).await.unwrap();
            }
        }
        let file = |id: ObjectId| key(&format!("{}/blocks/{id}", self.folder));
        match loss {
            Loss::Cut(id, length) => {
                let bytes = bytes_of(&memory, &file(id));
                replace(&memory, &file(id), bytes[..length as usize].to_vec()).await;
            }
            Loss::Zeroed(at) => {
                let mut bytes = bytes_of(&memory, &file(at.file)).to_vec();
                bytes[at.offset as usize..(at.offset + u64::from(at.length)) as usize].fill(0);
                replace(&memory, &file(at.file), bytes).await;
            }
            Loss::Header(at) => flip_at(&memory, &file(at.file), at.offset as usize + 20).await,
            Loss::Payload(at) => flip_at(&memory, &file(at.file), at.offset as usize + HEADER_BYTES).await,
            _ => {}
        }
        memory
    }

    /// Whether an index can say what it said.
    fn is_known(&self, index: ObjectId, loss: Loss) -> bool {
        !matches!(loss, Loss::Both(lost) if lost == index)
    }

    fn index(&self, id: ObjectId) -> Index {
        Index::decode(&bytes_of(&self.memory, &key(&format!("{}/index/{id}", self.folder)))).unwrap()
    }

    /// The machines of points whose state an index tells that is one of those points' own, or was when they were full: later fulls
    /// may stand on it.
    fn told_whole(&self, loss: Loss) -> BTreeSet<Part> {
        let mut told = BTreeSet::new();
        for reference in self.head.chain.indexes().filter(|index| self.is_known(index.id, loss)) {
            let index = self.index(reference.id);
            if index.kind != PointKind::Full || !index.below.iter().all(|below| self.is_known(below.id, loss)) {
                continue;
            }
            let below = index.below.iter().map(|below| self.index(below.id).map);
            let state = below.reduce(|state, above| state.overlay(&above));
            let state = state.map_or_else(|| index.map.clone(), |state| state.overlay(&index.map));
            let points = self.head.chain.all().filter(|point| point.sequence == index.sequence);
            for machine in points.flat_map(|point| &point.machines) {
                let found = state.machine(&machine.name).filter(|found| found.captured == machine.captured);
                if found.is_some_and(|found| found.disks.values().all(DiskMap::is_full)) {
                    told.insert((index.sequence.0, machine.name.as_str().to_owned()));
                }
            }
        }
        told
    }

    /// The machines of points whose every block can be told, block by block, from the indexes that are there.
    fn told(&self, heads: Heads, loss: Loss) -> BTreeSet<Part> {
        let mut told = BTreeSet::new();
        let whole = self.told_whole(loss);
        for point in self.head.chain.all() {
            // No head says that there was such a point.
            if heads == Heads::AllGone
                && !self.is_known(point.index.id, loss)
                && !whole.iter().any(|(sequence, _)| *sequence == point.sequence.0)
            {
                continue;
            }
            let path = self.head.chain.steps_to(point.sequence).unwrap();
            let mut blocks: BTreeMap<(String, u16), Vec<bool>> = BTreeMap::new();
            for on_path in path {
                for index in on_path.indexes() {
                    if !self.is_known(index.id, loss) {
                        blocks.values_mut().for_each(|disk| disk.fill(false));
                        continue;
                    }
                    for (name, machine) in self.index(index.id).map.machines() {
                        for (number, disk) in &machine.disks {
                            let before = blocks.remove(&(name.as_str().to_owned(), number.0)).unwrap_or_default();
                            let is_told = |block: u32| match disk.get(block) {
                                Some(Run::Zero { .. } | Run::Stored { .. }) => true,
                                None => before.get(block as usize).copied().unwrap_or(false),
                            };
                            let now = (0..disk.block_count()).map(is_told).collect();
                            blocks.insert((name.as_str().to_owned(), number.0), now);
                        }
                    }
                }
                for ((name, _), disk) in &mut blocks {
                    if whole.contains(&(on_path.sequence.0, name.clone())) {
                        disk.fill(true);
                    }
                }
            }
            for machine in &point.machines {
                let mut disks = blocks.iter().filter(|((name, _), _)| *name == machine.name.as_str());
                if disks.all(|(_, disk)| disk.iter().all(|is_told| *is_told)) {
                    told.insert((point.sequence.0, machine.name.as_str().to_owned()));
                }
            }
        }
        told
    }

    /// The machines of points that have a block of which `is_it` says so.
    fn with_block(&self, is_it: impl Fn(&StoredBlock) -> bool) -> BTreeSet<Part> {
        let all = self.parts();
        let numbers: BTreeSet<u64> = all.iter().map(|(sequence, _)| *sequence).collect();
        let blocks = numbers
            .into_iter()
            .flat_map(|sequence| self.state(sequence).into_iter().map(move |block| (sequence, block)));
        blocks.filter(|(_, (_, at))| is_it(at)).map(|(sequence, (name, _))| (sequence, name)).collect()
    }

    /// What must be kept, and what of that is damaged, if no index came back from frames.
    fn expected(&self, heads: Heads, loss: Loss) -> (BTreeSet<Part>, BTreeSet<Part>) {
        let told = self.told(heads, loss);
        let touched = self.with_block(|at| match loss {
            Loss::File(id) => at.file == id,
            Loss::Cut(id, length) => at.file == id && at.offset + u64::from(at.length) > length,
            Loss::Zeroed(lost) | Loss::Header(lost) | Loss::Payload(lost) => {
                (lost.file, lost.offset) == (at.file, at.offset)
            }
            _ => false,
        });
        // What may have been let go on purpose is no damage, where no head says that it was still needed.
        let is_gone = match loss {
            Loss::File(_) | Loss::Cut(..) => matches!(heads, Heads::Gone | Heads::AllGone),
            Loss::Zeroed(_) => heads == Heads::AllGone,
            _ => false,
        };
        match is_gone {
            true => (told.difference(&touched).cloned().collect(), BTreeSet::new()),
            false => (told.clone(), touched.intersection(&told).cloned().collect()),
        }
    }

    async fn try_all(&self, heads: Heads) {
        for loss in self.losses(heads) {
            let what = format!("{} heads {heads:?}, {loss:?}", self.folder);
            let memory = self.with(heads, loss).await;
            let report = repair_job(&memory, self.folder).await;
            let head = newest_head(&memory, self.folder);
            let (kept, damaged) = match report.salvaged.is_empty() {
                true => self.expected(heads, loss),
                false => self.expected(heads, Loss::Nothing),
            };
            assert_eq!(parts(&head), kept, "{what}: {report:#?}");
            for (sequence, name) in self.parts().difference(&kept) {
                let is_named = |left: &offsite::LeftOut| {
                    left.sequence.0 == *sequence && left.machine.as_ref().is_none_or(|machine| machine.as_str() == name)
                };
                let is_known = self.head.chain.all().any(|point| {
                    point.sequence.0 == *sequence && (heads != Heads::AllGone || self.is_known(point.index.id, loss))
                });
                assert!(!is_known || report.left_out.iter().any(is_named), "{what}: #{sequence} {name}: {report:#?}");
            }
            let repository = open_memory(&memory).await;
            let verified = Verify::new(&repository, job(self.folder)).run().await.unwrap().damage;
            let read = Verify::new(&repository, job(self.folder)).read_data(true).run().await.unwrap().damage;
            match heads {
                Heads::AllGone => assert_eq!(report.damage, read, "{what}"),
                _ => assert_eq!(report.damage, verified, "{what}"),
            }
            assert_eq!(touched(&read), damaged, "{what}: {read:#?}");
            assert_eq!(self.truth.failing(&repository, self.folder).await, damaged, "{what}");
            for point in head.chain.all() {
                assert_eq!(point.stored, offsite::model::Stored::of(&step(&memory, self.folder, point)), "{what}");
            }
            for key in keys(&memory, &format!("{}/index", self.folder)) {
                let copy = crate::support::objects::key(&format!("{}/blocks/{}.index", self.folder, key.name()));
                assert!(is_copy(&copy) && bytes_of(&memory, &key) == bytes_of(&memory, &copy), "{what}: {key}");
            }
        }
    }
}

/// What keeps the points of some evenings, and those of Sundays as archives.
fn with_archives() -> Transforms {
    let gfs = Gfs::new(2, 0, 0, 0).unwrap();
    Transforms::keeping(Policy::new(keep(4)).with_gfs(gfs))
}

/// What happens to the machines before an evening; one of them joins on that of `joins`.
fn evening(machines: &mut Machines, number: i64, joins: i64) {
    if number == 0 {
        machines.add("web01", &[14 * BLOCK + 777, 3_000]);
        machines.add("db01", &[2 * BLOCK + 500]);
    }
    if number == joins {
        machines.add("app01", &[2 * BLOCK]);
    }
    for name in machines.names() {
        machines.change(&name, 1);
    }
}

fn parts(head: &Head) -> BTreeSet<Part> {
    let of = |point: &RestorePoint| {
        let sequence = point.sequence.0;
        point.machines.iter().map(move |machine| (sequence, machine.name.as_str().to_owned())).collect::<Vec<_>>()
    };
    head.chain.all().flat_map(of).collect()
}

fn touched(damage: &[Damage]) -> BTreeSet<Part> {
    let touched = damage.iter().flat_map(|damage| &damage.touches);
    touched.map(|touched| (touched.sequence.0, touched.machine.as_ref().unwrap().as_str().to_owned())).collect()
}

#[tokio::test]
async fn each_loss_with_intact_heads() {
    Scene::copied().await.try_all(Heads::Intact).await;
    Scene::reverse().await.try_all(Heads::Intact).await;
}

#[tokio::test]
async fn each_loss_with_all_heads() {
    Scene::copied().await.try_all(Heads::Gone).await;
    Scene::reverse().await.try_all(Heads::Gone).await;
}

#[tokio::test]
async fn each_loss_with_all_copies_of_heads() {
    Scene::copied().await.try_all(Heads::CopiesGone).await;
    Scene::reverse().await.try_all(Heads::CopiesGone).await;
}

#[tokio::test]
async fn each_loss_with_all_heads_and_their_copies() {
    Scene::copied().await.try_all(Heads::AllGone).await;
    Scene::reverse().await.try_all(Heads::AllGone).await;
}

/// One damaged block in the full that all stands on: nothing is left out, and the next run puts the block back for every point.
#[tokio::test]
async fn a_damaged_block_costs_nothing_where_the_source_has_it() {
    let (source, primary) = memory_repository().await;
    let (target, second) = memory_repository().await;
    let (mut machines, mut truth) = (Machines::new(75), Truth::default());
    for number in 0..4 {
        evening(&mut machines, number, 0);
        truth.record(&machines, &NAMES, day(number));
        machines.backup(&primary, &NAMES).keep(keep(9)).run(day(number)).await.unwrap();
        copy_job(&primary, &second).transforms(keep(9)).run(day(number)).await.unwrap();
    }
    let scene =
        Scene { folder: "Offsite Copy", memory: (*target).clone(), head: newest_head(&target, "Offsite Copy"), truth };
    let newest = scene.head.chain.latest().unwrap().sequence.0;
    let full = scene.head.chain.points()[0].index.id;
    let state = scene.state(newest);
    let (_, at) = state.iter().find(|(_, at)| at.file < full).unwrap();
    let memory = scene.with(Heads::AllGone, Loss::Payload(*at)).await;
    let report = repair_job(&memory, scene.folder).await;
    assert_eq!((report.left_out.len(), report.damage.len()), (0, 1), "{report:#?}");
    let repository = open_memory(&memory).await;
    let report = copy_job(&open_memory(&source).await, &repository).transforms(keep(9)).run(day(8)).await.unwrap();
    assert!(report.transform.is_well(), "{:?}", report.transform);
    assert!(scene.truth.failing(&repository, scene.folder).await.is_empty());
}

/// Of a file that is cut off, what is left counts from then on: what lay behind is needed by nothing that is kept.
#[tokio::test]
async fn a_file_that_is_cut_off_is_no_damage_once_what_it_held_is_left_out() {
    let scene = Scene::copied().await;
    let mut halves = scene.head.files.iter().map(|(id, file)| (*id, file.length / 2));
    let is_needed = |(id, cut): &(ObjectId, u64)| {
        let is_behind = |at: &StoredBlock| at.file == *id && at.offset + u64::from(at.length) > *cut;
        !scene.with_block(is_behind).is_empty()
    };
    let (id, cut) = halves.find(is_needed).unwrap();
    let memory = scene.with(Heads::Gone, Loss::Cut(id, cut)).await;
    let report = repair_job(&memory, scene.folder).await;
    assert!(!report.left_out.is_empty());
    assert_eq!((newest_head(&memory, scene.folder).files[&id].length, report.damage), (cut, Vec::new()));
}

/// Only heads have flags. A repair without heads leaves archives without, and the next run of the job gives them those that they had.
#[tokio::test]
async fn archives_get_the_flags_again_that_were_lost_with_the_heads() {
    let scene = Scene::copied().await;
    let memory = scene.with(Heads::AllGone, Loss::Nothing).await;
    repair_job(&memory, scene.folder).await;
    let flags = |head: &Head| {
        let archives = head.chain.archives().iter();
        archives.map(|archive| (archive.sequence, archive.flags)).collect::<Vec<_>>()
    };
    let (before, bare) = (flags(&scene.head), flags(&newest_head(&memory, scene.folder)));
    assert_eq!(bare.len(), before.len());
    assert!(before.iter().all(|(_, flags)| !flags.is_empty()) && bare.iter().all(|(_, flags)| flags.is_empty()));
    let transforms = TransformJob::new(&open_memory(&memory).await, job(scene.folder)).transforms(with_archives());
    let report = transforms.run(day(11)).await.unwrap();
    let marked = report.operations.iter().find_map(|done| match &done.operation {
        Operation::MarkAgain { points } => Some(points),
        _ => None,
    });
    let marked = marked.unwrap_or_else(|| panic!("{report:?}"));
    assert!(before.iter().all(|(sequence, _)| marked.contains(sequence)), "{report:?}");
    assert_eq!(flags(&newest_head(&memory, scene.folder)), before);
    let again = transforms.run(day(11)).await.unwrap();
    assert!(!again.operations.iter().any(|done| matches!(done.operation, Operation::MarkAgain { .. })), "{again:?}");
}
