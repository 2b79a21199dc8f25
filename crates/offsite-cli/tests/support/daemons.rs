//! Daemons under a clock that the test moves.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::{Offsite, Ran};

/// How often something is looked at that must come. Only a failing test waits for so long.
const LOOKS: usize = 6_000;
const PAUSE: Duration = Duration::from_millis(20);

/// A daemon that runs; killed when the value is dropped.
pub struct Daemon<'a> {
    offsite: &'a Offsite,
    child: Child,
    log: String,
}

impl Offsite {
    /// Sets the clock of the daemons.
    #[track_caller]
    pub fn set_clock(&self, time: &str) {
        fs::write(self.path("clock.new"), time).unwrap();
        fs::rename(self.path("clock.new"), self.path("clock")).unwrap();
    }

    /// Writes a script.
    #[track_caller]
    pub fn script(&self, name: &str, text: &str) {
        fs::write(self.path(name), format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Starts a daemon whose log is the file `log`.
    #[track_caller]
    pub fn daemon(&self, log: &str) -> Daemon<'_> {
        self.daemon_with(log, |_| {})
    }

    /// Starts a daemon, given what else its command needs.
    #[track_caller]
    pub fn daemon_with(&self, log: &str, prepare: impl FnOnce(&mut Command)) -> Daemon<'_> {
        let mut command = self.command(["daemon"]);
        command.env("OFFSITE_CLOCK_FILE", self.path("clock")).env_remove("JOURNAL_STREAM").env_remove("OFFSITE_LOG");
        let file = File::create(self.path(log)).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        prepare(&mut command);
        Daemon { offsite: self, child: command.spawn().unwrap(), log: log.to_owned() }
    }

    /// What `offsite status --json` tells; nothing, if no daemon has run.
    pub fn status(&self) -> Option<Value> {
        let ran = self.status_by_clock(["--json"]);
        (ran.status != 1).then(|| ran.json())
    }

    /// What `offsite status` answers by the clock of the daemons.
    pub fn status_by_clock<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Ran {
        let mut command = self.command(["status"].into_iter().chain(arguments));
        if self.path("clock").exists() {
            command.env("OFFSITE_CLOCK_FILE", self.path("clock"));
        }
        let output = command.output().unwrap();
        Ran::new(&command, &output)
    }
}

impl Daemon<'_> {
    /// What it has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.offsite.path(&self.log)).unwrap()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `look` finds something, while the daemon lives.
    #[track_caller]
    pub fn wait_for<T>(&mut self, what: &str, mut look: impl FnMut(&Offsite) -> Option<T>) -> T {
        for _ in 0..LOOKS {
            if let Some(found) = look(self.offsite) {
                return found;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the daemon ended, {status}, and no {what}:\n{}", self.log());
            }
            thread::sleep(PAUSE);
        }
        panic!("no {what}: {:#?}\n{}", self.offsite.status(), self.log());
    }

    /// Waits for a text in its log.
    #[track_caller]
    pub fn wait_for_line(&mut self, text: &str) {
        let path = self.offsite.path(&self.log);
        self.wait_for(text, |_| fs::read_to_string(&path).unwrap().contains(text).then_some(()));
    }

    /// Waits until the last interval of `job` has made this restore point, and nothing more is under way.
    #[track_caller]
    pub fn wait_for_point(&mut self, job: &str, point: u64) -> Value {
        self.wait_for(&format!("point {point} of {job}"), |offsite| {
            let status = offsite.status()?;
            let found = status["jobs"].as_array()?.iter().find(|found| found["job"] == job)?.clone();
            (found["last"]["point"] == point && found["phase"] == "idle").then_some(found)
        })
    }

    #[track_caller]
    pub fn signal(&self, name: &str) {
        offsite_tests::run(Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]));
    }

    /// Stops it by a signal, and waits for its end.
    #[track_caller]
    pub fn stop(mut self, name: &str) -> (ExitStatus, String) {
        self.signal(name);
        let status = self.child.wait().unwrap();
        (status, self.log())
    }

    /// `kill -9`.
    pub fn kill(mut self) -> String {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.log()
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
