//! Restore points that are carried: exported and imported, and seeds that are mapped.

use offsite_core::format::WireFormat;
use std::io::{Cursor, Write};
use std::sync::{Arc, Mutex};

use offsite::model::PointKind;
use offsite::model::Role;
use offsite::model::Sequence;
use offsite::report::MachineOutcome;
use offsite::{
    BackupJob, BackupMethod, DamagedPart, Error, ErrorClass, Export, FullKind, Import, JobFolder, MapSeed,
    OpenRepository, PointSelector, Side, Verify,
};
use offsite_core::Index;
use offsite_core::format::ENVELOPE_BYTES;
use offsite_core::format::Envelope;
use offsite_core::format::Kind;
use offsite_core::format::backup_file::BackupFileHeader;
use offsite_core::format::backup_file::MachineLabel;
use offsite_core::format::checksum;
use offsite_core::format::decode_record;
use offsite_core::format::encode_record;
use offsite_core::format::records::EXPORT_ALIGNMENT_BYTES;
use offsite_core::format::records::ExportEnd;
use offsite_core::format::records::ExportHeader;
use offsite_repository::Repository;
use offsite_repository::testing::Memory;

use crate::support::objects::{is_copy, keys, newest_head, shortened};
use crate::support::truth::{Truth, causes};
use crate::support::{BLOCK, Machines, copy_job, day, job, keep, machine, memory_repository, open_memory, restored};

/// A buffer that a test can look into while the export writes.
#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Three machines, and a chain of every kind of point: two rollbacks, a full, two increments, a synthetic full.
async fn chain() -> (Arc<Memory>, OpenRepository, Machines, Truth) {
    let (memory, repository) = memory_repository().await;
    let mut machines = Machines::new(3);
    for name in ["a", "b", "c"] {
        machines.add(name, &[3 * BLOCK + 17, BLOCK]);
    }
    let mut truth = Truth::default();
    for number in 0..6 {
        let names: &[&str] = if number == 3 { &["a", "b"] } else { &["a", "b", "c"] };
        machines.change("a", 2);
        machines.change("b", 1);
        machines.resize("c", 0, BLOCK * (1 + number as usize % 3) + 5);
        truth.record(&machines, names, day(number));
        let backup = machines.backup(&repository, names);
        let backup = match number {
            0..=2 => backup.method(BackupMethod::Reverse),
            5 => backup.full(FullKind::Synthetic),
            _ => backup,
        };
        backup.run(day(number)).await.unwrap();
    }
    (memory, repository, machines, truth)
}

async fn assert_whole(memory: &Memory, folder: &str, truth: &Truth) -> Vec<u64> {
    let repository = open_memory(memory).await;
    let points = truth.check(&repository, folder).await;
    let report = Verify::new(&repository, job(folder)).read_data(true).run().await.unwrap();
    assert_eq!(report.damage, [], "{folder}");
    points
}

pub(crate) async fn exported(repository: &OpenRepository, point: PointSelector, machines: &[&str]) -> Vec<u8> {
    let buffer = Buffer::default();
    let names = machines.iter().map(|name| machine(name)).collect();
    let export = Export::new(repository, job("nightly")).point(point).machines(names);
    let report = export.run(buffer.clone()).await.unwrap();
    let bytes = buffer.0.lock().unwrap().clone();
    assert!(report.tally.kept_to_plan(), "{report:?}");
    assert_eq!(report.bytes, bytes.len() as u64);
    bytes
}

#[tokio::test]
async fn every_kind_of_point_is_exported_and_imported() {
    let (_, repository, mut machines, mut truth) = chain().await;
    let folder = JobFolder::open(&repository, &job("nightly")).await.unwrap();
    let (source, points) = (folder.id(), folder.chain().points().to_vec());
    for point in points {
        let bytes = exported(&repository, PointSelector::Sequence(point.sequence), &[]).await;
        let (target, second) = memory_repository().await;
        let report = Import::new(&second, job("Offsite Copy")).run(Cursor::new(bytes), day(9)).await.unwrap();
        assert!(report.tally.kept_to_plan(), "{report:?}");
        assert_eq!((report.job.as_str(), report.time), ("nightly", point.time));
        assert_eq!(report.machines.len(), point.machines.len());
        assert_eq!(assert_whole(&target, "Offsite Copy", &truth).await, [1]);
        let head = newest_head(&target, "Offsite Copy");
        assert_eq!((head.role, head.chain.points()[0].kind), (Role::Copy, PointKind::Full));
        let origins = head.chain.points()[0].machines.iter().map(|machine| machine.origin.unwrap().folder);
        assert!(origins.eq(vec![source; point.machines.len()]), "{head:?}");
        let again = Import::new(&second, job("Offsite Copy"));
        let bytes = exported(&repository, PointSelector::Latest, &["b"]).await;
        let error = again.run(Cursor::new(bytes), day(9)).await.unwrap_err();
        assert!(matches!(&error, Error::JobHasPoints { job, .. } if job.as_str() == "Offsite Copy"), "{error}");
        // The copy job goes on from it, with what differs.
        machines.overwrite("a", |disk| disk[0] ^= 1);
        truth.record(&machines, &["a", "b", "c"], day(10));
    }
    let bytes = exported(&repository, PointSelector::Latest, &["b"]).await;
    let (_, second) = memory_repository().await;
    Import::new(&second, job("one")).run(Cursor::new(bytes), day(9)).await.unwrap();
    assert_eq!(restored(&second, "one", "b", None).await, machines.content("b"));
    let unknown = Export::new(&repository, job("nightly")).machines(vec![machine("z")]).run(Buffer::default()).await;
    assert!(matches!(unknown, Err(Error::UnknownMachine { .. })));
}

/// A machine that the newest point has not is exported as the newest one has it that does, and its copy goes on from there.
#[tokio::test]
async fn each_machine_is_exported_in_its_newest_state() {
    let (_, repository) = memory_repository().await;
    let mut machines = Machines::new(5);
    machines.add("db", &[2 * BLOCK]);
    machines.add("web", &[3 * BLOCK + 9, BLOCK]);
    machines.backup(&repository, &["db", "web"]).run(day(0)).await.unwrap();
    let first_db = machines.content("db");
    // The second point knows nothing of the machine; the third, a full, carries it.
    for (number, full) in [(1, None), (2, Some(FullKind::Active))] {
        machines.change("db", 2);
        let backup = machines.backup(&repository, &["db"]).method(BackupMethod::Forward);
        let backup = full.into_iter().fold(backup, BackupJob::full);
        backup.run(day(number)).await.unwrap();
        for names in [&["web"][..], &["db", "web"], &[]] {
            let bytes = exported(&repository, PointSelector::Latest, names).await;
            let (_, second) = memory_repository().await;
            let report = Import::new(&second, job("Offsite Copy")).run(Cursor::new(bytes), day(3)).await.unwrap();
            let is_old = names == ["web"] && number == 1;
            assert_eq!(report.time, day(if is_old { 0 } else { number }));
            assert_eq!(restored(&second, "Offsite Copy", "web", None).await, machines.content("web"));
            if names != ["web"] {
                assert_eq!(restored(&second, "Offsite Copy", "db", None).await, machines.content("db"));
                let report = copy_job(&repository, &second).run(day(3)).await.unwrap();
                let is_unchanged = |outcome: &_| matches!(outcome, MachineOutcome::Unchanged { .. });
                assert!(report.machines.iter().all(|machine| is_unchanged(&machine.outcome)), "{report:?}");
            }
        }
    }
    let bytes = exported(&repository, PointSelector::At(day(0)), &[]).await;
    let (_, second) = memory_repository().await;
    Import::new(&second, job("old")).run(Cursor::new(bytes), day(3)).await.unwrap();
    assert_eq!(restored(&second, "old", "db", None).await, first_db);
    // A point by its number has what it has.
    let export = Export::new(&repository, job("nightly")).point(PointSelector::Sequence(Sequence(2)));
    let report = export.clone().run(Buffer::default()).await.unwrap();
    assert_eq!(report.machines.iter().map(|machine| machine.name.as_str()).collect::<Vec<_>>(), ["db"]);
    let error = export.machines(vec![machine("web")]).run(Buffer::default()).await.unwrap_err();
    assert!(matches!(error, Error::UnknownMachine { .. }), "{error}");
}

/// Cut off, changed in a bit, longer, or something else: refused with a reason, and no point is there.
#[tokio::test]
async fn what_is_no_export_is_refused() {
    let (_, repository, ..) = chain().await;
    let bytes = exported(&repository, PointSelector::Latest, &[]).await;
    let (target, second) = memory_repository().await;
    let mut wrong: Vec<Vec<u8>> = Vec::new();
    for cut in [0, 1, 63, 64, 200, bytes.len() / 2, bytes.len() - 100, bytes.len() - 1] {
        wrong.push(bytes[..cut].to_vec());
    }
    for at in (0..bytes.len()).step_by(bytes.len() / 60).chain([bytes.len() - 1]) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        wrong.push(flipped);
    }
    wrong.push([&bytes[..], b"x"].concat());
    wrong.push([&bytes[..], &bytes[..]].concat());
    wrong.push(b"PK\x03\x04".repeat(100));
    for (number, bytes) in wrong.into_iter().enumerate() {
        let result = Import::new(&second, job("in")).run(Cursor::new(bytes), day(9)).await;
        let Err(error) = result else { panic!("{number}: {result:?}") };
        assert!(matches!(error, Error::Damaged { part: DamagedPart::Export, .. }), "{number}: {error:?}");
        assert_eq!((error.side(), error.class()), (Some(Side::Source), ErrorClass::Damaged));
        assert!(causes(&error).len() > error.to_string().len(), "it says why");
        if !keys(&target, "in/head").is_empty() {
            assert!(newest_head(&target, "in").chain.latest().is_none());
        }
    }
    Import::new(&second, job("in")).run(Cursor::new(bytes), day(9)).await.unwrap();
    // What the failed ones left was cleaned up.
    assert_eq!(keys(&target, "in/blocks").len(), 1);
}

/// The export with another index and another backup file, and the end that belongs to them.
fn rebuilt(bytes: &[u8], change: impl FnOnce(&mut Index, &mut Vec<u8>)) -> Vec<u8> {
    let padded = |length: usize| length.next_multiple_of(EXPORT_ALIGNMENT_BYTES as usize);
    let record = ENVELOPE_BYTES + Envelope::decode(Kind::Export, bytes).unwrap().record_bytes as usize;
    let mut header: ExportHeader = decode_record(Kind::Export, &bytes[..record]).unwrap();
    let index_end = padded(record) + header.index_bytes as usize;
    let mut index = Index::decode(&bytes[padded(record)..index_end]).unwrap();
    let mut file = bytes[padded(index_end)..][..header.file_bytes as usize].to_vec();
    change(&mut index, &mut file);
    let index_bytes = index.encode().unwrap();
    header.index_bytes = index_bytes.len() as u64;
    let mut rebuilt = Vec::new();
    for part in [encode_record(Kind::Export, &header).unwrap(), index_bytes] {
        rebuilt.extend(part);
        rebuilt.resize(padded(rebuilt.len()), 0);
    }
    rebuilt.extend(file);
    let (bytes, checksum) = (rebuilt.len() as u64, checksum(&rebuilt));
    let end = ExportEnd { id: header.id, frames: index.map.stored().count() as u64, bytes, checksum };
    rebuilt.extend(encode_record(Kind::ExportEnd, &end).unwrap());
    rebuilt
}

/// Exports of which every checksum is right and something else is wrong: what a fuzzer makes.
#[tokio::test]
async fn an_export_that_contradicts_itself_is_refused() {
    let (_, repository, ..) = chain().await;
    let bytes = exported(&repository, PointSelector::Latest, &[]).await;
    let (target, second) = memory_repository().await;
    let blocks_too_long = rebuilt(&bytes, |index, _| index.map = shortened(&index.map));
    let header_too_long = rebuilt(&bytes, |_, file| {
        let length = ENVELOPE_BYTES + Envelope::decode(Kind::BackupFile, file).unwrap().record_bytes as usize;
        let mut header: BackupFileHeader = decode_record(Kind::BackupFile, &file[..length]).unwrap();
        header.machines.extend((9..99).map(|number| MachineLabel {
            number,
            name: "one too many".repeat(9),
            disks: Vec::new(),
        }));
        let header = encode_record(Kind::BackupFile, &header).unwrap();
        file[..header.len()].copy_from_slice(&header);
    });
    for (wrong, why) in [(blocks_too_long, "not the length"), (header_too_long, "inside the header")] {
        let error = Import::new(&second, job("in")).run(Cursor::new(wrong), day(9)).await.unwrap_err();
        assert!(
            matches!(error, Error::Damaged { part: DamagedPart::Export, .. }) && causes(&error).contains(why),
            "{}",
            causes(&error)
        );
        assert!(keys(&target, "in/head").is_empty() || newest_head(&target, "in").chain.latest().is_none());
    }
    Import::new(&second, job("in")).run(Cursor::new(rebuilt(&bytes, |_, _| {})), day(9)).await.unwrap();
}

#[tokio::test]
async fn a_mapped_seed_is_a_chain_that_the_copy_job_goes_on_with() {
    let (source, primary, mut machines, mut truth) = chain().await;
    let (carried, seed) = memory_repository().await;
    for number in 5..8 {
        copy_job(&primary, &seed).transforms(keep(9)).run(day(number)).await.unwrap();
        machines.change("a", 1);
        truth.record(&machines, &["a", "b", "c"], day(number + 1));
        machines.backup(&primary, &["a", "b", "c"]).run(day(number + 1)).await.unwrap();
    }
    let (target, second) = memory_repository().await;
    let name = job("Offsite Copy");
    let report = MapSeed::new(&second, name.clone(), &seed, name.clone()).unwrap().run(day(9)).await.unwrap();
    assert!(report.tally.kept_to_plan(), "{report:?}");
    assert_eq!(report.points, 3);
    assert_eq!(
        assert_whole(&target, "Offsite Copy", &truth).await,
        assert_whole(&carried, "Offsite Copy", &truth).await
    );
    let origin = newest_head(&target, "Offsite Copy").chain.latest().unwrap().machines[0].origin.unwrap();
    assert_eq!(origin.folder, newest_head(&source, "nightly").folder);
    let next = copy_job(&primary, &second).transforms(keep(9)).run(day(9)).await.unwrap().sync.unwrap();
    assert!(!next.full && next.tally.planned.blocks <= 3, "{next:?}");
    assert_whole(&target, "Offsite Copy", &truth).await;
    let again = MapSeed::new(&second, name.clone(), &seed, name).unwrap().run(day(9)).await;
    assert!(matches!(again, Err(Error::JobHasPoints { .. })), "{again:?}");
}

/// The folder of a backup job, with points of every kind, becomes a copy job's.
#[tokio::test]
async fn a_backup_jobs_folder_is_a_seed_too() {
    let (source, primary, machines, truth) = chain().await;
    let (target, second) = memory_repository().await;
    let name = job("Offsite Copy");
    MapSeed::new(&second, name, &primary, job("nightly")).unwrap().run(day(9)).await.unwrap();
    let points = assert_whole(&target, "Offsite Copy", &truth).await;
    assert_eq!(points, [1, 2, 3, 4, 5, 6]);
    let (old, new) = (newest_head(&source, "nightly"), newest_head(&target, "Offsite Copy"));
    let kinds = |head: &offsite::model::Head| -> Vec<PointKind> {
        head.chain.points().iter().map(|point| point.kind).collect()
    };
    assert_eq!((kinds(&new), new.role), (kinds(&old), Role::Copy));
    assert_ne!(new.folder, old.folder);
    assert!(copy_job(&primary, &second).run(day(9)).await.unwrap().sync.is_none(), "nothing is new");
    assert_eq!(restored(&second, "Offsite Copy", "a", None).await, machines.content("a"));
}

#[tokio::test]
async fn a_damaged_seed_is_refused_by_name() {
    let (source, ..) = chain().await;
    for key in keys(&source, "nightly") {
        let text = key.to_string();
        if is_copy(&key) || !text.contains("/blocks/") && !text.contains("/index/") {
            continue;
        }
        let damaged = Memory::default();
        for (other, bytes) in source.contents() {
            let mut bytes = bytes.to_vec();
            if other == key {
                let middle = bytes.len() / 2;
                bytes[middle..].iter_mut().for_each(|byte| *byte ^= 0x40);
            }
            offsite_repository::RepositoryExt::put(&damaged, &other, bytes.into()).await.unwrap();
        }
        let seed = OpenRepository::open(Arc::new(damaged) as Arc<dyn Repository>).await.unwrap();
        let (target, second) = memory_repository().await;
        let map = MapSeed::new(&second, job("in"), &seed, job("nightly")).unwrap();
        let Err(Error::Damaged { object, .. }) = map.run(day(9)).await else { panic!("{key} is damaged") };
        assert!(object.contains(key.name()), "{object} for {key}");
        assert!(keys(&target, "in/head").is_empty() || newest_head(&target, "in").chain.latest().is_none());
    }
}
