//! Listing in order and by pages, and deleting.

use super::content::noise;
use super::context::{Checked, Context, Stop, ensure, expect_kind};
use crate::{ErrorKind, Key, Prefix, RepositoryExt};

/// Names whose order by bytes is not the order of a walk through folders, nor that of a language.
const TRICKY: [&str; 17] = [
    "a-b", "a/b", "a/b-c/d", "a/b0", "a/c", "a0", "a00/b", "a b", "ab.x", "ab/c", "ab-c/d", "C", "b.x", "b/a/c/d",
    "b/a-c", "z/0", "~",
];

async fn put_tricky(context: &Context) -> Checked<Vec<String>> {
    let mut keys = Vec::new();
    for (number, name) in TRICKY.iter().enumerate() {
        let key = context.key(name)?;
        context.put(&key, &noise(number as u64 + 400, number)).await?;
        keys.push(key.to_string());
    }
    keys.sort();
    Ok(keys)
}

/// Listings ascend by the bytes of the whole key.
pub(super) async fn list_order(context: Context) -> Checked {
    let wanted = put_tricky(&context).await?;
    let listed = context.list_names().await?;
    ensure!(listed == wanted, "listed is {listed:?}, the order of bytes is {wanted:?}");
    for object in context.list().await? {
        let whole = context.repository.get(&object.key, 1_000).await?;
        ensure!(whole.len() as u64 == object.length, "{} is listed with {} bytes", object.key, object.length);
    }
    Ok(())
}

/// A prefix is a folder: what merely starts alike is not in it.
pub(super) async fn list_prefix(context: Context) -> Checked {
    let all = put_tricky(&context).await?;
    for name in ["a", "a/b-c", "ab", "a0", "b", "b/a", "z", "a-b", "c", "a/b"] {
        let prefix = Prefix::new(context.key(name)?.as_str())?;
        let start = format!("{prefix}/");
        let wanted: Vec<&String> = all.iter().filter(|key| key.starts_with(&start)).collect();
        let objects = context.repository.list_all(&prefix).await?;
        let listed: Vec<&str> = objects.iter().map(|object| object.key.as_str()).collect();
        ensure!(listed == wanted, "below {name:?} is {wanted:?}, listed is {listed:?}");
    }
    // Letters that patterns of databases and shells give a meaning to.
    for name in ["p_/x", "pa/x", "p%/x", "p%a/x", "p[a]/x", "p'/x"] {
        context.put(&context.key(name)?, &noise(401, 3)).await?;
    }
    for name in ["p_", "p%", "p[a]", "p'"] {
        let prefix = Prefix::new(context.key(name)?.as_str())?;
        let objects = context.repository.list_all(&prefix).await?;
        let listed: Vec<&str> = objects.iter().map(|object| object.key.as_str()).collect();
        ensure!(listed == [format!("{prefix}/x")], "below {name:?} is one object, listed is {listed:?}");
    }
    // The root holds them too, and whatever else is there.
    let page = context.repository.list(&Prefix::root(), Some(&before(&all[0])?), 1).await?;
    let first = page.objects.first().map(|object| object.key.to_string());
    ensure!(first.as_ref() == Some(&all[0]), "the root lists {first:?} where {:?} comes next", all[0]);
    Ok(())
}

/// A key just before `key`, for listing from there: its folder's name, which every key of the folder exceeds.
fn before(key: &str) -> Checked<Key> {
    let folder = Key::new(key)?.folder();
    Ok(Key::new(folder.as_str())?)
}

/// Pages of any length, from any key on, there or not, put together are the whole listing: nothing lost, nothing twice.
pub(super) async fn list_pages(context: Context) -> Checked {
    let mut wanted = put_tricky(&context).await?;
    for number in 0..context.options.listed_objects {
        let key = context.key(&format!("many/object-{number:03}"))?;
        context.put(&key, &noise(number as u64, 1)).await?;
        wanted.push(key.to_string());
    }
    wanted.sort();
    for limit in 1..wanted.len() + 2 {
        let mut listed = Vec::new();
        let mut after = None;
        loop {
            let page = context.repository.list(&context.folder, after.as_ref(), limit).await?;
            ensure!(page.objects.len() <= limit, "{} objects on a page of {limit}", page.objects.len());
            ensure!(!(page.more && page.objects.is_empty()), "an empty page that says that there is more");
            after = page.objects.last().map(|object| object.key.clone());
            listed.extend(page.objects.into_iter().map(|object| object.key.to_string()));
            ensure!(listed.len() <= wanted.len(), "pages of {limit} list more than there is: {listed:?}");
            if !page.more {
                break;
            }
        }
        ensure!(listed == wanted, "pages of {limit} list {listed:?} instead of {wanted:?}");
    }
    let starts =
        ["0", "a", "a-b", "a-c", "a/", "a/b", "a/b-c/d", "a/b-c/e", "a0.x", "a00", "m", "many/object-002z", "zz", "~~"];
    for start in starts.into_iter().filter(|start| !start.ends_with('/')) {
        let after = context.key(start)?;
        let rest: Vec<&String> = wanted.iter().filter(|key| key.as_str() > after.as_str()).collect();
        let page = context.repository.list(&context.folder, Some(&after), 3).await?;
        let listed: Vec<&str> = page.objects.iter().map(|object| object.key.as_str()).collect();
        let next = &rest[..listed.len().min(rest.len())];
        ensure!(listed == next, "after {start:?} comes {rest:?}, listed is {listed:?}");
        ensure!(
            page.more || listed.len() == rest.len(),
            "after {start:?} are {}, the page ends at {}",
            rest.len(),
            listed.len()
        );
    }
    // Outside of the prefix, before and behind it.
    let folder = Prefix::new(context.key("many")?.as_str())?;
    for (start, count) in [("a", context.options.listed_objects), ("z", 0)] {
        let page = context.repository.list(&folder, Some(&context.key(start)?), usize::MAX).await?;
        ensure!(page.objects.len() == count, "{} listed of a folder after {start:?}, not {count}", page.objects.len());
    }
    Ok(())
}

/// A listing of more than a place gives at a time is whole and in order, whatever the limit, and at the place's own limit.
pub(super) async fn list_long(context: Context) -> Checked {
    let count = context.options.long_listing_objects;
    if count < 2 {
        return Err(Stop::LeftOut("the suite was told to write no long listing (Options::listed_long)".to_owned()));
    }
    // No number is where it was written: a place that lists in the order of creation is found out.
    let names = (0..count).map(|number| format!("{}/object-{:05}", number % 3, number * 7_919 % 99_991));
    let keys: Vec<Key> = names.map(|name| context.key(&name)).collect::<Checked<_>>()?;
    let mut wanted: Vec<String> = keys.iter().map(Key::to_string).collect();
    wanted.sort();
    context.put_many(keys.into_iter().map(|key| (key, noise(430, 3))).collect()).await?;
    for limit in [usize::MAX, count, count - 1, 1_001, 1_000, 999, count / 2] {
        let mut listed: Vec<String> = Vec::new();
        let mut after = None;
        loop {
            let page = context.repository.list(&context.folder, after.as_ref(), limit).await?;
            ensure!(page.objects.len() <= limit, "{} objects on a page of {limit}", page.objects.len());
            ensure!(!(page.more && page.objects.is_empty()), "an empty page that says that there is more");
            after = page.objects.last().map(|object| object.key.clone());
            listed.extend(page.objects.into_iter().map(|object| object.key.to_string()));
            ensure!(listed.len() <= count, "pages of {limit} list more than the {count} objects that there are");
            if !page.more {
                break;
            }
        }
        let differs = listed.iter().zip(&wanted).position(|(listed, wanted)| listed != wanted);
        let at = differs.unwrap_or(listed.len().min(wanted.len()));
        ensure!(
            listed == wanted,
            "pages of {limit} list {} objects of {count}; number {at} is {:?} instead of {:?}",
            listed.len(),
            listed.get(at),
            wanted.get(at)
        );
    }
    Ok(())
}

/// Deleting removes one object, as often as one likes, and the name is free again.
pub(super) async fn delete(context: Context) -> Checked {
    let names = ["object", "object-2", "objec", "objects/1", "objects/2", "folder/object"];
    let content = noise(9, 5_000);
    for name in names {
        context.put(&context.key(name)?, &content).await?;
    }
    let key = context.key("object")?;
    for _ in 0..2 {
        context.repository.delete(&key).await?;
        context.expect_absent(&key).await?;
    }
    // Names that are not there, though folders, or below an object.
    for name in ["objects", "folder", "never", "no/such/folder", "object-2/below"] {
        context.repository.delete(&context.key(name)?).await?;
    }
    for name in names.into_iter().filter(|name| *name != "object") {
        context.expect_content(&context.key(name)?, &content).await?;
    }
    let listed = context.list_names().await?;
    ensure!(listed.len() == names.len() - 1, "one of {} objects was deleted, listed are {listed:?}", names.len());
    let anew = noise(10, 200);
    context.put(&key, &anew).await?;
    context.expect_content(&key, &anew).await?;
    let again = context.repository.put(&key, content).await;
    expect_kind(again, &[ErrorKind::AlreadyExists], || {
        "creating an object that was deleted and created anew".to_owned()
    })?;
    Ok(())
}
