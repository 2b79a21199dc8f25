//! One restore point, read where it lies: the first MiB of each disk.
//!
//! `cargo run -p offsite --example read_files -- REPOSITORY JOB` opens the newest whole state of each machine of JOB, says what is
//! stored of its disks, and reads the first MiB of each. Nothing is restored, and a run of the job may work beside it.

use std::sync::Arc;

use offsite::{JobName, OpenRepository, Snapshot};
use offsite_backends::Local;
use tokio::io::AsyncReadExt;

const FIRST_BYTES: u64 = 1 << 20;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [repository, job] = arguments.as_slice() else {
        return Err("usage: read_files REPOSITORY JOB".into());
    };
    let repository = OpenRepository::open(Arc::new(Local::open(repository).await?)).await?;
    let snapshot = Snapshot::newest(&repository, &JobName::new(job)?).await?;
    for machine in snapshot.machines() {
        println!("{} as of {}, from restore point {}", machine.name, machine.captured, machine.sequence);
        for disk in &machine.disks {
            let reader = snapshot.disk(&machine.name, disk.number).await?;
            let data = reader.extents().filter(|extent| extent.is_data);
            let data: u64 = data.map(|extent| extent.range.end - extent.range.start).sum();
            let mut first = Vec::new();
            reader.stream().take(FIRST_BYTES).read_to_end(&mut first).await?;
            let is_bootable = first.get(510..512) == Some(&[0x55, 0xaa][..]);
            println!(
                "  disk {} ({}): {} bytes, {data} of them data; of the first {} bytes {} are zero; boot signature: {is_bootable}",
                disk.number,
                disk.identity.name,
                disk.size_bytes,
                first.len(),
                first.iter().filter(|byte| **byte == 0).count(),
            );
        }
    }
    snapshot.close().await?;
    Ok(())
}
