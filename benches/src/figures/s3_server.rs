//! The S3 server of the measurements, in a process of its own.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use offsite_s3_server::{Behaviour, Operation, Server};

use super::proc::cpu_secs_of;
use crate::jobs::Failure;

/// The argument that makes this program the server.
pub(super) const ARGUMENT: &str = "--serve-s3";
/// The argument after it that makes the server forget what it gets.
const FORGETS: &str = "--forgets-content";

/// Serves until standard input ends. Each line of it is a command: `latency MILLIS`, `rate BYTES_A_SECOND`, or `counts`, which
/// starts counting anew.
pub(super) fn serve() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let forgets_content = std::env::args().nth(2).as_deref() == Some(FORGETS);
    let server = runtime.block_on(Server::start_with(Behaviour { forgets_content, ..Behaviour::default() }));
    println!("{}", server.endpoint());
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        match line.split_once(' ') {
            Some(("latency", millis)) => server.set_latency_millis(millis.parse()?),
            Some(("rate", rate)) => server.set_rate_bytes_per_sec(rate.parse()?),
            _ => {
                let counts = server.counts();
                server.reset_counts();
                let requests: Vec<String> =
                    counts.requests.iter().map(|(operation, count)| format!("{operation:?}={count}")).collect();
                println!("{}", requests.join(" "));
            }
        }
        std::io::stdout().flush()?;
    }
    Ok(())
}

/// The server's process, ended when this is dropped.
pub(super) struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    pub(super) endpoint: String,
}

impl Process {
    /// A server that keeps all it gets in memory.
    pub(super) fn start() -> Result<Self, Failure> {
        Self::start_with(&[])
    }

    /// A server that checks what it gets and forgets it: filling memory costs more than receiving.
    pub(super) fn start_forgetful() -> Result<Self, Failure> {
        Self::start_with(&[FORGETS])
    }

    fn start_with(arguments: &[&str]) -> Result<Self, Failure> {
        let program = std::env::current_exe()?;
        let mut command = Command::new(program);
        let mut child = command.arg(ARGUMENT).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take().ok_or("the server has no input")?;
        let output = BufReader::new(child.stdout.take().ok_or("the server has no output")?);
        let mut process = Self { child, input, output, endpoint: String::new() };
        process.endpoint = process.line()?;
        Ok(process)
    }

    pub(super) fn set_latency_millis(&mut self, millis: u64) -> Result<(), Failure> {
        Ok(writeln!(self.input, "latency {millis}")?)
    }

    pub(super) fn set_rate_bytes_per_sec(&mut self, rate: u64) -> Result<(), Failure> {
        Ok(writeln!(self.input, "rate {rate}")?)
    }

    /// The CPU seconds that the server took so far.
    pub(super) fn cpu_secs(&self) -> f64 {
        cpu_secs_of(self.child.id())
    }

    /// The requests since the last call, by what they asked for.
    pub(super) fn counts(&mut self) -> Result<BTreeMap<String, u64>, Failure> {
        writeln!(self.input, "counts")?;
        let line = self.line()?;
        let pairs = line.split(' ').filter_map(|pair| pair.split_once('='));
        Ok(pairs.filter_map(|(operation, count)| Some((operation.to_owned(), count.parse().ok()?))).collect())
    }

    fn line(&mut self) -> Result<String, Failure> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Counts of one operation.
pub(super) fn count_of(counts: &BTreeMap<String, u64>, operation: Operation) -> u64 {
    counts.get(&format!("{operation:?}")).copied().unwrap_or(0)
}
