//! Futures that are dropped half-way.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use bytes::Bytes;

use super::content::noise;
use super::context::{Checked, Context, Stop, ensure, won};
use crate::{ErrorKind, Key, ObjectWriter, RepositoryExt};

/// More polls than any create takes: beyond, something polls in a circle.
pub(super) const POLLS_MAX: usize = 10_000;

/// A create, write or finish that is dropped after any of its polls leaves an object that is whole or absent.
pub(super) async fn cancelled_calls(context: Context) -> Checked {
    // Large enough that no backend keeps it all for the finish.
    let content = noise(11, context.options.large_object_bytes);
    let half = content.len() / 2;
    let mut number = 0;
    // All in one future: dropped after each poll in turn, it is dropped at each await there is.
    loop {
        ensure!(number < POLLS_MAX, "a create still was not done after {number} polls");
        let key = context.key(&format!("dropped-{number}"))?;
        let whole = async {
            let mut writer = context.repository.create(&key).await?;
            writer.write(vec![content.slice(..half)]).await?;
            writer.write(vec![content.slice(half..)]).await?;
            writer.finish().await
        };
        let done = drop_after(number, whole).await;
        whole_or_absent(&context, &key, &content).await?;
        if let Some(answer) = done {
            answer?;
            break;
        }
        number += 1;
    }
    // The call alone is dropped, and the writer is used on: what it then makes of it must not be a torn object.
    for number in 0.. {
        ensure!(number < POLLS_MAX, "a write still was not done after {number} polls");
        let key = context.key(&format!("interrupted-{number}"))?;
        let mut writer = context.repository.create(&key).await?;
        writer.write(vec![content.slice(..half)]).await?;
        let second: Vec<Bytes> = content.slice(half..).chunks(40_000).map(Bytes::copy_from_slice).collect();
        let done = drop_after(number, writer.write(second)).await.is_some();
        check_interrupted(&context, writer, &key, &content, done).await?;
        if done {
            break;
        }
    }
    Ok(())
}

async fn check_interrupted(
    context: &Context,
    writer: Box<dyn ObjectWriter>,
    key: &Key,
    content: &Bytes,
    done: bool,
) -> Checked {
    if let Err(error) = writer.finish().await {
        ensure!(!done, "a write that was not interrupted made the finish fail: {error}");
        return context.expect_absent(key).await;
    }
    let found = context.repository.get(key, u64::MAX).await?;
    let without = !done && found == content[..content.len() / 2];
    ensure!(found == content || without, "after a dropped write the finished object has {} bytes", found.len());
    Ok(())
}

/// A dropped finish may still be carried out at any later time, but only as a whole, and once.
async fn whole_or_absent(context: &Context, key: &Key, content: &Bytes) -> Checked {
    match context.repository.get(key, u64::MAX).await {
        Ok(found) => ensure!(found == content, "a dropped create left {} bytes of {}", found.len(), content.len()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let retried = noise(12, 1_000);
            let won = won(context.repository.put(key, retried.clone()).await)?;
            context.expect_content(key, if won { &retried } else { content }).await?;
        }
        Err(error) => return Err(Stop::from(error)),
    }
    Ok(())
}

/// Polls `future` at most so many times, each time that it wants to be, and drops it then.
pub(super) async fn drop_after<T>(polls: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}
