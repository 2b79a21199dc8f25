//! Two repositories, one copy job, one interval, one restore.
//!
//! `cargo run -p offsite --example copy_job -- SOURCE JOB TARGET MACHINE IMAGE` copies the newest restore point of JOB from the
//! repository SOURCE to TARGET, and restores MACHINE from the copy to IMAGE.

use std::sync::Arc;

use offsite::model::MachineName;
use offsite::model::Timestamp;
use offsite::retention::Simple;
use offsite::{CopyJob, JobName, OpenRepository, Restore};
use offsite_backends::Local;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [source, job, target, machine, image] = arguments.as_slice() else {
        return Err("usage: copy_job SOURCE JOB TARGET MACHINE IMAGE".into());
    };
    let now = Timestamp::from_unix_secs(jiff::Timestamp::now().as_second())?;
    let source = OpenRepository::open(Arc::new(Local::open(source).await?)).await?;
    let target = match OpenRepository::initialise(Arc::new(Local::create(target).await?), now).await {
        Err(offsite::Error::AlreadyARepository { .. }) => {
            OpenRepository::open(Arc::new(Local::open(target).await?)).await?
        }
        made => made?,
    };
    let copy = JobName::new("Offsite Copy")?;
    let report =
        CopyJob::new(copy.clone(), &source, JobName::new(job)?, &target)?.keep(Simple::new(7)?).run(now).await?;
    println!("{report:#?}");
    let restore = Restore::new(&target, copy, MachineName::new(machine)?);
    println!("{:#?}", restore.run(image.as_ref()).await?);
    Ok(())
}
