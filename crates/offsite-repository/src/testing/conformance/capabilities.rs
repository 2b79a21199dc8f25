//! Whether the capabilities that are returned are there.
#![expect(clippy::single_range_in_vec_init, reason = "ranges of an object, not collections of numbers")]

use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::content::{difference, noise};
use super::context::{Checked, Context, Stop, ensure, expect_kind};
use crate::{ErrorKind, Extent, Key, Piece, RepositoryExt};

/// Granules beyond this are not tried: the objects would be too large for a probe.
const GRANULE_MAX: u64 = 1 << 20;

fn missing(what: &str) -> Stop {
    Stop::LeftOut(format!("this place does not offer {what}"))
}

fn granule(bytes: u64) -> Checked<usize> {
    ensure!(bytes > 0, "a granularity of zero bytes");
    match usize::try_from(bytes) {
        Ok(granule) if bytes <= GRANULE_MAX => Ok(granule),
        _ => Err(Stop::LeftOut(format!("granules of {bytes} bytes are too large for a probe"))),
    }
}

/// Punching gives space back, changes no byte outside the ranges and no length, and can be repeated.
pub(super) async fn punch(context: Context) -> Checked {
    let reclaim = context.repository.reclaim().ok_or_else(|| missing("punching holes"))?;
    let unit = granule(reclaim.punch_granularity_bytes())?;
    let content = noise(13, unit * 40 + 123);
    let (key, neighbour) = (context.key("object")?, context.key("object-2")?);
    for key in [&key, &neighbour] {
        context.put(key, &content).await?;
    }
    let before = reclaim.allocated_bytes(&key).await?;
    ensure!(before >= content.len() as u64, "{before} bytes are allocated to {}", content.len());
    let unit = unit as u64;
    // Aligned; ragged; next to each other; less than a granule; nothing; the end of the object.
    let ranges = [
        unit * 2..unit * 6,
        unit * 7 + 1..unit * 12 - 1,
        unit * 14..unit * 15,
        unit * 15..unit * 16,
        unit * 20 + 5..unit * 20 + 17,
        unit * 22..unit * 22,
        unit * 38..content.len() as u64,
    ];
    let whole_granules = 4 + 3 + 2 + 2;
    for round in 0..3 {
        reclaim.punch(&key, if round < 2 { &ranges } else { &ranges[1..3] }).await?;
        let found = context.repository.get(&key, u64::MAX).await?;
        check_punched(&found, &content, &ranges, unit)?;
        let after = reclaim.allocated_bytes(&key).await?;
        ensure!(
            after + unit * whole_granules <= before,
            "{whole_granules} granules of {unit} bytes were punched, and of {before} bytes {after} are still allocated"
        );
    }
    context.expect_content(&neighbour, &content).await?;
    reclaim.punch(&neighbour, &[]).await?;
    let past = content.len() as u64 - 1..content.len() as u64 + unit;
    expect_kind(reclaim.punch(&neighbour, &[past]).await, &[ErrorKind::Corrupt], || {
        "punching past the end".to_owned()
    })?;
    context.expect_content(&neighbour, &content).await?;
    let absent = context.key("absent")?;
    expect_kind(reclaim.punch(&absent, &[0..unit]).await, &[ErrorKind::NotFound], || "punching nothing".to_owned())?;
    expect_kind(reclaim.allocated_bytes(&absent).await, &[ErrorKind::NotFound], || "measuring nothing".to_owned())?;
    context.expect_absent(&absent).await
}

fn check_punched(found: &[u8], content: &[u8], ranges: &[Range<u64>], unit: u64) -> Checked {
    ensure!(found.len() == content.len(), "punched, {} bytes are {} long", content.len(), found.len());
    for (position, (now, before)) in found.iter().zip(content).enumerate() {
        let position = position as u64;
        let inside = ranges.iter().find(|range| range.contains(&position));
        let as_before = now == before;
        match inside {
            None => ensure!(as_before, "byte {position} is outside of every punched range, and has changed"),
            Some(range) => {
                let whole = position / unit * unit >= range.start && (position / unit + 1) * unit <= range.end;
                ensure!(*now == 0 || (as_before && !whole), "byte {position} was punched, and reads as {now:#04x}");
            }
        }
    }
    Ok(())
}

/// A clone has the bytes of its pieces, is a create like any other, and is an object of its own.
pub(super) async fn clone_range(context: Context) -> Checked {
    let cloner = context.repository.clone_range().ok_or_else(|| missing("cloning ranges"))?;
    let unit = granule(cloner.clone_granularity_bytes())?;
    let (first, second) = (noise(14, unit * 9 + 77), noise(15, unit * 4));
    let (one, two, clone) = (context.key("one")?, context.key("two")?, context.key("clone")?);
    context.put(&one, &first).await?;
    context.put(&two, &second).await?;
    let end = first.len();
    let parts = [(&one, &first, unit * 3..unit * 5), (&two, &second, 0..unit * 4), (&one, &first, unit * 3..end)];
    let wanted: Vec<u8> = parts.iter().flat_map(|(_, content, range)| content[range.clone()].to_vec()).collect();
    let pieces: Vec<Piece> = parts.iter().map(|(key, _, range)| piece(key, range)).collect();
    cloner.create_from(&clone, &pieces).await?;
    context.expect_content(&clone, &wanted).await?;
    expect_kind(cloner.create_from(&clone, &pieces).await, &[ErrorKind::AlreadyExists], || {
        "cloning into a name that is taken".to_owned()
    })?;
    let failed = context.key("failed")?;
    let absent = [piece(&context.key("absent")?, &(0..unit))];
    expect_kind(cloner.create_from(&failed, &absent).await, &[ErrorKind::NotFound, ErrorKind::Corrupt], || {
        "cloning of nothing".to_owned()
    })?;
    expect_kind(cloner.create_from(&failed, &[piece(&one, &(0..end + 1))]).await, &[ErrorKind::Corrupt], || {
        "cloning past the end".to_owned()
    })?;
    context.expect_absent(&failed).await?;
    for key in [&one, &two] {
        context.repository.delete(key).await?;
    }
    context.expect_content(&clone, &wanted).await
}

fn piece(key: &Key, range: &Range<usize>) -> Piece {
    Piece::new(key.clone(), range.start as u64..range.end as u64)
}

/// A patch changes its range and nothing else, and may grow the object from its end on.
pub(super) async fn patch(context: Context) -> Checked {
    let patch = context.repository.patch().ok_or_else(|| missing("writing into objects"))?;
    let (key, neighbour) = (context.key("object")?, context.key("object-2")?);
    let content = noise(16, 50_000);
    context.put(&key, &content).await?;
    context.put(&neighbour, &content).await?;
    let mut wanted = content.to_vec();
    for (number, (offset, length)) in
        [(0, 1), (4_095, 3), (20_000, 8_192), (49_000, 3_000), (52_000, 10), (5, 0)].into_iter().enumerate()
    {
        let new = noise(number as u64 + 500, length);
        let chunks = vec![new.slice(..length / 3), Bytes::new(), new.slice(length / 3..)];
        patch.write_extents(&key, vec![Extent::new(offset as u64, chunks)]).await?;
        wanted.resize(wanted.len().max(offset + length), 0);
        wanted[offset..offset + length].copy_from_slice(&new);
        let found = context.repository.get(&key, u64::MAX).await?;
        ensure!(found == wanted, "{length} bytes were patched in at {offset}: {}", difference(&found, &wanted));
    }
    let end = wanted.len() as u64;
    let extent = |offset: u64, text: &'static [u8]| Extent::new(offset, vec![Bytes::from_static(text)]);
    patch.write_extents(&key, vec![extent(3, b"several"), extent(9_000, b"at"), extent(end, b"once")]).await?;
    wanted[3..10].copy_from_slice(b"several");
    wanted[9_000..9_002].copy_from_slice(b"at");
    wanted.extend_from_slice(b"once");
    context.expect_content(&key, &wanted).await?;
    let gap = vec![extent(wanted.len() as u64 + 1, b"new")];
    expect_kind(patch.write_extents(&key, gap).await, &[ErrorKind::Corrupt], || "patching past the end".to_owned())?;
    context.expect_content(&key, &wanted).await?;
    let absent = context.key("absent")?;
    expect_kind(patch.write_extents(&absent, vec![extent(0, b"new")]).await, &[ErrorKind::NotFound], || {
        "patching nothing".to_owned()
    })?;
    context.expect_absent(&absent).await?;
    context.expect_content(&neighbour, &content).await
}

/// A retained object cannot be deleted, its date only moves forward, and others are as free as before.
pub(super) async fn retain(context: Context) -> Checked {
    let retain = context.repository.retain().ok_or_else(|| missing("retention"))?;
    if context.options.retain_secs == 0 {
        return Err(Stop::LeftOut("what it locks could not be cleaned up; allow it some seconds to try it".to_owned()));
    }
    let (key, free, absent) = (context.key("object")?, context.key("object-2")?, context.key("absent")?);
    let content = noise(17, 1_000);
    context.put(&key, &content).await?;
    context.put(&free, &content).await?;
    ensure!(retain.retained_until(&key).await?.is_none(), "an object is retained that nobody asked to");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|error| Stop::Fail(error.to_string()))?;
    let now = i64::try_from(now.as_secs()).map_err(|error| Stop::Fail(error.to_string()))?;
    let until = now + i64::from(context.options.retain_secs);
    retain.retain_until(&key, until).await?;
    ensure!(retain.retained_until(&key).await? == Some(until), "the date of retention is not the one that was set");
    expect_kind(context.repository.delete(&key).await, &[ErrorKind::PermissionDenied], || {
        format!("deleting {key}, which is retained,")
    })?;
    expect_kind(retain.retain_until(&key, now - 100).await, &[ErrorKind::PermissionDenied], || {
        "taking a date of retention back".to_owned()
    })?;
    ensure!(retain.retained_until(&key).await? == Some(until), "a refused date of retention was set nevertheless");
    context.expect_content(&key, &content).await?;
    expect_kind(retain.retain_until(&absent, until).await, &[ErrorKind::NotFound], || "retaining nothing".to_owned())?;
    expect_kind(retain.retained_until(&absent).await, &[ErrorKind::NotFound], || {
        "asking for the date of nothing".to_owned()
    })?;
    let later = until + 60;
    retain.retain_until(&key, later).await?;
    ensure!(retain.retained_until(&key).await? == Some(later), "a date of retention cannot be moved forward");
    let taken = context.repository.put(&key, noise(18, 10)).await;
    expect_kind(taken, &[ErrorKind::AlreadyExists], || "creating a name that is taken and retained".to_owned())?;
    context.repository.delete(&free).await?;
    context.expect_absent(&free).await
}
