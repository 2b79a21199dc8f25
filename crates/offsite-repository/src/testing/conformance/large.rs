//! Objects of more than two parts: what holds for small ones holds for them.

use bytes::Bytes;
use futures::future::join_all;

use super::content::{difference, noise};
use super::context::{Checked, Context, ensure, expect_kind, won};
use super::late::other_work;
use super::read::{around, check_range};
use crate::{ErrorKind, ReadRequest, RepositoryExt};

/// Objects that end at a part's end, and beyond, are there to their last byte, and are listed with all of them.
pub(super) async fn large_content(context: Context) -> Checked {
    let (part, large) = context.part_and_large_bytes()?;
    for (number, length) in [part, part + 1, part * 2, large].into_iter().enumerate() {
        let content = noise(number as u64 + 500, length);
        let key = context.key(&format!("length-{length}"))?;
        context.written(&key, &content).await?.finish().await?;
        let listed = context.list().await?.into_iter().find(|object| object.key == key);
        let listed = listed.map(|object| object.length);
        ensure!(listed == Some(length as u64), "{length} bytes were written to {key}, and listed are {listed:?}");
        context.expect_content(&key, &content).await?;
        context.repository.delete(&key).await?;
    }
    Ok(())
}

/// Ranges that end where a part ends, begin there, or go across.
pub(super) async fn large_ranges(context: Context) -> Checked {
    let (part, large) = context.part_and_large_bytes()?;
    let content = noise(510, large);
    let key = context.key("object")?;
    context.put_large(&key, &content).await?;
    for edge in (1..).map(|number| (number * part) as u64).take_while(|edge| *edge < large as u64) {
        for range in around(edge, large as u64) {
            check_range(&context, &key, &content, range).await?;
        }
        check_range(&context, &key, &content, edge.saturating_sub(part as u64)..edge).await?;
    }
    Ok(())
}

/// A range that goes past the end of a large object fails, and so does a whole read of more than its limit.
pub(super) async fn large_past_end(context: Context) -> Checked {
    let (part, large) = context.part_and_large_bytes()?;
    let key = context.key("object")?;
    context.put_large(&key, &noise(520, large)).await?;
    let (part, length) = (part as u64, large as u64);
    let next_part = (length / part + 1) * part;
    for range in
        [length - 1..length + 1, length..length + 1, part..next_part, length / part * part..next_part, 0..length + 1]
    {
        let answer = context.repository.read(&key, ReadRequest::Ranges(&[0..1, range.clone()])).await;
        expect_kind(answer, &[ErrorKind::Corrupt], || format!("reading bytes {range:?} of {length}"))?;
    }
    let limit_bytes = length - 1;
    let answer = context.repository.read(&key, ReadRequest::Whole { limit_bytes }).await;
    expect_kind(answer, &[ErrorKind::Corrupt], || format!("reading {length} bytes, at most {limit_bytes},"))?;
    Ok(())
}

/// A large object that is deleted is gone, and its name is free.
pub(super) async fn large_delete(context: Context) -> Checked {
    let (_, large) = context.part_and_large_bytes()?;
    let key = context.key("object")?;
    context.written(&key, &noise(530, large)).await?.finish().await?;
    context.repository.delete(&key).await?;
    context.expect_no_trace(&key, &format!("after {large} bytes were deleted")).await?;
    let anew = noise(531, 500);
    context.put(&key, &anew).await?;
    context.expect_content(&key, &anew).await
}

/// A name is taken once, also by large objects: in turn, late, and at once.
pub(super) async fn large_create_if_absent(context: Context) -> Checked {
    let (_, large) = context.part_and_large_bytes()?;
    let (key, raced) = (context.key("taken")?, context.key("raced")?);
    let contents: [Bytes; 2] = [noise(540, large), noise(541, large)];
    let late = context.written(&key, &contents[1]).await?;
    context.put_large(&key, &contents[0]).await?;
    let what = || format!("finishing {large} bytes under a name that was taken meanwhile");
    expect_kind(late.finish().await, &[ErrorKind::AlreadyExists], what)?;
    let again = context.repository.put(&key, contents[1].clone()).await;
    expect_kind(again, &[ErrorKind::AlreadyExists], || format!("creating {large} bytes under a name that is taken"))?;
    expect_start(&context, &key, &contents[0]).await?;

    let writers = [context.written(&raced, &contents[0]).await?, context.written(&raced, &contents[1]).await?];
    let finishes = writers.map(|writer| tokio::spawn(async move { won(writer.finish().await) }));
    let mut winners = Vec::new();
    for (finish, content) in join_all(finishes).await.into_iter().zip(&contents) {
        if finish?? {
            winners.push(content);
        }
    }
    ensure!(winners.len() == 1, "{} of 2 writers of {large} bytes were told that they won", winners.len());
    expect_start(&context, &raced, winners[0]).await
}

/// That an object is this one is told by its start; whether all of it is there is for another case.
async fn expect_start(context: &Context, key: &crate::Key, content: &Bytes) -> Checked {
    let found = context.repository.get_range(key, 0..1_000.min(content.len() as u64)).await?;
    let wanted = &content[..found.len()];
    ensure!(found == wanted, "the winner's content did not stay in {key}: {}", difference(&found, wanted));
    Ok(())
}

/// However many parts are written, nothing is seen of an object before it is finished.
pub(super) async fn large_atomic_finish(context: Context) -> Checked {
    let (part, large) = context.part_and_large_bytes()?;
    let key = context.key("unfinished")?;
    let content = noise(550, large);
    let mut writer = context.repository.create(&key).await?;
    let mut written = 0;
    for chunk in content.chunks((part / 2 + 1).max(1)) {
        writer.write(vec![content.slice_ref(chunk)]).await?;
        written += chunk.len();
        context
            .expect_no_trace(&key, &format!("before an object of {large} bytes is finished, {written} written"))
            .await?;
    }
    writer.finish().await?;
    expect_start(&context, &key, &content).await
}

/// A large object that is given up, in either way, leaves nothing, at once and later, and its name free.
pub(super) async fn large_abort_and_drop(context: Context) -> Checked {
    let (_, large) = context.part_and_large_bytes()?;
    for (name, aborts) in [("aborted", true), ("dropped", false)] {
        let key = context.key(name)?;
        let writer = context.written(&key, &noise(560, large)).await?;
        if aborts {
            writer.abort().await?;
        } else {
            drop(writer);
        }
        context.expect_no_trace(&key, &format!("after {large} bytes were {name}")).await?;
        other_work(&context, name).await?;
        context.expect_no_trace(&key, &format!("some time after {large} bytes were {name}")).await?;
        let anew = noise(561, 500);
        context.put(&key, &anew).await?;
        context.expect_content(&key, &anew).await?;
    }
    Ok(())
}
