//! Writers that want one claim at a time.

use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::io::Errno;

use super::claim::Claim;
use super::options::CreateMethod;
use super::staged::Staged;

fn open(folder: &Path) -> OwnedFd {
    OwnedFd::from(std::fs::File::open(folder).expect("a folder"))
}

/// Whether somebody waits for the lock of the claim at `path`; none if the kernel does not tell.
fn has_waiter(path: &Path) -> Option<bool> {
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let inode = format!(":{}", std::fs::metadata(path).ok()?.ino());
    let waits = |line: &str| line.contains("->") && line.split(' ').any(|field| field.ends_with(&inode));
    Some(locks.lines().any(waits))
}

/// Lets `late` run against a claim that is held, until it waits or has ended, and `meanwhile` before that claim is given back.
///
/// Returns what `late` does, or none where the kernel does not tell who waits.
fn against_a_claim<T: Send>(folder: &Path, meanwhile: impl FnOnce(), late: impl FnOnce() -> T + Send) -> Option<T> {
    let (held, path) = (open(folder), folder.join(".claim-object"));
    let claim = Claim::take(&held, "object").expect("a free name");
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let late = scope.spawn(|| {
            let done = late();
            ended.store(true, Ordering::Release);
            done
        });
        let mut told = has_waiter(&path);
        while told == Some(false) && !ended.load(Ordering::Acquire) {
            thread::yield_now();
            told = has_waiter(&path);
        }
        meanwhile();
        drop(claim);
        let done = late.join().expect("no panic");
        if told.is_none() {
            println!("skipped: the kernel does not tell who waits for a lock");
        }
        told.map(|_| done)
    })
}

#[test]
fn who_waited_for_a_claim_has_one_that_others_see() {
    let folder = tempfile::tempdir().expect("a folder");
    let late = || {
        let held = open(folder.path());
        let claim = Claim::take(&held, "Object").expect("a name that is free again");
        (folder.path().join(".claim-object").exists(), drop(claim)).0
    };
    let is_seen = against_a_claim(folder.path(), || {}, late);
    assert_ne!(is_seen, Some(false), "it holds a claim that was given back");
    assert!(!folder.path().join(".claim-object").exists());
}

#[test]
fn a_name_is_not_replaced_that_was_made_under_a_claim() {
    let folder = tempfile::tempdir().expect("a folder");
    let object = folder.path().join("object");
    let late = || {
        let staged = Staged::open(open(folder.path()), CreateMethod::RenamingClaimed).expect("a staged file");
        (staged.publish("object"), staged.discard()).0
    };
    let made = || std::fs::write(&object, "first").expect("the object");
    let published = against_a_claim(folder.path(), made, late);
    assert!(published.is_none_or(|published| published == Err(Errno::EXIST)), "{published:?}");
    assert_eq!(std::fs::read(&object).expect("the object"), b"first");
}
