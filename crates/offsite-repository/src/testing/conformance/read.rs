//! Reading: exactly what was asked for.
#![expect(clippy::single_range_in_vec_init, reason = "ranges of an object, not collections of numbers")]

use std::ops::Range;

use bytes::Bytes;

use super::content::{difference, noise, part};
use super::context::{Checked, Context, ensure, expect_kind};
use crate::{ErrorKind, Key, ReadRequest, RepositoryExt};

/// What is finished is seen at once, also by others.
pub(super) async fn read_your_writes(context: Context) -> Checked {
    for number in 0..context.options.races {
        let key = context.key(&format!("object-{number}"))?;
        let content = noise(number as u64 + 300, 100 + number);
        context.put(&key, &content).await?;
        let other = context.clone();
        let other = tokio::spawn(async move {
            other.expect_content(&key, &content).await?;
            let listed = other.list().await?;
            let seen = listed.iter().any(|object| object.key == key && object.length == content.len() as u64);
            ensure!(seen, "{key} was finished, and is not among {} listed objects", listed.len());
            Ok(())
        });
        other.await??;
    }
    Ok(())
}

/// Ranges come back in the order asked for, exactly; one that goes past the end fails.
pub(super) async fn read_ranges(context: Context) -> Checked {
    let length = context.options.large_object_bytes as u64;
    let content = noise(6, context.options.large_object_bytes);
    let key = context.key("object")?;
    context.put(&key, &content).await?;
    let middle = length / 2;
    let asked = [
        vec![],
        vec![0..length],
        vec![0..1],
        vec![length - 1..length],
        vec![0..0, middle..middle, length..length],
        vec![0..100, 100..4_096, 4_096..4_097, 4_097..9_000],
        vec![middle..middle + 5_000, 10..20, length - 7..length, 0..3],
        vec![50..500, 100..200, 100..200, 199..5_000, 0..length],
        (0..200).map(|number| number * 311..number * 311 + 97).collect(),
    ];
    for ranges in asked {
        let buffers = context.repository.read(&key, ReadRequest::Ranges(&ranges)).await?;
        ensure!(buffers.len() == ranges.len(), "{} buffers for {} ranges", buffers.len(), ranges.len());
        for (range, buffer) in ranges.iter().zip(buffers) {
            let wanted = part(&content, range);
            ensure!(buffer == wanted, "bytes {range:?} read otherwise than written: {}", difference(&buffer, wanted));
        }
    }
    #[expect(clippy::reversed_empty_ranges, reason = "it is what a caller's wrong arithmetic asks for")]
    let wrong =
        [length - 1..length + 1, length..length + 1, length + 1..length + 1, 0..u64::MAX, u64::MAX - 1..u64::MAX, 9..3];
    for range in wrong {
        let answer = context.repository.read(&key, ReadRequest::Ranges(&[0..1, range.clone()])).await;
        expect_kind(answer, &[ErrorKind::Corrupt], || format!("reading bytes {range:?} of {length}"))?;
    }
    Ok(())
}

/// Where pages, buffers and parts end: ranges are tried at the first multiples of these.
const EDGES: [u64; 5] = [4 << 10, 64 << 10, 1 << 20, 5 << 20, 8 << 20];

/// The longest range beside an edge: less than any page, so that it lies in one or in two.
const BESIDE_BYTES: u64 = 1_000;

/// Ranges that end at `edge`, begin there and go across, by a byte and by more.
pub(super) fn around(edge: u64, length: u64) -> impl Iterator<Item = Range<u64>> {
    let sides = [1, BESIDE_BYTES].map(|bytes| (edge.saturating_sub(bytes), (edge + bytes).min(length)));
    sides.into_iter().flat_map(move |(before, behind)| [before..edge, edge..behind, before..behind])
}

/// One range, asked for alone.
pub(super) async fn check_range(context: &Context, key: &Key, content: &[u8], range: Range<u64>) -> Checked {
    let found = context.repository.get_range(key, range.clone()).await?;
    let wanted = part(content, &range);
    ensure!(found == wanted, "bytes {range:?} read otherwise than written: {}", difference(&found, wanted));
    Ok(())
}

/// Ranges that end where a page or a buffer ends, begin there or go across; objects that end there.
pub(super) async fn range_ends(context: Context) -> Checked {
    let length = context.options.large_object_bytes as u64;
    let content = noise(9, context.options.large_object_bytes);
    let key = context.key("object")?;
    context.put(&key, &content).await?;
    for edge in EDGES {
        for edge in [edge, edge * 2, edge * 3].into_iter().filter(|edge| *edge < length) {
            let ranges: Vec<Range<u64>> = around(edge, length).collect();
            for range in ranges.clone() {
                check_range(&context, &key, &content, range).await?;
            }
            // All at once, as those that touch may be read as one.
            let buffers = context.repository.read(&key, ReadRequest::Ranges(&ranges)).await?;
            ensure!(buffers.len() == ranges.len(), "{} buffers for {} ranges", buffers.len(), ranges.len());
            for (range, buffer) in ranges.iter().zip(buffers) {
                ensure!(buffer == part(&content, range), "bytes {range:?} read with others otherwise than written");
            }
        }
        if edge >= length {
            continue;
        }
        check_range(&context, &key, &content, 0..edge).await?;
        // An object that ends there.
        let short = context.key(&format!("length-{edge}"))?;
        let content = part(&content, &(0..edge));
        context.put(&short, &Bytes::copy_from_slice(content)).await?;
        for range in [0..edge, edge - 1..edge, edge..edge] {
            check_range(&context, &short, content, range).await?;
        }
        let past = context.repository.get_range(&short, edge - 1..edge + 1).await;
        expect_kind(past, &[ErrorKind::Corrupt], || format!("reading byte {edge} of an object of so many"))?;
        context.repository.delete(&short).await?;
    }
    Ok(())
}

/// A whole object is read up to the limit, and one that is longer is refused.
pub(super) async fn read_whole(context: Context) -> Checked {
    for length in [0, 1, 70_000] {
        let content = noise(7, length);
        let key = context.key(&format!("length-{length}"))?;
        context.put(&key, &content).await?;
        let length = length as u64;
        for limit_bytes in [length, length + 1, u64::MAX] {
            let buffers = context.repository.read(&key, ReadRequest::Whole { limit_bytes }).await?;
            ensure!(buffers.len() == 1, "{} buffers for one whole object", buffers.len());
            ensure!(buffers[0] == content, "read otherwise than written: {}", difference(&buffers[0], &content));
        }
        if let Some(limit_bytes) = length.checked_sub(1) {
            let answer = context.repository.read(&key, ReadRequest::Whole { limit_bytes }).await;
            expect_kind(answer, &[ErrorKind::Corrupt], || format!("reading {length} bytes, at most {limit_bytes},"))?;
        }
    }
    Ok(())
}

/// Names that are not there, be they folders of some that are, or below an object, are `NotFound` and listed as nothing.
pub(super) async fn missing_objects(context: Context) -> Checked {
    let content = noise(8, 10);
    context.put(&context.key("folder/object")?, &content).await?;
    for name in ["missing", "folder", "folder/objec", "folder/object2", "folder/object/below", "no/such/folder"] {
        let key = context.key(name)?;
        let what = || format!("reading {key}, which does not exist,");
        expect_kind(context.repository.get(&key, 100).await, &[ErrorKind::NotFound], what)?;
        expect_kind(context.repository.get_range(&key, 0..1).await, &[ErrorKind::NotFound], what)?;
        expect_kind(context.repository.read(&key, ReadRequest::Ranges(&[])).await, &[ErrorKind::NotFound], what)?;
    }
    for name in ["folder/object", "missing", "fold"] {
        let page = context.repository.list(&crate::Prefix::new(context.key(name)?.as_str())?, None, 10).await?;
        ensure!(page.objects.is_empty() && !page.more, "below {name:?} there is nothing, listed is {page:?}");
    }
    context.expect_content(&context.key("folder/object")?, &content).await
}
