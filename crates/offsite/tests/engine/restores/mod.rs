//! Restores to wherever they are wanted.

mod devices;
mod places;
mod salvages;
mod streams;

use offsite_core::format::WireFormat;
use std::sync::Arc;

use offsite::model::DiskNumber;
use offsite::model::Run;
use offsite::model::StoredBlock;
use offsite::{OpenRepository, Restore};
use offsite_core::Index;
use offsite_repository::Key;
use offsite_repository::testing::Memory;

use crate::support::objects::{bytes_of, key, newest_head};
use crate::support::{BLOCK, Machines, day, job, machine, memory_repository};

/// A machine with a disk that has data, zeros and an end within a block, and a second disk.
async fn backed_up() -> (Arc<Memory>, OpenRepository, Machines) {
    let (memory, repository) = memory_repository().await;
    let mut machines = Machines::new(21);
    machines.add("web01", &[9 * BLOCK + 1234, BLOCK]);
    machines.fill_with_noise("web01");
    machines.overwrite("web01", |disk| {
        // A block within, and all up to the end.
        if disk.len() > BLOCK {
            disk[2 * BLOCK..3 * BLOCK].fill(0);
            disk[6 * BLOCK..].fill(0);
        }
    });
    machines.backup(&repository, &["web01"]).run(day(0)).await.unwrap();
    (memory, repository, machines)
}

fn restore(repository: &OpenRepository) -> Restore {
    Restore::new(repository, job("nightly"), machine("web01"))
}

/// Where the index of the point with this number says that a block lies.
fn place(memory: &Memory, sequence: u64, disk: u16, block: u32) -> (Key, StoredBlock) {
    let head = newest_head(memory, "nightly");
    let point = head.chain.all().find(|point| point.sequence.0 == sequence).unwrap();
    let index = Index::decode(&bytes_of(memory, &key(&format!("nightly/index/{}", point.index.id)))).unwrap();
    let found = index.map.machine(&machine("web01")).unwrap().disks[&DiskNumber(disk)].get(block);
    let Some(Run::Stored { at, .. }) = found else { panic!("block {block} of disk {disk} is not in point {sequence}") };
    (key(&format!("nightly/blocks/{}", at.file)), at)
}

/// Flips a byte of a block; a second time brings it back.
fn flip(memory: &Memory, (file, at): &(Key, StoredBlock)) {
    assert!(memory.corrupt(file, at.offset + u64::from(at.length) - 1, 0x40));
}
