//! A job goes with all its restore points, and its name is free again.
//!
//! `cargo run -p offsite --example remove_job`

mod support;

use offsite::{JobName, Silent};
use support::{Fallible, Scratch, backup, day};

#[tokio::main]
async fn main() -> Fallible {
    let scratch = Scratch::new()?;
    let primary = scratch.repository("primary").await?;
    let disk = scratch.disk("web01.raw", 4, 0)?;
    let job = backup(&primary, &disk)?;
    for number in 0..3 {
        job.run(day(number)?).await?;
    }
    let removed = primary.remove_job(&JobName::new("nightly")?, day(3)?, &Silent).await?;
    println!("{} restore points went, and {} bytes came back", removed.points, removed.released.bytes);
    assert!(removed.is_gone && primary.jobs().await?.is_empty());
    assert!(job.run(day(4)?).await?.full);
    Ok(())
}
