//! Progress bars on standard error, when it is a terminal.

use std::sync::{Arc, Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressStyle};
use offsite::Progress;

use crate::print;

/// A bar for one activity after the other.
#[derive(Debug, Default)]
struct Bars {
    current: Mutex<Option<ProgressBar>>,
}

/// What shows how far an operation is; nothing where nobody looks.
pub(crate) fn bars() -> Arc<dyn Progress> {
    Arc::new(Bars::default())
}

impl Progress for Bars {
    fn begin(&self, activity: &str, total_bytes: u64) {
        // indicatif draws to standard error, and only if that is a terminal.
        let bar = ProgressBar::new(total_bytes).with_message(activity.to_owned());
        let style =
            ProgressStyle::with_template("{msg:>12} [{bar:32}] {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left");
        if let Ok(style) = style {
            bar.set_style(style.progress_chars("=> "));
        }
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar);
    }

    fn advance(&self, bytes: u64) {
        if let Some(bar) = &*self.current.lock().unwrap_or_else(PoisonError::into_inner) {
            bar.inc(bytes);
        }
    }

    fn end(&self) {
        if let Some(bar) = self.current.lock().unwrap_or_else(PoisonError::into_inner).take() {
            bar.finish_and_clear();
        }
    }

    fn note(&self, text: &str) {
        // Logs want to know it as well as terminals.
        print::problem(text);
    }
}
