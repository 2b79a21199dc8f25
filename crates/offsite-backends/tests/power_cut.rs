//! What was returned as done is there after a power cut.
//!
//! The cut is real to the file system: it is told to stop at once and to forget what it has not written, and is mounted
//! anew from what is on its device. That takes a user who may mount, the tools of ext4 and XFS, and python3 for the one call that cannot
//! be made from safe Rust; where they are missing, the tests say so and pass.
#![allow(
    clippy::unwrap_used,
    clippy::single_range_in_vec_init,
    reason = "what cannot go on has failed; ranges are of objects"
)]

use bytes::Bytes;
use offsite_backends::{CreateMethod, Local, LocalOptions};
use offsite_repository::{ErrorKind, Extent, Key, ObjectWriter, Prefix, Repository, RepositoryExt};
use offsite_tests::{Disk, FileSystemKind};
use tokio::sync::Mutex;

const WAYS: [CreateMethod; 4] = [
    CreateMethod::LinkingUnnamed,
    CreateMethod::RenamingStaged,
    CreateMethod::LinkingStaged,
    CreateMethod::RenamingClaimed,
];

/// Those that lose what was not flushed when they are told to stop.
const KINDS: [FileSystemKind; 2] = [FileSystemKind::Ext4, FileSystemKind::Xfs];

/// A process that another test starts would for a moment hold open what this one has open, and keep it mounted.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// Nothing may be open when the power comes back.
fn power_on(disk: &mut Disk) {
    disk.unmount().unwrap();
    disk.mount().unwrap();
}

async fn open(disk: &Disk, by: CreateMethod) -> Local {
    let options = LocalOptions::default().with_create_method(by);
    Local::open_with(disk.path(), options).await.unwrap()
}

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn content(seed: u8, length: usize) -> Bytes {
    // Of a period that no page or block has, and without a zero.
    (1..=251).map(|byte: u8| byte ^ seed | 1).cycle().take(length).collect::<Vec<u8>>().into()
}

async fn write(local: &Local, key: &Key, content: &Bytes) -> Box<dyn ObjectWriter> {
    let mut writer = local.create(key).await.unwrap();
    writer.write(vec![content.clone()]).await.unwrap();
    writer
}

#[tokio::test]
async fn what_is_finished_stays() {
    let _alone = ONE_AT_A_TIME.lock().await;
    for kind in KINDS {
        let Some(mut disk) = Disk::new_or_say(kind) else { continue };
        let (small, large) = (content(1, 10), content(2, 9_000_001));
        for (number, by) in WAYS.into_iter().enumerate() {
            // Folders that come into being with the object, and one that is there.
            for (name, content) in
                [(format!("new/folder/{number}/small"), &small), (format!("new/large-{number}"), &large)]
            {
                let local = open(&disk, by).await;
                write(&local, &key(&name), content).await.finish().await.unwrap();
                drop(local);
                disk.cut().unwrap();
                power_on(&mut disk);
                let local = open(&disk, by).await;
                let found = local.get(&key(&name), u64::MAX).await.unwrap();
                assert!(found == *content, "{by:?} {name}: {} bytes of {}", found.len(), content.len());
            }
        }
    }
}

#[tokio::test]
async fn what_is_not_finished_is_nowhere_and_does_not_end_well() {
    let _alone = ONE_AT_A_TIME.lock().await;
    for kind in KINDS {
        let Some(mut disk) = Disk::new_or_say(kind) else { continue };
        for by in WAYS {
            let local = open(&disk, by).await;
            // More than is written back early.
            let mut writer = write(&local, &key("job/unfinished"), &content(3, 34 << 20)).await;
            writer.write(vec![content(4, 2 << 20)]).await.unwrap();
            disk.cut().unwrap();
            let error = writer.finish().await.unwrap_err();
            // Some file systems end all writing once a device fails them.
            let is_outage = matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Indeterminate);
            assert!(is_outage || error.to_string().contains("mounted read-only"), "{error}");
            drop(local);
            power_on(&mut disk);
            let local = open(&disk, by).await;
            assert_eq!(local.list_all(&Prefix::root()).await.unwrap(), [], "{by:?}");
            local.sweep().await.unwrap();
            if let Ok(mut left) = std::fs::read_dir(disk.path().join("job")) {
                assert!(left.next().is_none(), "{by:?}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_deleted_punched_or_patched_stays_so() {
    let _alone = ONE_AT_A_TIME.lock().await;
    for kind in KINDS {
        let Some(mut disk) = Disk::new_or_say(kind) else { continue };
        let by = CreateMethod::LinkingUnnamed;
        let old = content(5, 1 << 20);
        let local = open(&disk, by).await;
        for name in ["deleted", "punched", "patched"] {
            local.put(&key(name), old.clone()).await.unwrap();
        }
        local.delete(&key("deleted")).await.unwrap();
        drop(local);
        disk.cut().unwrap();
        power_on(&mut disk);

        let local = open(&disk, by).await;
        assert_eq!(local.get(&key("deleted"), 9).await.unwrap_err().kind(), ErrorKind::NotFound);
        local.reclaim().unwrap().punch(&key("punched"), &[1 << 18..1 << 19]).await.unwrap();
        drop(local);
        disk.cut().unwrap();
        power_on(&mut disk);

        let local = open(&disk, by).await;
        let found = local.get(&key("punched"), 1 << 20).await.unwrap();
        assert!(found[1 << 18..1 << 19].iter().all(|byte| *byte == 0));
        assert!(found[..1 << 18] == old[..1 << 18] && found[1 << 19..] == old[1 << 19..]);
        assert!(local.reclaim().unwrap().allocated_bytes(&key("punched")).await.unwrap() < 1 << 20);
        let new = content(6, 300_000);
        local
            .patch()
            .unwrap()
            .write_extents(&key("patched"), vec![Extent::new(1 << 20, vec![new.clone()])])
            .await
            .unwrap();
        drop(local);
        disk.cut().unwrap();
        power_on(&mut disk);

        let local = open(&disk, by).await;
        let found = local.get(&key("patched"), u64::MAX).await.unwrap();
        assert!(found[..1 << 20] == old && found[1 << 20..] == new);
    }
}
