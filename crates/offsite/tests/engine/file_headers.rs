//! What backup files say of themselves: which machines' disks their frames are of, as the restore point has them that each was written for.

use std::fs::OpenOptions;
use std::io::Cursor;
use std::sync::{Arc, Mutex};

use offsite::model::{BlockMap, Head, ObjectId, RestorePoint, Sequence};
use offsite::report::{DamageKind, Fault, Operation};
use offsite::retention::{ArchiveMethod, Gfs, Policy};
use offsite::{
    Activity, Compact, Import, MapSeed, MergeMethod, OpenRepository, PointSelector, Progress, Repair, Transforms,
    Verify,
};
use offsite_core::format::backup_file::{BackupFileHeader, DiskLabel};
use offsite_core::format::{ENVELOPE_BYTES, Envelope, Kind, decode_record, encode_record};
use offsite_repository::testing::{Memory, MemoryOptions};
use offsite_repository::{Repository, RepositoryExt};
use offsite_tests::qemu::{self, Format};

use crate::carrying::exported;
use crate::support::objects::{bytes_of, fork, key, keys, newest_head, step};
use crate::support::{
    BLOCK, Machines, copy_job, day, job, keep, memory_repository, memory_repository_with, open_memory,
};

const COPY: &str = "Offsite Copy";

/// The header of a backup file.
fn header_of(memory: &Memory, folder: &str, id: ObjectId) -> BackupFileHeader {
    let bytes = bytes_of(memory, &key(&format!("{folder}/blocks/{id}")));
    let envelope = Envelope::decode(Kind::BackupFile, &bytes).unwrap();
    let end = ENVELOPE_BYTES + usize::try_from(envelope.record_bytes).unwrap();
    decode_record(Kind::BackupFile, &bytes[..end]).unwrap()
}

fn state(memory: &Memory, folder: &str, head: &Head, point: &RestorePoint) -> BlockMap {
    let path = head.chain.steps_to(point.sequence).unwrap();
    path.into_iter().map(|point| step(memory, folder, point)).reduce(|state, step| state.overlay(&step)).unwrap()
}

/// Holds that the header of each file that a point is left of says what the point says; how many labels of machines were compared.
fn compare(memory: &Memory, folder: &str) -> usize {
    let head = newest_head(memory, folder);
    let mut compared = 0;
    for id in head.files.keys() {
        let header = header_of(memory, folder, *id);
        let Some(point) = head.chain.get(Sequence(header.sequence)) else { continue };
        let state = state(memory, folder, &head, point);
        for label in header.machines {
            let name = &head.machines[label.number as usize];
            assert_eq!(label.name, name.as_str());
            let Some(machine) = state.machine(name).filter(|_| point.machine(name).is_some()) else { continue };
            let disks = machine.disks.iter();
            let expected: Vec<DiskLabel> =
                disks.map(|(number, disk)| DiskLabel::new(*number, disk.identity(), disk.size_bytes())).collect();
            assert_eq!(label.disks, expected, "{folder} {id} {name} at {}", point.sequence);
            compared += 1;
        }
    }
    compared
}

/// Some days of two machines.
async fn days(count: i64, change: impl Fn(&mut Machines, i64)) -> (Memory, OpenRepository) {
    let (memory, primary) = memory_repository().await;
    let mut machines = Machines::new(91);
    machines.add("web01", &[9 * BLOCK + 777, 3_000]);
    machines.add("db01", &[2 * BLOCK + 500]);
    for number in 0..count {
        change(&mut machines, number);
        ["web01", "db01"].iter().for_each(|name| machines.change(name, 1));
        // On one evening there is nothing of the other.
        let names: &[&str] = if number == 1 { &["web01"] } else { &["web01", "db01"] };
        machines.backup(&primary, names).keep(keep(30)).run(day(number)).await.unwrap();
    }
    ((*memory).clone(), primary)
}

/// One disk becomes larger, and a machine gets another one.
fn grow(machines: &mut Machines, number: i64) {
    match number {
        2 => machines.resize("web01", 0, 11 * BLOCK + 11),
        3 => machines.add_disk("db01", BLOCK + 7),
        _ => {}
    }
}

#[tokio::test]
async fn each_file_tells_the_disks_of_its_point() {
    let (memory, primary) = days(5, grow).await;
    assert_eq!(compare(&memory, "nightly"), 9, "each file of a backup, each machine in it");
    let (target, second) = memory_repository().await;
    copy_job(&primary, &second).run(day(5)).await.unwrap();
    assert_eq!(compare(&target, COPY), 2, "a copy's");
    let (target, second) = memory_repository().await;
    MapSeed::new(&second, job(COPY), &primary, job("nightly")).unwrap().run(day(6)).await.unwrap();
    assert!(compare(&target, COPY) >= 9, "a seed's, a file for a file");
    let export = exported(&primary, PointSelector::Latest, &[]).await;
    let (target, second) = memory_repository().await;
    Import::new(&second, job("in")).run(Cursor::new(export), day(6)).await.unwrap();
    assert_eq!(compare(&target, "in"), 2, "an import's");
}

/// A header that says that it is longer than its file is told, and costs no block: frames say themselves what they are. Nor does a repair need
/// it that finds no head.
#[tokio::test]
async fn a_header_that_does_not_fit_into_its_file_is_told_and_costs_nothing() {
    let (memory, primary) = days(3, |_, _| {}).await;
    let before = newest_head(&memory, "nightly");
    let file = key(&format!("nightly/blocks/{}", before.files.keys().next_back().unwrap()));
    let mut bytes = bytes_of(&memory, &file).to_vec();
    let envelope = Envelope::decode(Kind::BackupFile, &bytes).unwrap();
    let longer = Envelope { record_bytes: bytes.len() as u64, ..envelope };
    bytes[..ENVELOPE_BYTES].copy_from_slice(&longer.encode());
    assert!(memory.remove(&file));
    memory.put(&file, bytes.into()).await.unwrap();
    let report = Verify::new(&primary, job("nightly")).read_data(true).run().await.unwrap();
    let [damage] = &report.damage[..] else { panic!("{report:?}") };
    let what = DamageKind::FileHeader { fault: Fault::HeaderCutOff };
    assert_eq!((&damage.object, &damage.what, damage.touches.len()), (&file, &what, 0));
    assert_eq!(what.to_string(), "its header does not fit into it");
    for key in keys(&memory, "nightly") {
        let is_head = key.as_str().contains("/head/") || key.name().ends_with(".head");
        assert!(!is_head || memory.remove(&key));
    }
    let report = Repair::new(&open_memory(&memory).await, job("nightly")).run().await.unwrap();
    assert_eq!(report.left_out, [], "{report:?}");
    let after = newest_head(&memory, "nightly");
    assert_eq!((after.alignment_bytes, after.chain), (before.alignment_bytes, before.chain));
}

/// Compaction, and archives with blocks of their own, write files that tell them, too.
#[tokio::test]
async fn files_of_moved_blocks_tell_the_disks_of_a_point() {
    let (_, primary) = memory_repository().await;
    let (target, second) = memory_repository_with(MemoryOptions::default().with_reclaim(false)).await;
    let mut machines = Machines::new(92);
    machines.add("web01", &[9 * BLOCK + 777, 3_000]);
    machines.add("db01", &[2 * BLOCK + 500]);
    let gfs = Gfs::new(2, 0, 0, 0).unwrap().with_method(ArchiveMethod::Independent);
    let policy = Policy::new(keep(2)).with_gfs(gfs);
    let (merge, compact) = (MergeMethod::Adopt, Some(Compact::all()));
    let transforms = Transforms::keeping(policy).merge(merge).compact(compact);
    let (mut compacted, mut independent) = (0, 0);
    for number in 0..16 {
        grow(&mut machines, number);
        ["web01", "db01"].iter().for_each(|name| machines.change(name, 1));
        machines.backup(&primary, &["web01", "db01"]).run(day(number)).await.unwrap();
        let report = copy_job(&primary, &second).transforms(transforms.clone()).run(day(number)).await.unwrap();
        for operation in &report.transform.operations {
            compacted += usize::from(matches!(operation.operation, Operation::Compact { .. }));
            independent += usize::from(matches!(operation.operation, Operation::MakeIndependent { .. }));
        }
        assert!(compare(&target, COPY) >= 2, "day {number}");
    }
    assert!(compacted > 3 && independent > 0, "{compacted} {independent}");
}

/// Does something when blocks are about to be read.
struct AtBegin(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Progress for AtBegin {
    fn begin(&self, _activity: &Activity<'_>) {
        if let Some(action) = self.0.lock().unwrap().take() {
            action();
        }
    }
}

/// By the time that an image is read, a file may tell of its disk already. So it must be what it was when it was looked at.
#[tokio::test]
async fn an_image_that_is_another_by_the_time_it_is_read_fails_its_machine() {
    for (what, told) in [("longer", "is a raw image of"), ("qcow2", "is a qcow2 image of")] {
        let (memory, primary) = memory_repository().await;
        let mut machines = Machines::new(93);
        machines.add("web01", &[3 * BLOCK]);
        machines.add("db01", &[2 * BLOCK + 500]);
        let image = machines.image("web01", 0);
        let action: Box<dyn FnOnce() + Send> = Box::new(move || match what {
            "longer" => OpenOptions::new().write(true).open(image).unwrap().set_len(4 * BLOCK as u64).unwrap(),
            _ => qemu::create(&image, Format::Qcow2, 3 * BLOCK as u64),
        });
        let progress = Arc::new(AtBegin(Mutex::new(Some(action))));
        let backup = machines.backup(&primary, &["db01", "web01"]).progress(progress);
        let report = backup.run(day(0)).await.unwrap();
        let [failed] = &report.failed[..] else { panic!("{what}: {report:?}") };
        assert!(failed.name.as_str() == "web01" && failed.why.to_string().contains(told), "{what}: {failed:?}");
        assert!(failed.why.to_string().contains("when the backup began"), "{what}: {failed:?}");
        assert_eq!(compare(&memory, "nightly"), 1, "{what}");
    }
}

/// A header that says something else than what the head proves is of no account, and nothing is made up out of it.
#[tokio::test]
async fn a_wrong_header_makes_nothing_up() {
    let (memory, _) = days(2, |_, _| {}).await;
    let head = newest_head(&memory, "nightly");
    let all: Vec<ObjectId> = head.chain.all().map(|point| point.index.id).collect();
    let changes: [fn(&mut DiskLabel); 5] = [
        |disk| "other".clone_into(&mut disk.name),
        |disk| "no/name".clone_into(&mut disk.name),
        |disk| disk.format = 1 - disk.format,
        |disk| disk.format = 9,
        |disk| disk.size_bytes += 1,
    ];
    for (number, change) in changes.into_iter().enumerate() {
        // Where the point beside tells otherwise, that is proven; where nothing else tells, nothing is.
        for (lost, salvaged, kept) in [(&all[1..], 1, 2), (&all[..], 0, 0)] {
            let forked = fork(&memory).await;
            for id in head.files.keys() {
                let mut header = header_of(&forked, "nightly", *id);
                header.machines.iter_mut().flat_map(|machine| &mut machine.disks).for_each(change);
                let file = key(&format!("nightly/blocks/{id}"));
                let mut bytes = bytes_of(&forked, &file).to_vec();
                let encoded = encode_record(Kind::BackupFile, &header).unwrap();
                bytes[..encoded.len()].copy_from_slice(&encoded);
                forked.delete(&file).await.unwrap();
                forked.put(&file, bytes.into()).await.unwrap();
            }
            for key in keys(&forked, "nightly") {
                let is_index = key.as_str().contains("/index/") || key.name().ends_with(".index");
                if is_index && lost.iter().any(|id| key.name().starts_with(&id.to_string())) {
                    forked.delete(&key).await.unwrap();
                }
            }
            let repository = open_memory(&forked).await;
            let report = Repair::new(&repository, job("nightly")).run().await.unwrap();
            assert_eq!((report.salvaged.len(), report.points.len()), (salvaged, kept), "{number}: {report:?}");
            let after = newest_head(&forked, "nightly");
            for point in after.chain.all() {
                let before = state(&memory, "nightly", &head, point);
                assert_eq!(state(&forked, "nightly", &after, point), before, "{number}");
            }
        }
    }
}
