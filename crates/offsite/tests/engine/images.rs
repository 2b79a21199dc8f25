//! Disk images: what is read of them is what they hold, in the format that their disk has, or it is an error.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use offsite::model::BlockSize;
use offsite::report::BackupReport;
use offsite::{
    Activity, BackupJob, Error, FullKind, ImageFormat, ImageSource, JobFolder, OpenRepository, PointSelector, Progress,
    Restore, Verify,
};
use offsite_tests::LoopDevice;
use offsite_tests::qemu::{self, Format};

use crate::support::objects::stray;
use crate::support::truth::causes;
use crate::support::{BLOCK, Random, day, job, machine, memory_repository, restored, scratch};

fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    (0..bytes).map(|_| random.next() as u8).collect()
}

fn backup(repository: &OpenRepository, machines: &[(&str, ImageSource)]) -> BackupJob {
    let job = BackupJob::new(repository, job("nightly")).block_size(BlockSize::KiB256);
    machines.iter().fold(job, |job, (name, image)| job.machine(machine(name), vec![image.clone()]))
}

/// A block device over a file; none, with the reason printed, where this user or machine has none.
fn attached(file: &Path) -> Option<LoopDevice> {
    LoopDevice::over(file).inspect_err(|reason| println!("skipped, loop device: {reason}")).ok()
}

/// The disk in a restored image, which may be longer by zeros in qcow2, as it has whole sectors.
async fn assert_restores(repository: &OpenRepository, name: &str, content: &[u8], what: &str) {
    for format in [ImageFormat::Raw, ImageFormat::Qcow2] {
        let to = scratch();
        let path = to.path().join("image");
        let restore = Restore::new(repository, job("nightly"), machine(name)).format(format);
        let report = restore.run(&path).await.unwrap();
        assert_eq!(report.disks[0].size_bytes, content.len() as u64, "{what}");
        let back = match format {
            ImageFormat::Raw => path,
            ImageFormat::Qcow2 => {
                qemu::check(&path);
                let back = to.path().join("back.raw");
                qemu::convert(&path, Format::Qcow2, &back, Format::Raw);
                back
            }
            other => panic!("{other}"),
        };
        let back = std::fs::read(back).unwrap();
        let padding = match format {
            ImageFormat::Raw => 0,
            ImageFormat::Qcow2 => content.len().next_multiple_of(512) - content.len(),
            other => panic!("{other}"),
        };
        assert_eq!(back.len(), content.len() + padding, "{what} {format}");
        assert!(back.starts_with(content) && back[content.len()..].iter().all(|byte| *byte == 0), "{what} {format}");
    }
}

/// Each image in a file and in a block device, raw and qcow2, of sizes that end within a sector, a cluster or a block.
#[tokio::test]
async fn every_byte_of_a_disk_comes_back() {
    for (seed, bytes) in
        [1, 511, 512, 513, 65_537, BLOCK - 1, BLOCK, BLOCK + 777, 3 * BLOCK + 512].into_iter().enumerate()
    {
        let folder = scratch();
        let path = |name: &str| folder.path().join(name);
        let content = noise(seed as u64, bytes);
        std::fs::write(path("raw"), &content).unwrap();
        qemu::convert(&path("raw"), Format::Raw, &path("qcow2"), Format::Qcow2);
        // What QEMU takes for the disk of an image that ends within a sector.
        let mut in_sectors = content.clone();
        in_sectors.resize(bytes.next_multiple_of(512), 0);
        let mut cases = vec![
            ("raw file", path("raw"), content.clone(), None),
            ("qcow2 file", path("qcow2"), in_sectors.clone(), None),
        ];
        // A volume is longer than the image in it.
        for (name, image, content) in [("raw device", "raw", &in_sectors), ("qcow2 device", "qcow2", &in_sectors)] {
            let volume = path(&format!("{image}.volume"));
            std::fs::copy(path(image), &volume).unwrap();
            let length = volume.metadata().unwrap().len().next_multiple_of(512);
            let longer = if image == "qcow2" { 1 << 20 } else { 0 };
            OpenOptions::new().write(true).open(&volume).unwrap().set_len(length + longer).unwrap();
            if let Some(device) = attached(&volume) {
                cases.push((name, device.path().to_owned(), content.clone(), Some(device)));
            }
        }
        for (what, image, content, _device) in &cases {
            let (_, repository) = memory_repository().await;
            backup(&repository, &[("web01", ImageSource::new(image))]).run(day(0)).await.unwrap();
            assert_restores(&repository, "web01", content, &format!("{what} of {bytes} bytes")).await;
        }
    }
}

/// Does something once the first bytes of a backup are done.
struct AtFirst(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Progress for AtFirst {
    fn advance(&self, _activity: &Activity<'_>) {
        if let Some(action) = self.0.lock().unwrap().take() {
            action();
        }
    }
}

/// A disk whose blocks are apart, so that each is read alone: more of them than are read ahead, and a hole at the end.
fn scattered(path: &Path) -> Vec<u8> {
    let mut content = vec![0; 80 * BLOCK];
    let file = File::create(path).unwrap();
    file.set_len(content.len() as u64).unwrap();
    for block in (0..72).step_by(2) {
        let bytes = noise(block as u64, BLOCK);
        file.write_all_at(&bytes, (block * BLOCK) as u64).unwrap();
        content[block * BLOCK..(block + 1) * BLOCK].copy_from_slice(&bytes);
    }
    content
}

/// What happens to an image while it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Halved,
    ShorterAtItsEnd,
    Longer,
    Replaced,
    Removed,
    Written,
}

impl Change {
    const ALL: [Self; 6] =
        [Self::Halved, Self::ShorterAtItsEnd, Self::Longer, Self::Replaced, Self::Removed, Self::Written];

    fn make(self, path: &Path) {
        let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
        let length = file.metadata().unwrap().len();
        match self {
            Self::Halved => file.set_len(length / 2).unwrap(),
            Self::ShorterAtItsEnd => file.set_len(length - 512).unwrap(),
            Self::Longer => file.set_len(length + 512).unwrap(),
            Self::Replaced => {
                let other = path.with_extension("other");
                std::fs::copy(path, &other).unwrap();
                std::fs::rename(other, path).unwrap();
            }
            Self::Removed => std::fs::remove_file(path).unwrap(),
            Self::Written => {
                let mut byte = [0];
                file.read_exact_at(&mut byte, length - 1).unwrap();
                file.write_all_at(&byte, length - 1).unwrap();
            }
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Halved | Self::ShorterAtItsEnd => "became shorter",
            Self::Longer => "became longer",
            Self::Replaced | Self::Removed => "replaced or removed",
            Self::Written => "was written to",
        }
    }
}

/// The machine fails, the others are backed up, and the next run has it again. `a` is numbered before `b`, and never had a number.
#[tokio::test]
async fn an_image_that_changes_while_it_is_read_fails_its_machine_alone() {
    for format in [ImageFormat::Raw, ImageFormat::Qcow2] {
        for change in Change::ALL {
            let what = format!("{format}, {change:?}");
            let folder = scratch();
            let path = |name: &str| folder.path().join(name);
            let content = scattered(&path("a.raw"));
            let image = match format {
                ImageFormat::Raw => path("a.raw"),
                ImageFormat::Qcow2 => {
                    qemu::convert(&path("a.raw"), Format::Raw, &path("a.qcow2"), Format::Qcow2);
                    path("a.qcow2")
                }
                other => panic!("{other}"),
            };
            let kept = path("kept");
            std::fs::copy(&image, &kept).unwrap();
            let other = noise(99, 2 * BLOCK + 7);
            std::fs::write(path("b"), &other).unwrap();
            let (memory, repository) = memory_repository().await;
            let machines = [("a", ImageSource::new(&image)), ("b", ImageSource::new(path("b")))];
            let changed = image.clone();
            let action: Box<dyn FnOnce() + Send> = Box::new(move || change.make(&changed));
            let progress = Arc::new(AtFirst(Mutex::new(Some(action))));
            let report = backup(&repository, &machines).progress(progress).run(day(0)).await.unwrap();
            assert!(report.tally.kept_to_plan(), "{what}: {report:?}");
            let warnings: Vec<String> =
                report.machines.iter().flat_map(|machine| &machine.warnings).map(ToString::to_string).collect();
            let told = match change {
                Change::Written => warnings[0].clone(),
                _ => {
                    assert_eq!(warnings, [""; 0], "{what}");
                    report.failed[0].why.to_string()
                }
            };
            assert!(told.contains(change.words()) && told.contains(image.to_str().unwrap()), "{what}: {told}");
            assert_eq!(report.failed.len(), usize::from(change != Change::Written), "{what}: {report:?}");
            assert_eq!(restored(&repository, "nightly", "b", None).await, std::slice::from_ref(&other), "{what}");
            assert_eq!(
                Verify::new(&repository, job("nightly")).read_data(true).run().await.unwrap().damage,
                [],
                "{what}"
            );
            // What was stored in vain gave its space back: what is left is the frames of b, and what few bytes files begin with.
            if change != Change::Written {
                let used = memory.used_bytes();
                assert!(used < (other.len() + 16 * 4096) as u64, "{what}: {used}");
            }
            // The next run goes on as if nothing had been.
            std::fs::copy(&kept, &image).unwrap();
            let report = backup(&repository, &machines).run(day(1)).await.unwrap();
            assert_eq!((report.failed, report.machines.len()), (vec![], 2), "{what}");
            assert_eq!(restored(&repository, "nightly", "a", None).await, [content], "{what}");
            assert_eq!(restored(&repository, "nightly", "b", None).await, [other], "{what}");
            assert_eq!(
                Verify::new(&repository, job("nightly")).read_data(true).run().await.unwrap().damage,
                [],
                "{what}"
            );
            assert_eq!(stray(&memory, "nightly"), [""; 0], "{what}");
        }
    }
}

/// A block device that changes its size, as a volume does that is resized.
#[tokio::test]
async fn a_device_that_changes_its_size_fails_its_machine() {
    for format in [Format::Raw, Format::Qcow2] {
        for length in [200 * BLOCK, 260 * BLOCK] {
            let folder = scratch();
            let (raw, volume) = (folder.path().join("raw"), folder.path().join("volume"));
            scattered(&raw);
            qemu::convert(&raw, Format::Raw, &volume, format);
            let file = OpenOptions::new().write(true).open(&volume).unwrap();
            // A device has no holes to read over: so many blocks that they are not all read ahead.
            file.set_len(240 * BLOCK as u64).unwrap();
            let Some(device) = attached(&volume) else { return };
            let resized = device.path().to_owned();
            let action = move || {
                file.set_len(length as u64).unwrap();
                offsite_tests::run(Command::new("losetup").arg("-c").arg(resized));
            };
            let progress = Arc::new(AtFirst(Mutex::new(Some(Box::new(action)))));
            let (_, repository) = memory_repository().await;
            let machines = [("web01", ImageSource::new(device.path()))];
            let error = backup(&repository, &machines).progress(progress).run(day(0)).await.unwrap_err();
            assert!(error.to_string().contains("became"), "{format:?} {length}: {}", causes(&error));
        }
    }
}

/// Machines that cannot be read are left out, of every kind of point; a full carries what it has of them.
#[tokio::test]
async fn machines_that_fail_do_not_stop_the_others() {
    let folder = scratch();
    let path = |name: &str| folder.path().join(name);
    for (seed, name) in ["a", "b", "c"].iter().enumerate() {
        std::fs::write(path(name), noise(seed as u64, BLOCK + 5)).unwrap();
    }
    let content = |name: &str| std::fs::read(path(name)).unwrap();
    let (memory, repository) = memory_repository().await;
    let machines = || ["a", "b", "c"].map(|name| (name, ImageSource::new(path(name))));
    let failed =
        |report: &BackupReport| report.failed.iter().map(|machine| machine.name.to_string()).collect::<Vec<_>>();
    // A machine that the job has never had.
    let b = content("b");
    std::fs::write(path("b"), b"KDMV, which is no disk").unwrap();
    let report = backup(&repository, &machines()).run(day(0)).await.unwrap();
    assert_eq!(failed(&report), ["b"]);
    std::fs::write(path("b"), &b).unwrap();
    backup(&repository, &machines()).run(day(1)).await.unwrap();
    let kept = content("a");
    std::fs::remove_file(path("a")).unwrap();
    for (number, full) in [(2, None), (3, Some(FullKind::Active)), (4, Some(FullKind::Synthetic))] {
        std::fs::write(path("c"), noise(number as u64, BLOCK)).unwrap();
        let job = backup(&repository, &machines());
        let report = full.map_or(job.clone(), |full| job.full(full)).run(day(number)).await.unwrap();
        assert_eq!(failed(&report), ["a"], "{number}");
        assert!(report.failed[0].why.to_string().contains("no such file"), "{report:?}");
        for name in ["b", "c"] {
            assert_eq!(restored(&repository, "nightly", name, None).await, [content(name)], "{number} {name}");
        }
        if full.is_some() {
            assert_eq!(restored(&repository, "nightly", "a", None).await, std::slice::from_ref(&kept), "{number}");
        }
    }
    // None at all: no restore point, and the chain is as it was.
    for name in ["b", "c"] {
        std::fs::remove_file(path(name)).unwrap();
    }
    let before = memory.contents();
    let error = backup(&repository, &machines()).run(day(5)).await.unwrap_err();
    assert!(matches!(&error, Error::NoMachine { failed, .. } if failed.len() == 3), "{error:?}");
    for name in ["a", "b", "c"] {
        let line = format!("\n  {name}: disk image {}: there is no such file", path(name).display());
        assert!(error.to_string().contains(&line), "{error}");
    }
    assert!(memory.contents() == before);
    // None of those that could be opened.
    std::fs::write(path("b"), b"conectix, which is no disk").unwrap();
    std::fs::write(path("c"), b"").unwrap();
    // B was a raw disk before, and stays one.
    assert_eq!(failed(&backup(&repository, &machines()).run(day(6)).await.unwrap()), ["a", "c"]);
    assert_eq!(Verify::new(&repository, job("nightly")).read_data(true).run().await.unwrap().damage, []);
    assert_eq!(stray(&memory, "nightly"), [""; 0]);
}

/// Names and formats of the disks of a machine in the newest point of a job.
async fn disks(repository: &OpenRepository, folder: &str, name: &str) -> Vec<(u16, String, ImageFormat)> {
    let folder = JobFolder::open(repository, &job(folder)).await.unwrap();
    let point = folder.point(PointSelector::Latest).unwrap();
    let mut disks = folder.disks(point).await.unwrap();
    let disks = disks.remove(&machine(name)).unwrap_or_default().into_iter();
    disks.map(|disk| (disk.number.0, disk.identity.name.to_string(), disk.identity.format)).collect()
}

/// The format is what the disk was first read as, whatever its machine writes to it, until somebody says another.
#[tokio::test]
async fn a_guest_cannot_change_the_format_of_its_disk() {
    let folder = scratch();
    let path = |name: &str| folder.path().join(name);
    let mut disk = noise(1, 4 * BLOCK);
    disk[..4096].fill(0);
    std::fs::write(path("disk"), &disk).unwrap();
    qemu::create(&path("inner"), Format::Qcow2, 8 << 20);
    let inner = std::fs::read(path("inner")).unwrap();
    let image = || ImageSource::new(path("disk"));
    let (_, repository) = memory_repository().await;
    let run = async |image: ImageSource, number| backup(&repository, &[("web01", image)]).run(day(number)).await;
    assert_eq!(run(image(), 0).await.unwrap().machines[0].warnings, []);
    let is = async |format| disks(&repository, "nightly", "web01").await == [(0, "disk".to_owned(), format)];
    assert!(is(ImageFormat::Raw).await);
    for (start, number) in [(&inner[..], 1), (b"KDMV", 2), (b"vhdxfile", 3)] {
        disk[..start.len()].copy_from_slice(start);
        std::fs::write(path("disk"), &disk).unwrap();
        let report = run(image(), number).await.unwrap();
        assert!(report.machines[0].warnings[0].to_string().contains("was a raw disk until now"), "{report:?}");
        assert_eq!(restored(&repository, "nightly", "web01", None).await, [disk.clone()]);
        assert!(is(ImageFormat::Raw).await);
    }
    // As snapshots are called otherwise each day, the place tells the disk, and the format goes with it.
    disk[..inner.len()].copy_from_slice(&inner);
    std::fs::write(path("disk-of-day-4"), &disk).unwrap();
    let report = run(ImageSource::new(path("disk-of-day-4")), 4).await.unwrap();
    assert!(report.machines[0].warnings[0].to_string().contains("was a raw disk until now"), "{report:?}");
    assert_eq!(report.stored_blocks, 1, "what the guest wrote");
    // So it is in an active full, and no word is needed to be told no more.
    let full = backup(&repository, &[("web01", image())]).full(FullKind::Active).run(day(5)).await.unwrap();
    assert_eq!(full.machines[0].disk_bytes, disk.len() as u64);
    assert_eq!(run(image().with_format(ImageFormat::Raw), 6).await.unwrap().machines[0].warnings, []);
    // A word makes it another, which is remembered in turn.
    std::fs::write(path("disk"), &inner).unwrap();
    let report = run(image().with_format(ImageFormat::Qcow2), 7).await.unwrap();
    assert_eq!(report.machines[0].disk_bytes, 8 << 20);
    assert!(is(ImageFormat::Qcow2).await);
    assert_eq!(run(image(), 8).await.unwrap().machines[0].disk_bytes, 8 << 20);
    std::fs::write(path("disk"), &disk[4096..]).unwrap();
    let error = run(image(), 9).await.unwrap_err();
    assert!(
        error.to_string().contains("is to be read as one") && error.to_string().contains("--format raw"),
        "{error}"
    );
    run(image().with_format(ImageFormat::Raw), 10).await.unwrap();
    assert_eq!(restored(&repository, "nightly", "web01", None).await, [disk[4096..].to_vec()]);
}

/// What is no disk as it is is not taken for one by a first guess.
#[tokio::test]
async fn images_of_other_formats_are_refused_with_the_cure() {
    let at =
        |offset: usize, magic: &[u8]| [vec![7; offset], magic.to_vec(), vec![7; 4096 - offset - magic.len()]].concat();
    let convert = [
        ("VMDK", at(0, b"KDMV")),
        ("VMDK", at(0, b"COWD")),
        ("VMDK", b"# Disk DescriptorFile\nversion=1\n".to_vec()),
        ("VHD", at(0, b"conectix")),
        ("VHD", at(4096 - 512, b"conectix")),
        ("VHDX", at(0, b"vhdxfile")),
        ("VDI", at(0, b"<<< Oracle VM VirtualBox Disk Image >>>\n")),
        ("VDI", at(64, &0xbeda_107f_u32.to_le_bytes())),
        ("QED", at(0, b"QED\0")),
        ("Parallels", at(0, b"WithoutFreeSpace")),
        ("Parallels", at(0, b"WithouFreSpacExt")),
        ("DMG", at(4096 - 512, b"koly")),
        ("qcow (version 1)", at(0, b"QFI\xfb\0\0\0\x01")),
    ];
    let unpack = [
        ("gzip", at(0, b"\x1f\x8b\x08")),
        ("xz", at(0, b"\xfd7zXZ\0")),
        ("zstd", at(0, b"\x28\xb5\x2f\xfd")),
        ("lz4", at(0, b"\x04\x22\x4d\x18")),
        ("bzip2", at(0, b"BZh9")),
        ("ZIP", at(0, b"PK\x03\x04")),
        ("7z", at(0, b"7z\xbc\xaf\x27\x1c")),
        ("tar", at(257, b"ustar")),
    ];
    let all =
        convert.iter().map(|case| (case, "qemu-img convert")).chain(unpack.iter().map(|case| (case, "unpack it")));
    for ((name, bytes), cure) in all {
        let folder = scratch();
        let path = folder.path().join("image");
        std::fs::write(&path, bytes).unwrap();
        let (_, repository) = memory_repository().await;
        let error = backup(&repository, &[("web01", ImageSource::new(&path))]).run(day(0)).await.unwrap_err();
        let text = error.to_string();
        assert!([name, cure, "--format raw"].iter().all(|word| text.contains(word)), "{name}: {text}");
        // Nothing was written.
        assert!(matches!(JobFolder::open(&repository, &job("nightly")).await, Err(Error::UnknownJob { .. })));
        // Meant as it is, it is one from then on.
        let meant = ImageSource::new(&path).with_format(ImageFormat::Raw);
        backup(&repository, &[("web01", meant)]).run(day(1)).await.unwrap();
        let report = backup(&repository, &[("web01", ImageSource::new(&path))]).run(day(2)).await.unwrap();
        assert_eq!((report.failed, report.stored_blocks), (vec![], 0), "{name}");
        assert_eq!(restored(&repository, "nightly", "web01", None).await, std::slice::from_ref(bytes), "{name}");
    }
    // An ISO image is a disk as it is.
    let folder = scratch();
    let path = folder.path().join("image.iso");
    std::fs::write(&path, [vec![0; 32_769], b"CD001\x01".to_vec(), vec![0; 4096]].concat()).unwrap();
    let (_, repository) = memory_repository().await;
    backup(&repository, &[("web01", ImageSource::new(&path))]).run(day(0)).await.unwrap();
}

/// Marks the image as one that was not closed, and as one that QEMU found to be damaged.
#[tokio::test]
async fn a_qcow2_image_that_is_marked_is_refused_with_the_cure() {
    for feature in [1_u8, 2] {
        let folder = scratch();
        let path = folder.path().join("image");
        qemu::create(&path, Format::Qcow2, 1 << 20);
        OpenOptions::new().write(true).open(&path).unwrap().write_all_at(&[feature], 79).unwrap();
        let (_, repository) = memory_repository().await;
        let error = backup(&repository, &[("web01", ImageSource::new(&path))]).run(day(0)).await.unwrap_err();
        assert!(error.to_string().contains(&format!("qemu-img check -r all {}", path.display())), "{error}");
    }
}

/// A backing file whose format nobody wrote down is raw, or it is not guessed.
#[tokio::test]
async fn the_format_of_a_backing_file_is_not_guessed() {
    let folder = scratch();
    let path = |name: &str| folder.path().join(name);
    let disk = noise(1, 2 * BLOCK);
    std::fs::write(path("base"), &disk).unwrap();
    qemu::create_overlay(&path("top"), &path("base"), Format::Raw);
    let run = async |number| {
        let (_, repository) = memory_repository().await;
        let image = ImageSource::new(path("top")).allow_backing_files();
        backup(&repository, &[("web01", image)]).run(day(number)).await?;
        Ok::<_, Error>(restored(&repository, "nightly", "web01", None).await)
    };
    assert_eq!(run(0).await.unwrap(), std::slice::from_ref(&disk));
    // Its machine writes a qcow2 header: the overlay says that it is raw.
    qemu::create(&path("inner"), Format::Qcow2, 8 << 20);
    let inner = std::fs::read(path("inner")).unwrap();
    let claimed = [&inner[..], &disk[inner.len()..]].concat();
    std::fs::write(path("base"), &claimed).unwrap();
    assert_eq!(run(1).await.unwrap(), [claimed]);
    // The overlay says nothing: the extension of its header becomes another.
    let mut top = std::fs::read(path("top")).unwrap();
    let at = top.windows(4).position(|word| word == 0xe279_2aca_u32.to_be_bytes()).unwrap();
    top[at..at + 4].copy_from_slice(&0x1234_5678_u32.to_be_bytes());
    std::fs::write(path("top"), top).unwrap();
    let error = run(2).await.unwrap_err();
    assert!(error.to_string().contains("qemu-img rebase -u -F qcow2"), "{error}");
    std::fs::write(path("base"), &disk).unwrap();
    assert_eq!(run(3).await.unwrap(), [disk]);
}
