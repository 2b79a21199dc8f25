//! Offsite's own images and sinks keep the contract. The suites find images and sinks that do not.

#![allow(clippy::cast_possible_truncation, reason = "disks of tests are small")]

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use offsite_tests::LoopDevice;

use super::testing::{Report, TriedSink, check_image, check_sink};
use super::*;

fn content(length: usize) -> Vec<u8> {
    let word = |at: usize| if (at / 70_000) % 3 == 1 { 0 } else { (at % 251) as u8 + 1 };
    (0..length).map(word).collect()
}

#[track_caller]
fn assert_kept(report: &Report) {
    assert!(report.nothing_failed(), "{report}");
}

/// Writes `content` without its zeros, as a restore does.
fn fill(sink: &dyn DiskSink, content: &[u8]) {
    sink.begin(content.len() as u64).unwrap();
    for (start, piece) in (0..).step_by(4_096).zip(content.chunks(4_096)) {
        if piece.iter().any(|byte| *byte != 0) {
            sink.write_at(start, piece).unwrap();
        }
    }
    sink.finish().unwrap();
}

#[test]
fn raw_and_qcow2_images_keep_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    for format in [ImageFormat::Raw, ImageFormat::Qcow2] {
        for length in [512, 70_144, 3 << 20] {
            let path = folder.path().join(format!("{length}.{}", format.name()));
            let sink = create(&path, format, length, false).unwrap();
            let content = content(length as usize);
            fill(sink.as_ref(), &content);
            sink.keep().unwrap();
            drop(sink);
            let image = ImageSource::new(&path).open(None).unwrap();
            assert_eq!(image.format, format);
            assert_kept(&check_image(image.image.as_ref(), &content));
        }
    }
}

#[test]
fn devices_keep_the_contract_of_images() {
    let Some(device) = LoopDevice::new_or_say(3 << 20, 0xaa) else { return };
    let content = content(3 << 20);
    let sink = create(device.path(), ImageFormat::Raw, content.len() as u64, true).unwrap();
    sink.begin(content.len() as u64).unwrap();
    sink.write_at(0, &content).unwrap();
    sink.finish().unwrap();
    drop(sink);
    let image = ImageSource::new(device.path()).open(None).unwrap();
    assert_kept(&check_image(image.image.as_ref(), &content));
}

/// A sink at `path`, and how to read the image there once it has its name.
fn tried(path: &Path, format: ImageFormat, size_bytes: u64) -> io::Result<TriedSink> {
    let sink = create(path, format, size_bytes, true)?;
    let (kept, path) = (Arc::clone(&sink), path.to_owned());
    Ok(TriedSink::new(sink, move || {
        kept.keep()?;
        let image = ImageSource::new(path).with_format(format).open(None)?.image;
        // QEMU knows only complete sectors.
        assert_eq!(
            image.size_bytes() - size_bytes,
            if format == ImageFormat::Qcow2 { size_bytes.next_multiple_of(512) - size_bytes } else { 0 }
        );
        let mut content = vec![0; size_bytes as usize];
        image.read_at(0, &mut content)?;
        Ok(content)
    }))
}

#[test]
fn new_files_keep_the_contract_of_sinks() {
    let folder = tempfile::tempdir().unwrap();
    for format in [ImageFormat::Raw, ImageFormat::Qcow2] {
        assert_kept(&check_sink(|size_bytes| tried(&folder.path().join("disk"), format, size_bytes)));
    }
}

#[test]
fn devices_keep_the_contract_of_sinks() {
    let Some(device) = LoopDevice::new_or_say(4 << 20, 0xaa) else { return };
    let path = device.path().to_owned();
    let report = check_sink(|size_bytes| {
        let sink = create(&path, ImageFormat::Raw, size_bytes, true)?;
        let path = path.clone();
        Ok(TriedSink::new(sink, move || {
            let mut content = std::fs::read(&path)?;
            content.truncate(size_bytes as usize);
            Ok(content)
        }))
    });
    assert_kept(&report);
}

/// How an image breaks its contract.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    Size,
    HiddenData,
    RangeBefore,
    EmptyRange,
    PastEnd,
    ShiftedReads,
    FailingReads,
    Warning,
    OnlyOnce,
}

#[derive(Debug)]
struct Broken {
    content: Vec<u8>,
    fault: Fault,
    asked: AtomicU64,
}

impl DiskImage for Broken {
    fn location(&self) -> String {
        format!("{:?}", self.fault)
    }

    fn size_bytes(&self) -> u64 {
        self.content.len() as u64 + u64::from(self.fault == Fault::Size)
    }

    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        let end = self.content.len() as u64;
        let data = |range| Ok(if from < end { Some(range) } else { None });
        match self.fault {
            Fault::HiddenData if from > 0 => Ok(None),
            Fault::HiddenData => data(0..1),
            Fault::RangeBefore => data(from.saturating_sub(1)..end),
            Fault::EmptyRange => data(from..from),
            Fault::PastEnd => data(from..end + 1),
            _ => data(from..end),
        }
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let start = offset as usize;
        buffer.copy_from_slice(&self.content[start..start + buffer.len()]);
        match self.fault {
            Fault::ShiftedReads if offset == 1 => buffer.fill(0),
            Fault::ShiftedReads => buffer.rotate_left(1.min(buffer.len())),
            Fault::FailingReads if offset > 0 => return Err(io::ErrorKind::TimedOut.into()),
            Fault::OnlyOnce if self.asked.load(Ordering::Relaxed) > 0 => return Err(io::ErrorKind::BrokenPipe.into()),
            _ => {}
        }
        Ok(())
    }

    fn settle(&self) -> io::Result<Option<ImageWarning>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Ok((self.fault == Fault::Warning).then(|| ImageWarning::Custom { text: "it was written to".to_owned() }))
    }
}

#[test]
fn the_suite_sees_how_images_break_their_contract() {
    let failed = |fault| {
        let image = Broken { content: content(200_000), fault, asked: AtomicU64::new(0) };
        let report = check_image(&image, &image.content);
        report.failed().map(|case| case.name).collect::<Vec<_>>()
    };
    assert_eq!(failed(Fault::None), [""; 0]);
    assert_eq!(failed(Fault::Size), ["size"]);
    assert_eq!(failed(Fault::OnlyOnce), ["read again"]);
    assert_eq!(failed(Fault::Warning), ["settle", "read again"]);
    for fault in [Fault::HiddenData, Fault::EmptyRange, Fault::PastEnd, Fault::RangeBefore] {
        assert!(failed(fault).contains(&"data ranges") || failed(fault).contains(&"data from"), "{fault:?}");
    }
    for fault in [Fault::ShiftedReads, Fault::FailingReads] {
        assert!(failed(fault).contains(&"read whole") && failed(fault).contains(&"read parts"), "{fault:?}");
    }
}

/// A disk in memory that held something else before.
#[derive(Debug)]
struct Memory {
    content: Arc<Mutex<Vec<u8>>>,
    says_zeroed: bool,
    forgets_last: bool,
}

impl DiskSink for Memory {
    fn location(&self) -> String {
        "memory".to_owned()
    }

    fn begin(&self, size_bytes: u64) -> io::Result<()> {
        *self.content.lock().unwrap() = vec![0xaa; size_bytes as usize];
        Ok(())
    }

    fn is_zeroed(&self) -> bool {
        self.says_zeroed
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let start = offset as usize;
        let length = if self.forgets_last { bytes.len() - 1 } else { bytes.len() };
        self.content.lock().unwrap()[start..start + length].copy_from_slice(&bytes[..length]);
        Ok(())
    }

    fn finish(&self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_suite_sees_how_sinks_break_their_contract() {
    let failed = |says_zeroed, forgets_last| {
        let report = check_sink(|_| {
            let content = Arc::new(Mutex::new(Vec::new()));
            let sink = Memory { content: Arc::clone(&content), says_zeroed, forgets_last };
            Ok(TriedSink::new(sink, move || Ok(content.lock().unwrap().clone())))
        });
        report.failed().count()
    };
    assert_eq!(failed(false, false), 0);
    assert!(failed(true, false) >= 5);
    assert_eq!(failed(false, true), 6);
    let none = check_sink(|_| Err(io::ErrorKind::StorageFull.into()));
    assert_eq!(none.failed().count(), none.cases.len());
}
