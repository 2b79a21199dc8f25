//! What was returned as done is there after a power cut.
//!
//! The cut is real to the file system: it is told to stop at once and to forget what it has not written, and is mounted
//! anew from what is on its device. That takes a user who may mount, ext4 tools, and python3 for the one call that cannot
//! be made from safe Rust; where they are missing, the tests say so and pass.
#![allow(
    clippy::unwrap_used,
    clippy::single_range_in_vec_init,
    reason = "what cannot go on has failed; ranges are of objects"
)]

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use offsite_backends::{CreateBy, Local, LocalOptions};
use offsite_repository::{ErrorKind, Extent, Key, ObjectWriter, Prefix, Repository, RepositoryExt};
use tempfile::TempDir;

const WAYS: [CreateBy; 3] = [CreateBy::LinkingUnnamed, CreateBy::RenamingStaged, CreateBy::LinkingStaged];

/// Stop now, and do not flush the journal.
const CUT: &str = "import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))";

/// A process that another test starts would for a moment hold open what this one has open, and keep it mounted.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// An ext4 file system in a file.
struct Disk {
    folder: TempDir,
    _alone: MutexGuard<'static, ()>,
}

impl Disk {
    fn new() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let disk = Self { folder, _alone: ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner) };
        let (image, mount) = (disk.folder.path().join("image"), disk.mount());
        std::fs::create_dir(&mount).unwrap();
        std::fs::File::create(&image).unwrap().set_len(96 << 20).unwrap();
        let ready = run("python3", &["-c", ""])
            && run("mkfs.ext4", &["-q", image.to_str().unwrap()])
            && run("mount", &["-o", "loop", image.to_str().unwrap(), mount.to_str().unwrap()]);
        if !ready {
            println!("skipped: this user or machine cannot mount an ext4 image");
            return None;
        }
        Some(disk)
    }

    fn mount(&self) -> std::path::PathBuf {
        self.folder.path().join("mount")
    }

    fn cut(&self) {
        assert!(run("python3", &["-c", CUT, self.mount().to_str().unwrap()]), "the file system can be stopped");
    }

    /// Nothing may be open.
    fn power_on(&self) {
        let (image, mount) = (self.folder.path().join("image"), self.mount());
        assert!(run("umount", &[mount.to_str().unwrap()]), "nothing holds the stopped file system");
        assert!(run("mount", &["-o", "loop", image.to_str().unwrap(), mount.to_str().unwrap()]));
    }

    async fn open(&self, by: CreateBy) -> Local {
        let options = LocalOptions { create_by: Some(by), ..LocalOptions::default() };
        Local::open_with(self.mount(), options).await.unwrap()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run("umount", &["--lazy", self.mount().to_str().unwrap()]);
    }
}

fn run(program: &str, arguments: &[&str]) -> bool {
    let sbin = std::env::join_paths(
        std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).chain([Path::new("/usr/sbin").to_owned()]),
    );
    let mut command = Command::new(program);
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).env("PATH", sbin.unwrap());
    command.status().is_ok_and(|status| status.success())
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
    let Some(disk) = Disk::new() else { return };
    let (small, large) = (content(1, 10), content(2, 9_000_001));
    for (number, by) in WAYS.into_iter().enumerate() {
        // Folders that come into being with the object, and one that is there.
        for (name, content) in [(format!("new/folder/{number}/small"), &small), (format!("new/large-{number}"), &large)]
        {
            let local = disk.open(by).await;
            write(&local, &key(&name), content).await.finish().await.unwrap();
            drop(local);
            disk.cut();
            disk.power_on();
            let local = disk.open(by).await;
            let found = local.get(&key(&name), u64::MAX).await.unwrap();
            assert!(found == *content, "{by:?} {name}: {} bytes of {}", found.len(), content.len());
        }
    }
}

#[tokio::test]
async fn what_is_not_finished_is_nowhere_and_does_not_end_well() {
    let Some(disk) = Disk::new() else { return };
    for by in WAYS {
        let local = disk.open(by).await;
        // More than is written back early.
        let mut writer = write(&local, &key("job/unfinished"), &content(3, 34 << 20)).await;
        writer.write(vec![content(4, 2 << 20)]).await.unwrap();
        disk.cut();
        let error = writer.finish().await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Indeterminate), "{error}");
        drop(local);
        disk.power_on();
        let local = disk.open(by).await;
        assert_eq!(local.list_all(&Prefix::root()).await.unwrap(), [], "{by:?}");
        local.sweep().await.unwrap();
        if let Ok(mut left) = std::fs::read_dir(disk.mount().join("job")) {
            assert!(left.next().is_none(), "{by:?}");
        }
    }
}

#[tokio::test]
async fn what_is_deleted_punched_or_patched_stays_so() {
    let Some(disk) = Disk::new() else { return };
    let by = CreateBy::LinkingUnnamed;
    let old = content(5, 1 << 20);
    let local = disk.open(by).await;
    for name in ["deleted", "punched", "patched"] {
        local.put(&key(name), old.clone()).await.unwrap();
    }
    local.delete(&key("deleted")).await.unwrap();
    drop(local);
    disk.cut();
    disk.power_on();

    let local = disk.open(by).await;
    assert_eq!(local.get(&key("deleted"), 9).await.unwrap_err().kind(), ErrorKind::NotFound);
    local.reclaim().unwrap().punch(&key("punched"), &[1 << 18..1 << 19]).await.unwrap();
    drop(local);
    disk.cut();
    disk.power_on();

    let local = disk.open(by).await;
    let found = local.get(&key("punched"), 1 << 20).await.unwrap();
    assert!(found[1 << 18..1 << 19].iter().all(|byte| *byte == 0));
    assert!(found[..1 << 18] == old[..1 << 18] && found[1 << 19..] == old[1 << 19..]);
    assert!(local.reclaim().unwrap().allocated_bytes(&key("punched")).await.unwrap() < 1 << 20);
    let new = content(6, 300_000);
    local
        .patch()
        .unwrap()
        .patch(&key("patched"), vec![Extent { offset: 1 << 20, chunks: vec![new.clone()] }])
        .await
        .unwrap();
    drop(local);
    disk.cut();
    disk.power_on();

    let local = disk.open(by).await;
    let found = local.get(&key("patched"), u64::MAX).await.unwrap();
    assert!(found[..1 << 20] == old && found[1 << 20..] == new);
}
