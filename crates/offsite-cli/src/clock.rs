//! What the command takes the time from.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use offsite::core::Timestamp;
use offsite::runner::{Clock, SystemClock};

use crate::place;
use crate::status::Failure;

/// Names a file that holds the present, for tests and rehearsals of a schedule: who moves the time writes it anew.
const CLOCK_FILE: &str = "OFFSITE_CLOCK_FILE";
/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The clock of the host, or the one that the environment names.
pub(crate) fn clock() -> Result<Arc<dyn Clock>, Failure> {
    let Some(path) = std::env::var_os(CLOCK_FILE).filter(|path| !path.is_empty()) else {
        return Ok(Arc::new(SystemClock));
    };
    let clock = FileClock { path: path.into() };
    match clock.read() {
        Some(_) => Ok(Arc::new(clock)),
        None => Err(Failure::WrongUse(format!(
            "{CLOCK_FILE}: {} holds no time; write one like 2026-11-22T22:00:00Z, or unset {CLOCK_FILE} to go by the host's clock",
            clock.path.display()
        ))),
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
        // Replaced by renaming, it always holds a time.
        self.read().unwrap_or_else(place::now)
    }

    async fn wait_until(&self, time: Timestamp) {
        while self.now() < time {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
