//! What lies at the root of a folder beside objects that a listing shows.
#![allow(clippy::unwrap_used, reason = "what goes wrong fails the test")]

use std::fs;
use std::os::unix::fs::symlink;

use bytes::Bytes;
use offsite_backends::Local;
use offsite_repository::{ErrorKind, Key, Repository, RepositoryExt};

#[tokio::test]
async fn folders_are_told_with_those_that_are_not_entered() {
    let folder = offsite_tests::folder();
    let local = Local::open(folder.path()).await.unwrap();
    for key in ["file", "job/head/1", "other/x"] {
        local.put(&Key::new(key).unwrap(), Bytes::from_static(b"x")).await.unwrap();
    }
    let path = |name: &str| folder.path().join(name);
    for name in ["empty", ".hidden", "lost+found", "na\u{ef}ve"] {
        fs::create_dir(path(name)).unwrap();
    }
    symlink("job", path("link")).unwrap();
    symlink("nowhere", path("dangling")).unwrap();
    symlink("file", path("to-a-file")).unwrap();
    let folders = local.root_folders().await.unwrap().unwrap();
    let told: Vec<_> =
        folders.iter().map(|folder| (folder.name.as_str(), folder.closed.as_ref().map(|error| error.kind()))).collect();
    let link = Some(ErrorKind::Corrupt);
    assert_eq!(told, [("dangling", link), ("empty", None), ("job", None), ("link", link), ("other", None)]);
    assert!(folders.iter().filter_map(|folder| folder.closed.as_ref()).all(|error| error.to_string().contains("link")));
}
