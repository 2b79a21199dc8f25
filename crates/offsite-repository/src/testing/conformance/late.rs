//! What was given up, lost or deleted stays so, whatever is done afterwards.

use bytes::Bytes;
use tokio::task::yield_now;

use super::content::noise;
use super::context::{Checked, Context, ensure, expect_kind};
use crate::{ErrorKind, Key, RepositoryExt};

/// The lengths of objects that are given up: nothing, little, and what few places hold back as a whole.
const LENGTHS: [usize; 3] = [0, 700, 150_000];

/// All that a place may take as the occasion to carry out what it was told to leave: writes, reads, listings, deletes, sweeps,
/// and time for its own tasks. A `name` is used once in a case, lest an object that comes back hinder the work.
pub(super) async fn other_work(context: &Context, name: &str) -> Checked {
    for round in 0..4 {
        let key = context.key(&format!("other-work/{name}-{round}"))?;
        let content = noise(round + 600, 900);
        context.put(&key, &content).await?;
        context.expect_content(&key, &content).await?;
        let mut writer =
            context.repository.create(&context.key(&format!("other-work/{name}-{round}-given-up"))?).await?;
        writer.write(vec![content]).await?;
        writer.abort().await?;
        ensure!(context.list_names().await?.contains(&key.to_string()), "{key} was finished, and is not listed");
        context.repository.sweep().await?;
        context.repository.delete(&key).await?;
        yield_now().await;
    }
    Ok(())
}

/// An object that was aborted does not appear later.
pub(super) async fn late_abort(context: Context) -> Checked {
    for length in LENGTHS {
        let key = context.key(&format!("aborted-{length}"))?;
        let content = noise(610, length);
        context.written(&key, &content).await?.abort().await?;
        stays_away(&context, &key, "aborted").await?;
        frees_for_good(&context, &key, &content, "was aborted").await?;
    }
    Ok(())
}

/// An object whose writer was dropped does not appear later.
pub(super) async fn late_drop(context: Context) -> Checked {
    for length in LENGTHS {
        let key = context.key(&format!("dropped-{length}"))?;
        let content = noise(611, length);
        drop(context.written(&key, &content).await?);
        stays_away(&context, &key, "dropped").await?;
        frees_for_good(&context, &key, &content, "was dropped").await?;
    }
    Ok(())
}

/// What lost its name to another does not appear when that one is deleted.
pub(super) async fn late_loser(context: Context) -> Checked {
    for length in LENGTHS {
        let key = context.key(&format!("lost-{length}"))?;
        let winner = noise(612, length + 5);
        let loser = noise(613, length);
        let late = context.written(&key, &loser).await?;
        context.put(&key, &winner).await?;
        expect_kind(late.finish().await, &[ErrorKind::AlreadyExists], || format!("finishing {key}, which is taken,"))?;
        other_work(&context, &format!("{length}-before")).await?;
        context.expect_content(&key, &winner).await?;
        context.repository.delete(&key).await?;
        other_work(&context, &format!("{length}-after")).await?;
        expect_other(&context, &key, &loser, "lost its name, and the winner was deleted").await?;
    }
    Ok(())
}

/// An object that was deleted does not come back.
pub(super) async fn late_delete(context: Context) -> Checked {
    for length in LENGTHS {
        let key = context.key(&format!("deleted-{length}"))?;
        context.put(&key, &noise(614, length)).await?;
        context.repository.delete(&key).await?;
        stays_away(&context, &key, "deleted").await?;
    }
    Ok(())
}

async fn stays_away(context: &Context, key: &Key, how: &str) -> Checked {
    context.expect_no_trace(key, &format!("after it was {how}")).await?;
    for round in ["first", "second"] {
        other_work(context, &format!("{}-{round}", key.name())).await?;
        context.expect_no_trace(key, &format!("some time after it was {how}")).await?;
    }
    Ok(())
}

/// The name is taken by another object, and free again: `content` still does not appear.
async fn frees_for_good(context: &Context, key: &Key, content: &Bytes, how: &str) -> Checked {
    context.put(key, &noise(615, content.len() + 9)).await?;
    context.repository.delete(key).await?;
    other_work(context, &format!("{}-freed", key.name())).await?;
    expect_other(context, key, content, how).await
}

/// Whatever is at `key`, it is not `content`; what was deleted may come back here, which is for another case.
async fn expect_other(context: &Context, key: &Key, content: &Bytes, how: &str) -> Checked {
    match context.repository.get(key, u64::MAX).await {
        Ok(found) => ensure!(found != content, "{key} has the content of an object that {how}"),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// A name that was given up is as exclusive as any: who takes it keeps it, and who comes later learns it.
pub(super) async fn abort_then_finish(context: Context) -> Checked {
    for (name, aborts) in [("aborted", true), ("dropped", false)] {
        let (before, beside) = (context.key(&format!("{name}-before"))?, context.key(&format!("{name}-beside"))?);
        let (kept, other) = (noise(620, 2_000), noise(621, 3_000));
        // Given up before the name is taken, and afterwards.
        give_up(&context, &before, &other, aborts).await?;
        context.put(&before, &kept).await?;
        let mut loser = context.repository.create(&beside).await?;
        loser.write(vec![other.clone()]).await?;
        context.put(&beside, &kept).await?;
        if aborts {
            loser.abort().await?;
        } else {
            drop(loser);
        }
        for key in [&before, &beside] {
            let again = context.repository.put(key, other.clone()).await;
            let what = || format!("creating {key}, which one writer gave up and another took,");
            expect_kind(again, &[ErrorKind::AlreadyExists], what)?;
        }
        other_work(&context, &format!("{name}-taken")).await?;
        for key in [&before, &beside] {
            context.expect_content(key, &kept).await?;
            context.repository.delete(key).await?;
        }
    }
    Ok(())
}

async fn give_up(context: &Context, key: &Key, content: &Bytes, aborts: bool) -> Checked {
    let writer = context.written(key, content).await?;
    if aborts {
        writer.abort().await?;
    } else {
        drop(writer);
    }
    Ok(())
}

/// What one handle gave up is not seen in another, at once and later, nor in one that is opened afterwards.
pub(super) async fn second_handle_aborts(context: Context) -> Checked {
    let second = context.second_handle().await?;
    for (name, aborts) in [("aborted", true), ("dropped", false)] {
        for length in LENGTHS {
            let key = context.key(&format!("{name}-{length}"))?;
            let when = format!("in another handle, after {length} bytes were {name}");
            second.expect_no_trace(&key, "in another handle, before it is there").await?;
            give_up(&context, &key, &noise(630, length), aborts).await?;
            second.expect_no_trace(&key, &when).await?;
            other_work(&context, &format!("{}-first", key.name())).await?;
            other_work(&second, &format!("{}-second", key.name())).await?;
            for handle in [&second, &context.second_handle().await?] {
                handle.expect_no_trace(&key, &when).await?;
            }
        }
    }
    Ok(())
}
