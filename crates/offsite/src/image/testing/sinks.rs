//! The cases for sinks.

use std::fmt;
use std::io;
use std::ops::Range;

use super::{CaseReport, Numbers, Report, Seen, case, compare};
use crate::image::DiskSink;

/// The length of the pieces in which a restore writes, in bytes. The last piece of a disk may be shorter.
const BLOCK_BYTES: usize = 256 << 10;
/// The tested sizes of disks in bytes: one byte, parts of sectors, less than a block, a block, and blocks with a part of one.
const SIZES: [usize; 6] = [1, 513, 4_096, BLOCK_BYTES, 3 * BLOCK_BYTES + 777, 9 * BLOCK_BYTES + 4_096];
const THREADS: usize = 4;

/// A new sink, and a way to read what it holds once it is finished.
pub struct TriedSink {
    sink: Box<dyn DiskSink>,
    read_back: Box<dyn FnOnce() -> io::Result<Vec<u8>>>,
}

impl TriedSink {
    /// A sink to test. `read_back` returns the content of its disk.
    #[must_use]
    pub fn new(sink: impl DiskSink + 'static, read_back: impl FnOnce() -> io::Result<Vec<u8>> + 'static) -> Self {
        Self { sink: Box::new(sink), read_back: Box::new(read_back) }
    }
}

impl fmt::Debug for TriedSink {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TriedSink").field("sink", &self.sink).finish_non_exhaustive()
    }
}

/// Tests the sinks that `make` returns. `make` gets the size of the disk in bytes, at most some megabytes. This call blocks.
pub fn check_sink(mut make: impl FnMut(u64) -> io::Result<TriedSink>) -> Report {
    let mut location = String::new();
    let cases: [(&'static str, Writing); 6] = [
        ("no data", |_, _| Ok(())),
        ("front to back", |sink, disk| disk.blocks().try_for_each(|block| disk.write(sink, block))),
        ("back to front", |sink, disk| disk.blocks().rev().try_for_each(|block| disk.write(sink, block))),
        ("write again", |sink, disk| {
            let mut blocks = disk.blocks().chain(disk.blocks());
            blocks.try_for_each(|block| disk.write(sink, block))
        }),
        ("write at once", at_once),
        ("odd ranges", odd),
    ];
    let cases = cases.map(|(name, write)| {
        let tried = SIZES.iter().try_for_each(|size| {
            let tried = make(*size as u64).map_err(|error| format!("no sink for {size} bytes: {error}"))?;
            location = tried.sink.location();
            try_sink(tried, &Disk::new(*size, name), write).map_err(|what| format!("a disk of {size} bytes: {what}"))
        });
        case(name, tried)
    });
    Report { location, cases: Vec::<CaseReport>::from(cases) }
}

type Writing = fn(&dyn DiskSink, &Disk) -> io::Result<()>;

/// A disk with data and zeros.
struct Disk {
    content: Vec<u8>,
    /// Whether each block is data, by its number.
    is_data: Vec<bool>,
}

impl Disk {
    fn new(size: usize, case: &str) -> Self {
        let mut numbers = Numbers(size as u64 * 31 + case.len() as u64);
        let is_data: Vec<bool> =
            (0..size.div_ceil(BLOCK_BYTES)).map(|block| case != "no data" && block % 3 != 1).collect();
        let mut content = vec![0; size];
        for (block, _) in content.chunks_mut(BLOCK_BYTES).zip(&is_data).filter(|(_, is_data)| **is_data) {
            block.iter_mut().for_each(|byte| *byte = numbers.byte());
        }
        Self { content, is_data }
    }

    /// Returns the ranges of the blocks that are data.
    fn blocks(&self) -> impl DoubleEndedIterator<Item = Range<usize>> + Clone {
        self.ranges(true)
    }

    fn ranges(&self, wanted: bool) -> impl DoubleEndedIterator<Item = Range<usize>> + Clone {
        let size = self.content.len();
        let numbers = (0..self.is_data.len()).filter(move |block| self.is_data[*block] == wanted);
        numbers.map(move |block| block * BLOCK_BYTES..size.min((block + 1) * BLOCK_BYTES))
    }

    fn write(&self, sink: &dyn DiskSink, range: Range<usize>) -> io::Result<()> {
        sink.write_at(range.start as u64, &self.content[range])
    }
}

fn try_sink(tried: TriedSink, disk: &Disk, write: Writing) -> Seen {
    let TriedSink { sink, read_back } = tried;
    let doing = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    let sink = sink.as_ref();
    sink.begin(disk.content.len() as u64).map_err(doing("begin"))?;
    if !sink.is_zeroed() {
        for zeros in disk.ranges(false) {
            sink.write_zeros(zeros.start as u64..zeros.end as u64).map_err(doing("write_zeros"))?;
        }
    }
    write(sink, disk).map_err(doing("writing"))?;
    sink.finish().map_err(doing("finish"))?;
    let found = read_back().map_err(doing("reading back"))?;
    compare("what it holds", &found, &disk.content)
}

fn at_once(sink: &dyn DiskSink, disk: &Disk) -> io::Result<()> {
    std::thread::scope(|scope| {
        let writers = (0..THREADS).map(|thread| {
            let mut own = disk.blocks().skip(thread).step_by(THREADS).collect::<Vec<_>>().into_iter();
            scope.spawn(move || own.try_for_each(|block| disk.write(sink, block)))
        });
        let writers: Vec<_> = writers.collect();
        let joined = writers.into_iter().map(|writer| writer.join().unwrap_or_else(|_| Err(io::Error::other("panic"))));
        joined.collect::<Vec<_>>().into_iter().collect()
    })
}

/// Writes each block in pieces that end anywhere. Writes zeros in such pieces, too.
fn odd(sink: &dyn DiskSink, disk: &Disk) -> io::Result<()> {
    let mut numbers = Numbers(disk.content.len() as u64);
    for (ranges, is_data) in [(disk.ranges(true).collect::<Vec<_>>(), true), (disk.ranges(false).collect(), false)] {
        for Range { mut start, end } in ranges {
            while start < end {
                let piece = start..end.min(start + 1 + numbers.below(BLOCK_BYTES / 3));
                start = piece.end;
                match is_data {
                    true => disk.write(sink, piece)?,
                    false => sink.write_zeros(piece.start as u64..piece.end as u64)?,
                }
            }
        }
    }
    Ok(())
}
