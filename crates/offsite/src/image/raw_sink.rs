//! Restores raw images, to new files and block devices.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::device::Device;
use super::{DiskSink, ImageSink, WriteOver, check_size};
use crate::files::partial::{Content, Partial, Replace};
use crate::{Error, Result};

/// The number of bytes after which written data is flushed in the background, so that the last flush has little to do.
const FLUSH_BYTES: u64 = 64 << 20;

/// Zeroed ranges are multiples of this many bytes, except at the end of a disk. Every device can address such ranges.
const ZERO_ALIGNMENT_BYTES: u64 = 4096;
static ZEROS: [u8; 1 << 20] = [0; 1 << 20];

/// A raw image that is being restored.
#[derive(Debug)]
pub(super) struct RawSink {
    place: Place,
    file: File,
    /// The size of the disk in bytes.
    size_bytes: u64,
    unflushed_bytes: AtomicU64,
    flusher: Mutex<Option<JoinHandle<io::Result<()>>>>,
}

/// Where the image is.
#[derive(Debug)]
enum Place {
    /// In a new file, which is sparse where nothing is written.
    File(Partial),
    /// On a device that held something before.
    Device {
        device: Device,
        /// Whether a part of it may have been overwritten.
        is_begun: AtomicBool,
    },
}

impl RawSink {
    pub(super) fn create(path: &Path, size_bytes: u64, replace: Replace) -> Result<Self> {
        let (partial, file) = Partial::create(path, Content::Image, replace)?;
        file.set_len(size_bytes).map_err(|error| partial.failed(error))?;
        Ok(Self::new(Place::File(partial), file, size_bytes))
    }

    /// Overwrites a block device that has at least `size_bytes`.
    pub(super) fn open_device(path: &Path, size_bytes: u64) -> Result<Self> {
        let (device, file) = Device::claim(path, size_bytes)?;
        Ok(Self::new(Place::Device { device, is_begun: AtomicBool::new(false) }, file, size_bytes))
    }

    fn new(place: Place, file: File, size_bytes: u64) -> Self {
        Self { place, file, size_bytes, unflushed_bytes: AtomicU64::new(0), flusher: Mutex::new(None) }
    }

    fn path(&self) -> &Path {
        match &self.place {
            Place::File(partial) => partial.path(),
            Place::Device { device, .. } => device.path(),
        }
    }

    fn failed(&self, error: io::Error) -> Error {
        match &self.place {
            Place::File(partial) => partial.failed(error),
            Place::Device { device, .. } => device.failed(error),
        }
    }

    fn begin_writing(&self) {
        if let Place::Device { is_begun, .. } = &self.place {
            is_begun.store(true, Ordering::Relaxed);
        }
    }

    /// Asks the device to make a range read as zeros, without sending them. Returns whether it did.
    fn has_zeroed(&self, range: &Range<u64>) -> io::Result<bool> {
        // The first mode gives the space back as well. With both, a device makes zeros or refuses.
        for mode in [FallocateFlags::PUNCH_HOLE, FallocateFlags::ZERO_RANGE] {
            let mode = mode | FallocateFlags::KEEP_SIZE;
            loop {
                match fallocate(&self.file, mode, range.start, range.end - range.start) {
                    Ok(()) => return Ok(true),
                    Err(Errno::INTR) => {}
                    Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS | Errno::NODEV) => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(false)
    }

    fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)?;
        let unflushed = self.unflushed_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed) + bytes.len() as u64;
        if unflushed >= FLUSH_BYTES { self.start_flush() } else { Ok(()) }
    }

    fn zero(&self, range: Range<u64>) -> io::Result<()> {
        let end = range.end - range.end % ZERO_ALIGNMENT_BYTES;
        let mut position = range.start;
        if position < end && position.is_multiple_of(ZERO_ALIGNMENT_BYTES) && self.has_zeroed(&(position..end))? {
            position = end;
        }
        while position < range.end {
            let length = (range.end - position).min(ZEROS.len() as u64);
            self.write(&ZEROS[..usize::try_from(length).unwrap_or_default()], position)?;
            position += length;
        }
        Ok(())
    }

    /// Flushes in the background, unless a flush is running already.
    fn start_flush(&self) -> io::Result<()> {
        let mut flusher = self.flusher.lock().unwrap_or_else(PoisonError::into_inner);
        if flusher.as_ref().is_some_and(|running| !running.is_finished()) {
            return Ok(());
        }
        join(flusher.take())?;
        let file = self.file.try_clone()?;
        *flusher = Some(std::thread::Builder::new().name("flush".to_owned()).spawn(move || file.sync_data())?);
        self.unflushed_bytes.store(0, Ordering::Relaxed);
        Ok(())
    }
}

fn join(flusher: Option<JoinHandle<io::Result<()>>>) -> io::Result<()> {
    match flusher.map(JoinHandle::join) {
        None | Some(Ok(Ok(()))) => Ok(()),
        Some(Ok(Err(error))) => Err(error),
        Some(Err(_)) => Err(io::Error::other("a flush ended by itself")),
    }
}

impl DiskSink for RawSink {
    fn location(&self) -> String {
        self.path().display().to_string()
    }

    fn begin(&self, size_bytes: u64) -> io::Result<()> {
        Ok(check_size(self.path(), self.size_bytes, size_bytes)?)
    }

    fn is_zeroed(&self) -> bool {
        matches!(self.place, Place::File(_))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.begin_writing();
        Ok(self.write(bytes, offset).map_err(|error| self.failed(error))?)
    }

    fn write_zeros(&self, range: Range<u64>) -> io::Result<()> {
        self.begin_writing();
        Ok(self.zero(range).map_err(|error| self.failed(error))?)
    }

    fn finish(&self) -> io::Result<()> {
        let flusher = self.flusher.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(join(flusher).and_then(|()| self.file.sync_all()).map_err(|error| self.failed(error))?)
    }
}

impl ImageSink for RawSink {
    fn write_over(&self) -> Option<WriteOver> {
        match &self.place {
            Place::File(_) => None,
            Place::Device { device, is_begun } => Some(WriteOver {
                path: device.path().to_owned(),
                device_bytes: device.size_bytes(),
                is_begun: is_begun.load(Ordering::Relaxed),
            }),
        }
    }

    fn keep(&self) -> Result<()> {
        match &self.place {
            Place::File(partial) => partial.keep(),
            Place::Device { .. } => Ok(()),
        }
    }

    fn discard(&self) {
        let _ = join(self.flusher.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Place::File(partial) = &self.place {
            partial.discard();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// If the file system of the test cannot do it, the call says so, and nothing has changed.
    #[test]
    fn what_is_said_to_be_zeroed_is_zero() {
        let folder = tempfile::tempdir().unwrap();
        let sink = RawSink::create(&folder.path().join("disk"), 12_288, Replace::Never).unwrap();
        sink.file.write_all_at(&[7; 12_288], 0).unwrap();
        let expected = if sink.has_zeroed(&(0..8_192)).unwrap() { 0 } else { 7 };
        let mut content = vec![1; 12_288];
        sink.file.read_exact_at(&mut content, 0).unwrap();
        assert!(content[..8_192].iter().all(|byte| *byte == expected));
        assert!(content[8_192..].iter().all(|byte| *byte == 7));
    }
}
