//! A copy is stopped in the middle of its transfer. What has arrived is kept, and the next copy brings the rest.
//!
//! `cargo run -p offsite --example stop_and_go_on`

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use offsite::{Activity, CopyJob, Gate, JobName, Passage, Progress, SyncRequest};
use support::{Fallible, Scratch, backup, day};

/// Lets so many bytes through.
struct Budget(AtomicU64);

#[async_trait]
impl Gate for Budget {
    async fn pass(&self, _activity: &Activity<'_>, bytes: u64) -> Passage {
        match self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)) {
            Ok(_) => Passage::Go,
            Err(_) => Passage::Stop,
        }
    }
}

/// Says what is at work.
struct Listener;

impl Progress for Listener {
    fn begin(&self, activity: &Activity<'_>) {
        println!("{} of job {}: {} bytes", activity.task, activity.job, activity.total_bytes);
    }
}

#[tokio::main]
async fn main() -> Fallible {
    let scratch = Scratch::new()?;
    let (primary, second) = (scratch.repository("primary").await?, scratch.repository("second").await?);
    // Compressible enough to be small, and too large for the budget.
    let noise: Vec<u8> = (0..12_u64 << 20).map(|byte| (byte.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
    let disk = scratch.path("web01.raw");
    std::fs::write(&disk, noise)?;
    backup(&primary, &disk)?.run(day(0)?).await?;

    let copy = CopyJob::new(JobName::new("copy")?, &primary, JobName::new("nightly")?, &second)?;
    let copy = copy.progress(Arc::new(Listener));
    let budget = Arc::new(Budget(AtomicU64::new(5 << 20)));
    let stopped = copy.sync(&SyncRequest::at(day(0)?).gate(budget)).await?;
    for machine in &stopped.machines {
        println!("{}: {:?}", machine.name, machine.outcome);
    }
    assert!(!stopped.machines[0].outcome.is_whole());
    let rest = copy.run(day(0)?).await?;
    assert!(rest.machines.iter().all(|machine| machine.outcome.is_whole()));
    Ok(())
}
