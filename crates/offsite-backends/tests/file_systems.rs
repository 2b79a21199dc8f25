//! Folders on real file systems keep the contract, in each way in which their files may come into being.
//!
//! Mounting takes root, and each kind its tools; where they are missing, the tests say which and pass.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::single_range_in_vec_init,
    reason = "what cannot go on has failed; a pattern; ranges are of objects"
)]

use std::sync::Arc;

use bytes::Bytes;
use offsite_backends::{CreateMethod, Local, LocalOptions};
use offsite_repository::testing::conformance::{Options, check};
use offsite_repository::{ErrorKind, Extent, Key, Piece, Prefix, Repository, RepositoryExt};
use offsite_tests::{Disk, FileSystemKind};

/// Runs the suite on a disk of `kind`, in the way that is found and in the `others` that work there.
async fn conforms(kind: FileSystemKind, found: CreateMethod, others: &[CreateMethod]) -> Option<Local> {
    let disk = Disk::new_or_say(kind)?;
    let local = Local::open(disk.path()).await.unwrap();
    assert_eq!(local.create_method(), Some(found));
    let ways = [None].into_iter().chain(others.iter().copied().map(Some));
    for create_method in ways {
        let options = LocalOptions::default().with_create_method(create_method);
        let tried = Local::open_with(disk.path(), options).await.unwrap();
        let report = check(Arc::new(tried), &Options::default()).await;
        println!("{kind:?}, {:?}\n{report}", create_method.unwrap_or(found));
        assert!(report.nothing_failed(), "{kind:?} {create_method:?}\n{report}");
    }
    Some(local)
}

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

const LINKS: [CreateMethod; 3] =
    [CreateMethod::RenamingStaged, CreateMethod::LinkingStaged, CreateMethod::RenamingClaimed];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ext4() {
    let Some(local) = conforms(FileSystemKind::Ext4, CreateMethod::LinkingUnnamed, &LINKS).await else { return };
    assert!(local.reclaim().is_some() && local.clone_range().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn xfs() {
    let Some(local) = conforms(FileSystemKind::Xfs, CreateMethod::LinkingUnnamed, &LINKS).await else { return };
    assert!(local.reclaim().is_some() && local.clone_range().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn btrfs() {
    let Some(local) = conforms(FileSystemKind::Btrfs, CreateMethod::LinkingUnnamed, &LINKS).await else { return };
    assert!(local.reclaim().is_some() && local.clone_range().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn exfat() {
    let Some(local) = conforms(FileSystemKind::Exfat, CreateMethod::RenamingClaimed, &[]).await else { return };
    assert!(local.reclaim().is_none() && local.clone_range().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fat32() {
    let Some(local) = conforms(FileSystemKind::Fat32, CreateMethod::RenamingClaimed, &[]).await else { return };
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
    let options = LocalOptions::default().with_create_method(CreateMethod::RenamingClaimed);
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
    // To close it is not enough: a child of another test has it open between its fork and its exec.
    held.unlock().unwrap();
    drop(held);
    local.sweep().await.unwrap();
    assert!(!claim.exists());
}

/// Sharing is offered where it takes no space, and nowhere else.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn clones_take_no_space_and_stay_what_they_were() {
    for kind in FileSystemKind::ALL {
        let Some(disk) = Disk::new_or_say(kind) else { continue };
        let local = Local::open(disk.path()).await.unwrap();
        let Some(cloner) = local.clone_range() else {
            assert!(!matches!(kind, FileSystemKind::Xfs | FileSystemKind::Btrfs), "{kind:?} can share");
            continue;
        };
        assert!(matches!(kind, FileSystemKind::Xfs | FileSystemKind::Btrfs), "{kind:?} cannot share");
        let content: Bytes = (0..100 << 20).map(|index: u32| (index >> 12) as u8 | 1).collect::<Vec<u8>>().into();
        local.put(&key("one"), content.clone()).await.unwrap();
        // More than the disk could hold a second, third and fourth time.
        for (number, end) in (1..).zip([content.len() as u64, 90_000_001, 99 << 20]) {
            let piece = |range| Piece::new(key("one"), range);
            let pieces = [piece(4096..8192), piece(0..0), piece(0..end)];
            let clone = key(&format!("job/clone-{number}"));
            cloner.create_from(&clone, &pieces).await.unwrap();
            let found = local.get(&clone, u64::MAX).await.unwrap();
            let end = usize::try_from(end).unwrap();
            assert!(found[..4096] == content[4096..8192] && found[4096..] == content[..end], "{kind:?} {number}");
        }
        for ragged in [1..4096, 0..4097] {
            let pieces = [Piece::new(key("one"), ragged), Piece::new(key("one"), 0..4096)];
            let error = cloner.create_from(&key("ragged"), &pieces).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
            assert!(error.to_string().contains("multiples of 4096"), "{error}");
        }
        assert_eq!(local.get(&key("ragged"), 9).await.unwrap_err().kind(), ErrorKind::NotFound);
        // What becomes of the original is nothing to the clone.
        local
            .patch()
            .unwrap()
            .write_extents(&key("one"), vec![Extent::new(8192, vec![Bytes::from(vec![0; 9_999])])])
            .await
            .unwrap();
        local.reclaim().unwrap().punch(&key("one"), &[1 << 20..50 << 20]).await.unwrap();
        local.delete(&key("one")).await.unwrap();
        assert!(local.get(&key("job/clone-1"), u64::MAX).await.unwrap()[4096..] == content, "{kind:?}");
    }
}
