//! How a command tells how far it is: bars on standard error if it is a terminal, or lines of JSON.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use offsite::runner::{ProgressBoard, SystemClock};
use offsite::{Activity, Progress, Silent, Step, Task, Wait};
use serde_json::Value;

use crate::json::{self, events};
use crate::status::Failure;
use crate::{place, print};

/// How often a line tells how far an activity is.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// A bar for one activity after the other.
#[derive(Debug, Default)]
struct Bars {
    current: Mutex<Option<ProgressBar>>,
}

/// Returns bars. They show nothing if standard error is no terminal.
fn bars() -> Arc<dyn Progress> {
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

/// Where lines of JSON go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lines {
    /// The command tells people.
    No,
    /// To standard output, before the report.
    Output,
    /// To standard error, as standard output is the result.
    Error,
}

impl Lines {
    /// Of a command whose result is not standard output.
    pub(crate) fn wanted(is_json: bool) -> Self {
        if is_json { Self::Output } else { Self::No }
    }

    /// If standard output is the result, they go to standard error.
    pub(crate) fn beside(self, is_output_taken: bool) -> Self {
        match self {
            Self::Output if is_output_taken => Self::Error,
            lines => lines,
        }
    }

    /// Prints a line.
    pub(crate) fn print(self, line: &Value) -> Result<(), Failure> {
        let line = json::text(line)?;
        match self {
            Self::No => {}
            Self::Output => print::json(&line),
            Self::Error => print::message(format!("{line}\n")),
        }
        Ok(())
    }
}

/// Returns what shows the progress of an operation, as bars or as lines.
pub(crate) fn shown(lines: Lines) -> Arc<dyn Progress> {
    match lines {
        Lines::No => bars(),
        Lines::Output | Lines::Error => {
            let board = ProgressBoard::new(Arc::new(SystemClock), Arc::new(Silent));
            Arc::new(Printed { lines, board, printed: Mutex::default() })
        }
    }
}

/// Lines of JSON.
struct Printed {
    lines: Lines,
    board: ProgressBoard,
    /// When a line about the present activity was printed.
    printed: Mutex<Option<Instant>>,
}

impl Printed {
    fn activity(&self, event: &str) {
        let Some(present) = self.board.activity() else { return };
        *self.printed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.print(&events::event(event, &present, place::now()));
    }

    fn print(&self, line: &Value) {
        // It is made of text and numbers, so this cannot fail.
        let _ = self.lines.print(line);
    }
}

impl Progress for Printed {
    fn begin(&self, activity: &Activity<'_>) {
        self.board.begin(activity);
        self.activity("begin");
    }

    fn advance(&self, activity: &Activity<'_>) {
        self.board.advance(activity);
        let printed = *self.printed.lock().unwrap_or_else(PoisonError::into_inner);
        if printed.is_none_or(|at| at.elapsed() >= LINE_EVERY) {
            self.activity("advance");
        }
    }

    fn end(&self, activity: &Activity<'_>) {
        self.board.advance(activity);
        self.activity("end");
        self.board.end(activity);
    }

    fn wait(&self, wait: &Wait<'_>) {
        self.print(&events::wait(wait, place::now()));
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
