//! Block devices.

use std::fs;
use std::path::Path;

use offsite::{Error, FileUser, ImageFormat, OpenRepository, Restore};
use offsite_tests::{Disk, FileSystemKind, LoopDevice};

use super::{backed_up, flip, place, restore};
use crate::support::{BLOCK, scratch};

const SECTOR: usize = 512;

fn overwrite(repository: &OpenRepository, disk: &str) -> Restore {
    restore(repository).disk(disk).overwrite(true)
}

/// Whatever was on the device, it holds the disk afterwards, to the last zero; what is beyond the disk stays.
#[tokio::test]
async fn a_device_holds_the_disk_and_beyond_it_what_it_held() {
    let (_, repository, machines) = backed_up().await;
    let disk = &machines.content("web01")[0];
    for beyond in [0, 1, 1000] {
        let size = disk.len().next_multiple_of(SECTOR) + beyond * SECTOR;
        let Some(device) = LoopDevice::new_or_say(size, 0xaa) else { return };
        let refused = restore(&repository).disk("0").run(device.path()).await.unwrap_err().to_string();
        assert!(refused.contains("overwrite the device") && !refused.contains("remove"), "{refused}");
        assert_eq!(device.content(), vec![0xaa; size]);
        // By another name, too; and again, over what the first left.
        let to = scratch();
        let link = to.path().join("by-id");
        std::os::unix::fs::symlink(device.path(), &link).unwrap();
        for _ in 0..2 {
            let report = overwrite(&repository, "0").run(&link).await.unwrap();
            assert_eq!(report.disks[0].device_bytes, Some(size as u64));
            let content = device.content();
            assert!(content[..disk.len()] == *disk, "the disk is there, {beyond} sectors before the device's end");
            assert!(content[disk.len()..].iter().all(|byte| *byte == 0xaa), "what is beyond it stays");
        }
        assert!(link.is_symlink());
    }
}

#[tokio::test]
async fn a_smaller_device_is_refused_with_both_sizes() {
    let (_, repository, machines) = backed_up().await;
    let bytes = machines.content("web01")[0].len() as u64;
    let size = bytes as usize / SECTOR * SECTOR;
    let Some(device) = LoopDevice::new_or_say(size, 0xaa) else { return };
    let error = overwrite(&repository, "0").run(device.path()).await.unwrap_err();
    let sizes = matches!(error, Error::DeviceTooSmall { device_bytes, disk_bytes, .. }
        if (device_bytes, disk_bytes) == (size as u64, bytes));
    assert!(sizes, "{error}");
    let error = overwrite(&repository, "1").format(ImageFormat::Qcow2).run(device.path()).await.unwrap_err();
    assert!(matches!(error, Error::Image { .. }), "{error}");
    let error = restore(&repository).overwrite(true).run(device.path()).await.unwrap_err();
    assert!(matches!(error, Error::InvalidSetting { setting: "disk", .. }), "two disks on one device: {error}");
    assert_eq!(device.content(), vec![0xaa; size]);
}

async fn assert_held(repository: &OpenRepository, device: &Path, is_holder: impl Fn(&FileUser) -> bool) {
    let error = overwrite(repository, "1").run(device).await.unwrap_err();
    let Error::InUse { holders, .. } = &error else { panic!("{error}") };
    assert!(holders.iter().any(is_holder), "{error}");
    let text = error.to_string();
    assert!(["remove", "detach", "delete"].iter().all(|word| !text.contains(word)), "{text}");
}

#[tokio::test]
async fn a_device_in_use_is_refused_and_who_uses_it_is_named() {
    let (_, repository, machines) = backed_up().await;
    if let Some(mut mounted) = Disk::new_or_say(FileSystemKind::Ext4) {
        fs::write(mounted.path().join("file"), b"kept").unwrap();
        let device = mounted.device().unwrap().to_owned();
        let at = mounted.path().canonicalize().unwrap();
        assert_held(&repository, &device, |holder| *holder == FileUser::Mount(at.clone())).await;
        assert_eq!(fs::read(mounted.path().join("file")).unwrap(), b"kept");
        mounted.unmount().unwrap();
        overwrite(&repository, "1").run(&device).await.unwrap();
    }
    let size = 4 * BLOCK;
    let Some(device) = LoopDevice::new_or_say(size, 0xaa) else { return };
    // A machine that runs on it, as far as the kernel can tell.
    let mut user = std::process::Command::new("sh");
    user.args(["-c", "exec 3<>\"$0\"; echo ready; read end"]).arg(device.path());
    let mut user = user.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().unwrap();
    std::io::Read::read_exact(user.stdout.as_mut().unwrap(), &mut [0; 6]).unwrap();
    let id = user.id();
    assert_held(
        &repository,
        device.path(),
        |holder| matches!(holder, FileUser::Process { id: found, .. } if *found == id),
    )
    .await;
    drop(user.stdin.take());
    user.wait().unwrap();
    {
        let upper = LoopDevice::over(device.path()).unwrap();
        let name = upper.path().file_name().unwrap().to_str().unwrap().to_owned();
        assert_held(&repository, device.path(), |holder| *holder == FileUser::Device(name.clone())).await;
    }
    match device.mapped(&format!("offsite-test-{}", std::process::id())) {
        Err(why) => println!("skipped, a device on the device: {why}"),
        Ok(_mapped) => {
            let is_it = |holder: &FileUser| matches!(holder, FileUser::Device(name) if name.starts_with("dm-") && name.contains("offsite-test-"));
            assert_held(&repository, device.path(), is_it).await;
        }
    }
    assert_eq!(device.content(), vec![0xaa; size]);
    overwrite(&repository, "1").run(device.path()).await.unwrap();
    assert!(device.content().starts_with(&machines.content("web01")[1]));
}

/// What ends in the middle tells what is on the device now; the next restore is right all the same.
#[tokio::test]
async fn a_device_that_was_written_to_is_told_of() {
    let (memory, repository, machines) = backed_up().await;
    let disk = &machines.content("web01")[0];
    let size = disk.len().next_multiple_of(SECTOR);
    let Some(device) = LoopDevice::new_or_say(size, 0xaa) else { return };
    let (first, only) = (place(&memory, 1, 0, 0), place(&memory, 1, 1, 0));
    for damaged in [&first, &only] {
        flip(&memory, damaged);
    }
    // The only block of this disk is damaged, so nothing was written.
    let error = overwrite(&repository, "1").run(device.path()).await.unwrap_err();
    assert!(matches!(error, Error::MachineDamaged { .. }), "{error}");
    assert_eq!(device.content(), vec![0xaa; size]);
    let error = overwrite(&repository, "0").run(device.path()).await.unwrap_err();
    let is_told = matches!(&error, Error::Torn { path, source, .. }
        if path == device.path() && matches!(**source, Error::MachineDamaged { .. }));
    assert!(is_told, "{error}");
    assert!(device.content() != vec![0xaa; size]);
    flip(&memory, &first);
    overwrite(&repository, "0").run(device.path()).await.unwrap();
    assert!(device.content().starts_with(disk));
}
