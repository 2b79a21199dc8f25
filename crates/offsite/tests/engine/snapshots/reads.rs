//! What readers hand out, against the bytes of the disk.

use std::io::SeekFrom;

use offsite::model::BlockSize;
use offsite::{DiskReader, PointSelector, Snapshot};
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use crate::support::{BLOCK, Machines, Random, day, job, machine, memory_repository, seed};

/// Reads at random places, and over the end.
async fn check_reads(reader: &DiskReader, disk: &[u8], random: &mut Random) {
    let edges = [(0, 0), (0, disk.len() + 1), (disk.len(), 7), (disk.len() + 9, 1), (disk.len() - 1, 2)];
    let places: Vec<(usize, usize)> =
        (0..40).map(|_| (random.below(disk.len() + 10), random.below(3 * BLOCK))).chain(edges).collect();
    for (offset, length) in places {
        let mut buffer = vec![0xaa; length];
        let read = reader.read_at(offset as u64, &mut buffer).await.unwrap();
        let expected = disk.get(offset..disk.len().min(offset + length)).unwrap_or_default();
        assert!(read == expected.len() && buffer[..read] == *expected, "{length} bytes at {offset}");
        let bytes = reader.bytes_at(offset as u64).await.unwrap();
        assert_eq!(bytes.is_empty(), offset >= disk.len());
        assert!(disk.get(offset..).unwrap_or_default().starts_with(&bytes), "at {offset}");
    }
    let far = reader.read_at(u64::MAX, &mut [0; 8]).await.unwrap();
    assert_eq!((far, reader.bytes_at(u64::MAX).await.unwrap().len()), (0, 0));
}

/// A stream against a position in the disk.
async fn check_stream(reader: &DiskReader, disk: &[u8], random: &mut Random) {
    let mut stream = reader.stream();
    let mut position = 0_u64;
    for _ in 0..60 {
        let target = random.below(disk.len() + 100) as i64;
        let (seek, expected) = match random.below(5) {
            0 => (SeekFrom::Start(target as u64), target),
            1 => (SeekFrom::End(target - 2 * disk.len() as i64), target - disk.len() as i64),
            2 => (SeekFrom::Current(target - position as i64), target),
            _ => (SeekFrom::Current(0), position as i64),
        };
        match u64::try_from(expected) {
            Ok(expected) => position = expected,
            Err(_) => assert!(stream.seek(seek).await.is_err(), "{seek:?} is before the disk"),
        }
        if expected >= 0 {
            assert_eq!(stream.seek(seek).await.unwrap(), position, "{seek:?}");
        }
        let mut buffer = vec![0; random.below(BLOCK / 2)];
        let read = stream.read(&mut buffer).await.unwrap();
        let rest = disk.get(position as usize..).unwrap_or_default();
        assert!(rest.starts_with(&buffer[..read]), "at {position}");
        assert_eq!(read == 0, rest.is_empty() || buffer.is_empty());
        position += read as u64;
    }
}

fn check_extents(reader: &DiskReader, disk: &[u8]) {
    let (mut end, mut before) = (0, None);
    for extent in reader.extents() {
        assert_eq!(extent.range.start, end, "no gaps");
        assert!(!extent.range.is_empty() && before != Some(extent.is_data));
        let content = &disk[extent.range.start as usize..extent.range.end as usize];
        assert!(extent.is_data || content.iter().all(|byte| *byte == 0));
        (end, before) = (extent.range.end, Some(extent.is_data));
    }
    assert_eq!(end, disk.len() as u64);
}

#[tokio::test]
async fn reads_are_those_of_the_disk() {
    let mut random = Random::new(seed(77));
    for block_size in BlockSize::ALL {
        let (_, repository) = memory_repository().await;
        let mut machines = Machines::new(random.next());
        let block = block_size.bytes() as usize;
        machines.add("web01", &[1, BLOCK, 2 * block + 777, block * 3 + BLOCK / 2 + 1]);
        machines.overwrite("web01", |disk| {
            let length = disk.len();
            disk[length / 3..length / 2].fill(0);
        });
        let mut states = Vec::new();
        for number in 0..3 {
            machines.backup(&repository, &["web01"]).block_size(block_size).run(day(number)).await.unwrap();
            states.push(machines.content("web01"));
            machines.change("web01", 2);
            machines.resize("web01", 2, 2 * block + 777 - 301 * (number as usize + 1));
        }
        for (number, disks) in states.iter().enumerate() {
            let at = PointSelector::At(day(number as i64));
            let snapshot = Snapshot::open(&repository, &job("nightly"), at).await.unwrap();
            snapshot.set_cache_bytes([0, 300_000, 64 << 20][number]);
            for (number, disk) in disks.iter().enumerate() {
                let reader = snapshot.disk(&machine("web01"), number.to_string()).await.unwrap();
                assert_eq!(reader.size_bytes(), disk.len() as u64);
                check_extents(&reader, disk);
                check_reads(&reader, disk, &mut random).await;
                check_stream(&reader, disk, &mut random).await;
                assert!(super::whole(&reader).await.unwrap() == *disk);
            }
            snapshot.close().await.unwrap();
        }
    }
}
