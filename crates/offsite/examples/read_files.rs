//! One restore point, read where it lies: the first MiB of each disk.
//!
//! It opens the newest whole state of each machine of a job, says what is stored of its disks, and reads the first MiB of each. Nothing
//! is restored, and a run of the job may work beside it.
//!
//! `cargo run -p offsite --example read_files`

mod support;

use offsite::{JobName, Snapshot};
use support::{Fallible, Scratch, backup, day};
use tokio::io::AsyncReadExt;

const FIRST_BYTES: u64 = 1 << 20;

#[tokio::main]
async fn main() -> Fallible {
    let scratch = Scratch::new()?;
    let repository = scratch.repository("primary").await?;
    let disk = scratch.disk("web01.raw", 6, 0)?;
    backup(&repository, &disk)?.run(day(0)?).await?;
    let snapshot = Snapshot::newest(&repository, &JobName::new("nightly")?).await?;
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
