//! Streams of one disk.

use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Mutex};

use offsite::{DiskTarget, Error, ImageFormat};

use super::{backed_up, flip, place, restore};
use crate::support::{BLOCK, day};

/// What was written, in its pieces, until the reader goes.
#[derive(Clone)]
struct Pipe {
    written: Arc<Mutex<Vec<u8>>>,
    bytes_max: usize,
}

impl Pipe {
    fn of(bytes_max: usize) -> Self {
        Self { written: Arc::default(), bytes_max }
    }

    fn written(&self) -> Vec<u8> {
        self.written.lock().unwrap().clone()
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut written = self.written.lock().unwrap();
        if written.len() + bytes.len() > self.bytes_max {
            return Err(ErrorKind::BrokenPipe.into());
        }
        assert!(bytes.len() <= 4 << 20, "{} bytes at once", bytes.len());
        written.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_disk_is_streamed_front_to_back() {
    let (_, repository, mut machines) = backed_up().await;
    // So that the blocks of a state lie in several files, and not in the order of the disk.
    for number in 1..5 {
        machines.change("web01", 2);
        machines.backup(&repository, &["web01"]).run(day(number)).await.unwrap();
    }
    for (number, disk) in machines.content("web01").iter().enumerate() {
        let pipe = Pipe::of(usize::MAX);
        let report =
            restore(&repository).disk(number.to_string()).disk_to(DiskTarget::writer(pipe.clone())).await.unwrap();
        assert!(pipe.written() == *disk, "disk {number}");
        let [streamed] = &report.disks[..] else { panic!("{report:?}") };
        assert_eq!((streamed.path.as_ref(), streamed.size_bytes), (None, disk.len() as u64));
    }
    let error = restore(&repository).disk_to(DiskTarget::writer(Pipe::of(0))).await.unwrap_err();
    assert!(matches!(error, Error::InvalidSetting { setting: "disk", .. }), "two disks: {error}");
    let error = restore(&repository)
        .disk("0")
        .format(ImageFormat::Qcow2)
        .disk_to(DiskTarget::writer(Pipe::of(0)))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::InvalidSetting { setting: "format", .. }), "{error}");
}

/// A reader that goes, wherever it does, and damage: an error, and what was written is right as far as it goes.
#[tokio::test]
async fn a_stream_that_ends_early_is_an_error() {
    let (memory, repository, machines) = backed_up().await;
    let disk = &machines.content("web01")[0];
    for bytes_max in [0, 1, BLOCK, 2 * BLOCK + 1, 3 * BLOCK, 7 * BLOCK, disk.len() - 1] {
        let pipe = Pipe::of(bytes_max);
        let error = restore(&repository).disk("0").disk_to(DiskTarget::writer(pipe.clone())).await.unwrap_err();
        let is_broken = |source: &io::Error| source.kind() == ErrorKind::BrokenPipe;
        assert!(matches!(&error, Error::Io { source, .. } if is_broken(source)), "{bytes_max}: {error}");
        assert!(disk.starts_with(&pipe.written()));
    }
    flip(&memory, &place(&memory, 1, 1, 0));
    let pipe = Pipe::of(usize::MAX);
    let error = restore(&repository).disk("1").disk_to(DiskTarget::writer(pipe.clone())).await.unwrap_err();
    assert!(matches!(error, Error::MachineDamaged { .. }), "{error}");
    assert_eq!(pipe.written(), b"");
}
