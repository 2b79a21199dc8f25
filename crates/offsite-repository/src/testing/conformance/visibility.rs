//! What others see, and when.
#![expect(clippy::single_range_in_vec_init, reason = "ranges of an object, not collections of numbers")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::future::join_all;
use tokio::task::yield_now;

use super::content::{difference, noise};
use super::context::{Checked, Context, Stop, ensure, expect_kind};
use crate::{ErrorKind, Key, ReadRequest, RepositoryExt};

/// Readers that never pause see of an object that comes, and goes again, all or nothing.
pub(super) async fn whole_or_nothing(context: Context) -> Checked {
    let content = noise(40, context.options.large_object_bytes);
    let key = context.key("object")?;
    let done = Arc::new(AtomicBool::new(false));
    let readers = (0..3).map(|_| tokio::spawn(watch(context.clone(), key.clone(), content.clone(), Arc::clone(&done))));
    let readers: Vec<_> = readers.collect();
    let writes = async {
        for round in 0..4 {
            // One thread's scheduler may let tasks pass each other every other time: another time each round.
            for _ in 0..round {
                yield_now().await;
            }
            let mut writer = context.repository.create(&key).await?;
            for chunk in content.chunks(context.options.large_object_bytes / 3 + 1) {
                writer.write(vec![content.slice_ref(chunk)]).await?;
                yield_now().await;
            }
            writer.finish().await?;
            yield_now().await;
            context.repository.delete(&key).await?;
            yield_now().await;
        }
        Checked::Ok(())
    };
    let written = writes.await;
    done.store(true, Ordering::Release);
    for seen in join_all(readers).await {
        seen??;
    }
    written
}

async fn watch(context: Context, key: Key, content: Bytes, done: Arc<AtomicBool>) -> Checked {
    let length = content.len() as u64;
    while !done.load(Ordering::Acquire) {
        for what in [ReadRequest::Whole { limit_bytes: u64::MAX }, ReadRequest::Ranges(&[0..length])] {
            match context.repository.read(&key, what).await {
                Ok(found) => ensure!(
                    found.len() == 1 && found[0] == content,
                    "a reader saw a part of an object: {}",
                    difference(found.first().map_or(&[], |found| found), &content)
                ),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(Stop::from(error)),
            }
        }
        for object in context.list().await? {
            ensure!(
                object.key == key && object.length == length,
                "a reader was listed {} with {} bytes of {length}",
                object.key,
                object.length
            );
        }
        yield_now().await;
    }
    Ok(())
}

/// A second handle of the place sees what the first has finished, at once; it loses names to it, and spares its writers.
pub(super) async fn second_handle(context: Context) -> Checked {
    let second = context.second_handle().await?;
    let (taken, gone, under_way) = (context.key("taken")?, context.key("gone")?, context.key("folder/under-way")?);
    let content = noise(41, 10_000);
    // Before anything is there, lest the second handle keep what it saw.
    second.expect_absent(&taken).await?;
    context.put(&taken, &content).await?;
    second.expect_content(&taken, &content).await?;
    ensure!(second.list_names().await? == [taken.as_str()], "a second handle does not list what the first finished");
    let again = second.repository.put(&taken, noise(42, 10)).await;
    expect_kind(again, &[ErrorKind::AlreadyExists], || "creating a name that another handle took".to_owned())?;
    context.expect_content(&taken, &content).await?;

    let mut writer = context.repository.create(&under_way).await?;
    writer.write(vec![content.slice(..4_000)]).await?;
    second.expect_absent(&under_way).await?;
    second.repository.sweep().await?;
    writer.write(vec![content.slice(4_000..)]).await?;
    second.repository.sweep().await?;
    writer.finish().await?;
    second.expect_content(&under_way, &content).await?;

    second.put(&gone, &content).await?;
    context.expect_content(&gone, &content).await?;
    context.repository.delete(&gone).await?;
    second.expect_absent(&gone).await?;
    second.put(&gone, &noise(43, 7)).await?;
    context.expect_content(&gone, &noise(43, 7)).await
}
