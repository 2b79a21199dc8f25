//! What the fuzz targets reach into. No part of the stable interface.

use crate::claims::holder;
use crate::image::failed;
use crate::{ImageSource, Result};

/// Ranges that are looked for in an image before it is left.
const RANGES_MAX: usize = 256;

/// Opens a disk image and reads what it says is data, `bytes_max` bytes of it at most; how many were read. Blocks.
///
/// # Errors
/// [`Error::Image`](crate::Error::Image).
pub fn read_image(source: &ImageSource, bytes_max: usize) -> Result<usize> {
    let image = source.open(None)?.image;
    let unread = |error| failed(&image.location(), "it cannot be read", error);
    let (mut from, mut read) = (0, 0);
    for _ in 0..RANGES_MAX {
        let Some(range) = image.next_data(from).map_err(unread)? else { break };
        let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX).min(bytes_max - read);
        image.read_at(range.start, &mut vec![0; length]).map_err(unread)?;
        (from, read) = (range.end, read + length);
    }
    Ok(read)
}

/// Who holds a claim with this text, in words.
#[must_use]
pub fn holder(text: &str) -> String {
    holder::describe(text)
}
