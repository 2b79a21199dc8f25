//! A name that is deleted and created anew has its new content and length, in each handle.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::content::{difference, noise};
use super::context::{Checked, Context, ensure};
use crate::{Key, RepositoryExt};

/// The lengths of one name's contents in turn: a longer one, a shorter one, and the same again.
const LENGTHS: [usize; 5] = [9_000, 12_000, 4_097, 4_097, 0];

fn contents() -> Vec<Bytes> {
    LENGTHS.iter().enumerate().map(|(number, length)| noise(number as u64 + 640, *length)).collect()
}

/// Reads a name as a whole and in ranges.
async fn expect_reads(context: &Context, key: &Key, content: &Bytes, whose: &str) -> Checked {
    let found = context.repository.get(key, u64::MAX).await?;
    ensure!(found == content, "{whose} reads {key} as it was before: {}", difference(&found, content));
    let (middle, end) = (content.len() as u64 / 2, content.len() as u64);
    for range in [0..middle, middle..end] {
        let found = context.repository.get_range(key, range.clone()).await?;
        let wanted = super::content::part(content, &range);
        ensure!(
            found == wanted,
            "{whose} reads {range:?} of {key} as they were before: {}",
            difference(&found, wanted)
        );
    }
    Ok(())
}

/// What was read before a name was deleted and created anew is not read afterwards.
pub(super) async fn recreated_content(context: Context) -> Checked {
    let key = context.key("object")?;
    for content in contents() {
        context.put(&key, &content).await?;
        expect_reads(&context, &key, &content, "the handle that created it anew").await?;
        context.repository.delete(&key).await?;
    }
    Ok(())
}

/// A name that was deleted and created anew is listed with its new length.
pub(super) async fn recreated_length(context: Context) -> Checked {
    let key = context.key("object")?;
    for content in contents() {
        context.put(&key, &content).await?;
        expect_length(&context, &key, content.len(), "the handle that created it anew").await?;
        context.repository.delete(&key).await?;
    }
    Ok(())
}

async fn expect_length(context: &Context, key: &Key, length: usize, whose: &str) -> Checked {
    let lengths: BTreeMap<Key, u64> =
        context.list().await?.into_iter().map(|object| (object.key, object.length)).collect();
    let listed = lengths.get(key);
    ensure!(listed == Some(&(length as u64)), "{key} has {length} bytes, {whose} lists it with {listed:?}");
    Ok(())
}

/// What another handle has read of a name that is then deleted and created anew is not read in it afterwards.
pub(super) async fn second_handle_reads(context: Context) -> Checked {
    let second = context.second_handle().await?;
    let key = context.key("object")?;
    for content in contents() {
        context.put(&key, &content).await?;
        // Twice, as a second read may be answered from what the first left.
        for _ in 0..2 {
            expect_reads(&second, &key, &content, "another handle").await?;
        }
        context.repository.delete(&key).await?;
    }
    Ok(())
}

/// Another handle lists at once what is created and what is deleted.
pub(super) async fn second_handle_lists(context: Context) -> Checked {
    let second = context.second_handle().await?;
    let mut there = Vec::new();
    for name in ["c", "a", "d/e", "b", "d/f"] {
        let key = context.key(name)?;
        context.put(&key, &noise(650, 20)).await?;
        there.push(key.to_string());
        there.sort();
        let listed = second.list_names().await?;
        ensure!(listed == there, "{key} was created, another handle lists {listed:?} instead of {there:?}");
    }
    while let Some(name) = there.pop() {
        context.repository.delete(&Key::new(name.clone())?).await?;
        let listed = second.list_names().await?;
        ensure!(listed == there, "{name} was deleted, another handle lists {listed:?} instead of {there:?}");
    }
    Ok(())
}

/// Another handle lists a name that was deleted and created anew with its new length.
pub(super) async fn second_handle_lengths(context: Context) -> Checked {
    let second = context.second_handle().await?;
    let key = context.key("object")?;
    for content in contents() {
        context.put(&key, &content).await?;
        expect_length(&second, &key, content.len(), "another handle").await?;
        context.repository.delete(&key).await?;
    }
    Ok(())
}
