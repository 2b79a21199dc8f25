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

/// Bytes that do not compress, so that the copy is larger than the budget.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut noise = Vec::with_capacity(bytes);
    while noise.len() < bytes {
        // Xorshift64 (Marsaglia, 2003).
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        noise.extend_from_slice(&state.to_le_bytes());
    }
    noise
}

#[tokio::main]
async fn main() -> Fallible {
    let scratch = Scratch::new()?;
    let (primary, second) = (scratch.repository("primary").await?, scratch.repository("second").await?);
    let disk = scratch.path("web01.raw");
    std::fs::write(&disk, noise(12 << 20))?;
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
