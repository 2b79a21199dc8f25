//! What a crash image leaves, honest and dishonest.
#![allow(
    clippy::unwrap_used,
    clippy::single_range_in_vec_init,
    reason = "what cannot go on has failed; ranges are of objects"
)]

use std::collections::BTreeSet;

use bytes::Bytes;
use offsite_repository::testing::{CrashImage, CrashOptions};
use offsite_repository::{ErrorKind, Extent, Key, Piece, Repository, RepositoryExt, Result};

const SEEDS: u64 = 200;

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn content(seed: u8, length: usize) -> Bytes {
    (1..=251).map(|byte: u8| byte ^ seed | 1).cycle().take(length).collect::<Vec<u8>>().into()
}

async fn found(image: &CrashImage, name: &str) -> Option<Bytes> {
    match image.get(&key(name), u64::MAX).await {
        Ok(found) => Some(found),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::NotFound);
            None
        }
    }
}

/// The states of an object after cuts now.
async fn states(image: &CrashImage, name: &str) -> BTreeSet<Option<Bytes>> {
    let mut states = BTreeSet::new();
    for seed in 0..SEEDS {
        states.insert(found(&image.power_cut(seed), name).await);
    }
    states
}

async fn every_verb(image: &CrashImage) -> Result<()> {
    image.put(&key("a"), content(1, 20_000)).await?;
    image.put(&key("b"), content(2, 3_000)).await?;
    image.create(&key("c")).await?.abort().await?;
    image.reclaim().unwrap().punch(&key("a"), &[4_096..12_288]).await?;
    let extents = vec![Extent::new(100, vec![content(3, 2_000)])];
    image.patch().unwrap().write_extents(&key("b"), extents).await?;
    let piece = Piece::new(key("b"), 0..2_500);
    image.clone_range().unwrap().create_from(&key("d"), &[piece]).await?;
    image.set_clock(1_000);
    image.retain().unwrap().retain_until(&key("d"), 2_000).await?;
    image.delete(&key("a")).await?;
    image.sweep().await
}

#[tokio::test]
async fn what_returned_is_there_after_a_cut() {
    let image = CrashImage::new(7);
    every_verb(&image).await.unwrap();
    for seed in 0..SEEDS {
        let after = image.power_cut(seed);
        assert!(after.contents() == image.contents(), "seed {seed}");
        assert_eq!(after.retain().unwrap().retained_until(&key("d")).await.unwrap(), Some(2_000));
    }
}

#[tokio::test]
async fn a_cut_in_any_call_fails_it_and_all_after_it() {
    let whole = CrashImage::new(7);
    every_verb(&whole).await.unwrap();
    assert_eq!(whole.changing_calls(), 3 + 3 + 2 + 6);
    for cut in 1..=whole.changing_calls() {
        let image = CrashImage::new(7);
        image.cut_after(cut);
        let error = every_verb(&image).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Indeterminate), "{error}");
        assert!(!image.has_power());
        assert_eq!(image.get(&key("b"), 1).await.unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(image.changing_calls(), cut);
        for seed in 0..20 {
            let after = image.power_cut(seed);
            assert_eq!(
                after.contents(),
                image.power_cut(seed).contents(),
                "cut {cut}, seed {seed} is told by its seeds"
            );
            // Whole or not there, whatever the call; only the patch tears, and only inside its extent.
            if let Some(a) = found(&after, "a").await {
                assert!(a.len() == 20_000 && a[..4_096] == content(1, 4_096), "cut {cut}, seed {seed}");
            }
            if let Some(b) = found(&after, "b").await {
                assert!(b.len() == 3_000 && b[..100] == content(2, 100), "cut {cut}, seed {seed}");
                assert!(b[2_100..] == content(2, 3_000)[2_100..], "cut {cut}, seed {seed}");
            }
        }
    }
}

#[tokio::test]
async fn a_cut_finish_leaves_all_or_nothing_and_either_happens() {
    let whole = content(1, 5_000);
    let mut seen = BTreeSet::new();
    for seed in 0..20 {
        let image = CrashImage::new(seed);
        let mut writer = image.create(&key("a")).await.unwrap();
        writer.write(vec![whole.clone()]).await.unwrap();
        assert!(states(&image, "a").await == BTreeSet::from([None]), "nothing before the finish");
        image.cut_after(1);
        assert_eq!(writer.finish().await.unwrap_err().kind(), ErrorKind::Indeterminate);
        seen.extend(states(&image, "a").await);
    }
    assert!(seen == BTreeSet::from([None, Some(whole)]));
}

#[tokio::test]
async fn a_cut_patch_leaves_any_mix_of_sectors() {
    let (old, new) = (content(1, 8_192), content(2, 2_048));
    let image = CrashImage::new(3);
    image.put(&key("a"), old.clone()).await.unwrap();
    image.cut_after(1);
    let extents = vec![Extent::new(1_024, vec![new.clone()])];
    image.patch().unwrap().write_extents(&key("a"), extents).await.unwrap_err();
    let states = states(&image, "a").await;
    for state in &states {
        let state = state.as_ref().unwrap();
        for (number, sector) in state.chunks(512).enumerate() {
            let at = number * 512;
            let is_new = (1_024..3_072).contains(&at) && *sector == new[at - 1_024..at - 512];
            assert!(*sector == old[at..at + 512] || is_new, "sector {number}");
        }
    }
    // Four sectors have sixteen mixes.
    assert_eq!(states.len(), 16);
}

#[tokio::test]
async fn a_cut_punch_or_delete_may_be_done_in_part_or_not() {
    let old = content(1, 4 * 4_096);
    let image = CrashImage::new(3);
    image.put(&key("a"), old.clone()).await.unwrap();
    let deleted = image.power_cut(0);
    image.cut_after(1);
    image.reclaim().unwrap().punch(&key("a"), &[4_096..12_288]).await.unwrap_err();
    let punched = states(&image, "a").await;
    assert_eq!(punched.len(), 4, "two granules, each punched or not");
    assert!(punched.iter().flatten().all(|state| state[..4_096] == old[..4_096] && state[12_288..] == old[12_288..]));
    deleted.cut_after(1);
    deleted.delete(&key("a")).await.unwrap_err();
    assert!(states(&deleted, "a").await == BTreeSet::from([None, Some(old)]));
}

#[tokio::test]
async fn a_disk_that_does_not_flush_data_is_seen() {
    let image = CrashImage::with_options(1, CrashOptions::default().with_flushes_data(false));
    let whole = content(1, 5_000);
    image.put(&key("a"), whole.clone()).await.unwrap();
    image.put(&key("later"), Bytes::new()).await.unwrap();
    assert_eq!(found(&image, "a").await, Some(whole.clone()), "as long as the power is on, nobody sees it");
    let states = states(&image, "a").await;
    assert!(!states.contains(&None), "its name was flushed");
    assert!(states.contains(&Some(whole)) && states.contains(&Some(Bytes::new())) && states.len() > 10);
}

#[tokio::test]
async fn a_disk_that_does_not_flush_entries_is_seen() {
    let image = CrashImage::with_options(1, CrashOptions::default().with_flushes_entries(false));
    let whole = content(1, 5_000);
    image.put(&key("a"), whole.clone()).await.unwrap();
    image.put(&key("b"), whole.clone()).await.unwrap();
    assert!(states(&image, "a").await == BTreeSet::from([None, Some(whole.clone())]));
    let mut second_alone = false;
    for seed in 0..SEEDS {
        let after = image.power_cut(seed);
        second_alone |= found(&after, "a").await.is_none() && found(&after, "b").await.is_some();
    }
    assert!(second_alone, "entries reach the disk in no order");
    image.delete(&key("a")).await.unwrap();
    assert!(states(&image, "a").await.contains(&Some(whole)), "what was deleted may be back");
}

#[tokio::test]
async fn a_repository_that_links_before_it_flushes_is_seen() {
    let image = CrashImage::with_options(1, CrashOptions::default().with_data_before_entry(false));
    let whole = content(1, 5_000);
    let mut writer = image.create(&key("a")).await.unwrap();
    writer.write(vec![whole.clone()]).await.unwrap();
    image.cut_after(1);
    writer.finish().await.unwrap_err();
    assert!(states(&image, "a").await.iter().flatten().any(|state| *state != whole), "a torn object has a name");
    image.power_on(2);
    image.put(&key("b"), whole.clone()).await.unwrap();
    assert!(states(&image, "b").await == BTreeSet::from([Some(whole)]), "what returned is durable all the same");
}

#[tokio::test]
async fn the_power_comes_back_and_writers_of_before_are_dead() {
    let image = CrashImage::new(1);
    image.put(&key("a"), content(1, 10)).await.unwrap();
    let mut writer = image.create(&key("b")).await.unwrap();
    writer.write(vec![content(2, 10)]).await.unwrap();
    image.cut_after(0);
    assert_eq!(image.put(&key("c"), content(3, 10)).await.unwrap_err().kind(), ErrorKind::Unavailable);
    image.power_on(1);
    assert!(image.has_power());
    assert_eq!(writer.finish().await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(image.contents(), [(key("a"), content(1, 10))]);
    image.put(&key("b"), content(4, 10)).await.unwrap();
}
