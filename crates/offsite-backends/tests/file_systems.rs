//! Folders on real file systems keep the contract, in each way in which their files may come into being.
//!
//! Mounting takes root, and each kind its tools; where they are missing, the tests say which and pass.
#![allow(clippy::unwrap_used, reason = "what cannot go on has failed")]

use std::sync::Arc;

use offsite_backends::{CreateBy, Local, LocalOptions};
use offsite_repository::Repository;
use offsite_repository::testing::conformance::{Options, check};
use offsite_tests::{Disk, FileSystemKind};

/// Runs the suite on a disk of `kind`, in the way that is found and in the `others` that work there.
async fn conforms(kind: FileSystemKind, found: CreateBy, others: &[CreateBy]) -> Option<Local> {
    let disk = Disk::new_or_say(kind)?;
    let local = Local::open(disk.path()).await.unwrap();
    assert_eq!(local.create_by(), Some(found));
    let ways = [None].into_iter().chain(others.iter().copied().map(Some));
    for create_by in ways {
        let options = LocalOptions { create_by, ..LocalOptions::default() };
        let tried = Local::open_with(disk.path(), options).await.unwrap();
        let report = check(Arc::new(tried), &Options::default()).await;
        println!("{kind:?}, {:?}\n{report}", create_by.unwrap_or(found));
        assert!(report.passed(), "{kind:?} {create_by:?}\n{report}");
    }
    Some(local)
}

const LINKS: [CreateBy; 2] = [CreateBy::RenamingStaged, CreateBy::LinkingStaged];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ext4() {
    let Some(local) = conforms(FileSystemKind::Ext4, CreateBy::LinkingUnnamed, &LINKS).await else { return };
    assert!(local.reclaim().is_some() && local.clone_range().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn xfs() {
    let Some(local) = conforms(FileSystemKind::Xfs, CreateBy::LinkingUnnamed, &LINKS).await else { return };
    assert!(local.reclaim().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn btrfs() {
    let Some(local) = conforms(FileSystemKind::Btrfs, CreateBy::LinkingUnnamed, &LINKS).await else { return };
    assert!(local.reclaim().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn exfat() {
    let Some(local) = conforms(FileSystemKind::Exfat, CreateBy::LinkingUnnamed, &[]).await else { return };
    assert!(local.reclaim().is_none() && local.clone_range().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fat32() {
    let Some(local) = conforms(FileSystemKind::Fat32, CreateBy::LinkingUnnamed, &[]).await else { return };
    assert!(local.reclaim().is_none() && local.clone_range().is_none());
}
