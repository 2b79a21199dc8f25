//! Progress bars on standard error, if it is a terminal.

use std::sync::{Arc, Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressStyle};
use offsite::{Activity, Progress, Step, Task, Wait};

use crate::print;

/// A bar for one activity after the other.
#[derive(Debug, Default)]
struct Bars {
    current: Mutex<Option<ProgressBar>>,
}

/// Returns what shows the progress of an operation. It shows nothing if standard error is no terminal.
pub(crate) fn bars() -> Arc<dyn Progress> {
    Arc::new(Bars::default())
}

impl Progress for Bars {
    fn begin(&self, activity: &Activity<'_>) {
        // indicatif draws to standard error, and only if that is a terminal.
        let bar = ProgressBar::new(activity.total_bytes).with_message(words(activity));
        let style =
            ProgressStyle::with_template("{msg:>12} [{bar:32}] {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left");
        if let Ok(style) = style {
            bar.set_style(style.progress_chars("=> "));
        }
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar);
    }

    fn advance(&self, activity: &Activity<'_>) {
        if let Some(bar) = &*self.current.lock().unwrap_or_else(PoisonError::into_inner) {
            bar.set_position(activity.done_bytes);
        }
    }

    fn end(&self, _activity: &Activity<'_>) {
        if let Some(bar) = self.current.lock().unwrap_or_else(PoisonError::into_inner).take() {
            bar.finish_and_clear();
        }
    }

    fn wait(&self, wait: &Wait<'_>) {
        // Logs need this as well as terminals.
        print::problem(wait);
    }
}

/// Returns a word or two for what is done.
pub(crate) fn words(activity: &Activity<'_>) -> &'static str {
    match (activity.step, activity.task) {
        (Step::Zero, _) => "zeroing",
        (Step::Check, _) => "verifying",
        (Step::Search, _) => "searching",
        (_, Task::Backup) => "backing up",
        (_, Task::Merge) => "merging",
        (_, Task::Heal) => "healing",
        (_, Task::Compact) => "compacting",
        (_, Task::Restore) => "restoring",
        (_, Task::Export) => "exporting",
        (_, Task::Import) => "importing",
        (_, Task::Map) => "mapping",
        (_, Task::Populate) => "filling the cache",
        _ => "copying",
    }
}
