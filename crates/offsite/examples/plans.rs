//! What operations will cost, before they run; and the reports beside their plans.
//!
//! `cargo run -p offsite --example plans`

mod support;

use offsite::{CopyJob, Export, JobName};
use support::{Fallible, Scratch, backup, day};

#[tokio::main]
async fn main() -> Fallible {
    let scratch = Scratch::new()?;
    let (primary, second) = (scratch.repository("primary").await?, scratch.repository("second").await?);
    let disk = scratch.disk("web01.raw", 8, 0)?;
    let job = backup(&primary, &disk)?;
    let planned = job.plan(day(0)?).await?;
    println!("the backup will read at most {} bytes; full: {}", planned.read_bytes_max(), planned.full);
    let report = job.run(day(0)?).await?;
    assert!(report.machines[0].read_bytes <= planned.read_bytes_max());

    let copy = CopyJob::new(JobName::new("copy")?, &primary, JobName::new("nightly")?, &second)?;
    let planned = copy.plan(day(0)?).await?.sync.ok_or("nothing to copy")?;
    println!("the copy will write {} bytes", planned.cost.bytes_written);
    let report = copy.run(day(0)?).await?.sync.ok_or("nothing was copied")?;
    assert_eq!(planned.cost, report.tally.planned);
    assert!(report.tally.kept_to_plan());

    let export = Export::new(&second, JobName::new("copy")?);
    let planned = export.plan().await?;
    println!("the export will have at most {} bytes", planned.bytes_max);
    let report = export.save(&scratch.path("web01.export")).await?;
    assert!(report.bytes <= planned.bytes_max);
    Ok(())
}
