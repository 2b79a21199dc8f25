//! A restore point leaves as one file, and becomes the start of a chain elsewhere.
//!
//! `cargo run -p offsite --example export_import`

mod support;

use std::fs::File;

use offsite::{Export, Import, JobName, MachineName, Restore};
use support::{Fallible, Scratch, backup, day};

#[tokio::main]
async fn main() -> Fallible {
    let scratch = Scratch::new()?;
    let (primary, elsewhere) = (scratch.repository("primary").await?, scratch.repository("elsewhere").await?);
    let disk = scratch.disk("web01.raw", 8, 0)?;
    backup(&primary, &disk)?.run(day(0)?).await?;

    let file = scratch.path("nightly.export");
    let report = Export::new(&primary, JobName::new("nightly")?).save(&file).await?;
    println!("exported {} machines in {} bytes", report.machines.len(), report.bytes);

    let name = JobName::new("carried")?;
    let report = Import::new(&elsewhere, name.clone()).run(File::open(&file)?, day(1)?).await?;
    println!("imported point {} of job {}", report.sequence, report.job);

    Restore::new(&elsewhere, name, MachineName::new("web01")?).run(&scratch.path("restored.raw")).await?;
    assert_eq!(std::fs::read(scratch.path("restored.raw"))?, std::fs::read(disk)?);
    Ok(())
}
