//! Reading objects.

use std::num::NonZeroU64;
use std::ops::Range;
use std::os::fd::OwnedFd;

use bytes::Bytes;
use offsite_repository::{Error, ErrorKind, Key, Result};
use rustix::buffer::spare_capacity;
use rustix::fs::{self, Advice, OFlags};
use rustix::io::{Errno, pread, retry_on_intr};

use super::errors::fault;
use super::root::{Root, past_end};

/// Ranges that touch are read together up to so much; more would hold on to memory for its last reader.
const TOGETHER_BYTES: u64 = 4 << 20;

/// An object as one buffer.
pub(super) fn whole(root: &Root, key: &Key, limit_bytes: u64) -> Result<Vec<Bytes>> {
    let (file, length) = open(root, key)?;
    if length > limit_bytes {
        let detail = format!("it has {length} bytes, at most {limit_bytes} are expected");
        return Err(Error::new(ErrorKind::Corrupt, "read").with_key(key).with_detail(detail));
    }
    Ok(vec![exact(&file, key, 0..length)?])
}

/// A buffer for each range.
pub(super) fn ranges(root: &Root, key: &Key, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
    let (file, length) = open(root, key)?;
    // Before anything is allocated for them.
    if let Some(wrong) = ranges.iter().find(|range| range.start > range.end || range.end > length) {
        return Err(past_end("read", key, wrong, length));
    }
    let runs = runs(ranges);
    advise(&file, ranges, &runs);
    let mut buffers = Vec::with_capacity(ranges.len());
    for run in runs {
        let start = ranges[run.start].start;
        let together = exact(&file, key, start..ranges[run.end - 1].end)?;
        let index = |offset: u64| usize::try_from(offset - start).unwrap_or(usize::MAX);
        buffers.extend(ranges[run].iter().map(|range| together.slice(index(range.start)..index(range.end))));
    }
    Ok(buffers)
}

fn open(root: &Root, key: &Key) -> Result<(OwnedFd, u64)> {
    let (file, stat) = root.open_file(key, OFlags::RDONLY).map_err(|errno| fault("read", key, errno))?;
    Ok((file, u64::try_from(stat.st_size).unwrap_or(0)))
}

/// Which ranges are read together: neighbours in the list that touch in the file.
fn runs(ranges: &[Range<u64>]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::with_capacity(ranges.len());
    for (number, range) in ranges.iter().enumerate() {
        match runs.last_mut() {
            Some(run)
                if ranges[run.end - 1].end == range.start && range.end - ranges[run.start].start <= TOGETHER_BYTES =>
            {
                run.end = number + 1;
            }
            _ => runs.push(number..number + 1),
        }
    }
    runs
}

/// Tells the kernel of all that is to come, so that a disk has them at once and not one after the other.
fn advise(file: &OwnedFd, ranges: &[Range<u64>], runs: &[Range<usize>]) {
    for run in runs.iter().skip(1) {
        let (start, end) = (ranges[run.start].start, ranges[run.end - 1].end);
        if let Some(length) = NonZeroU64::new(end - start) {
            // Advice: what comes of it changes no byte.
            let _ = fs::fadvise(file, start, Some(length), Advice::WillNeed);
        }
    }
}

fn exact(file: &OwnedFd, key: &Key, range: Range<u64>) -> Result<Bytes> {
    let wanted = usize::try_from(range.end - range.start).map_err(|_| fault("read", key, Errno::NOMEM))?;
    let mut buffer: Vec<u8> = Vec::new();
    buffer.try_reserve_exact(wanted).map_err(|_| fault("read", key, Errno::NOMEM))?;
    while buffer.len() < wanted {
        let offset = range.start + buffer.len() as u64;
        // Straight into memory that was never filled before.
        let mut read = || {
            #[cfg(test)]
            super::flush::injected::fail("read")?;
            retry_on_intr(|| pread(file, spare_capacity(&mut buffer), offset))
        };
        match read() {
            Ok(0) => return Err(past_end("read", key, &range, offset)),
            Ok(_) => {}
            Err(Errno::IO) => match read() {
                Ok(_) => {}
                Err(errno) => return Err(unreadable(file, key, errno)),
            },
            Err(errno) => return Err(fault("read", key, errno)),
        }
    }
    // Memory may be larger than asked for, and the file than the range.
    buffer.truncate(wanted);
    Ok(Bytes::from(buffer))
}

/// What a read means that failed twice.
///
/// A device that is gone cannot flush either; one that can has lost what lies there, and that is damage like any other: what is
/// stored twice is read from elsewhere.
fn unreadable(file: &OwnedFd, key: &Key, errno: Errno) -> Error {
    if errno != Errno::IO || fs::syncfs(file).is_err() {
        return fault("read", key, errno);
    }
    let detail = "the device works, and cannot read this any more: the kernel's log (dmesg) says more";
    Error::new(ErrorKind::Corrupt, "read").with_key(key).with_detail(detail).with_source(std::io::Error::from(errno))
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "ranges of an object, not collections of numbers")]
mod tests {
    use super::super::flush::injected::inject_times;
    use super::super::options::LocalOptions;
    use super::*;

    #[test]
    fn what_a_device_cannot_read_twice_is_damaged() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = Root::open(folder.path().to_owned(), &LocalOptions::default()).expect("its root");
        let key = Key::new("object").expect("a key");
        std::fs::write(folder.path().join("object"), b"bytes").expect("a file");
        let read = || whole(&root, &key, 100).map(|parts| parts.concat());
        inject_times("read", Errno::IO, 1);
        assert_eq!(read().expect("a second try"), b"bytes");
        for (errno, times, kind) in [(Errno::IO, 2, ErrorKind::Corrupt), (Errno::STALE, 1, ErrorKind::Unavailable)] {
            inject_times("read", errno, times);
            assert_eq!(read().expect_err("no bytes").kind(), kind, "{errno}");
        }
        assert_eq!(read().expect("nothing is injected"), b"bytes");
    }

    #[test]
    fn only_touching_neighbours_are_read_together() {
        let mib = 1 << 20;
        assert_eq!(runs(&[]), []);
        assert_eq!(runs(&[0..5, 5..9, 9..9, 9..10, 11..12, 12..13, 0..1]), [0..4, 4..6, 6..7]);
        assert_eq!(runs(&[5..9, 0..5]), [0..1, 1..2]);
        assert_eq!(runs(&[0..5, 3..9]), [0..1, 1..2]);
        assert_eq!(runs(&[0..3 * mib, 3 * mib..4 * mib, 4 * mib..5 * mib]), [0..2, 2..3]);
        assert_eq!(runs(&[0..9 * mib, 9 * mib..10 * mib]), [0..1, 1..2]);
    }
}
