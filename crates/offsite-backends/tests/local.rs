//! What a folder does beyond the contract: when it is full, forbidden, read-only, or not what it seems.
#![allow(
    clippy::unwrap_used,
    clippy::single_range_in_vec_init,
    reason = "what cannot go on has failed; ranges are of objects"
)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use offsite_backends::{CreateMethod, Local, LocalOptions};
use offsite_repository::{Endpoint, ErrorKind, Extent, Key, Prefix, Repository, RepositoryExt};
use tempfile::TempDir;

const WAYS: [CreateMethod; 4] = [
    CreateMethod::LinkingUnnamed,
    CreateMethod::RenamingStaged,
    CreateMethod::LinkingStaged,
    CreateMethod::RenamingClaimed,
];

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

/// Both ways through folders.
async fn each_way(folder: &Path) -> [Local; 2] {
    let walking = LocalOptions::default().with_walk_folders(true);
    [Local::open(folder).await.unwrap(), Local::open_with(folder, walking).await.unwrap()]
}

/// A small file system in memory, unmounted in the end. None if this user may not mount, which is printed.
struct Mount(TempDir);

impl Mount {
    fn new(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        match Self::run("mount", &["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"], folder.path()) {
            true => Some(Self(folder)),
            false => {
                println!("skipped: this user may not mount a file system");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn run(program: &str, arguments: &[&str], path: &Path) -> bool {
        let output = Command::new(program).args(arguments).arg(path).output();
        output.is_ok_and(|output| output.status.success())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        Self::run("umount", &["--lazy"], self.0.path());
    }
}

#[tokio::test]
async fn a_folder_that_is_missing_is_told_and_made_on_demand() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("repository");
    let error = Local::open(&path).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(error.to_string().contains("make the folder or mount the drive first"), "{error}");
    for _ in 0..2 {
        let local = Local::create(&path).await.unwrap();
        assert_eq!(local.location(), path.display().to_string());
    }
    assert_eq!(Local::create(folder.path().join("no/parent")).await.unwrap_err().kind(), ErrorKind::NotFound);
    fs::write(folder.path().join("file"), "").unwrap();
    Local::open(folder.path().join("file")).await.unwrap_err();
}

#[tokio::test]
async fn a_folder_of_this_host_is_at_this_host() {
    let folder = tempfile::tempdir().unwrap();
    let local = Local::open(folder.path()).await.unwrap();
    assert_eq!(local.endpoint(), Endpoint::ThisHost);
}

#[tokio::test]
async fn files_belong_to_owner_and_group() {
    let folder = tempfile::tempdir().unwrap();
    for (name, by) in ["a", "b", "c", "d"].into_iter().zip(WAYS) {
        let options = LocalOptions::default().with_create_method(by);
        let local = Local::open_with(folder.path(), options).await.unwrap();
        local.put(&key(&format!("folder/{name}")), Bytes::from_static(b"x")).await.unwrap();
        let mode = |path: &str| fs::metadata(folder.path().join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&format!("folder/{name}")) & !0o640, mode("folder") & !0o750), (0, 0));
        assert_eq!(fs::metadata(folder.path().join("folder").join(name)).unwrap().nlink(), 1);
    }
}

#[tokio::test]
async fn links_are_not_followed() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("job")).unwrap();
    symlink(outside.path(), folder.path().join("away")).unwrap();
    symlink(outside.path().join("secret"), folder.path().join("job/secret")).unwrap();
    for local in each_way(folder.path()).await {
        for name in ["away/secret", "job/secret"] {
            let error = local.get(&key(name), 100).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            assert!(error.to_string().contains("symbolic link"), "{error}");
        }
        for name in ["away/new", "away/deeper/new"] {
            let error = local.put(&key(name), Bytes::from_static(b"x")).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        }
        local.put(&key("job/secret"), Bytes::from_static(b"x")).await.unwrap_err();
        local.delete(&key("away/secret")).await.unwrap_err();
        local
            .patch()
            .unwrap()
            .write_extents(&key("job/secret"), vec![Extent::new(0, vec![Bytes::from_static(b"x")])])
            .await
            .unwrap_err();
        local.sweep().await.unwrap();
        assert_eq!(local.list_all(&Prefix::root()).await.unwrap(), []);
    }
    assert_eq!(fs::read(outside.path().join("secret")).unwrap(), b"secret");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn what_is_no_object_is_neither_listed_nor_read() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["lost+found", "job/lost+found", ".hidden", "bad:name", "empty"] {
        fs::create_dir_all(folder.path().join(name)).unwrap();
        fs::write(folder.path().join(name).join("file"), "x").unwrap();
    }
    fs::write(folder.path().join(".file"), "x").unwrap();
    fs::remove_file(folder.path().join("empty/file")).unwrap();
    assert!(Command::new("mkfifo").arg(folder.path().join("job/pipe")).status().unwrap().success());
    for local in each_way(folder.path()).await {
        let listed = local.list_all(&Prefix::root()).await.unwrap();
        assert_eq!(listed.iter().map(|object| object.key.as_str()).collect::<Vec<_>>(), ["job/lost+found/file"]);
        assert_eq!(local.get(&key("job/pipe"), 9).await.unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(local.get(&key("job"), 9).await.unwrap_err().kind(), ErrorKind::NotFound);
        let error = local.put(&key("job/lost+found/file/below"), Bytes::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    }
}

#[tokio::test]
async fn a_full_disk_is_told_and_reads_and_punches_on() {
    let Some(mount) = Mount::new("3m") else { return };
    for by in WAYS {
        let options = LocalOptions::default().with_create_method(by);
        let local = Local::open_with(mount.path(), options.clone()).await.unwrap();
        let (small, large) = (key("a/small"), key("a/large"));
        let half = Bytes::from(vec![7; 1 << 20]);
        local.put(&small, half.clone()).await.unwrap();
        let mut writer = local.create(&large).await.unwrap();
        let chunks = vec![half.clone(); 4];
        assert_eq!(writer.write(chunks).await.unwrap_err().kind(), ErrorKind::NoSpace);
        assert_eq!(writer.write(vec![half.slice(..1)]).await.unwrap_err().kind(), ErrorKind::Unavailable);
        // As full as it gets: the failed writer still holds what it has written.
        let full = Local::open_with(mount.path(), options).await.unwrap();
        assert_eq!(full.get(&small, 1 << 20).await.unwrap(), half);
        let reclaim = full.reclaim().expect("punching on a full disk is what helps");
        reclaim.punch(&small, &[0..1 << 19, 1 << 19..1 << 20]).await.unwrap();
        assert_eq!(reclaim.allocated_bytes(&small).await.unwrap(), 0);
        writer.abort().await.unwrap();
        local.put(&large, half).await.unwrap();
        local.delete(&small).await.unwrap();
        local.delete(&large).await.unwrap();
    }
}

#[tokio::test]
async fn a_mount_inside_is_not_entered() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("drive");
    fs::create_dir(&path).unwrap();
    if !Mount::run("mount", &["-t", "tmpfs", "-o", "size=1m", "tmpfs"], &path) {
        println!("skipped: this user may not mount a file system");
        return;
    }
    fs::write(path.join("object"), "x").unwrap();
    let mut kinds = Vec::new();
    for local in each_way(folder.path()).await {
        kinds.push(local.get(&key("drive/object"), 9).await.map(drop));
        kinds.push(local.put(&key("drive/new"), Bytes::new()).await);
        kinds.push(local.put(&key("drive/deep/new"), Bytes::new()).await);
        kinds.push(local.delete(&key("drive/object")).await);
        kinds.push(local.list_all(&Prefix::root()).await.map(drop));
    }
    let left = fs::read_dir(&path).unwrap().count();
    assert!(Mount::run("umount", &["--lazy"], &path));
    for kind in kinds {
        assert_eq!(kind.unwrap_err().kind(), ErrorKind::WrongMedia);
    }
    assert_eq!(left, 1);
}

#[tokio::test]
async fn a_read_only_place_opens_for_reading() {
    let Some(mount) = Mount::new("1m") else { return };
    let content = Bytes::from_static(b"kept");
    Local::open(mount.path()).await.unwrap().put(&key("a/b"), content.clone()).await.unwrap();
    assert!(Mount::run("mount", &["-o", "remount,ro"], mount.path()));
    for local in each_way(mount.path()).await {
        assert_eq!(local.get(&key("a/b"), 9).await.unwrap(), content);
        assert_eq!(local.list_all(&Prefix::root()).await.unwrap().len(), 1);
        assert!(local.reclaim().is_none() && local.patch().is_none());
        local.sweep().await.unwrap();
        for result in [
            local.put(&key("a/c"), content.clone()).await,
            local.put(&key("new/c"), content.clone()).await,
            local.delete(&key("a/b")).await,
        ] {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
            assert!(error.to_string().contains("read-only"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_forbidden_folder_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let local = Local::open(folder.path()).await.unwrap();
    local.put(&key("a/b"), Bytes::from_static(b"x")).await.unwrap();
    fs::set_permissions(folder.path().join("a"), fs::Permissions::from_mode(0o500)).unwrap();
    if fs::write(folder.path().join("a/probe"), "").is_ok() {
        println!("skipped: nothing is forbidden to this user");
        return;
    }
    for result in [local.put(&key("a/c"), Bytes::new()).await, local.delete(&key("a/b")).await] {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::PermissionDenied);
    }
    assert_eq!(local.get(&key("a/b"), 9).await.unwrap(), "x");
    fs::set_permissions(folder.path().join("a"), fs::Permissions::from_mode(0o700)).unwrap();
}

/// An empty listing would be a lie.
#[tokio::test]
async fn a_repository_whose_own_folder_is_gone_is_absent_and_not_empty() {
    let folder = tempfile::tempdir().unwrap();
    for walk_folders in [false, true] {
        let (path, gone) = (folder.path().join("drive"), key("a/b"));
        fs::create_dir(&path).unwrap();
        let options = LocalOptions::default().with_walk_folders(walk_folders);
        let local = Local::open_with(&path, options).await.unwrap();
        local.put(&gone, Bytes::from_static(b"x")).await.unwrap();
        fs::remove_dir_all(&path).unwrap();
        for result in [
            local.list(&Prefix::root(), None, 9).await.map(drop),
            local.list(&Prefix::new("a").unwrap(), None, 9).await.map(drop),
            local.get(&gone, 9).await.map(drop),
            local.put(&gone, Bytes::new()).await,
            local.put(&key("at-the-root"), Bytes::new()).await,
            local.delete(&gone).await,
            local.sweep().await,
        ] {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::MediaAbsent, "{error}");
            assert!(error.to_string().contains("mount the drive"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_folder_that_was_removed_behind_its_back_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    for local in each_way(folder.path()).await {
        local.put(&key("a/b/c"), Bytes::new()).await.unwrap();
        fs::remove_dir_all(folder.path().join("a")).unwrap();
        local.put(&key("a/b/c"), Bytes::new()).await.unwrap();
        local.delete(&key("a/b/c")).await.unwrap();
    }
}

#[tokio::test]
async fn a_dropped_writer_leaves_nothing_after_a_sweep() {
    let folder = tempfile::tempdir().unwrap();
    let options = LocalOptions::default().with_create_method(CreateMethod::RenamingStaged);
    let local = Local::open_with(folder.path(), options).await.unwrap();
    drop(local.create(&key("dropped")).await.unwrap());
    local.create(&key("aborted")).await.unwrap().abort().await.unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    local.sweep().await.unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_shared_folder_lists_from_anywhere_cheaply() {
    let folder = tempfile::tempdir().unwrap();
    let local = Local::open(folder.path()).await.unwrap();
    for job in ["job a", "job-b", "job.c", "job0"] {
        for number in 0..3 {
            local.put(&key(&format!("{job}/head/{number}")), Bytes::new()).await.unwrap();
        }
    }
    // From a folder to the next by its largest possible key.
    let (mut jobs, mut after) = (Vec::new(), None);
    loop {
        let page = local.list(&Prefix::root(), after.as_ref(), 1).await.unwrap();
        let Some(object) = page.objects.first() else { break };
        let job = object.key.as_str().split('/').next().unwrap().to_owned();
        after = Some(key(&format!("{job}/~~~~")));
        jobs.push(job);
    }
    assert_eq!(jobs, ["job a", "job-b", "job.c", "job0"]);
}
