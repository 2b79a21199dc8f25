//! The clock that the command takes the time from.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use offsite::model::Timestamp;
use offsite::runner::{Clock, SystemClock};

use crate::place;
use crate::status::Failure;

/// The variable with the path of a file that holds the time, for tests and rehearsals of a schedule. To move the time, the file is
/// replaced.
const CLOCK_FILE: &str = "OFFSITE_CLOCK_FILE";
/// How often the file is read.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Returns the clock of the host, or the one that the environment names.
pub(crate) fn clock() -> Result<Arc<dyn Clock>, Failure> {
    let Some(path) = std::env::var_os(CLOCK_FILE).filter(|path| !path.is_empty()) else {
        return Ok(Arc::new(SystemClock));
    };
    let clock = FileClock { path: path.into() };
    match clock.read() {
        Some(_) => Ok(Arc::new(clock)),
        None => Err(Failure::WrongUse(format!(
            "{CLOCK_FILE}: {} holds no time; write one like \"2026-11-22T22:00:00Z\" (without the quotes), or unset {CLOCK_FILE} to go by the host's clock",
            clock.path.display()
        ))),
    }
}

/// Returns a clock that stands still at `now`. `None` stands for the clock of [`clock`].
pub(crate) fn clock_at(now: Option<Timestamp>) -> Result<Arc<dyn Clock>, Failure> {
    match now {
        Some(now) => Ok(Arc::new(Still(now))),
        None => clock(),
    }
}

/// A clock that stands still, as somebody runs a job as if it were this time.
struct Still(Timestamp);

#[async_trait]
impl Clock for Still {
    fn now(&self) -> Timestamp {
        self.0
    }

    async fn wait_until(&self, time: Timestamp) {
        while self.now() < time {
            // That time never comes.
            std::future::pending::<()>().await;
        }
    }
}

struct FileClock {
    path: PathBuf,
}

impl FileClock {
    fn read(&self) -> Option<Timestamp> {
        Timestamp::parse(std::fs::read_to_string(&self.path).ok()?.trim()).ok()
    }
}

#[async_trait]
impl Clock for FileClock {
    fn now(&self) -> Timestamp {
        // The file is replaced by renaming, so it always holds a time.
        self.read().unwrap_or_else(place::now)
    }

    async fn wait_until(&self, time: Timestamp) {
        while self.now() < time {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
