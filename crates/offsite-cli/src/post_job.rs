//! The script that a job runs after each interval.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::time::timeout;

/// The greatest length of a line in bytes. Longer lines of a script are logged in pieces.
const LINE_BYTES_MAX: usize = 4096;
/// How long to wait for the output of a script that has ended. A child that it left behind may hold the output open.
const DRAIN: Duration = Duration::from_secs(1);

/// A program that runs after each interval of a job. It gets the report as JSON on its standard input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Script {
    pub(crate) path: PathBuf,
    /// The folder in which it starts.
    pub(crate) folder: PathBuf,
    /// How long it may run. Then it is killed, with all that it started.
    pub(crate) time_limit: Duration,
}

/// What a script gets in its environment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ScriptInput<'a> {
    /// `OFFSITE_JOB`.
    pub(crate) job: &'a str,
    /// `OFFSITE_RESULT`: `success`, `warning` or `failed`.
    pub(crate) result: &'a str,
    /// `OFFSITE_POINT`: the number of the newest restore point that was made. It is empty if none was made.
    pub(crate) point: Option<u64>,
}

/// Kills a process group, unless it is told that the group has ended.
struct Group(Option<Pid>);

impl Group {
    fn kill(&mut self) {
        if let Some(pid) = self.0.take() {
            // The group may have ended by itself.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Script {
    /// Runs it until it ends, or until its time limit. Each line that it prints goes to `log`.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub(crate) async fn run(
        &self,
        input: ScriptInput<'_>,
        report: &Value,
        log: &(dyn Fn(&str) + Sync),
    ) -> Result<(), String> {
        let name = self.path.display();
        let mut child = Command::new(&self.path)
            .current_dir(&self.folder)
            .env("OFFSITE_JOB", input.job)
            .env("OFFSITE_RESULT", input.result)
            .env("OFFSITE_POINT", input.point.map(|point| point.to_string()).unwrap_or_default())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // It gets its own group. So what it starts ends with it, and a signal to this process does not reach it.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("the script {name} cannot be started: {error}"))?;
        let mut group = Group(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)));
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let text = format!("{report}\n");
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A script need not read its input.
                let _ = stdin.write_all(text.as_bytes()).await;
            }
        };
        let output = async { tokio::join!(lines(stdout, log), lines(stderr, log)) };
        let mut talk = std::pin::pin!(async { tokio::join!(feed, output) });
        let ended = timeout(self.time_limit, async {
            let mut is_silent = false;
            loop {
                tokio::select! {
                    _ = &mut talk, if !is_silent => is_silent = true,
                    status = child.wait() => break (status, is_silent),
                }
            }
        });
        let ended = ended.await;
        let Ok((status, is_silent)) = ended else {
            group.kill();
            // It was killed, so this does not take long. No zombie is left behind.
            let _ = timeout(DRAIN, child.wait()).await;
            return Err(format!("the script {name} was killed after {} s, its time limit", self.time_limit.as_secs()));
        };
        // The leader of the group has ended. What it left behind on purpose stays.
        group.0 = None;
        if !is_silent {
            let _ = timeout(DRAIN, talk).await;
        }
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("the script {name} failed: {status}")),
            Err(error) => Err(format!("the script {name} cannot be waited for: {error}")),
        }
    }
}

async fn lines(stream: Option<impl AsyncRead + Unpin>, log: &(dyn Fn(&str) + Sync)) {
    let Some(mut stream) = stream else { return };
    let mut line = Vec::new();
    let mut buffer = [0; LINE_BYTES_MAX];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        for byte in buffer.iter().take(count) {
            if *byte != b'\n' {
                line.push(*byte);
            }
            if *byte == b'\n' || line.len() >= LINE_BYTES_MAX {
                print(&mut line, log);
            }
        }
    }
    if !line.is_empty() {
        print(&mut line, log);
    }
}

fn print(line: &mut Vec<u8>, log: &(dyn Fn(&str) + Sync)) {
    let text = String::from_utf8_lossy(line);
    // A line of the log is one line, so control characters of a script are replaced.
    let clean = |character: char| if character.is_control() && character != '\t' { '\u{fffd}' } else { character };
    log(&text.trim_end_matches('\r').chars().map(clean).collect::<String>());
    line.clear();
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::sync::Mutex;

    use serde_json::json;

    use super::*;

    fn script(folder: &Path, text: &str, time_limit: Duration) -> Script {
        let path = folder.join("script");
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Script { path, folder: folder.to_owned(), time_limit }
    }

    const INPUT: ScriptInput<'_> = ScriptInput { job: "Offsite Copy", result: "warning", point: Some(3) };

    async fn run(script: &Script) -> (Result<(), String>, Vec<String>) {
        let logged = Mutex::new(Vec::new());
        let log = |line: &str| logged.lock().unwrap().push(line.to_owned());
        let ended = script.run(INPUT, &json!({ "notes": ["x".repeat(200_000)] }), &log).await;
        (ended, logged.into_inner().unwrap())
    }

    #[tokio::test]
    async fn a_script_gets_the_report_and_the_result() {
        let folder = offsite_tests::folder();
        let text = "cat > got; echo \"$OFFSITE_JOB/$OFFSITE_RESULT/$OFFSITE_POINT\"; printf 'a\\033[1m\\nb' >&2";
        let (ended, logged) = run(&script(folder.path(), text, Duration::from_secs(600))).await;
        assert_eq!(ended, Ok(()));
        assert!(logged.contains(&"Offsite Copy/warning/3".to_owned()), "{logged:?}");
        assert!(logged.contains(&"a\u{fffd}[1m".to_owned()) && logged.contains(&"b".to_owned()), "{logged:?}");
        let got: Value = serde_json::from_slice(&fs::read(folder.path().join("got")).unwrap()).unwrap();
        assert_eq!(got["notes"][0].as_str().unwrap().len(), 200_000);
    }

    #[tokio::test]
    async fn a_script_that_reads_nothing_and_fails_is_told_of() {
        let folder = offsite_tests::folder();
        let (ended, _) = run(&script(folder.path(), "exit 7", Duration::from_secs(600))).await;
        assert!(ended.unwrap_err().contains("exit status: 7"));
        let missing = Script { path: folder.path().join("none"), ..script(folder.path(), "", Duration::from_secs(1)) };
        assert!(run(&missing).await.0.unwrap_err().contains("cannot be started"));
    }

    #[tokio::test]
    async fn a_script_that_outlasts_its_time_is_killed_with_what_it_started() {
        let folder = offsite_tests::folder();
        let text = "sh -c 'echo $$ > child; exec sleep 1000' & while [ ! -s child ]; do :; done; wait";
        let (ended, _) = run(&script(folder.path(), text, Duration::from_secs(2))).await;
        assert!(ended.unwrap_err().contains("time limit"));
        let child = fs::read_to_string(folder.path().join("child")).unwrap();
        // It is dead, or a zombie that nobody has waited for yet.
        while let Ok(stat) = fs::read_to_string(format!("/proc/{}/stat", child.trim())) {
            if stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z')) {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
}
