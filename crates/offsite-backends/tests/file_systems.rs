//! Folders on real file systems keep the contract, in each way in which their files may come into being.
//!
//! Mounting takes root, and each kind its tools; where they are missing, the tests say which and pass.
#![allow(clippy::unwrap_used, reason = "what cannot go on has failed")]

use std::sync::Arc;

use bytes::Bytes;
use offsite_backends::{CreateBy, Local, LocalOptions};
use offsite_repository::testing::conformance::{Options, check};
use offsite_repository::{ErrorKind, Key, Prefix, Repository, RepositoryExt};
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

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

const LINKS: [CreateBy; 3] = [CreateBy::RenamingStaged, CreateBy::LinkingStaged, CreateBy::RenamingClaimed];

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
    let Some(local) = conforms(FileSystemKind::Exfat, CreateBy::RenamingClaimed, &[]).await else { return };
    assert!(local.reclaim().is_none() && local.clone_range().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fat32() {
    let Some(local) = conforms(FileSystemKind::Fat32, CreateBy::RenamingClaimed, &[]).await else { return };
    assert!(local.reclaim().is_none() && local.clone_range().is_none());
}

/// Where `a` and `A` are one name to the file system, keys that differ in case do not become one object.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn names_that_differ_in_case_are_not_mixed_up() {
    for kind in FileSystemKind::ALL {
        let Some(disk) = Disk::new_or_say(kind) else { continue };
        let folds = matches!(kind, FileSystemKind::Exfat | FileSystemKind::Fat32);
        let content = Bytes::from_static(b"x");
        let local = Local::open(disk.path()).await.unwrap();
        local.put(&key("Web/head/a"), content.clone()).await.unwrap();
        // A second one does not know what the first has seen.
        for local in [&local, &Local::open(disk.path()).await.unwrap()] {
            for other in ["web/head/a", "Web/Head/a", "Web/head/A"] {
                assert_eq!(
                    local.get(&key(other), 9).await.unwrap_err().kind(),
                    ErrorKind::NotFound,
                    "{kind:?} {other}"
                );
                local.delete(&key(other)).await.unwrap();
                if folds {
                    let error = local.put(&key(other), content.clone()).await.unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::Unsupported, "{kind:?} {other}: {error}");
                    assert!(error.to_string().contains("differs only in case"), "{error}");
                }
            }
            assert_eq!(local.list_all(&Prefix::new("web").unwrap()).await.unwrap(), [], "{kind:?}");
            assert_eq!(local.get(&key("Web/head/a"), 9).await.unwrap(), content, "{kind:?}");
        }
        local.delete(&key("Web/head/a")).await.unwrap();
        assert_eq!(local.get(&key("Web/head/a"), 9).await.unwrap_err().kind(), ErrorKind::NotFound, "{kind:?}");
        local.put(&key("Web/head/a"), content.clone()).await.unwrap();
        assert_eq!(local.get(&key("Web/head/a"), 9).await.unwrap(), content, "{kind:?}");
    }
}

/// A writer that was killed between claiming a name and giving it back.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_dead_writers_claim_goes_over_or_is_swept() {
    let folder = tempfile::tempdir().unwrap();
    let options = LocalOptions { create_by: Some(CreateBy::RenamingClaimed), ..LocalOptions::default() };
    let local = Local::open_with(folder.path(), options).await.unwrap();
    let claim = folder.path().join("job/.claim-object");
    std::fs::create_dir(folder.path().join("job")).unwrap();
    std::fs::write(&claim, "").unwrap();
    local.put(&key("job/Object"), Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(local.get(&key("job/Object"), 9).await.unwrap(), "x");
    assert!(!claim.exists(), "it went over to the living writer, which gave it back");
    std::fs::write(&claim, "").unwrap();
    // A living writer's is spared.
    let held = std::fs::File::open(&claim).unwrap();
    held.lock().unwrap();
    local.sweep().await.unwrap();
    assert!(claim.exists());
    drop(held);
    local.sweep().await.unwrap();
    assert!(!claim.exists());
}
