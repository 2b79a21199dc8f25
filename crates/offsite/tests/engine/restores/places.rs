//! Folders and files.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use offsite::{Error, FileUser, ImageFormat};
use offsite_tests::LoopDevice;

use super::{backed_up, flip, place, restore};
use crate::support::{files_in, scratch};

#[tokio::test]
async fn one_disk_of_several_is_restored() {
    let (_, repository, machines) = backed_up().await;
    let content = machines.content("web01");
    let to = scratch();
    let file = to.path().join("system");
    for (number, disk) in content.iter().enumerate() {
        let report = restore(&repository).disk(number.to_string()).run(to.path()).await.unwrap();
        let [restored] = &report.disks[..] else { panic!("{report:?}") };
        assert_eq!(usize::from(restored.number.0), number);
        assert_eq!(restored.path, Some(to.path().join(format!("web01-disk{number}.raw"))));
        assert_eq!(&fs::read(restored.path.as_ref().unwrap()).unwrap(), disk);
        restore(&repository).disk(number.to_string()).run(&file).await.unwrap();
        assert_eq!(&fs::read(&file).unwrap(), disk);
        fs::remove_file(&file).unwrap();
    }
    for text in ["2", "-1", "00", "system", ""] {
        let error = restore(&repository).disk(text).run(&file).await.unwrap_err();
        assert!(
            matches!(&error, Error::UnknownDisk { known, .. } if known == &["0 (web01.0.img)", "1 (web01.1.img)"]),
            "{text:?}: {error}"
        );
    }
}

#[tokio::test]
async fn folders_that_are_missing_are_made_and_go_with_what_failed() {
    let (memory, repository, machines) = backed_up().await;
    let to = scratch();
    let deep = to.path().join("a/b/c");
    restore(&repository).run(&deep).await.unwrap();
    assert_eq!(files_in(&deep), 2);
    restore(&repository).disk("1").run(&to.path().join("d/image")).await.unwrap();
    assert_eq!(fs::read(to.path().join("d/image")).unwrap(), machines.content("web01")[1]);
    restore(&repository).disk("1").run(&to.path().join("e/")).await.unwrap();
    assert_eq!(fs::read(to.path().join("e/web01-disk1.raw")).unwrap(), machines.content("web01")[1]);
    // Several disks go into no file.
    let error = restore(&repository).run(&to.path().join("d/image")).await.unwrap_err();
    assert!(error.to_string().contains("choose one of the disks"), "{error}");
    flip(&memory, &place(&memory, 1, 1, 0));
    fs::create_dir(to.path().join("f")).unwrap();
    for path in ["f/g/h", "f/g/h/image"] {
        restore(&repository).run(&to.path().join(path)).await.unwrap_err();
        assert_eq!(files_in(&to.path().join("f")), 0, "{path}");
    }
}

/// `new/..` is no folder before `new` is made, and is there when it is to be made itself, as one that somebody else makes meanwhile.
#[tokio::test]
async fn a_folder_that_is_there_by_the_time_it_is_to_be_made_is_no_obstacle() {
    let (_, repository, machines) = backed_up().await;
    let to = scratch();
    restore(&repository).run(&to.path().join("new/../disks")).await.unwrap();
    assert_eq!(fs::read(to.path().join("disks/web01-disk1.raw")).unwrap(), machines.content("web01")[1]);
    assert_eq!((files_in(to.path()), files_in(&to.path().join("new"))), (2, 0));
}

#[tokio::test]
async fn a_file_is_replaced_once_the_new_one_is_whole() {
    let (memory, repository, machines) = backed_up().await;
    let content = &machines.content("web01")[0];
    let to = scratch();
    let (file, other, link) = (to.path().join("disk"), to.path().join("other"), to.path().join("link"));
    fs::write(&file, vec![7; 3 * content.len()]).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let is_root = std::os::unix::fs::chown(&file, Some(12345), Some(54321)).is_ok();
    fs::hard_link(&file, &other).unwrap();
    symlink("disk", &link).unwrap();
    let disk = || restore(&repository).disk("0");
    for path in [&file, &link] {
        let error = disk().run(path).await.unwrap_err().to_string();
        assert!(error.contains("exists already") && !error.contains("remove"), "{error}");
    }
    disk().overwrite(true).run(&link).await.unwrap();
    assert_eq!(&fs::read(&file).unwrap(), content);
    assert!(link.is_symlink(), "what the link leads to is replaced");
    let metadata = file.metadata().unwrap();
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o640);
    assert!(!is_root || (metadata.uid(), metadata.gid()) == (12345, 54321));
    assert_eq!(fs::read(&other).unwrap(), vec![7; 3 * content.len()], "another name of the old file");
    // In a folder, each image of its own; and another format.
    fs::write(to.path().join("web01-disk1.raw"), b"old").unwrap();
    restore(&repository).overwrite(true).run(to.path()).await.unwrap();
    assert_eq!(fs::read(to.path().join("web01-disk1.raw")).unwrap(), machines.content("web01")[1]);
    disk().overwrite(true).format(ImageFormat::Qcow2).run(&file).await.unwrap();
    assert!(fs::read(&file).unwrap().starts_with(b"QFI"));
    // What fails leaves what was there.
    let before = fs::read(&file).unwrap();
    let count = files_in(to.path());
    flip(&memory, &place(&memory, 1, 1, 0));
    let error = restore(&repository).disk("1").overwrite(true).run(&file).await.unwrap_err();
    assert!(matches!(error, Error::MachineDamaged { .. }), "{error}");
    assert_eq!((fs::read(&file).unwrap(), files_in(to.path())), (before, count));
}

/// The part of an image that a killed restore left may be in a copy by hard links, too.
#[tokio::test]
async fn what_a_killed_restore_left_is_not_written_into_where_it_is_shared() {
    let (_, repository, machines) = backed_up().await;
    let to = scratch();
    let (left, copied) = (to.path().join("disk.partial"), to.path().join("copied"));
    fs::write(&left, b"a part").unwrap();
    fs::hard_link(&left, &copied).unwrap();
    restore(&repository).disk("0").run(&to.path().join("disk")).await.unwrap();
    assert_eq!(fs::read(&copied).unwrap(), b"a part");
    assert_eq!(fs::read(to.path().join("disk")).unwrap(), machines.content("web01")[0]);
}

/// What is neither a file nor a device is left alone.
#[tokio::test]
async fn odd_things_are_not_written_over() {
    let (_, repository, _) = backed_up().await;
    let to = scratch();
    let nowhere = to.path().join("nowhere");
    symlink("missing", &nowhere).unwrap();
    for path in [&nowhere, std::path::Path::new("/dev/null")] {
        for overwrites in [false, true] {
            let error = restore(&repository).disk("0").overwrite(overwrites).run(path).await.unwrap_err();
            let is_refused = matches!(error, Error::Image { .. } | Error::PathTaken { .. });
            assert!(is_refused, "{error}");
        }
    }
    assert!(nowhere.is_symlink());
}

#[tokio::test]
async fn a_file_in_use_is_not_replaced() {
    let (_, repository, _) = backed_up().await;
    let to = scratch();
    let file = to.path().join("disk");
    fs::write(&file, b"of a machine that runs").unwrap();
    let overwrite = || restore(&repository).disk("0").overwrite(true);
    let mut user = std::process::Command::new("sh");
    user.args(["-c", "exec 3<>\"$0\"; echo ready; read end"]).arg(&file);
    let mut user = user.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut ready = [0; 6];
    std::io::Read::read_exact(user.stdout.as_mut().unwrap(), &mut ready).unwrap();
    let error = overwrite().run(&file).await.unwrap_err();
    let is_user = |holder: &FileUser| matches!(holder, FileUser::Process { id, .. } if *id == user.id());
    assert!(matches!(&error, Error::InUse { holders, .. } if holders.iter().all(is_user)), "{error}");
    assert_eq!(fs::read(&file).unwrap(), b"of a machine that runs");
    drop(user.stdin.take());
    user.wait().unwrap();
    match LoopDevice::over(&file) {
        Err(why) => println!("skipped, a block device over the file: {why}"),
        Ok(device) => {
            let error = overwrite().run(&file).await.unwrap_err();
            let name = device.path().file_name().unwrap().to_str().unwrap();
            let is_it = |holder: &FileUser| *holder == FileUser::Device(name.to_owned());
            assert!(matches!(&error, Error::InUse { holders, .. } if holders.iter().all(is_it)), "{error}");
        }
    }
    overwrite().run(&file).await.unwrap();
}
