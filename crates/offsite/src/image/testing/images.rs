//! The cases for images.

use std::ops::Range;

use super::{CaseReport, Numbers, Report, Seen, case, compare};
use crate::image::DiskImage;

/// The number of random places that are tested.
const TRIES: usize = 200;
const THREADS: usize = 4;
const PIECE_BYTES: usize = 64 << 10;

/// Tests an image against its expected `content`. The image must not change meanwhile. This call blocks.
#[must_use]
pub fn check_image(image: &dyn DiskImage, content: &[u8]) -> Report {
    let mut cases = vec![case("size", size(image, content))];
    // No case may read beyond the end of the disk.
    if image.size_bytes() == content.len() as u64 && !content.is_empty() {
        cases.extend(reading(image, content));
        // The next run of a job does the same.
        cases.push(case("read again", whole(image, content).and_then(|()| settle(image))));
    }
    Report { location: image.location(), cases }
}

fn reading(image: &dyn DiskImage, content: &[u8]) -> [CaseReport; 6] {
    [
        case("data ranges", ranges(image, content)),
        case("data from", data_from(image, content)),
        case("read whole", whole(image, content)),
        case("read parts", parts(image, content, 1)),
        case("read at once", at_once(image, content)),
        case("settle", settle(image)),
    ]
}

fn size(image: &dyn DiskImage, content: &[u8]) -> Seen {
    let sizes = [image.size_bytes(), image.size_bytes()];
    if sizes == [content.len() as u64; 2] {
        return Ok(());
    }
    Err(format!("it says {} and then {} bytes, and has {}", sizes[0], sizes[1], content.len()))
}

/// Returns the range that the image tells for `from`. Fails if the contract does not allow it.
fn next(image: &dyn DiskImage, content: &[u8], from: usize) -> Result<Option<Range<usize>>, String> {
    let told = image.next_data(from as u64).map_err(|error| format!("next_data({from}): {error}"))?;
    let zeros_end = match &told {
        None => content.len(),
        Some(range) if range.start < from as u64 || range.is_empty() || range.end > content.len() as u64 => {
            return Err(format!("next_data({from}) gives {range:?} of {} bytes", content.len()));
        }
        Some(range) => offset(range.start),
    };
    let hidden = content.get(from..zeros_end).unwrap_or_default().iter().position(|byte| *byte != 0);
    match hidden {
        Some(at) => Err(format!("next_data({from}) gives {told:?} and hides byte {}, which is not zero", from + at)),
        None => Ok(told.map(|range| offset(range.start)..offset(range.end))),
    }
}

fn offset(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn ranges(image: &dyn DiskImage, content: &[u8]) -> Seen {
    let mut from = 0;
    while let Some(range) = next(image, content, from)? {
        from = range.end;
    }
    match next(image, content, content.len())? {
        Some(range) => Err(format!("next_data gives {range:?} at the end")),
        None => Ok(()),
    }
}

fn data_from(image: &dyn DiskImage, content: &[u8]) -> Seen {
    let mut numbers = Numbers(1);
    (0..TRIES).try_for_each(|_| next(image, content, numbers.below(content.len())).map(drop))
}

fn read(image: &dyn DiskImage, content: &[u8], range: Range<usize>) -> Seen {
    let mut buffer = vec![0xaa; range.len()];
    let what = format!("read_at({}) of {} bytes", range.start, range.len());
    image.read_at(range.start as u64, &mut buffer).map_err(|error| format!("{what}: {error}"))?;
    compare(&what, &buffer, &content[range])
}

fn whole(image: &dyn DiskImage, content: &[u8]) -> Seen {
    let mut starts = (0..content.len()).step_by(PIECE_BYTES);
    starts.try_for_each(|start| read(image, content, start..content.len().min(start + PIECE_BYTES)))
}

fn parts(image: &dyn DiskImage, content: &[u8], seed: u64) -> Seen {
    let mut numbers = Numbers(seed);
    let length = content.len();
    for edge in [0..1, length - 1..length, 0..0, length..length] {
        read(image, content, edge)?;
    }
    for _ in 0..TRIES {
        let start = numbers.below(length);
        read(image, content, start..length.min(start + 1 + numbers.below(3 * PIECE_BYTES)))?;
    }
    Ok(())
}

fn at_once(image: &dyn DiskImage, content: &[u8]) -> Seen {
    std::thread::scope(|scope| {
        let readers = (0..THREADS).map(|thread| scope.spawn(move || parts(image, content, 2 + thread as u64)));
        let readers: Vec<_> = readers.collect();
        let joined = readers.into_iter().map(|reader| reader.join().unwrap_or_else(|_| Err("it panics".to_owned())));
        joined.collect::<Vec<Seen>>().into_iter().collect()
    })
}

fn settle(image: &dyn DiskImage) -> Seen {
    match image.settle() {
        Ok(None) => Ok(()),
        Ok(Some(warning)) => Err(format!("it warns though nothing has changed: {warning}")),
        Err(error) => Err(format!("it fails though nothing has changed: {error}")),
    }
}
