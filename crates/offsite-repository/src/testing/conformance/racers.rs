//! Processes that race for names.
//!
//! The suite sends them commands over a pipe. It writes one line, and the racer answers with one line:
//!
//! | line | the racer | its answer |
//! |---|---|---|
//! | `write SEED LENGTH KEY` | starts an object and writes it | `ready`, or `taken` |
//! | `finish` | finishes it | `won` or `lost` |
//! | `read KEY` | reads an object | `content LENGTH SUM`, or `nothing` |
//! | `sweep` | sweeps | `done` |
//!
//! If a command fails otherwise, the answer is `failed` and the reason. The racer ends at the end of its input.

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

use super::content::noise;
use crate::{ErrorKind, Key, ObjectWriter, Repository, RepositoryExt};

/// The start of each answer. It tells answers from whatever else a process prints.
const MARK: &str = "racer: ";

/// How to start another process that opens the same place and calls [`play_racer`] with it.
///
/// A test binary can be its own racer, see [`RacerProcess::this_test`]. A command can start itself with an argument for it.
#[derive(Clone)]
pub struct RacerProcess {
    command: Arc<dyn Fn() -> Command + Send + Sync>,
}

impl RacerProcess {
    /// Starts each process with the [`Command`] that `command` returns.
    ///
    /// The suite uses its standard input and output.
    pub fn new(command: impl Fn() -> Command + Send + Sync + 'static) -> Self {
        Self { command: Arc::new(command) }
    }

    /// Starts this test binary again, with its test `test` alone, and with the environment variable `variable` set to `value`.
    ///
    /// Without that variable, the test must do nothing. With it, the test opens the place and calls [`play_racer`].
    pub fn this_test(test: &str, variable: &str, value: impl Into<std::ffi::OsString>) -> Self {
        let (test, variable, value) = (test.to_owned(), variable.to_owned(), value.into());
        Self::new(move || {
            // A binary that is not found by its own name cannot be started; the case says so.
            let mut command = Command::new(std::env::current_exe().unwrap_or_default());
            command.args([test.as_str(), "--exact", "--nocapture", "--test-threads=1"]).env(&variable, &value);
            command
        })
    }

    /// Starts a racer.
    pub(super) fn start(&self) -> Result<Racer, String> {
        let mut command = (self.command)();
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("another process cannot be started: {error}"))?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        Ok(Racer { child, input, output: output.map(BufReader::new) })
    }
}

impl fmt::Debug for RacerProcess {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("RacerProcess")
    }
}

/// A running racer. Dropping it kills the process.
pub(super) struct Racer {
    child: Child,
    input: Option<ChildStdin>,
    output: Option<BufReader<ChildStdout>>,
}

impl Racer {
    pub(super) fn tell(&mut self, line: &str) -> Result<(), String> {
        let input = self.input.as_mut().ok_or("a racer has no input")?;
        let told = writeln!(input, "{line}").and_then(|()| input.flush());
        told.map_err(|error| format!("another process is gone: {error}"))
    }

    /// Waits for the racer's next answer. If the answer is `failed`, the result is an error.
    pub(super) fn hear(&mut self) -> Result<String, String> {
        let output = self.output.as_mut().ok_or("a racer has no output")?;
        loop {
            let mut line = String::new();
            match output.read_line(&mut line) {
                Ok(0) => return Err("another process ended before its part did".to_owned()),
                Ok(_) => {}
                Err(error) => return Err(format!("another process says nothing: {error}")),
            }
            // A test binary may have begun the line with something of its own.
            let Some((_, answer)) = line.trim_end().split_once(MARK) else { continue };
            return match answer.strip_prefix("failed ") {
                Some(why) => Err(format!("in another process: {why}")),
                None => Ok(answer.to_owned()),
            };
        }
    }

    pub(super) fn ask(&mut self, line: &str) -> Result<String, String> {
        self.tell(line)?;
        self.hear()
    }

    /// Ends the racer wherever it is, and returns when it is gone.
    pub(super) fn kill(mut self) -> Result<(), String> {
        let killed = self.child.kill().and_then(|()| self.child.wait());
        killed.map(drop).map_err(|error| format!("another process cannot be killed: {error}"))
    }
}

impl Drop for Racer {
    fn drop(&mut self) {
        // Both fail only for a process that is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Length and sum of a content, as a racer tells them.
pub(super) fn described(content: &[u8]) -> String {
    // FNV-1a: it must tell contents of the suite apart, and nothing else.
    let sum = content
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    format!("content {} {sum:016x}", content.len())
}

/// Plays the part of another process, on standard input and output, until the input ends.
///
/// A process that [`RacerProcess`] starts calls this function when it has opened the place.
///
/// ```no_run
/// # async fn open_the_same_place() -> offsite_repository::testing::Memory { unimplemented!() }
/// use offsite_repository::testing::conformance;
///
/// #[tokio::main(flavor = "current_thread")]
/// async fn main() {
///     conformance::play_racer(&open_the_same_place().await).await;
/// }
/// ```
pub async fn play_racer(repository: &dyn Repository) {
    let mut writer = None;
    loop {
        // On a thread for blocking work, so that the repository's own tasks go on.
        let line = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            std::io::stdin().lock().read_line(&mut line).map(|length| (length > 0).then_some(line))
        });
        let Ok(Ok(Some(line))) = line.await else { return };
        let answer = play(repository, line.trim_end(), &mut writer).await;
        let answer = answer.unwrap_or_else(|why| format!("failed {}", why.replace('\n', " ")));
        let mut output = std::io::stdout().lock();
        // Nobody listens any more: the input is about to end.
        let _ = writeln!(output, "\n{MARK}{answer}").and_then(|()| output.flush());
    }
}

type Writing = Option<Box<dyn ObjectWriter>>;

async fn play(repository: &dyn Repository, line: &str, writing: &mut Writing) -> Result<String, String> {
    let text = |error: crate::Error| error.to_string();
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    match verb {
        "write" => {
            let mut words = rest.splitn(3, ' ');
            let mut number =
                || words.next().and_then(|word| word.parse().ok()).ok_or(format!("not understood: {line}"));
            let (seed, length): (u64, u64) = (number()?, number()?);
            let key = key(words.next().unwrap_or_default())?;
            let content = noise(seed, usize::try_from(length).map_err(|error| error.to_string())?);
            let mut writer = match repository.create(&key).await {
                Ok(writer) => writer,
                Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok("taken".to_owned()),
                Err(error) => return Err(text(error)),
            };
            writer.write(vec![content]).await.map_err(text)?;
            *writing = Some(writer);
            Ok("ready".to_owned())
        }
        "finish" => match writing.take().ok_or("nothing was begun")?.finish().await {
            Ok(()) => Ok("won".to_owned()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok("lost".to_owned()),
            Err(error) => Err(text(error)),
        },
        "read" => match repository.get(&key(rest)?, u64::MAX).await {
            Ok(content) => Ok(described(&content)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok("nothing".to_owned()),
            Err(error) => Err(text(error)),
        },
        "sweep" => repository.sweep().await.map(|()| "done".to_owned()).map_err(text),
        _ => Err(format!("not understood: {line}")),
    }
}

fn key(text: &str) -> Result<Key, String> {
    Key::new(text).map_err(|error| error.to_string())
}
