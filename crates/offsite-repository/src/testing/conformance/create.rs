//! Creating: exclusive, atomic, of any size and name.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;
use tokio::sync::Barrier;

use super::content::noise;
use super::context::{Checked, Context, ensure, expect_kind, won};
use crate::key::KEY_BYTES_MAX;
use crate::{ErrorKind, RepositoryExt};

/// A name can be taken once; who comes later learns it and changes nothing, whether before or after starting.
pub(super) async fn create_if_absent(context: Context) -> Checked {
    let key = context.key("taken")?;
    let (first, second) = (noise(1, 1_000), noise(2, 3_000));
    let mut late = context.repository.create(&key).await?;
    late.write(vec![second.clone()]).await?;
    context.put(&key, &first).await?;
    expect_kind(late.finish().await, &[ErrorKind::AlreadyExists], || {
        "finishing an object whose name was taken meanwhile".to_owned()
    })?;
    context.expect_content(&key, &first).await?;
    let again = context.repository.put(&key, second).await;
    expect_kind(again, &[ErrorKind::AlreadyExists], || "creating an object whose name is taken".to_owned())?;
    let same = context.repository.put(&key, first.clone()).await;
    expect_kind(same, &[ErrorKind::AlreadyExists], || "creating an object anew with the same content".to_owned())?;
    context.expect_content(&key, &first).await
}

/// Of many that finish one name at a time exactly one wins, each is told truly, and the winner's content stays.
pub(super) async fn race_one_name(context: Context) -> Checked {
    for race in 0..context.options.races {
        let key = context.key(&format!("race-{race}"))?;
        let start = Arc::new(Barrier::new(context.options.writers.max(1)));
        let racers = (0..context.options.writers.max(1)).map(|racer| {
            let (repository, key, start) = (Arc::clone(&context.repository), key.clone(), Arc::clone(&start));
            tokio::spawn(async move {
                let content = noise((race * 1_000 + racer) as u64 + 7, 2_000 + racer);
                let ready = async {
                    let mut writer = repository.create(&key).await?;
                    writer.write(vec![content.clone()]).await?;
                    Ok(writer)
                };
                let ready: crate::Result<_> = ready.await;
                start.wait().await;
                let answer = match ready {
                    Ok(writer) => writer.finish().await,
                    Err(error) => Err(error),
                };
                won(answer).map(|won| won.then_some(content))
            })
        });
        let mut winners = Vec::new();
        for racer in join_all(racers).await {
            winners.extend(racer??);
        }
        ensure!(
            winners.len() == 1,
            "{} of {} writers of one name were told that they won",
            winners.len(),
            context.options.writers
        );
        context.expect_content(&key, &winners[0]).await?;
    }
    Ok(())
}

/// Before `finish` no verb sees anything of an object.
pub(super) async fn atomic_finish(context: Context) -> Checked {
    let key = context.key("unfinished")?;
    let content = noise(3, 300_000);
    let mut writer = context.repository.create(&key).await?;
    context.expect_absent(&key).await?;
    for chunk in content.chunks(100_000) {
        writer.write(vec![content.slice_ref(chunk)]).await?;
        context.expect_absent(&key).await?;
    }
    context.repository.delete(&key).await?;
    writer.finish().await?;
    context.expect_content(&key, &content).await?;
    let listed = context.list().await?;
    ensure!(listed.len() == 1 && listed[0].key == key, "one object was finished, and {listed:?} is listed");
    ensure!(
        listed[0].length == content.len() as u64,
        "listed with {} bytes instead of {}",
        listed[0].length,
        content.len()
    );
    Ok(())
}

/// An object that was given up, in either way, leaves its name free.
pub(super) async fn abort_and_drop(context: Context) -> Checked {
    let content = noise(4, 50_000);
    for (name, aborts) in [("aborted", true), ("dropped", false)] {
        let key = context.key(name)?;
        let mut writer = context.repository.create(&key).await?;
        writer.write(vec![content.clone()]).await?;
        if aborts {
            writer.abort().await?;
        } else {
            drop(writer);
        }
        context.expect_absent(&key).await?;
        // One that is given up beside a finished one of its name takes nothing of that along.
        let mut loser = context.repository.create(&key).await?;
        loser.write(vec![noise(5, 10)]).await?;
        context.put(&key, &content).await?;
        if aborts {
            loser.abort().await?;
        } else {
            drop(loser);
        }
        context.expect_content(&key, &content).await?;
    }
    Ok(())
}

/// Objects of many lengths, written in many ways, come back as they were.
pub(super) async fn sizes(context: Context) -> Checked {
    let large = context.options.large_object_bytes;
    let lengths = [0, 1, 511, 512, 4_095, 4_096, 4_097, 65_536, 65_537, large / 2 + 13, large];
    for (number, length) in lengths.into_iter().enumerate() {
        let content = noise(number as u64 + 10, length);
        // Chunk lengths that fit no boundary, the longer the object, the longer; empty chunks and calls among them.
        let chunk = (length / 61).max(997);
        let key = context.key(&format!("length-{length}"))?;
        let mut writer = context.repository.create(&key).await?;
        writer.write(Vec::new()).await?;
        let chunks: Vec<Bytes> = content.chunks(chunk).map(|chunk| content.slice_ref(chunk)).collect();
        for group in chunks.chunks(number % 5 + 1) {
            let mut group = group.to_vec();
            group.insert(group.len() / 2, Bytes::new());
            writer.write(group).await?;
        }
        writer.finish().await?;
        context.expect_content(&key, &content).await?;
    }
    // An object of no call at all is as empty.
    let key = context.key("no-call")?;
    context.repository.create(&key).await?.finish().await?;
    context.expect_content(&key, &[]).await?;
    // One call with more chunks than a kernel takes at a time.
    let content = noise(30, 5_000);
    let key = context.key("one-call")?;
    let mut writer = context.repository.create(&key).await?;
    writer.write((0..content.len()).map(|at| content.slice(at..=at)).collect()).await?;
    writer.finish().await?;
    context.expect_content(&key, &content).await?;
    for object in context.list().await? {
        let whole = context.repository.get(&object.key, u64::MAX).await?;
        ensure!(
            whole.len() as u64 == object.length,
            "{} has {} bytes, listed are {}",
            object.key,
            whole.len(),
            object.length
        );
    }
    Ok(())
}

/// Each valid key is a name, and another one than its neighbours.
pub(super) async fn odd_keys(context: Context) -> Checked {
    let long = "n".repeat(200);
    let deep = ["d"; 40].join("/");
    // As long as a key may be, and one that differs at the very end.
    let rest = KEY_BYTES_MAX - context.folder.as_str().len() - 1;
    let longest: String = (1..=rest).map(|at| if at % 200 == 0 && at < rest { '/' } else { 'k' }).collect();
    let beside_longest = format!("{}-", &longest[..rest - 1]);
    let names = [
        "a b",
        "a  b",
        "a+b",
        "a%b",
        "a%2Fb",
        "a#b",
        "a&b=c",
        "(a)[b]{c}",
        "a@b",
        "a~b",
        "a.b.c",
        "a,b;c!d'e$f^g`h",
        "-a",
        "_",
        "~",
        "0",
        "tmp",
        "lost+found",
        "e mail@example.org",
        // What a shell, a database, a URL or a pattern would take for something else.
        "c%2fd",
        "%2e%2e",
        "a..b",
        "%",
        "%00",
        "a_b",
        "a'b--",
        "$(id)",
        "`id`",
        "-rf",
        "{0}",
        "%s%n",
        "x.partial",
        "x.tmp",
        long.as_str(),
        deep.as_str(),
        longest.as_str(),
        beside_longest.as_str(),
    ];
    let mut wanted = BTreeSet::new();
    for (number, name) in names.iter().enumerate() {
        let key = context.key(name)?;
        context.put(&key, &noise(number as u64 + 100, number + 1)).await?;
        wanted.insert(key.to_string());
    }
    for (number, name) in names.iter().enumerate() {
        context.expect_content(&context.key(name)?, &noise(number as u64 + 100, number + 1)).await?;
    }
    let listed: BTreeSet<String> = context.list_names().await?.into_iter().collect();
    let missing: Vec<&String> = wanted.symmetric_difference(&listed).collect();
    ensure!(missing.is_empty(), "listed otherwise than created: {missing:?}");
    Ok(())
}

/// Writers of different names, in folders that come into being at that moment, do not hinder each other.
pub(super) async fn many_at_once(context: Context) -> Checked {
    let count = context.options.writers.max(1) * 4;
    let start = Arc::new(Barrier::new(count));
    let mut writers = Vec::new();
    for number in 0..count {
        let key = context.key(&format!("folder-{}/deeper/object-{number}", number % 3))?;
        let (repository, start) = (Arc::clone(&context.repository), Arc::clone(&start));
        writers.push(tokio::spawn(async move {
            start.wait().await;
            repository.put(&key, noise(number as u64 + 200, 3_000 + number)).await
        }));
    }
    for writer in join_all(writers).await {
        writer??;
    }
    let listed = context.list_names().await?;
    ensure!(listed.len() == count, "{} objects of {count} are listed", listed.len());
    for number in 0..count {
        let key = context.key(&format!("folder-{}/deeper/object-{number}", number % 3))?;
        context.expect_content(&key, &noise(number as u64 + 200, 3_000 + number)).await?;
    }
    Ok(())
}

/// Sweeping removes neither finished objects nor what a writer at work has written so far.
pub(super) async fn sweep_spares_writers(context: Context) -> Checked {
    let (done, under_way) = (context.key("done")?, context.key("under-way")?);
    let content = noise(5, 400_000);
    context.put(&done, &content).await?;
    let mut writer = context.repository.create(&under_way).await?;
    context.repository.sweep().await?;
    writer.write(vec![content.slice(..150_000)]).await?;
    context.repository.sweep().await?;
    writer.write(vec![content.slice(150_000..)]).await?;
    context.repository.sweep().await?;
    writer.finish().await?;
    context.repository.sweep().await?;
    context.expect_content(&under_way, &content).await?;
    context.expect_content(&done, &content).await
}
