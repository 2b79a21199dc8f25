//! A copy gives way to a backup in the folder that it reads.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use offsite::{Activity, CopyJob, Gate, OpenRepository, Passage, Progress, Source, SyncRequest, Wait};
use tokio::time::sleep;

use crate::support::gates::Held;
use crate::support::{BLOCK, Machines, day, job, memory_repository};

/// Lets a request through each second, and keeps what is told.
#[derive(Default)]
struct Seconds {
    told: Mutex<Vec<String>>,
}

#[async_trait]
impl Gate for Seconds {
    async fn pass(&self, _activity: &Activity<'_>, _bytes: u64) -> Passage {
        sleep(Duration::from_secs(1)).await;
        Passage::Go
    }
}

impl Progress for Seconds {
    fn wait(&self, wait: &Wait<'_>) {
        self.told.lock().unwrap().push(wait.to_string());
    }
}

async fn source() -> (Machines, OpenRepository) {
    let (_, repository) = memory_repository().await;
    let mut machines = Machines::new(3);
    // Some forty requests.
    machines.add("a", &[640 * BLOCK]);
    machines.fill_with_noise("a");
    machines.backup(&repository, &["a"]).run(day(0)).await.unwrap();
    (machines, repository)
}

fn copy(source: &OpenRepository, target: &OpenRepository, seconds: &Arc<Seconds>) -> CopyJob {
    let sources = vec![Source::job(source, job("nightly"))];
    CopyJob::of(job("copy"), sources, target).unwrap().progress(seconds.clone())
}

fn request(seconds: &Arc<Seconds>) -> SyncRequest {
    SyncRequest::at(day(1)).gate(seconds.clone())
}

#[tokio::test(start_paused = true)]
async fn a_copy_gives_way_while_a_backup_is_at_work_and_says_how_long() {
    let ((machines, source), (_, target)) = (source().await, memory_repository().await);
    let seconds = Arc::new(Seconds::default());
    let copy = copy(&source, &target, &seconds);
    let held = Held::new();
    let backup = async {
        sleep(Duration::from_millis(10_500)).await;
        let backup = machines.backup(&source, &["a"]).gate(held.clone());
        let (_, done) = tokio::join!(
            async {
                held.is_waiting().await;
                sleep(Duration::from_secs(10)).await;
                held.let_through(1_000);
            },
            backup.run(day(2)),
        );
        done.unwrap();
    };
    let request = request(&seconds);
    let (outcome, ()) = tokio::join!(copy.sync(&request), backup);
    let sync = outcome.unwrap().sync.unwrap();
    // It looks every five seconds, and between two requests.
    let secs = sync.gave_way.as_secs();
    assert!((6..=16).contains(&secs), "{secs}");
    let told = seconds.told.lock().unwrap().clone();
    assert!(told.len() == 1 && told[0].starts_with("a backup of job nightly is at work"), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_begins_beside_a_backup_gives_way_at_once() {
    let ((machines, source), (_, target)) = (source().await, memory_repository().await);
    let seconds = Arc::new(Seconds::default());
    let copy = copy(&source, &target, &seconds);
    let held = Held::new();
    let backup = machines.backup(&source, &["a"]).gate(held.clone());
    let request = request(&seconds);
    let began = tokio::time::Instant::now();
    let copied = async {
        held.is_waiting().await;
        let outcome = copy.sync(&request).await;
        let lasted = began.elapsed();
        held.let_through(1_000);
        (outcome, lasted)
    };
    let ((outcome, lasted), done) = tokio::join!(copied, backup.run(day(2)));
    done.unwrap();
    let gave_way = outcome.unwrap().sync.unwrap().gave_way;
    assert!(lasted - gave_way < Duration::from_secs(2), "{gave_way:?} of {lasted:?}");
}

/// A copy job's own writer in the folder that is read has hours, too.
#[tokio::test(start_paused = true)]
async fn a_copy_does_not_give_way_to_a_copy() {
    let ((machines, first), (_, second), (_, third)) =
        (source().await, memory_repository().await, memory_repository().await);
    let seconds = Arc::new(Seconds::default());
    copy(&first, &second, &Arc::new(Seconds::default())).sync(&SyncRequest::at(day(1))).await.unwrap();
    machines.backup(&first, &["a"]).run(day(2)).await.unwrap();
    let next =
        CopyJob::of(job("third"), vec![Source::job(&second, job("copy"))], &third).unwrap().progress(seconds.clone());
    let other = Arc::new(Seconds::default());
    let at_work = copy(&first, &second, &other);
    let other_request = SyncRequest::at(day(3)).gate(other.clone());
    let next_request = request(&seconds);
    let (outcome, other) = tokio::join!(next.sync(&next_request), at_work.sync(&other_request));
    other.unwrap();
    assert_eq!(outcome.unwrap().sync.unwrap().gave_way, Duration::ZERO);
    assert_eq!(*seconds.told.lock().unwrap(), [""; 0]);
}
