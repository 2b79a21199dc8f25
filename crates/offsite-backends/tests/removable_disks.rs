//! Media on real file systems: swapped at their mount point, full, write-protected, ejected, and pulled out under load.
//!
//! Mounting takes root, and each kind its tools; where they are missing, the tests say which and pass.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;

use bytes::Bytes;
use offsite_backends::{Local, Removable};
use offsite_repository::testing::conformance::{Options, check};
use offsite_repository::{ErrorKind, Extent, Key, Prefix, Repository, RepositoryExt};
use offsite_tests::{Disk, FileSystemKind, Yankable};

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

async fn medium(disk: &Disk) -> Removable {
    Removable::prepare(disk.path(), "Blue").await.unwrap();
    Removable::open(disk.path()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn media_of_every_kind_keep_the_contract() {
    for kind in FileSystemKind::ALL {
        let Some(disk) = Disk::new_or_say(kind) else { continue };
        let report = check(Arc::new(medium(&disk).await), &Options::default()).await;
        println!("{kind:?}\n{report}");
        assert!(report.nothing_failed(), "{kind:?}\n{report}");
    }
}

#[tokio::test]
async fn objects_are_small_where_holes_cannot_be_punched() {
    for kind in FileSystemKind::ALL {
        let Some(disk) = Disk::new_or_say(kind) else { continue };
        let removable = medium(&disk).await;
        let local = Local::open(disk.path()).await.unwrap();
        let bytes_max = removable.limits().object_bytes_max;
        if matches!(kind, FileSystemKind::Exfat | FileSystemKind::Fat32) {
            assert_eq!((bytes_max, local.limits().object_bytes_max), (1 << 30, u64::from(u32::MAX)), "{kind:?}");
            let patch = removable.patch().unwrap();
            removable.put(&key("object"), Bytes::from_static(b"x")).await.unwrap();
            // Refused before a byte is written: as many as could not be held, of one megabyte.
            let chunks = vec![Bytes::from(vec![0; 1 << 20]); 1_024];
            let error = patch.write_extents(&key("object"), vec![Extent::new(1, chunks.clone())]).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
            let mut writer = removable.create(&key("large")).await.unwrap();
            let error = writer.write([chunks, vec![Bytes::from_static(b"x")]].concat()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        } else {
            assert_eq!(bytes_max, local.limits().object_bytes_max, "{kind:?}");
            assert!(bytes_max > 1 << 60, "{kind:?}");
        }
    }
}

#[tokio::test]
async fn another_medium_at_the_same_mount_point_is_noticed_and_not_written_to() {
    let Some(mut blue) = Disk::new_or_say(FileSystemKind::Exfat) else { return };
    let Some(red) = Disk::new_or_say(FileSystemKind::Ext4) else { return };
    let removable = medium(&blue).await;
    removable.put(&key("job/object"), Bytes::from_static(b"x")).await.unwrap();
    let mut writer = removable.create(&key("job/new")).await.unwrap();
    writer.write(vec![Bytes::from(vec![1; 3 << 20])]).await.unwrap();
    Removable::prepare(red.path(), "Red").await.unwrap();
    // Over it, as if the first had never been unmounted properly.
    red.bind_to(&blue.path()).unwrap();
    let error = writer.finish().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongMedia, "{error}");
    assert!(
        error.to_string().contains("medium \"Red\"") && error.to_string().contains("insert medium \"Blue\""),
        "{error}"
    );
    assert_eq!(
        std::fs::read_dir(red.path()).unwrap().filter(|entry| entry.as_ref().unwrap().file_name() == "job").count(),
        0
    );
    blue.unmount().unwrap();
    // The first one is back.
    let error = removable.get(&key("job/object"), 9).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongMedia, "for ever: {error}");
    let anew = Removable::open(blue.path()).await.unwrap();
    assert_eq!(anew.get(&key("job/object"), 9).await.unwrap(), "x");
    assert_eq!(anew.list_all(&Prefix::root()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_full_medium_is_told_with_its_label_and_works_on() {
    let Some(disk) = Disk::new_or_say(FileSystemKind::Exfat) else { return };
    let removable = medium(&disk).await;
    let content = Bytes::from(vec![7; 100 << 20]);
    let mut stored = 0;
    let error = loop {
        match removable.put(&key(&format!("object-{stored}")), content.clone()).await {
            Ok(()) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 10, "320 MiB are not full after 1000");
    };
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
    assert!(error.to_string().contains("medium \"Blue\"") && error.to_string().contains("is full"), "{error}");
    assert_eq!(removable.get(&key("object-0"), u64::MAX).await.unwrap(), content);
    removable.delete(&key("object-0")).await.unwrap();
    removable.put(&key("again"), content).await.unwrap();
}

#[tokio::test]
async fn a_write_protected_medium_is_read_and_told() {
    let Some(disk) = Disk::new_or_say(FileSystemKind::Ext4) else { return };
    medium(&disk).await.put(&key("job/object"), Bytes::from_static(b"x")).await.unwrap();
    disk.remount("ro").unwrap();
    let removable = Removable::open(disk.path()).await.unwrap();
    assert_eq!(removable.get(&key("job/object"), 9).await.unwrap(), "x");
    for answer in [removable.put(&key("job/new"), Bytes::new()).await, removable.delete(&key("job/object")).await] {
        let error = answer.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
        assert!(
            error.to_string().contains("medium \"Blue\"") && error.to_string().contains("write-protected"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn an_ejected_medium_can_be_unmounted_and_one_in_use_cannot() {
    for kind in FileSystemKind::ALL {
        let Some(mut disk) = Disk::new_or_say(kind) else { continue };
        let removable = medium(&disk).await;
        removable.put(&key("job/object"), Bytes::from_static(b"x")).await.unwrap();
        disk.unmount().unwrap_err();
        removable.eject().await.unwrap();
        disk.unmount().unwrap();
        let error = removable.get(&key("job/object"), 9).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::MediaAbsent, "{error}");
        disk.mount().unwrap();
        let anew = Removable::open(disk.path()).await.unwrap();
        assert_eq!(anew.get(&key("job/object"), 9).await.unwrap(), "x", "{kind:?}");
    }
}

/// Every call to the drive fails from one moment on, while objects are being written.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_drive_that_is_pulled_out_under_load_costs_no_finished_object() {
    for kind in [FileSystemKind::Ext4, FileSystemKind::Xfs] {
        let mut drive = match Yankable::new(kind) {
            Ok(drive) => drive,
            Err(reason) => return println!("skipped, {kind:?}: {reason}"),
        };
        Removable::prepare(drive.path(), "Blue").await.unwrap();
        let removable = Removable::open(drive.path()).await.unwrap();
        let content = |number: usize| Bytes::from(vec![u8::try_from(number % 251).unwrap() | 1; 300_000 + number]);
        let mut finished = 0;
        for number in 0..20 {
            removable.put(&key(&format!("job/{number:04}")), content(number)).await.unwrap();
            finished += 1;
        }
        let mut open = removable.create(&key("job/open")).await.unwrap();
        open.write(vec![content(1); 8]).await.unwrap();
        let (busy, mut is_busy) = tokio::sync::mpsc::unbounded_channel();
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let removable = removable.clone();
                let content = content(writer);
                let busy = busy.clone();
                tokio::spawn(async move {
                    let mut done = Vec::new();
                    for number in 0.. {
                        let key = key(&format!("load-{writer}/{number:06}"));
                        match removable.put(&key, content.clone()).await {
                            Ok(()) => {
                                done.push(key);
                                busy.send(()).unwrap();
                            }
                            Err(error) => return (done, key, error),
                        }
                    }
                    unreachable!("it goes on until an error");
                })
            })
            .collect();
        // In the midst of it.
        for _ in 0..40 {
            is_busy.recv().await.unwrap();
        }
        drive.pull();
        let mut safe = Vec::new();
        for (number, writer) in writers.into_iter().enumerate() {
            let (done, key, error) = writer.await.unwrap();
            println!("{kind:?}: {} done, then {error}", done.len());
            let typed =
                [ErrorKind::Unavailable, ErrorKind::Indeterminate, ErrorKind::MediaAbsent, ErrorKind::PermissionDenied];
            assert!(typed.contains(&error.kind()), "{kind:?}: {error}");
            assert!(error.to_string().contains("medium \"Blue\""), "{kind:?}: {error}");
            safe.extend(done.into_iter().map(|key| (key, number)));
            drop(key);
        }
        open.finish().await.unwrap_err();
        drop(removable);

        drive.plug_in();
        let removable = Removable::open(drive.path()).await.unwrap();
        removable.sweep().await.unwrap();
        for number in 0..finished {
            let found = removable.get(&key(&format!("job/{number:04}")), u64::MAX).await.unwrap();
            assert!(found == content(number), "{kind:?}: job/{number:04}");
        }
        for (key, number) in safe {
            assert!(removable.get(&key, u64::MAX).await.unwrap() == content(number), "{kind:?}: {key}");
        }
        // What did not end well is there as a whole or not at all.
        for object in removable.list_all(&Prefix::root()).await.unwrap() {
            let found = removable.get(&object.key, u64::MAX).await.unwrap();
            let number = found.len() - 300_000;
            assert!(found == content(number), "{kind:?}: {}", object.key);
        }
        assert_eq!(removable.get(&key("job/open"), 9).await.unwrap_err().kind(), ErrorKind::NotFound);
        removable.put(&key("job/anew"), content(1)).await.unwrap();
        removable.eject().await.unwrap();
    }
}

#[tokio::test]
async fn the_folder_that_a_drive_is_mounted_at_is_no_drive() {
    let folder = offsite_tests::folder();
    let error = Removable::prepare(folder.path(), "Blue").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::MediaAbsent, "{error}");
    assert!(error.to_string().contains("nothing is mounted there: mount the drive"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was written");
    let Some(mut disk) = Disk::new_or_say(FileSystemKind::Ext4) else { return };
    let place = disk.path();
    let drive = medium(&disk).await;
    assert!(Removable::is_mounted(&place));
    let marker = std::fs::read(place.join(".offsite-medium")).unwrap();
    drive.eject().await.unwrap();
    disk.unmount().unwrap();
    // As after a restore of the whole host, or a copy of a drive while another was not mounted.
    std::fs::write(place.join(".offsite-medium"), marker).unwrap();
    let error = Removable::open(&place).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::MediaAbsent, "{error}");
    assert!(error.to_string().contains("has the marker of medium \"Blue\""), "{error}");
    assert!(error.to_string().contains("nothing is mounted there: mount the drive"), "{error}");
}
