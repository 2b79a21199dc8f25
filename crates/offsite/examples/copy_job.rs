//! Two repositories, a backup job, a copy job that keeps three restore points, and a restore of the copy.
//!
//! `cargo run -p offsite --example copy_job`

mod support;

use offsite::retention::Simple;
use offsite::{CopyJob, JobName, MachineName, Restore};
use support::{Fallible, Scratch, backup, day};

#[tokio::main]
async fn main() -> Fallible {
    let scratch = Scratch::new()?;
    let (primary, second) = (scratch.repository("primary").await?, scratch.repository("second").await?);
    let copy = CopyJob::new(JobName::new("Offsite Copy")?, &primary, JobName::new("nightly")?, &second)?
        .transforms(Simple::new(3)?);
    for number in 0..5 {
        // A seventh of the disk changes each day, and so does a seventh of what is copied.
        let disk = scratch.disk("web01.raw", 7, u8::try_from(number)?)?;
        backup(&primary, &disk)?.run(day(number)?).await?;
        let report = copy.run(day(number)?).await?;
        if let Some(sync) = &report.sync {
            println!("point {}: {} bytes copied", sync.sequence, sync.tally.target.bytes_written);
        }
        for done in &report.transform.operations {
            println!("  {:?}", done.operation);
        }
    }
    let restore = Restore::new(&second, JobName::new("Offsite Copy")?, MachineName::new("web01")?);
    let report = restore.run(&scratch.path("restored.raw")).await?;
    println!("restored point {}", report.sequence);
    assert_eq!(std::fs::read(scratch.path("restored.raw"))?, std::fs::read(scratch.path("web01.raw"))?);
    Ok(())
}
