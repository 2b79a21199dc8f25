//! The holders of leases and pins, and whether their processes still live.
//!
//! On the same host, the kernel knows whether a process is dead. So the claims of a killed run are free at once. Nothing is known
//! of another host. There, only time tells (see `lease`).

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::folder::open_repository::random_bytes;
use crate::{Result, seams};

/// The claims of this process by nonce. A claim is in here until its `Holder` is dropped.
static LIVING: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// A claim of this process. It lives until it is dropped.
#[derive(Debug)]
pub(crate) struct Holder {
    text: String,
    nonce: String,
}

/// What is known of the holder of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    Alive,
    /// The kernel says that the process is gone, or this process has dropped the claim.
    Dead,
    /// The holder ran on another host, in another container, or before a restart.
    Unknown,
}

impl Holder {
    pub(crate) fn new() -> Result<Self> {
        let nonce: String = random_bytes()?.iter().map(|byte| format!("{byte:02x}")).collect();
        let process = Process::current();
        let text = format!("{process} {nonce}");
        let nonce = seams::world() + &nonce;
        LIVING.lock().unwrap_or_else(PoisonError::into_inner).insert(nonce.clone());
        Ok(Self { text, nonce })
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        LIVING.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.nonce);
    }
}

/// Returns whether the holder that wrote `text` still lives.
pub(crate) fn life_of(text: &str) -> Life {
    let mut words = text.split(' ');
    let (Some(host), Some(namespace), Some(pid), Some(start), Some(nonce)) =
        (words.next(), words.next(), words.next(), words.next(), words.next())
    else {
        return Life::Unknown;
    };
    let here = Process::current();
    if here.boot.is_empty() || host != here.boot || namespace != here.namespace {
        return Life::Unknown;
    }
    let alive = if pid == here.pid && start == here.start {
        LIVING.lock().unwrap_or_else(PoisonError::into_inner).contains(&(seams::world() + nonce))
    } else {
        start_of(pid).is_some_and(|current| current == start)
    };
    if alive { Life::Alive } else { Life::Dead }
}

/// Returns a holder in words, for messages.
pub(crate) fn describe(text: &str) -> String {
    match (life_of(text), text.split(' ').nth(2)) {
        (Life::Alive, Some(pid)) => format!("process {pid} on this host"),
        _ => "on another host".to_owned(),
    }
}

/// A process that is not confused with another. Process numbers are used again, but not with the same start in the same boot.
struct Process {
    boot: String,
    namespace: String,
    pid: String,
    start: String,
}

impl Process {
    fn current() -> Self {
        if let Some(boot) = seams::simulated_host() {
            let [namespace, pid, start] = ["-", "1", "1"].map(str::to_owned);
            return Self { boot, namespace, pid, start };
        }
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        let pid = std::process::id().to_string();
        Self {
            boot: boot.trim().to_owned(),
            namespace: namespace.to_string_lossy().replace(' ', "_"),
            start: start_of(&pid).unwrap_or_else(|| "0".to_owned()),
            pid,
        }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        write!(formatter, "{} {} {} {}", or_dash(&self.boot), or_dash(&self.namespace), self.pid, self.start)
    }
}

/// Returns when a process started, in clock ticks since the boot: field 22 of /proc/PID/stat (proc(5)).
///
/// A zombie has ended once its last thread has ended. Before that, a thread may still be in a system call, in the middle of a
/// write.
fn start_of(pid: &str) -> Option<String> {
    if !pid.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name of the program in parentheses. It may contain anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let threads = fields.nth(16)?;
    let start = fields.nth(1)?.to_owned();
    let has_ended = state == "X" || (state == "Z" && matches!(threads, "0" | "1"));
    (!has_ended).then_some(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_lives_until_it_is_dropped() {
        let holder = Holder::new().unwrap();
        let text = holder.text().to_owned();
        assert_eq!(life_of(&text), Life::Alive);
        drop(holder);
        assert_eq!(life_of(&text), Life::Dead);
    }

    #[test]
    fn a_process_that_ended_is_dead_and_another_host_is_unknown() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let here = Process::current();
        let pid = child.id().to_string();
        let start = start_of(&pid).unwrap_or_else(|| "1".to_owned());
        child.wait().unwrap();
        assert_eq!(life_of(&format!("{} {} {pid} {start} 00", here.boot, here.namespace)), Life::Dead);
        assert_eq!(life_of(&format!("other {} {pid} {start} 00", here.namespace)), Life::Unknown);
        assert_eq!(life_of("nonsense"), Life::Unknown);
    }
}
