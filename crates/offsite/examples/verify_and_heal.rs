//! A backup file of the copy is damaged. A verification finds it, and the next copy puts it back from the source.
//!
//! `cargo run -p offsite --example verify_and_heal`

mod support;

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use offsite::{CopyJob, JobName, Verify};
use support::{Fallible, Scratch, backup, day};

#[tokio::main]
async fn main() -> Fallible {
    let scratch = Scratch::new()?;
    let (primary, second) = (scratch.repository("primary").await?, scratch.repository("second").await?);
    let disk = scratch.disk("web01.raw", 8, 0)?;
    backup(&primary, &disk)?.run(day(0)?).await?;
    let name = JobName::new("copy")?;
    let copy = CopyJob::new(name.clone(), &primary, JobName::new("nightly")?, &second)?;
    copy.run(day(0)?).await?;

    let blocks = scratch.path("second").join("copy").join("blocks");
    let files = std::fs::read_dir(blocks)?.collect::<Result<Vec<_>, _>>()?;
    let longest = files.iter().max_by_key(|file| file.metadata().map_or(0, |found| found.len()));
    let file = OpenOptions::new().write(true).open(longest.ok_or("no backup file")?.path())?;
    let end = file.metadata()?.len();
    file.write_all_at(b"a bit of damage", end / 2)?;

    let verify = Verify::new(&second, name).read_data(true);
    let report = verify.run().await?;
    for damage in &report.damage {
        println!("{}: {}; it touches {:?}", damage.object, damage.what, damage.touches);
    }
    assert!(!report.damage.is_empty());
    for done in &copy.run(day(1)?).await?.transform.operations {
        println!("{:?}", done.operation);
    }
    assert!(verify.run().await?.damage.is_empty());
    Ok(())
}
