//! Prints everything that the command prints.
//!
//! Printing never ends work. If standard output or standard error cannot be written, the command goes on, and its exit status
//! tells. A reader that has closed the pipe (`| head`) has seen enough, and changes nothing.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, IsTerminal, StdoutLock, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing_subscriber::fmt::MakeWriter;

use crate::local_time::LocalTime;
use crate::status::Failure;

/// What could not be printed so far.
static LOST: Mutex<Lost> = Mutex::new(Lost { result: None, messages: 0, log_lines: 0 });

struct Lost {
    /// The first reason why a part of the result could not be printed. `None` if all was printed.
    result: Option<String>,
    /// The number of messages on standard error.
    messages: u64,
    /// The number of lines of the log since one could be written.
    log_lines: u64,
}

fn lost() -> MutexGuard<'static, Lost> {
    LOST.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Prints a part of the result for people. Times in it are shown in the zone of this host.
pub(crate) fn text(text: impl Display) {
    as_it_is(&LocalTime::host().text(&text.to_string()));
}

/// Prints a line of the result for machines.
pub(crate) fn json(line: &str) {
    as_it_is(&format!("{line}\n"));
}

fn as_it_is(text: &str) {
    let written = (|| {
        let mut output = io::stdout().lock();
        output.write_all(text.as_bytes())?;
        output.flush()
    })();
    if let Err(error) = written
        && error.kind() != ErrorKind::BrokenPipe
    {
        lost().result.get_or_insert(error.to_string());
    }
}

/// Prints a line of the result.
pub(crate) fn line(line: impl Display) {
    text(format_args!("{line}\n"));
}

/// Returns a writer for a result that is longer than memory. Its caller reports what could not be written.
pub(crate) fn long() -> BufWriter<StdoutLock<'static>> {
    BufWriter::with_capacity(1 << 16, io::stdout().lock())
}

/// Returns standard output for bytes that are no text. Its caller reports what could not be written. The messages of the command go
/// to standard error then.
pub(crate) fn raw() -> Result<File, Failure> {
    let output = io::stdout();
    if output.is_terminal() {
        let why = "standard output is a terminal: send it to a file or through a pipe";
        return Err(Failure::WrongUse(why.to_owned()));
    }
    let output = output.as_fd().try_clone_to_owned();
    output.map(File::from).map_err(|error| Failure::Failed(format!("cannot write to standard output: {error}")))
}

/// Prints a message on standard error: what went wrong, or what the user should know.
pub(crate) fn problem(text: impl Display) {
    message(LocalTime::host().text(&format!("offsite: {text}\n")));
}

/// Prints a warning on standard error.
pub(crate) fn warning(text: impl Display) {
    problem(format_args!("warning: {text}"));
}

/// Prints a text on standard error as it is. It prints it in one piece, so that lines of several tasks do not mix.
pub(crate) fn message(text: String) {
    let written = io::stderr().write_all(text.as_bytes());
    if written.is_err_and(|error| error.kind() != ErrorKind::BrokenPipe) {
        lost().messages += 1;
    }
}

/// Prints the answer of the argument parser, for example help or a fault. Returns the exit status.
pub(crate) fn answer(answer: &clap::Error) -> ExitCode {
    if let Err(error) = answer.print()
        && error.kind() != ErrorKind::BrokenPipe
    {
        return ExitCode::from(1);
    }
    ExitCode::from(u8::try_from(answer.exit_code()).unwrap_or(2))
}

/// Prints why a command could not be carried out. Returns the exit status.
pub(crate) fn failure(failure: &Failure) -> ExitCode {
    let status = match failure {
        Failure::Failed(text) => {
            problem(text);
            1
        }
        Failure::WrongUse(text) => {
            problem(text);
            2
        }
        Failure::Stopped { signal, what } => {
            problem(format_args!("stopped by {}: {what}", signal.name()));
            signal.status()
        }
    };
    exit(status)
}

/// Returns the exit status of a command that ended with `status`. It is 1 if the result could not be printed, and 3 instead of 0 if
/// messages could not.
pub(crate) fn exit(status: u8) -> ExitCode {
    let result = lost().result.take();
    if let Some(why) = &result {
        problem(format_args!("the result could not be printed to standard output: {why}"));
    }
    ExitCode::from(match status {
        0 | 3 if result.is_some() => 1,
        0 if is_silent() => 3,
        status => status,
    })
}

/// Whether messages were lost. Lost lines of the log that could be reported later do not count.
fn is_silent() -> bool {
    let lost = lost();
    lost.messages > 0 || lost.log_lines > 0
}

/// Standard error, for the log of the daemon. It counts lines that cannot be written, and reports them with the next line that can.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Each call has a complete line.
        let line = LocalTime::host().text(&String::from_utf8_lossy(bytes));
        let mut lost = lost();
        let mut output = io::stderr().lock();
        let told = match lost.log_lines {
            0 => Ok(()),
            lines => {
                output.write_all(format!("before this, {lines} lines of the log could not be written\n").as_bytes())
            }
        };
        match told.and_then(|()| output.write_all(line.as_bytes())) {
            Ok(()) => lost.log_lines = 0,
            Err(_) => lost.log_lines += 1,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        *self
    }
}
