//! Reading objects: exact ranges, few requests.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt, stream};
use offsite_repository::{Error, ErrorKind, Key, Result, StreamDirection};
use tokio::task::JoinSet;

use super::bucket::Part;
use super::shared::Shared;
use super::truth::checksum_of;

/// One request brings at most so much, and less if many may be under way; longer ranges are read by several at once.
const REQUEST_BYTES_MAX: u64 = 8 << 20;
const REQUEST_BYTES_MIN: u64 = 1 << 20;
/// All requests together bring about so much at once.
const AT_ONCE_BYTES: u64 = 64 << 20;
/// Ranges that lie closer than this are read together: the bytes between take less time than a request.
const GAP_BYTES: u64 = 128 << 10;

/// An object as one buffer, checked against its checksum if it was stored with one.
pub(super) async fn whole(shared: &Shared, key: &Key, limit_bytes: u64) -> Result<Vec<Bytes>> {
    let Part { bytes, object } = shared.bucket.read(key.as_str(), None, limit_bytes).await?;
    match object.checksum {
        Some(checksum) if checksum != checksum_of([bytes.as_ref()]) => {
            let detail = "its content is not the one that its checksum was stored with";
            Err(Error::new(ErrorKind::Corrupt, "read").with_key(key).with_detail(detail))
        }
        _ => Ok(vec![bytes]),
    }
}

/// A buffer for each range.
pub(super) async fn ranges(shared: &Arc<Shared>, key: &Key, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
    let object_bytes_max = shared.limits().object_bytes_max;
    // Before anything is asked or allocated for them.
    if let Some(wrong) = ranges.iter().find(|range| range.start > range.end || range.end > object_bytes_max) {
        return Err(past_end(key, wrong));
    }
    let spans = spans(ranges);
    let in_flight = shared.bucket.options.streams.range().most();
    let request_bytes = request_bytes(in_flight);
    // Lazily, so that a range far beyond the end costs no more than the first that fails.
    let parts: Vec<Part> = stream::iter(spans.clone().into_iter().flat_map(|span| requests(span, request_bytes)))
        .map(|range| exact(shared, key, range))
        .buffered(in_flight)
        .try_collect()
        .await?;
    let length = match parts.first() {
        Some(part) => part.object.length,
        // Nothing to read; but it must be there, and as long as that.
        None => match shared.bucket.describe("read", key.as_str()).await? {
            Some(object) => object.length,
            None => return Err(Error::new(ErrorKind::NotFound, "read").with_key(key)),
        },
    };
    if let Some(wrong) = ranges.iter().find(|range| range.end > length) {
        return Err(past_end(key, wrong));
    }
    let mut parts = parts.into_iter();
    let buffers: Vec<(u64, Bytes)> =
        spans.iter().map(|span| (span.start, gathered(&mut parts, span, request_bytes))).collect();
    Ok(ranges.iter().map(|range| cut(&buffers, range)).collect())
}

/// What is asked for by one request each.
fn requests(span: Range<u64>, request_bytes: u64) -> impl Iterator<Item = Range<u64>> {
    let Range { mut start, end } = span;
    std::iter::from_fn(move || {
        let range = start..end.min(start.saturating_add(request_bytes));
        start = range.end;
        (range.start < range.end).then_some(range)
    })
}

/// How much one request brings if so many may be under way.
fn request_bytes(streams: usize) -> u64 {
    (AT_ONCE_BYTES / streams.max(1) as u64).clamp(REQUEST_BYTES_MIN, REQUEST_BYTES_MAX)
}

async fn exact(shared: &Arc<Shared>, key: &Key, range: Range<u64>) -> Result<Part> {
    let wanted = range.end - range.start;
    let (shared, name, asked) = (Arc::clone(shared), key.clone(), range.clone());
    // In a task of its own: it gives its permit back also if its reader stands still.
    let mut task = JoinSet::new();
    task.spawn(async move {
        let permit = shared.bucket.options.streams.begin(StreamDirection::Reading, wanted).await;
        let part = shared.bucket.read(name.as_str(), Some(asked), wanted).await?;
        permit.done();
        Ok::<_, Error>(part)
    });
    let part = match task.join_next().await {
        Some(Ok(answer)) => answer?,
        ended => {
            let error = Error::new(ErrorKind::Unavailable, "read").with_key(key);
            return Err(match ended {
                Some(Err(why)) => error.with_source(why),
                _ => error,
            });
        }
    };
    if part.bytes.len() as u64 == wanted { Ok(part) } else { Err(past_end(key, &range)) }
}

fn past_end(key: &Key, range: &Range<u64>) -> Error {
    let detail = format!("bytes {} to {} were asked for, and it ends before", range.start, range.end);
    Error::new(ErrorKind::Corrupt, "read").with_key(key).with_detail(detail)
}

/// What is read together: ascending, apart from each other, and together all that is in the ranges.
fn spans(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut sorted: Vec<&Range<u64>> = ranges.iter().filter(|range| range.start < range.end).collect();
    sorted.sort_by_key(|range| range.start);
    let mut spans: Vec<Range<u64>> = Vec::new();
    for range in sorted {
        match spans.last_mut() {
            Some(span) if range.start <= span.end.saturating_add(GAP_BYTES) => span.end = span.end.max(range.end),
            _ => spans.push(range.clone()),
        }
    }
    spans
}

/// The next parts, as far as they make up `span`.
fn gathered(parts: &mut impl Iterator<Item = Part>, span: &Range<u64>, request_bytes: u64) -> Bytes {
    let length = span.end - span.start;
    if length <= request_bytes {
        return parts.next().map(|part| part.bytes).unwrap_or_default();
    }
    let mut together = BytesMut::new();
    while (together.len() as u64) < length
        && let Some(part) = parts.next()
    {
        together.extend_from_slice(&part.bytes);
    }
    together.freeze()
}

/// The bytes of a range; all of it lies in one of the buffers.
fn cut(buffers: &[(u64, Bytes)], range: &Range<u64>) -> Bytes {
    if range.start == range.end {
        return Bytes::new();
    }
    let after = buffers.partition_point(|(start, _)| *start <= range.start);
    let Some((start, buffer)) = after.checked_sub(1).and_then(|index| buffers.get(index)) else { return Bytes::new() };
    let index = |offset: u64| usize::try_from(offset - start).unwrap_or(usize::MAX).min(buffer.len());
    buffer.slice(index(range.start)..index(range.end))
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "ranges of an object, not collections of numbers")]
mod tests {
    use super::*;

    #[test]
    fn what_lies_close_is_read_together() {
        assert_eq!(spans(&[]), []);
        assert_eq!(spans(&[5..5, 7..7]), []);
        assert_eq!(spans(&[0..10, 20..30, 10..15]), [0..30]);
        let far = 30 + GAP_BYTES;
        assert_eq!(spans(&[far..far + 1, 0..30]), [0..far + 1]);
        assert_eq!(spans(&[far + 1..far + 2, 0..30]), [0..30, far + 1..far + 2]);
        assert_eq!(spans(&[0..100, 10..20]), [0..100]);
    }

    #[test]
    fn a_range_is_cut_out_of_its_span() {
        let buffers = [(10, Bytes::from_static(b"abcdef")), (100, Bytes::from_static(b"xyz"))];
        assert_eq!(cut(&buffers, &(10..16)), "abcdef");
        assert_eq!(cut(&buffers, &(12..13)), "c");
        assert_eq!(cut(&buffers, &(101..103)), "yz");
        assert_eq!(cut(&buffers, &(7..7)), "");
    }
}
