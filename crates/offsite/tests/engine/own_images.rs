//! Disks that are no files: images and sinks of the user's own.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use offsite::model::{BlockSize, ImageFormat};
use offsite::report::{BackupReport, ImageWarning};
use offsite::testing::{TriedSink, check_image, check_sink};
use offsite::{BackupJob, DiskImage, DiskName, DiskSink, DiskTarget, Error, ImageSource, OpenRepository, Restore};
use offsite_repository::testing::Memory;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::truth::causes;
use crate::support::{BLOCK, copy_job, day, job, machine, memory_repository, scratch};

/// What an image does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
enum Fault {
    #[default]
    None,
    Read,
    Settle,
    Warning,
    EndlessData,
    DataPastTheEnd,
    /// An error of the engine, as of an image that is read from another repository.
    OfTheEngine,
}

/// An error of the engine, as an image has one that reads a restore point.
fn of_the_engine() -> Error {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(OpenRepository::open(Arc::new(Memory::new()))).unwrap_err()
}

/// A disk in memory, to read and to write.
#[derive(Debug, Clone, Default)]
struct InMemory {
    content: Arc<Mutex<Vec<u8>>>,
    fault: Fault,
}

impl InMemory {
    fn of(content: &[u8]) -> Self {
        Self { content: Arc::new(Mutex::new(content.to_vec())), fault: Fault::None }
    }

    fn with(self, fault: Fault) -> Self {
        Self { fault, ..self }
    }

    fn content(&self) -> Vec<u8> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl DiskImage for InMemory {
    fn location(&self) -> String {
        "memory:web01".to_owned()
    }

    fn size_bytes(&self) -> u64 {
        self.content().len() as u64
    }

    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        let content = self.content();
        let start = content.iter().skip(from as usize).position(|byte| *byte != 0).map(|skipped| from + skipped as u64);
        Ok(start.map(|start| match self.fault {
            Fault::EndlessData => start..start,
            Fault::DataPastTheEnd => start..content.len() as u64 + 1,
            _ => {
                let zero = content[start as usize..].iter().position(|byte| *byte == 0);
                start..start + zero.unwrap_or(content.len() - start as usize) as u64
            }
        }))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        match self.fault {
            Fault::Read => Err(io::Error::new(io::ErrorKind::ConnectionReset, "the array went away")),
            Fault::OfTheEngine => Err(of_the_engine().into()),
            _ => {
                buffer.copy_from_slice(&self.content()[offset as usize..][..buffer.len()]);
                Ok(())
            }
        }
    }

    fn settle(&self) -> io::Result<Option<ImageWarning>> {
        match self.fault {
            Fault::Settle => Err(io::Error::other("the volume was rolled back")),
            Fault::Warning => Ok(Some(ImageWarning::Custom { text: "the volume was written to".to_owned() })),
            _ => Ok(None),
        }
    }
}

impl DiskSink for InMemory {
    fn location(&self) -> String {
        "memory:restored".to_owned()
    }

    fn begin(&self, size_bytes: u64) -> io::Result<()> {
        // Something else was there before.
        *self.content.lock().unwrap_or_else(PoisonError::into_inner) = vec![0xaa; size_bytes as usize];
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if self.fault == Fault::Read {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.content.lock().unwrap_or_else(PoisonError::into_inner)[offset as usize..][..bytes.len()]
            .copy_from_slice(bytes);
        Ok(())
    }

    fn finish(&self) -> io::Result<()> {
        if self.fault == Fault::Settle { Err(io::Error::other("no quorum")) } else { Ok(()) }
    }
}

/// Data, zeros, and an end within a block.
fn disk() -> Vec<u8> {
    let byte = |at: usize| if (BLOCK..3 * BLOCK).contains(&at) { 0 } else { (at % 250) as u8 + 1 };
    (0..5 * BLOCK + 1_234).map(byte).collect()
}

fn name(text: &str) -> DiskName {
    DiskName::new(text).unwrap()
}

async fn backup(
    repository: &OpenRepository,
    images: &[(&str, InMemory)],
    number: i64,
) -> offsite::Result<BackupReport> {
    let backup = BackupJob::new(repository, job("nightly")).block_size(BlockSize::KiB256);
    let backup = images.iter().fold(backup, |backup, (of, image)| {
        backup.machine(machine(of), vec![ImageSource::of(name("vda"), image.clone())])
    });
    backup.run(day(number)).await
}

fn restore(repository: &OpenRepository, folder: &str) -> Restore {
    Restore::new(repository, job(folder), machine("web01"))
}

#[test]
fn the_disks_of_these_tests_keep_the_contracts() {
    let image = InMemory::of(&disk());
    let report = check_image(&image, &disk());
    assert!(report.nothing_failed(), "{report}");
    let report = check_sink(|_| {
        let sink = InMemory::default();
        Ok(TriedSink::new(sink.clone(), move || Ok(sink.content())))
    });
    assert!(report.nothing_failed(), "{report}");
}

#[tokio::test]
async fn a_disk_goes_from_memory_through_a_copy_to_memory() {
    let (_, primary) = memory_repository().await;
    let (_, second) = memory_repository().await;
    let mut content = disk();
    let image = InMemory::of(&content);
    let report = backup(&primary, &[("web01", image.clone())], 0).await.unwrap();
    assert_eq!(report.stored_blocks, 4, "zeros are not stored");
    assert_eq!(report.machines[0].read_bytes, 3 * BLOCK as u64 + 1_234, "nor read");
    // The next run sees what has changed since.
    content[2 * BLOCK + 5] = 7;
    content[4 * BLOCK..5 * BLOCK].fill(0);
    *image.content.lock().unwrap() = content.clone();
    let report = backup(&primary, &[("web01", image)], 1).await.unwrap();
    assert_eq!((report.stored_blocks, report.full), (1, false));
    copy_job(&primary, &second).run(day(1)).await.unwrap();
    let sink = InMemory::default();
    let report = restore(&second, "Offsite Copy").disk_to(DiskTarget::sink(sink.clone())).await.unwrap();
    assert!(sink.content() == content);
    let [restored] = &report.disks[..] else { panic!("{report:?}") };
    assert_eq!((restored.name.as_str(), restored.path.as_ref(), restored.device_bytes), ("vda", None, None));
    assert_eq!((restored.size_bytes, report.captured), (content.len() as u64, day(1)));
}

/// The format is how a file of the disk is read. An image that is no file leaves it as it is.
#[tokio::test]
async fn an_own_image_keeps_the_format_that_is_known_of_its_disk() {
    let (_, repository) = memory_repository().await;
    let known = async || {
        let folder = offsite::JobFolder::open(&repository, &job("nightly")).await.unwrap();
        let disks = folder.disks(folder.chain().latest().unwrap()).await.unwrap();
        disks[&machine("web01")][0].identity.format
    };
    let own = |number, format: Option<ImageFormat>| {
        let source = ImageSource::of(name("vda"), InMemory::of(&[number as u8 + 1; 70_000]));
        let source = format.into_iter().fold(source, ImageSource::with_format);
        BackupJob::new(&repository, job("nightly")).machine(machine("web01"), vec![source])
    };
    for (number, format, expected) in
        [(0, None, ImageFormat::Raw), (1, Some(ImageFormat::Qcow2), ImageFormat::Qcow2), (2, None, ImageFormat::Qcow2)]
    {
        own(number, format).run(day(number)).await.unwrap();
        assert_eq!(known().await, expected, "{number}");
    }
}

#[tokio::test]
async fn an_image_that_fails_fails_its_machine_alone() {
    let faults = [
        (Fault::Read, "it cannot be read at byte 0: the array went away"),
        (Fault::Settle, "the volume was rolled back"),
        (Fault::EndlessData, "mend what implements the image"),
        (Fault::DataPastTheEnd, "mend what implements the image"),
        (Fault::OfTheEngine, "is not an Offsite repository"),
    ];
    for (fault, why) in faults {
        let (_, repository) = memory_repository().await;
        let (broken, good) = (InMemory::of(&disk()).with(fault), InMemory::of(&disk()));
        let report = backup(&repository, &[("db01", broken.clone()), ("web01", good)], 0).await.unwrap();
        let [failed] = &report.failed[..] else { panic!("{fault:?}: {report:?}") };
        assert_eq!((failed.name.as_str(), report.machines.len()), ("db01", 1));
        let told = failed.why.to_string();
        assert!(told.contains(why) && told.contains("memory:web01"), "{fault:?}: {told}");
        let error = backup(&repository, &[("db01", broken)], 1).await.unwrap_err();
        assert!(matches!(error, Error::Image { .. }), "{error}");
    }
    let (_, repository) = memory_repository().await;
    let report = backup(&repository, &[("web01", InMemory::of(&disk()).with(Fault::Warning))], 0).await.unwrap();
    assert_eq!(report.machines[0].warnings, [ImageWarning::Custom { text: "the volume was written to".to_owned() }]);
    let error = backup(&repository, &[("web01", InMemory::default())], 1).await.unwrap_err();
    assert!(error.to_string().contains("it is empty"), "{error}");
}

#[tokio::test]
async fn a_disk_goes_to_files_and_streams() {
    let (_, repository) = memory_repository().await;
    backup(&repository, &[("web01", InMemory::of(&disk()))], 0).await.unwrap();
    let restore = restore(&repository, "nightly");
    let to = scratch();
    let path = to.path().join("disk.raw");
    let report = restore.disk_to(DiskTarget::path(&path)).await.unwrap();
    assert_eq!(report.disks[0].path.as_deref(), Some(Path::new(&path)));
    assert!(std::fs::read(&path).unwrap() == disk());
    // The caller's own stream goes on afterwards. The pipe takes little at a time.
    let (mut ours, mut theirs) = tokio::io::duplex(1_000);
    let read = tokio::spawn(async move {
        let mut all = Vec::new();
        theirs.read_to_end(&mut all).await.map(|_| all)
    });
    restore.disk_to(DiskTarget::async_writer(&mut ours)).await.unwrap();
    ours.write_all(b"end").await.unwrap();
    drop(ours);
    let all = read.await.unwrap().unwrap();
    assert!(all.strip_suffix(b"end") == Some(&disk()[..]));
    // One that nobody reads any more.
    let (mut ours, theirs) = tokio::io::duplex(1_000);
    drop(theirs);
    let error = restore.disk_to(DiskTarget::async_writer(&mut ours)).await.unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
}

#[tokio::test]
async fn a_sink_that_fails_ends_the_restore() {
    let (_, repository) = memory_repository().await;
    backup(&repository, &[("web01", InMemory::of(&disk()))], 0).await.unwrap();
    let restore = restore(&repository, "nightly");
    for (fault, why) in [(Fault::Read, "it cannot be written"), (Fault::Settle, "it cannot be made durable")] {
        let error = restore.disk_to(DiskTarget::sink(InMemory::default().with(fault))).await.unwrap_err();
        let text = causes(&error);
        assert!(
            matches!(error, Error::Image { .. }) && text.contains(why) && text.contains("memory:restored"),
            "{text}"
        );
    }
    let qcow2 = restore.format(ImageFormat::Qcow2);
    let error = qcow2.disk_to(DiskTarget::sink(InMemory::default())).await.unwrap_err();
    assert!(matches!(error, Error::InvalidSetting { .. }), "{error}");
}

#[tokio::test]
async fn one_disk_is_asked_for_where_there_are_several() {
    let (_, repository) = memory_repository().await;
    let disks = ["vda", "vdb"].map(|of| ImageSource::of(name(of), InMemory::of(of.as_bytes())));
    let backup = BackupJob::new(&repository, job("nightly")).machine(machine("web01"), disks.to_vec());
    backup.run(day(0)).await.unwrap();
    let folder = scratch();
    for target in [DiskTarget::sink(InMemory::default()), DiskTarget::path(folder.path().join("disk"))] {
        let error = restore(&repository, "nightly").disk_to(target).await.unwrap_err();
        assert!(matches!(error, Error::InvalidSetting { .. }), "{error}");
    }
    assert_eq!(crate::support::files_in(folder.path()), 0);
    let sink = InMemory::default();
    restore(&repository, "nightly").disk("vdb").disk_to(DiskTarget::sink(sink.clone())).await.unwrap();
    assert_eq!(sink.content(), b"vdb");
}
