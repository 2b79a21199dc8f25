//! Calls other than a create's that are dropped half-way.

use bytes::Bytes;

use super::cancel::{POLLS_MAX, drop_after};
use super::content::{difference, noise, part};
use super::context::{Checked, Context, Stop, ensure, won};
use crate::{ErrorKind, Extent, Key, Piece, ReadRequest, RepositoryExt};

/// A delete, abort, read or listing that is dropped after any of its polls leaves objects whole or absent, names usable and
/// later answers right.
pub(super) async fn cancelled_others(context: Context) -> Checked {
    let content = noise(60, 200_000);
    let stays = context.key("stays")?;
    context.put(&stays, &content).await?;
    for number in 0.. {
        ensure!(number < POLLS_MAX, "a delete still was not done after {number} polls");
        let key = context.key(&format!("deleted-{number}"))?;
        context.put(&key, &content).await?;
        let done = drop_after(number, context.repository.delete(&key)).await;
        match context.repository.get(&key, u64::MAX).await {
            Ok(found) => ensure!(
                found == content && done.is_none(),
                "a delete that was dropped, or is done, left {} bytes of {}",
                found.len(),
                content.len()
            ),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        context.repository.delete(&key).await?;
        context.expect_absent(&key).await?;
        if done.transpose()?.is_some() {
            break;
        }
    }
    for number in 0.. {
        ensure!(number < POLLS_MAX, "an abort still was not done after {number} polls");
        let key = context.key(&format!("aborted-{number}"))?;
        let mut writer = context.repository.create(&key).await?;
        writer.write(vec![content.clone()]).await?;
        let done = drop_after(number, writer.abort()).await.transpose()?.is_some();
        context.expect_absent(&key).await?;
        context.put(&key, &content).await?;
        context.expect_content(&key, &content).await?;
        if done {
            break;
        }
    }
    for number in 0.. {
        ensure!(number < POLLS_MAX, "a read still was not done after {number} polls");
        let ranges = [0..70_000, 150_000..200_000];
        let read =
            drop_after(number, context.repository.read(&stays, ReadRequest::Ranges(&ranges))).await.transpose()?;
        let listed = drop_after(number, context.repository.list(&context.folder, None, 1_000)).await.transpose()?;
        context.expect_content(&stays, &content).await?;
        let names = context.list_names().await?;
        ensure!(names.iter().any(|name| name == stays.as_str()), "after a dropped listing, {stays} is not listed");
        if read.is_some() && listed.is_some() {
            break;
        }
    }
    Ok(())
}

/// A capability's call that is dropped after any of its polls has changed at most what the whole call would have.
pub(super) async fn cancelled_capabilities(context: Context) -> Checked {
    let offered = context.repository.reclaim().is_some()
        || context.repository.clone_range().is_some()
        || context.repository.patch().is_some();
    if !offered {
        return Err(Stop::LeftOut("this place does not offer a capability that changes objects".to_owned()));
    }
    dropped_clones(&context).await?;
    dropped_patches(&context).await?;
    dropped_punches(&context).await
}

async fn dropped_clones(context: &Context) -> Checked {
    let Some(cloner) = context.repository.clone_range() else { return Ok(()) };
    let Ok(unit) = usize::try_from(cloner.clone_granularity_bytes().clamp(1, 1 << 20)) else { return Ok(()) };
    let content = noise(61, unit * 3);
    let source = context.key("source")?;
    context.put(&source, &content).await?;
    let piece = |from: usize, to: usize| Piece::new(source.clone(), from as u64..to as u64);
    let pieces = [piece(unit, unit * 3), piece(0, unit)];
    let wanted: Bytes = [&content[unit..], &content[..unit]].concat().into();
    for number in 0.. {
        ensure!(number < POLLS_MAX, "a clone still was not done after {number} polls");
        let key = context.key(&format!("cloned-{number}"))?;
        let done = drop_after(number, cloner.create_from(&key, &pieces)).await.transpose()?.is_some();
        match context.repository.get(&key, u64::MAX).await {
            Ok(found) => {
                ensure!(found == wanted, "a dropped clone is another object: {}", difference(&found, &wanted));
            }
            Err(error) if error.kind() == ErrorKind::NotFound && !done => {
                let retried = noise(62, 1_000);
                let won = won(context.repository.put(&key, retried.clone()).await)?;
                context.expect_content(&key, if won { &retried } else { &wanted }).await?;
            }
            Err(error) => return Err(error.into()),
        }
        if done {
            return context.expect_content(&source, &content).await;
        }
    }
    Ok(())
}

async fn dropped_patches(context: &Context) -> Checked {
    let Some(patch) = context.repository.patch() else { return Ok(()) };
    let (old, new) = (noise(63, 40_000), noise(64, 9_000));
    let extents = [3_000..8_000_u64, 20_001..24_001];
    for number in 0.. {
        ensure!(number < POLLS_MAX, "a patch still was not done after {number} polls");
        let key = context.key(&format!("patched-{number}"))?;
        context.put(&key, &old).await?;
        let chunks = [new.slice(..5_000), new.slice(5_000..)];
        let extents: Vec<Extent> =
            extents.iter().zip(&chunks).map(|(range, chunk)| Extent::new(range.start, vec![chunk.clone()])).collect();
        let done = drop_after(number, patch.write_extents(&key, extents.clone())).await.transpose()?.is_some();
        let found = context.repository.get(&key, u64::MAX).await?;
        let spared = [0..3_000, 8_000..20_001, 24_001..old.len() as u64];
        let spares = found.len() == old.len() && spared.iter().all(|range| part(&found, range) == part(&old, range));
        ensure!(spares, "a dropped patch changed bytes outside of its extents");
        // A patch anew is always the way out.
        if done {
            for extent in &extents {
                let wanted = part(&found, &(extent.offset..extent.end()));
                ensure!(wanted == extent.chunks[0], "a patch is done, and its bytes are not there");
            }
            break;
        }
    }
    Ok(())
}

async fn dropped_punches(context: &Context) -> Checked {
    let Some(reclaim) = context.repository.reclaim() else { return Ok(()) };
    let Ok(unit) = usize::try_from(reclaim.punch_granularity_bytes().clamp(1, 1 << 20)) else { return Ok(()) };
    let content = noise(65, unit * 6);
    let holes = [unit as u64..unit as u64 * 2, unit as u64 * 3..unit as u64 * 5];
    for number in 0.. {
        ensure!(number < POLLS_MAX, "a punch still was not done after {number} polls");
        let key: Key = context.key(&format!("punched-{number}"))?;
        context.put(&key, &content).await?;
        let done = drop_after(number, reclaim.punch(&key, &holes)).await.transpose()?.is_some();
        let found = context.repository.get(&key, u64::MAX).await?;
        ensure!(found.len() == content.len(), "a dropped punch left {} bytes of {}", found.len(), content.len());
        for (position, (now, before)) in found.iter().zip(&content).enumerate() {
            let inside = holes.iter().any(|hole| hole.contains(&(position as u64)));
            ensure!(
                now == before || (inside && *now == 0),
                "a dropped punch changed byte {position} to {now:#04x}, which is {} its ranges",
                if inside { "inside" } else { "outside" }
            );
        }
        if done {
            break;
        }
    }
    Ok(())
}
