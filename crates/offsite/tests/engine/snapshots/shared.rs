//! What readers share: loads, kept blocks, and no damage.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::join_all;
use offsite::{DiskReader, Error, OpenRepository};
use offsite_repository::testing::{Fault, Faulty, Gate, Memory, MemoryOptions};
use offsite_repository::{ErrorKind, Prefix, Verb};

use super::{latest, whole};
use crate::support::objects::{bytes_of, key, newest_head};
use crate::support::truth::causes;
use crate::support::{BLOCK, Machines, day, machine, memory_repository, memory_repository_with};

/// A disk of noise, so that every block is stored.
async fn backed_up(repository: &OpenRepository) -> Vec<u8> {
    let mut machines = Machines::new(5);
    machines.add("web01", &[7 * BLOCK + 99]);
    machines.fill_with_noise("web01");
    machines.backup(repository, &["web01"]).run(day(0)).await.unwrap();
    machines.content("web01").remove(0)
}

async fn reader(repository: &OpenRepository) -> DiskReader {
    latest(repository, "nightly").await.disk(&machine("web01"), "0").await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_that_many_want_is_read_once() {
    let (_, repository) = memory_repository_with(MemoryOptions::default().with_yields(true)).await;
    let disk = Arc::new(backed_up(&repository).await);
    let reader = reader(&repository).await;
    let before = repository.block_counts();
    let reads = (0..64_usize).map(|number| {
        let (reader, disk) = (reader.clone(), Arc::clone(&disk));
        tokio::spawn(async move {
            let (start, mut buffer) = (3 * BLOCK + number * 1_000, vec![0; 1_000]);
            assert_eq!(reader.read_at(start as u64, &mut buffer).await.unwrap(), 1_000);
            assert!(buffer == disk[start..start + 1_000], "{number}");
        })
    });
    join_all(reads).await.into_iter().for_each(|read| read.unwrap());
    assert_eq!(repository.block_counts().reads - before.reads, 1);
}

#[tokio::test]
async fn blocks_are_kept_as_far_as_there_is_room() {
    let (_, repository) = memory_repository().await;
    let disk = backed_up(&repository).await;
    let snapshot = latest(&repository, "nightly").await;
    let reader = snapshot.disk(&machine("web01"), "0").await.unwrap();
    let reads = async |again: bool| {
        let before = repository.block_counts();
        let other = if again { snapshot.disk(&machine("web01"), "0").await.unwrap() } else { reader.clone() };
        assert!(whole(&other).await.unwrap() == disk);
        repository.block_counts().reads - before.reads
    };
    assert_eq!([reads(false).await, reads(false).await, reads(true).await], [8, 0, 0]);
    snapshot.set_cache_bytes(2 * BLOCK as u64);
    assert_eq!([reads(false).await, reads(false).await], [8, 8], "the block that is wanted next has gone");
    // Which blocks are kept: those that were wanted last, a part of a block and the one before it.
    let before = repository.block_counts();
    reader.read_at(6 * BLOCK as u64, &mut vec![0; 2 * BLOCK]).await.unwrap();
    assert_eq!(repository.block_counts(), before);
}

#[tokio::test]
async fn damage_of_a_block_fails_its_reads_alone() {
    let (memory, repository) = memory_repository().await;
    let disk = backed_up(&repository).await;
    let reader = reader(&repository).await;
    let head = newest_head(&memory, "nightly");
    let file = key(&format!("nightly/blocks/{}", head.files.keys().next().unwrap()));
    let stored = bytes_of(&memory, &file);
    // Noise is stored as it is, so the bytes of a block are found in the file.
    let at = |block: usize| {
        let wanted = &disk[block * BLOCK..block * BLOCK + 64];
        stored.windows(64).position(|window| window == wanted).unwrap() as u64
    };
    assert!(memory.corrupt(&file, at(3), 1));
    for block in 0..8 {
        let mut buffer = [0; 100];
        let read = reader.read_at((block * BLOCK) as u64, &mut buffer[..99]).await;
        match read {
            Ok(read) => assert!(read == 99 && buffer[..99] == disk[block * BLOCK..][..99] && block != 3, "{block}"),
            Err(error) => {
                assert!(block == 3 && matches!(error, Error::Damaged { .. }), "{block}: {error}");
                assert!(error.to_string().contains("block 3 of disk 0 of web01"), "{error}");
            }
        }
    }
    let error = whole(&reader).await.unwrap_err().downcast::<Error>().unwrap();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
    // What failed is not remembered.
    assert!(memory.corrupt(&file, at(3), 1));
    assert!(whole(&reader).await.unwrap() == disk);
    // A file that is cut off, or gone, is damage of the blocks that it had.
    let reader = self::reader(&repository).await;
    assert!(memory.truncate(&file, at(6) + 10));
    for (block, is_there) in [(5, true), (6, false), (7, false)] {
        let read = reader.read_at((block * BLOCK) as u64, &mut [0; 9]).await;
        assert_eq!(read.is_ok(), is_there, "{block}");
    }
    assert!(memory.remove(&file));
    let error = reader.read_at(0, &mut [0; 9]).await.unwrap_err();
    assert!(causes(&error).contains("block 0 of disk 0 of web01") && causes(&error).contains("not found"), "{error}");
    assert!(reader.read_at(5 * BLOCK as u64, &mut [0; 9]).await.is_ok(), "it is kept");
}

async fn faulty() -> (Faulty<Memory>, OpenRepository) {
    let memory = Memory::with_options(MemoryOptions::default().with_yields(true));
    let faulty = Faulty::new(memory);
    let repository = OpenRepository::initialise(Arc::new(faulty.clone()), day(0)).await.unwrap();
    (faulty, repository)
}

#[tokio::test]
async fn an_outage_is_told_to_all_who_wait_and_is_over_when_it_is_over() {
    let (faulty, repository) = faulty().await;
    let disk = backed_up(&repository).await;
    let reader = reader(&repository).await;
    let blocks = Prefix::new("nightly/blocks").unwrap();
    faulty.inject(Fault::after_calls(0, ErrorKind::Unavailable).on(Verb::Read).below(blocks).for_ever());
    let reads = join_all((0..8).map(|_| reader.bytes_at(0))).await;
    for read in reads {
        let error = read.map(|bytes| bytes.len()).unwrap_err();
        assert_eq!(error.repository_kind(), Some(ErrorKind::Unavailable), "{error}");
    }
    faulty.heal();
    assert!(whole(&reader).await.unwrap() == disk);
}

/// Whoever asked first and goes, or stands still, takes nobody with it.
#[tokio::test]
async fn a_reader_that_goes_holds_up_no_other() {
    for is_dropped in [true, false] {
        let (faulty, repository) = faulty().await;
        let disk = backed_up(&repository).await;
        let reader = reader(&repository).await;
        let (gate, blocks) = (Gate::new(), Prefix::new("nightly/blocks").unwrap());
        faulty.inject(Fault::holding(0, &gate).on(Verb::Read).below(blocks));
        let (mut first, mut second) = (vec![0; 9], vec![0; 9]);
        let mut going = reader.read_at(5, &mut first);
        assert!((&mut going).now_or_never().is_none());
        let mut staying = reader.read_at(5, &mut second);
        assert!((&mut staying).now_or_never().is_none());
        let going = (!is_dropped).then_some(going);
        gate.release();
        assert_eq!(staying.await.unwrap(), 9);
        drop(going);
        assert!(second == disk[5..14], "{is_dropped}");
    }
}
