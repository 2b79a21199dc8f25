//! Settings, names, images and places that are wrong: an error that names the thing and the way out, and nothing is lost.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use offsite::model::BlockSize;
use offsite::model::ObjectId;
use offsite::model::Role;
use offsite::retention::Simple;
use offsite::{
    BackupJob, CopyJob, Error, Export, ImageFormat, ImageSource, JobFolder, OpenRepository, PointSelector, Restore,
    Selection, TransformJob, Verify,
};
use offsite_repository::testing::Memory;
use offsite_repository::{ErrorKind, RepositoryExt};

use crate::support::objects::{key, keys, stray};
use crate::support::truth::{Truth, causes};
use crate::support::{
    BLOCK, Machines, copy_job, day, files_in, job, keep, machine, memory_repository, open_memory, restored,
};

fn one_machine(seed: u64) -> Machines {
    let mut machines = Machines::new(seed);
    machines.add("web01", &[2 * BLOCK + 777]);
    machines
}

fn backup_of(repository: &OpenRepository, image: ImageSource) -> BackupJob {
    BackupJob::new(repository, job("nightly")).block_size(BlockSize::KiB256).machine(machine("web01"), vec![image])
}

/// The error of a backup of an image that cannot be used, which there is no restore point of.
async fn refused(image: ImageSource) -> String {
    let (memory, repository) = memory_repository().await;
    let path = image.path().unwrap().to_owned();
    let error = backup_of(&repository, image).run(day(0)).await.unwrap_err();
    assert!(matches!(error, Error::Image { .. }), "{}", causes(&error));
    let is_stored =
        |key: &offsite_repository::Key| key.as_str().contains("/index/") || key.as_str().contains("/blocks/0");
    let stored = memory.contents().into_iter().map(|(key, _)| key).filter(is_stored);
    assert_eq!(stored.filter(|key| !key.name().ends_with(".head")).count(), 0, "nothing was stored");
    let text = error.to_string();
    assert!(text.contains(path.file_name().unwrap().to_str().unwrap()), "{text}");
    text
}

#[tokio::test]
async fn a_copy_needs_two_repositories() {
    let (memory, primary) = memory_repository().await;
    let again = open_memory(&memory).await;
    for target in [&primary, &again] {
        let error = CopyJob::new(job("Offsite Copy"), &primary, job("nightly"), target).unwrap_err();
        assert!(matches!(error, Error::SameRepository { .. }), "{error}");
    }
}

#[tokio::test]
async fn folders_of_jobs_are_told_from_those_without_heads_and_from_others() {
    let (memory, repository) = memory_repository().await;
    let machines = one_machine(9);
    for name in ["lost", "whole"] {
        let backup = BackupJob::new(&repository, job(name)).block_size(BlockSize::KiB256);
        let image = ImageSource::new(machines.image("web01", 0));
        backup.machine(machine("web01"), vec![image]).run(day(0)).await.unwrap();
    }
    assert!(keys(&memory, "lost/head").iter().all(|head| memory.remove(head)));
    memory.put(&key("others/blocks/notes"), vec![7].into()).await.unwrap();
    let folders = repository.job_folders().await.unwrap();
    assert_eq!((folders.jobs, folders.headless), (vec![job("whole")], vec![job("lost")]));
    assert_eq!(folders.closed, []);
}

#[tokio::test]
async fn a_folder_without_heads_is_known_by_any_one_object_that_only_a_job_has() {
    let (memory, repository) = memory_repository().await;
    let id = ObjectId::new(1, 1);
    let copy_of_head = "blocks/00000001-0000000000000001.head".to_owned();
    let left = [format!("blocks/{id}"), format!("blocks/{id}.index"), copy_of_head, format!("index/{id}")];
    let jobs: Vec<_> = (0..left.len()).map(|number| job(&format!("lost{number}"))).collect();
    for (folder, object) in jobs.iter().zip(&left) {
        memory.put(&key(&format!("{folder}/{object}")), vec![7].into()).await.unwrap();
    }
    memory.put(&key("others/index/notes"), vec![7].into()).await.unwrap();
    let folders = repository.job_folders().await.unwrap();
    assert_eq!((folders.jobs, folders.headless), (Vec::new(), jobs));
}

#[tokio::test]
async fn what_is_printed_of_an_activity_names_its_job() {
    let (_, repository) = memory_repository().await;
    let backup = format!("{:?}", BackupJob::new(&repository, job("nightly")));
    let export = format!("{:?}", Export::new(&repository, job("nightly")));
    let transform = format!("{:?}", TransformJob::new(&repository, job("nightly")));
    let copy = CopyJob::new(job("nightly"), &repository, job("hourly"), &memory_repository().await.1).unwrap();
    for printed in [backup, export, transform, format!("{copy:?}")] {
        assert!(printed.contains("nightly"), "{printed}");
    }
}

#[tokio::test]
async fn names_that_differ_in_case_only_are_one_name() {
    let (memory, repository) = memory_repository().await;
    let machines = one_machine(1);
    machines.backup(&repository, &["web01"]).run(day(0)).await.unwrap();
    let before = memory.contents();
    let other = BackupJob::new(&repository, job("Nightly"))
        .machine(machine("web01"), vec![ImageSource::new(machines.image("web01", 0))]);
    let error = other.run(day(1)).await.unwrap_err();
    assert!(matches!(&error, Error::NameTaken { other, .. } if other.as_str() == "nightly"), "{error}");
    assert_eq!(memory.contents(), before);
}

#[tokio::test]
async fn what_is_unknown_is_told_with_what_is_known() {
    let (_, primary) = memory_repository().await;
    let (target, second) = memory_repository().await;
    one_machine(2).backup(&primary, &["web01"]).run(day(0)).await.unwrap();
    let to = crate::support::scratch();
    let cases = [
        (Restore::new(&primary, job("weekly"), machine("web01")), "nightly"),
        (Restore::new(&primary, job("nightly"), machine("web02")), "web01"),
        (Restore::new(&primary, job("nightly"), machine("web01")).point(PointSelector::At(day(-1))), "1 ("),
    ];
    for (restore, known) in cases {
        let error = restore.run(to.path()).await.unwrap_err();
        assert!(error.to_string().contains(known), "{error}");
        assert_eq!(files_in(to.path()), 0);
    }
    let error = Verify::new(&primary, job("weekly")).run().await.unwrap_err();
    assert!(matches!(error, Error::UnknownJob { .. }), "{error}");
    let copy = CopyJob::new(job("Offsite Copy"), &primary, job("weekly"), &second).unwrap();
    assert!(matches!(copy.run(day(0)).await.unwrap_err(), Error::UnknownJob { .. }));
    assert_eq!(target.contents().len(), 1, "nothing was written");
    let copy = copy_job(&primary, &second).select(Selection::machines(vec![machine("web02")]));
    let text = copy.run(day(0)).await.unwrap_err().to_string();
    assert!(text.contains("web01") && text.contains("web02"), "{text}");
    // A run of the runner looks first. It copies nothing and warns, and so does the plan.
    let plan = copy.plan(day(0)).await.unwrap();
    assert!(plan.absent().eq([&machine("web02")]) && plan.sync.is_none(), "{plan:?}");
    // A machine that is not there does not keep the others from being copied.
    let copy = copy_job(&primary, &second).select(Selection::machines(vec![machine("web01"), machine("web02")]));
    assert!(copy.run(day(0)).await.unwrap().absent().eq([&machine("web02")]));
}

#[tokio::test]
async fn settings_that_make_no_sense_are_refused() {
    assert!(Simple::new(1).is_err() && Simple::new(0).is_err() && Simple::new(2).is_ok());
    let (memory, repository) = memory_repository().await;
    let machines = one_machine(3);
    let image = || vec![ImageSource::new(machines.image("web01", 0))];
    let empty = BackupJob::new(&repository, job("nightly"));
    let cases = [
        (empty.clone(), "no machine"),
        (empty.clone().machine(machine("web01"), image()).machine(machine("web01"), image()), "given twice"),
        (empty.machine(machine("web01"), vec![]), "0 disks"),
    ];
    for (job, words) in cases {
        let error = job.run(day(0)).await.unwrap_err();
        assert!(
            matches!(&error, Error::InvalidSetting { setting: "machine", why, .. } if why.contains(words)),
            "{error}"
        );
    }
    assert_eq!(memory.contents().len(), 1, "nothing was written");
}

#[tokio::test]
async fn a_folder_belongs_to_one_kind_of_job() {
    let (_, primary) = memory_repository().await;
    let (_, second) = memory_repository().await;
    let machines = one_machine(4);
    machines.backup(&primary, &["web01"]).run(day(0)).await.unwrap();
    machines.backup(&second, &["web01"]).run(day(0)).await.unwrap();
    let copy = CopyJob::new(job("nightly"), &primary, job("nightly"), &second).unwrap();
    let error = copy.run(day(1)).await.unwrap_err();
    assert!(matches!(&error, Error::WrongKindOfJob { role: Role::Backup, .. }), "{error}");
    copy_job(&primary, &second).run(day(1)).await.unwrap();
    let backup = BackupJob::new(&second, job("Offsite Copy"))
        .machine(machine("web01"), vec![ImageSource::new(machines.image("web01", 0))]);
    let error = backup.run(day(2)).await.unwrap_err();
    assert!(matches!(&error, Error::WrongKindOfJob { role: Role::Copy, .. }), "{error}");
}

#[tokio::test]
async fn the_block_size_of_a_chain_stays() {
    let (_, primary) = memory_repository().await;
    let (_, second) = memory_repository().await;
    let machines = one_machine(5);
    machines.backup(&primary, &["web01"]).run(day(0)).await.unwrap();
    copy_job(&primary, &second).run(day(0)).await.unwrap();
    let error = machines.backup(&primary, &["web01"]).block_size(BlockSize::MiB1).run(day(1)).await.unwrap_err();
    assert!(
        matches!(&error, Error::InvalidSetting { setting: "block_size", why, .. } if why.contains("256 KiB")),
        "{error}"
    );
    // Left open, it is the chain's.
    let backup = BackupJob::new(&primary, job("nightly"));
    backup.machine(machine("web01"), vec![ImageSource::new(machines.image("web01", 0))]).run(day(1)).await.unwrap();
    let (_, other) = memory_repository().await;
    machines.backup(&other, &["web01"]).block_size(BlockSize::MiB1).run(day(2)).await.unwrap();
    let copy = copy_job(&other, &second);
    for error in [copy.plan(day(2)).await.unwrap_err(), copy.run(day(2)).await.unwrap_err()] {
        assert!(
            matches!(&error, Error::InvalidSetting { setting: "name", why, .. } if why.contains("another job name")),
            "{error}"
        );
    }
    assert_eq!(restored(&second, "Offsite Copy", "web01", None).await, machines.content("web01"));
}

/// A first run that failed leaves a folder without a restore point; that binds nobody to its block size.
#[tokio::test]
async fn a_folder_without_restore_points_takes_any_block_size() {
    let (memory, primary) = memory_repository().await;
    let (target, second) = memory_repository().await;
    let machines = one_machine(6);
    memory.set_capacity_bytes(memory.used_bytes() + 4_096);
    machines.backup(&primary, &["web01"]).run(day(0)).await.unwrap_err();
    assert!(JobFolder::open(&primary, &job("nightly")).await.unwrap().chain().points().is_empty());
    let error = copy_job(&primary, &second).run(day(0)).await.unwrap_err();
    assert!(error.to_string().contains("no restore point"), "{error}");
    memory.set_capacity_bytes(u64::MAX);
    machines.backup(&primary, &["web01"]).block_size(BlockSize::MiB1).run(day(1)).await.unwrap();
    target.set_capacity_bytes(target.used_bytes() + 4_096);
    copy_job(&primary, &second).run(day(1)).await.unwrap_err();
    target.set_capacity_bytes(u64::MAX);
    let (_, other) = memory_repository().await;
    machines.backup(&other, &["web01"]).run(day(1)).await.unwrap();
    copy_job(&other, &second).run(day(1)).await.unwrap();
    for (repository, folder) in [(&primary, "nightly"), (&second, "Offsite Copy")] {
        assert_eq!(restored(repository, folder, "web01", None).await, machines.content("web01"), "{folder}");
    }
}

#[tokio::test]
async fn places_that_are_no_repository() {
    let memory = Arc::new(Memory::new());
    let error = OpenRepository::open(memory.clone()).await.unwrap_err();
    assert!(matches!(error, Error::NotARepository { .. }), "{error}");
    memory.put(&key("zz/holiday.jpg"), vec![1].into()).await.unwrap();
    let error = OpenRepository::initialise(memory.clone(), day(0)).await.unwrap_err();
    assert!(matches!(&error, Error::NotEmpty { found, .. } if found == "zz/holiday.jpg"), "{error}");
    let (memory, repository) = memory_repository().await;
    for _ in 0..2 {
        let error = OpenRepository::initialise(memory.clone(), day(1)).await.unwrap_err();
        assert!(matches!(error, Error::AlreadyARepository { .. }), "{error}");
        one_machine(7).backup(&repository, &["web01"]).run(day(0)).await.unwrap();
    }
}

#[tokio::test]
async fn images_that_are_none() {
    let folder = crate::support::scratch();
    let path = |name: &str| folder.path().join(name);
    assert!(refused(ImageSource::new(path("missing.img"))).await.contains("no such file"));
    std::fs::create_dir(path("folder.img")).unwrap();
    assert!(refused(ImageSource::new(path("folder.img"))).await.contains("directory"));
    // Nobody writes to the pipe, and nobody waits for that.
    match Command::new("mkfifo").arg(path("pipe.img")).status() {
        Ok(status) if status.success() => {
            assert!(refused(ImageSource::new(path("pipe.img"))).await.contains("neither"));
        }
        other => println!("not tested: mkfifo cannot be run ({other:?})"),
    }
    assert!(refused(ImageSource::new("/dev/zero")).await.contains("neither"));
    std::fs::write(path("empty.img"), []).unwrap();
    assert!(refused(ImageSource::new(path("empty.img"))).await.contains("empty"));
    std::fs::write(path("foreign.vmdk"), b"KDMV and more").unwrap();
    assert!(refused(ImageSource::new(path("foreign.vmdk"))).await.contains("qemu-img convert"));
    std::fs::write(path("short.qcow2"), b"QFI\xfb\0\0\0\x03").unwrap();
    assert!(refused(ImageSource::new(path("short.qcow2"))).await.contains("truncated"));
    std::fs::write(path("noise.qcow2"), [b"QFI\xfb".as_slice(), &[0xa5; 4_000]].concat()).unwrap();
    refused(ImageSource::new(path("noise.qcow2"))).await;
    refused(ImageSource::new(path("noise.qcow2")).allow_backing_files()).await;
}

/// A qcow2 image of four clusters of 512 bytes: its header, its first table with these entries, a second table, a cluster of data.
fn small_qcow2(size_bytes: u64, first_table: &[u64]) -> Vec<u8> {
    let mut image = vec![0; 4 * 512];
    let mut put = |at: usize, field: &[u8]| image[at..at + field.len()].copy_from_slice(field);
    put(0, b"QFI\xfb\0\0\0\x02");
    put(20, &9_u32.to_be_bytes());
    put(24, &size_bytes.to_be_bytes());
    put(36, &u32::try_from(first_table.len()).unwrap().to_be_bytes());
    put(40, &512_u64.to_be_bytes());
    for (number, entry) in first_table.iter().enumerate() {
        put(512 + number * 8, &entry.to_be_bytes());
    }
    put(2 * 512, &(3 * 512_u64).to_be_bytes());
    put(3 * 512, &[7; 512]);
    image
}

/// Images of a few clusters that would keep a reader busy for years.
#[tokio::test]
async fn small_qcow2_images_with_much_to_read() {
    let folder = crate::support::scratch();
    let path = folder.path().join("small.qcow2");
    for (size_bytes, first_table, word) in [
        (1 << 62, &[1024][..], "too short"),
        (32_769, &[1024], "too short"),
        (65_536, &[1024, 1024], "twice"),
        (65_536, &[1024, 1024 | 1 << 63], "twice"),
    ] {
        std::fs::write(&path, small_qcow2(size_bytes, first_table)).unwrap();
        let text = refused(ImageSource::new(&path)).await;
        assert!(text.contains(word), "{text}");
    }
    std::fs::write(&path, small_qcow2(65_536, &[1024, 0])).unwrap();
    let (_, repository) = memory_repository().await;
    backup_of(&repository, ImageSource::new(&path)).run(day(0)).await.unwrap();
}

fn qemu_img(arguments: &[&str], folder: &Path) -> bool {
    match Command::new("qemu-img").args(arguments).current_dir(folder).output() {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            true
        }
        Err(error) => {
            println!("not tested: qemu-img cannot be run ({error})");
            false
        }
    }
}

#[tokio::test]
async fn qcow2_images_that_cannot_be_trusted() {
    let machines = one_machine(8);
    let folder = machines.folder.path();
    if !qemu_img(&["convert", "-O", "qcow2", "web01.0.img", "web01.qcow2"], folder) {
        return;
    }
    let image = folder.join("web01.qcow2");
    let bytes = std::fs::read(&image).unwrap();
    for length in [10, 72, 60_000, 200_000, bytes.len() / 2] {
        std::fs::write(folder.join("cut.qcow2"), &bytes[..length]).unwrap();
        let text = refused(ImageSource::new(folder.join("cut.qcow2"))).await;
        assert!(text.contains("truncated"), "{length}: {text}");
    }
    qemu_img(&["create", "-q", "-f", "qcow2", "-b", "web01.qcow2", "-F", "qcow2", "top.qcow2"], folder);
    let text = refused(ImageSource::new(folder.join("top.qcow2"))).await;
    assert!(text.contains("web01.qcow2"), "{text}");
    for source in [ImageSource::new(&image), ImageSource::new(folder.join("top.qcow2")).allow_backing_files()] {
        let (_, repository) = memory_repository().await;
        backup_of(&repository, source).run(day(0)).await.unwrap();
        let mut restored = restored(&repository, "nightly", "web01", None).await;
        // A qcow2 disk has whole sectors.
        restored[0].truncate(machines.content("web01")[0].len());
        assert_eq!(restored, machines.content("web01"));
    }
    std::fs::remove_file(&image).unwrap();
    let gone = ImageSource::new(folder.join("top.qcow2")).allow_backing_files();
    let (_, repository) = memory_repository().await;
    let error = backup_of(&repository, gone).run(day(0)).await.unwrap_err();
    assert!(error.to_string().contains("web01.qcow2"), "{error}");
}

#[tokio::test]
async fn a_full_repository_loses_nothing() {
    let (source, primary) = memory_repository().await;
    let (target, second) = memory_repository().await;
    let (mut machines, mut truth) = (one_machine(9), Truth::default());
    for number in 0..3 {
        machines.change("web01", 2);
        truth.record(&machines, &["web01"], day(number));
        machines.backup(&primary, &["web01"]).run(day(number)).await.unwrap();
        if number < 2 {
            copy_job(&primary, &second).run(day(number)).await.unwrap();
        }
    }
    machines.change("web01", 3);
    truth.record(&machines, &["web01"], day(3));
    for spare in [0, 100, 5_000, 9_000] {
        source.set_capacity_bytes(source.used_bytes() + spare);
        target.set_capacity_bytes(target.used_bytes() + spare);
        for error in [
            machines.backup(&primary, &["web01"]).run(day(3)).await.unwrap_err(),
            copy_job(&primary, &second).run(day(3)).await.unwrap_err(),
        ] {
            assert_eq!(error.repository_kind(), Some(ErrorKind::NoSpace), "{}", causes(&error));
        }
        // What is there can be read where nothing can be written.
        source.set_capacity_bytes(source.used_bytes());
        target.set_capacity_bytes(target.used_bytes());
        assert_eq!(truth.check(&primary, "nightly").await, [1, 2, 3]);
        assert_eq!(truth.check(&second, "Offsite Copy").await, [1, 2]);
        assert_eq!(Verify::new(&second, job("Offsite Copy")).read_data(true).run().await.unwrap().damage, []);
    }
    source.set_capacity_bytes(u64::MAX);
    target.set_capacity_bytes(u64::MAX);
    machines.backup(&primary, &["web01"]).run(day(3)).await.unwrap();
    copy_job(&primary, &second).transforms(keep(7)).run(day(3)).await.unwrap();
    assert_eq!(truth.check(&second, "Offsite Copy").await, [1, 2, 3]);
    assert_eq!(stray(&source, "nightly"), [""; 0]);
    assert_eq!(stray(&target, "Offsite Copy"), [""; 0]);
}

/// Of several disks either all images appear or none.
#[tokio::test]
async fn a_restore_delivers_all_disks_or_none() {
    let (_, repository) = memory_repository().await;
    let mut machines = Machines::new(10);
    machines.add("web01", &[BLOCK, 3_000, 5_000]);
    machines.backup(&repository, &["web01"]).run(day(0)).await.unwrap();
    for format in [ImageFormat::Raw, ImageFormat::Qcow2] {
        let to = crate::support::scratch();
        let taken = to.path().join(format!("web01-disk2.{}", format.name()));
        let restore = || Restore::new(&repository, job("nightly"), machine("web01")).format(format);
        std::fs::write(&taken, b"mine").unwrap();
        assert!(restore().run(to.path()).await.unwrap_err().to_string().contains("exists already"));
        assert_eq!(files_in(to.path()), 1);
        std::fs::remove_file(&taken).unwrap();
        // Somebody takes a name while the restore is at work.
        let progress = Arc::new(TakesTheName { path: taken.clone() });
        restore().progress(progress).run(to.path()).await.unwrap_err();
        assert_eq!((files_in(to.path()), std::fs::read(&taken).unwrap()), (1, b"mine".to_vec()));
        let error = restore().run(&taken).await.unwrap_err();
        assert!(matches!(error, Error::InvalidSetting { setting: "disk", .. }), "three disks, one file: {error}");
    }
}

struct TakesTheName {
    path: std::path::PathBuf,
}

impl offsite::Progress for TakesTheName {
    fn end(&self, _: &offsite::Activity<'_>) {
        std::fs::write(&self.path, b"mine").unwrap();
    }
}

/// Two restores to one path at once: none delivers what the other is still writing.
#[tokio::test]
async fn two_restores_to_one_path_do_not_mix() {
    let (memory, repository) = memory_repository().await;
    let machines = one_machine(11);
    machines.backup(&repository, &["web01"]).run(day(0)).await.unwrap();
    let slow = open_memory(&crate::support::objects::fork(&memory).await).await;
    for polls in 0..400 {
        let folder = crate::support::scratch();
        let to = folder.path().join("web01.img");
        let restore = || Box::pin(async { Restore::new(&slow, job("nightly"), machine("web01")).run(&to).await });
        let (mut first, mut second) = (restore(), restore());
        let early = (
            crate::support::drive::poll_times(&mut first, polls / 20).await,
            crate::support::drive::poll_times(&mut second, polls % 20).await,
        );
        let whole = || std::fs::read(&to).unwrap() == machines.content("web01")[0];
        let first = match early.0 {
            Some(result) => result,
            None => first.await,
        };
        assert!(first.is_err() || whole(), "{polls}: the first delivers the bytes");
        let second = match early.1 {
            Some(result) => result,
            None => second.await,
        };
        assert!(first.is_ok() != second.is_ok(), "{polls}: one wins");
        assert!(whole(), "{polls}");
        assert_eq!(files_in(folder.path()), 1, "{polls}");
    }
}

/// A restore that is dropped leaves nothing behind, or the whole image if it was at its end.
#[tokio::test]
async fn a_restore_cut_off_leaves_no_file() {
    let (memory, repository) = memory_repository().await;
    let machines = one_machine(12);
    machines.backup(&repository, &["web01"]).run(day(0)).await.unwrap();
    let slow = open_memory(&crate::support::objects::fork(&memory).await).await;
    assert_eq!(keys(&memory, "nightly/pin"), []);
    for polls in 0..40 {
        let folder = crate::support::scratch();
        let restore = Restore::new(&slow, job("nightly"), machine("web01"));
        let mut run = Box::pin(restore.run(folder.path()));
        if crate::support::drive::poll_times(&mut run, polls).await.is_some() {
            break;
        }
        drop(run);
        // Threads at work end by themselves.
        let (partial, image) = (folder.path().join("web01-disk0.raw.partial"), folder.path().join("web01-disk0.raw"));
        for _ in 0..100_000 {
            if !partial.exists() {
                break;
            }
            tokio::task::spawn_blocking(std::thread::yield_now).await.unwrap();
        }
        assert!(!partial.exists(), "{polls}");
        if image.exists() {
            assert!(std::fs::read(&image).unwrap() == machines.content("web01")[0], "{polls}");
        }
    }
}
