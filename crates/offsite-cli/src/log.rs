//! The log of the daemon, on standard error.

use std::fmt;
use std::io::{IsTerminal, stderr};

use rustix::fs::fstat;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::{Format, FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, time::SystemTime};
use tracing_subscriber::registry::LookupSpan;

use crate::print::Log;
use crate::status::Failure;

/// The variable with the level, if the command line has none.
const LEVEL: &str = "OFFSITE_LOG";

/// Starts the log at `level`, or at the level of the environment: `error`, `warn`, `info` (the default), `debug`, `trace` or `off`.
pub(crate) fn start(level: Option<&str>) -> Result<(), Failure> {
    let of_environment = std::env::var(LEVEL).ok().filter(|level| !level.is_empty());
    let (named, by) = match level {
        Some(level) => (Some(level), "--log"),
        None => (of_environment.as_deref(), LEVEL),
    };
    let filter: LevelFilter = named.unwrap_or("info").parse().map_err(|_| {
        let named = named.unwrap_or_default();
        Failure::WrongUse(format!("{by}: {named:?} is no level; use error, warn, info, debug, trace or off"))
    })?;
    let base = Format::default().with_target(false);
    let lines = if is_journal() {
        Lines::Journal(base.without_time().with_level(false))
    } else if stderr().is_terminal() {
        Lines::Terminal(base)
    } else {
        Lines::Plain(base.without_time())
    };
    let subscriber = tracing_subscriber::fmt()
        .with_writer(Log)
        .log_internal_errors(false)
        .with_max_level(filter)
        .event_format(lines)
        .finish();
    tracing::subscriber::set_global_default(subscriber).map_err(|error| Failure::Failed(error.to_string()))
}

/// Whether standard error is the stream that systemd has connected to its journal (systemd.exec(5), `JOURNAL_STREAM`).
fn is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let Ok(stat) = fstat(stderr()) else { return false };
    stream == format!("{}:{}", stat.st_dev, stat.st_ino)
}

/// The form of lines.
enum Lines {
    /// The journal adds the time, and takes the level from a number before the line (sd-daemon(3)).
    Journal(Format<tracing_subscriber::fmt::format::Full, ()>),
    /// The reader of a file or a pipe adds the time.
    Plain(Format<tracing_subscriber::fmt::format::Full, ()>),
    /// A person reads the terminal.
    Terminal(Format<tracing_subscriber::fmt::format::Full, SystemTime>),
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        match self {
            Self::Journal(format) => {
                let priority = match *event.metadata().level() {
                    Level::ERROR => 3,
                    Level::WARN => 4,
                    Level::INFO => 6,
                    _ => 7,
                };
                write!(writer, "<{priority}>")?;
                format.format_event(context, writer, event)
            }
            Self::Plain(format) => format.format_event(context, writer, event),
            Self::Terminal(format) => format.format_event(context, writer, event),
        }
    }
}
