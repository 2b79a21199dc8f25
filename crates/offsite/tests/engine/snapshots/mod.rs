//! Restore points that are open for reading.

mod pins;
mod reads;
mod shared;

use offsite::model::DiskNumber;
use offsite::{DiskReader, DiskSelector, Error, OpenRepository, PointSelector, Snapshot};

use crate::support::{BLOCK, Machines, day, job, machine, memory_repository};

/// All bytes of a disk, as a stream gives them.
async fn whole(reader: &DiskReader) -> std::io::Result<Vec<u8>> {
    let mut content = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut reader.stream(), &mut content).await?;
    Ok(content)
}

async fn latest(repository: &OpenRepository, folder: &str) -> Snapshot {
    Snapshot::open(repository, &job(folder), PointSelector::Latest).await.unwrap()
}

#[tokio::test]
async fn a_snapshot_has_the_machines_of_a_point_or_the_newest_of_each() {
    let (_, repository) = memory_repository().await;
    let mut machines = Machines::new(3);
    machines.add("web01", &[3 * BLOCK, BLOCK + 5]);
    machines.add("db01", &[2 * BLOCK]);
    machines.backup(&repository, &["db01", "web01"]).run(day(0)).await.unwrap();
    let old = machines.content("web01");
    machines.change("web01", 2);
    machines.backup(&repository, &["web01"]).run(day(1)).await.unwrap();
    let told = |snapshot: &Snapshot| -> Vec<_> {
        let machines = snapshot.machines();
        machines
            .map(|machine| (machine.name.to_string(), machine.sequence.0, machine.captured, machine.disks.len()))
            .collect()
    };
    let nightly = job("nightly");
    let (web, db) = (("web01".to_owned(), 2, day(1), 2), ("db01".to_owned(), 1, day(0), 1));
    assert_eq!(told(&latest(&repository, "nightly").await), std::slice::from_ref(&web));
    assert_eq!(told(&Snapshot::newest(&repository, &nightly).await.unwrap()), [db.clone(), web]);
    let first = Snapshot::open(&repository, &nightly, PointSelector::At(day(0))).await.unwrap();
    assert_eq!(told(&first), [db, ("web01".to_owned(), 1, day(0), 2)]);
    let web01 = first.machine(&machine("web01")).unwrap();
    for (number, disk) in web01.disks.iter().enumerate() {
        assert_eq!(disk.number, DiskNumber(number as u16));
        assert_eq!(disk.size_bytes, old[number].len() as u64);
        let selectors: [DiskSelector; 3] =
            [disk.number.into(), (&disk.identity.name).into(), number.to_string().into()];
        for selector in selectors {
            let reader = first.disk(&web01.name, selector).await.unwrap();
            assert_eq!(reader.size_bytes(), disk.size_bytes);
            assert!(whole(&reader).await.unwrap() == old[number]);
        }
    }
    let newest = Snapshot::newest(&repository, &nightly).await.unwrap();
    for name in ["web01", "db01"] {
        let reader = newest.disk(&machine(name), "0").await.unwrap();
        assert!(whole(&reader).await.unwrap() == machines.content(name)[0], "{name}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_told_with_what_is() {
    let (_, repository) = memory_repository().await;
    let mut machines = Machines::new(3);
    machines.add("web01", &[BLOCK]);
    machines.backup(&repository, &["web01"]).run(day(0)).await.unwrap();
    let error = Snapshot::newest(&repository, &job("weekly")).await.unwrap_err();
    assert!(matches!(&error, Error::UnknownJob { .. }), "{error}");
    let error = Snapshot::open(&repository, &job("nightly"), PointSelector::At(day(-1))).await.unwrap_err();
    assert!(matches!(&error, Error::UnknownPoint { .. }), "{error}");
    let snapshot = latest(&repository, "nightly").await;
    let error = snapshot.disk(&machine("db01"), "0").await.unwrap_err();
    assert!(matches!(&error, Error::UnknownMachine { known, .. } if *known == ["web01"]), "{error}");
    let error = snapshot.disk(&machine("web01"), DiskNumber(1)).await.unwrap_err();
    assert!(matches!(&error, Error::UnknownDisk { known, .. } if known.len() == 1), "{error}");
}
