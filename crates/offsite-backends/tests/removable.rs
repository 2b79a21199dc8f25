//! Media come and go: what is found, what is refused, and what a swap does to those at work.
//!
//! A drive is stood in for by a folder, and taking it out by renaming that; real ones are in `removable_disks.rs`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use offsite_backends::{Local, MediaCatalogue, Medium, MediumId, RememberOptions, Removable, RemovableOptions};
use offsite_repository::testing::conformance::Options;
use offsite_repository::{Error, ErrorKind, Extent, Key, Prefix, Repository, RepositoryExt, conformance_tests};
use tempfile::TempDir;

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn some() -> Bytes {
    Bytes::from_static(b"some")
}

/// A mount point, and drives to be put there.
struct Desk {
    folder: TempDir,
}

impl Desk {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn place(&self) -> PathBuf {
        self.folder.path().join("place")
    }

    fn drive(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes a drive, which is not inserted.
    async fn prepare(&self, name: &str) -> Medium {
        fs::create_dir(self.drive(name)).unwrap();
        Removable::prepare_folder(self.drive(name), name).await.unwrap()
    }

    fn insert(&self, name: &str) {
        fs::rename(self.drive(name), self.place()).unwrap();
    }

    fn take_out(&self, name: &str) {
        fs::rename(self.place(), self.drive(name)).unwrap();
    }

    fn options(&self, expected: &[MediumId]) -> RemovableOptions {
        RemovableOptions::default().with_places(vec![self.place()]).with_expected(expected.to_vec())
    }
}

fn expect(error: &Error, kind: ErrorKind, parts: &[&str]) {
    assert_eq!(error.kind(), kind, "{error}");
    for part in parts {
        assert!(error.to_string().contains(part), "{part:?} is not in: {error}");
    }
}

mod conformance {
    use super::*;

    conformance_tests!(async || {
        let folder = tempfile::tempdir().unwrap();
        Removable::prepare_folder(folder.path(), "Blue 1").await.unwrap();
        (Arc::new(Removable::open(folder.path()).await.unwrap()), Options::default(), folder)
    });
}

#[tokio::test]
async fn a_medium_is_prepared_once_and_opened_where_it_is() {
    let desk = Desk::new();
    expect(
        &Removable::prepare_folder(desk.place(), "Blue").await.unwrap_err(),
        ErrorKind::NotFound,
        &["mount the drive"],
    );
    let error = Removable::open(desk.place()).await.unwrap_err();
    expect(
        &error,
        ErrorKind::MediaAbsent,
        &["a prepared medium", "insert and mount it", &desk.place().display().to_string()],
    );
    // An empty mount point is no medium.
    fs::create_dir(desk.place()).unwrap();
    expect(&Removable::open(desk.place()).await.unwrap_err(), ErrorKind::MediaAbsent, &[]);
    let medium = Removable::prepare_folder(desk.place(), "Blue").await.unwrap();
    let error = Removable::prepare_folder(desk.place(), "Red").await.unwrap_err();
    expect(&error, ErrorKind::AlreadyExists, &["it is medium \"Blue\"", "already"]);
    let removable = Removable::open(desk.place()).await.unwrap();
    assert_eq!((removable.medium(), removable.path()), (&medium, desk.place().as_path()));
    assert_eq!(removable.location(), format!("medium \"Blue\" ({}) at {}", medium.id, desk.place().display()));
    removable.put(&key("a/b"), some()).await.unwrap();
    removable.sweep().await.unwrap();
    // The marker is no object.
    let listed = removable.list_all(&Prefix::root()).await.unwrap();
    assert_eq!(listed.iter().map(|object| object.key.as_str()).collect::<Vec<_>>(), ["a/b"]);
    assert_eq!(Local::open(desk.place()).await.unwrap().get(&key("a/b"), 9).await.unwrap(), some());
}

#[tokio::test]
async fn a_medium_is_found_by_its_identity_and_another_is_refused() {
    let desk = Desk::new();
    let (blue, red) = (desk.prepare("Blue").await, desk.prepare("Red").await);
    let catalogue = MediaCatalogue::open(desk.drive("catalogue")).await.unwrap();
    let seen = Removable::open(desk.drive("Blue")).await.unwrap();
    seen.remember(&catalogue, &RememberOptions::new(1)).await.unwrap();
    let mut options = desk.options(&[blue.id]);
    let error = Removable::open_with(options.clone()).await.unwrap_err();
    expect(&error, ErrorKind::MediaAbsent, &["insert and mount it", &blue.id.to_string()]);
    // With a catalogue, it has a name.
    options.catalogue = Some(catalogue);
    let error = Removable::open_with(options.clone()).await.unwrap_err();
    expect(&error, ErrorKind::MediaAbsent, &[&format!("medium \"Blue\" ({})", blue.id)]);
    desk.insert("Red");
    let error = Removable::open_with(options.clone()).await.unwrap_err();
    expect(&error, ErrorKind::WrongMedia, &[&format!("medium {red} is at"), &format!("insert medium {blue} instead")]);
    // In rotation, whichever is there.
    options.expected.push(red.id);
    assert_eq!(Removable::open_with(options.clone()).await.unwrap().medium(), &red);
    // Where a desktop mounts media: in folders of one folder. Files and folders that are no media do not matter.
    fs::write(desk.drive("file"), "").unwrap();
    options = desk.options(&[blue.id]).with_parents(vec![desk.folder.path().to_owned()]);
    assert_eq!(Removable::open_with(options.clone()).await.unwrap().path(), desk.drive("Blue"));
    options.parents.push(desk.drive("missing"));
    assert_eq!(Removable::open_with(options.clone()).await.unwrap().medium(), &blue);
    // A copy of the drive has the same identity, and may be the one that is behind.
    fs::create_dir(desk.drive("twin")).unwrap();
    fs::copy(desk.drive("Blue").join(".offsite-medium"), desk.drive("twin/.offsite-medium")).unwrap();
    let error = Removable::open_with(options).await.unwrap_err();
    expect(&error, ErrorKind::WrongMedia, &["one is a copy of the other", "twin"]);
}

#[tokio::test]
async fn a_damaged_identity_is_told_and_another_place_tried() {
    let desk = Desk::new();
    let blue = desk.prepare("Blue").await;
    let marker = desk.drive("Blue").join(".offsite-medium");
    let mut bytes = fs::read(&marker).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&marker, bytes).unwrap();
    let error = Removable::open(desk.drive("Blue")).await.unwrap_err();
    expect(&error, ErrorKind::Corrupt, &[&desk.drive("Blue").display().to_string(), ".offsite-medium is damaged"]);
    expect(&Removable::prepare_folder(desk.drive("Blue"), "Red").await.unwrap_err(), ErrorKind::Corrupt, &[]);
    desk.prepare("Red").await;
    let options = RemovableOptions::default().with_places(vec![desk.drive("Blue"), desk.drive("Red")]);
    assert_eq!(Removable::open_with(options).await.unwrap().medium().label, "Red");
    // A link is no marker: it could lead to another medium's.
    fs::remove_file(&marker).unwrap();
    std::os::unix::fs::symlink(desk.drive("Red").join(".offsite-medium"), &marker).unwrap();
    expect(&Removable::open(desk.drive("Blue")).await.unwrap_err(), ErrorKind::Corrupt, &["symbolic link"]);
    drop(blue);
}

/// Everything that can be asked of a medium.
async fn ask_all(removable: &Removable) -> Vec<Error> {
    let mut answers = vec![
        removable.create(&key("new")).await.map(drop),
        removable.get(&key("job/object"), 9).await.map(drop),
        removable.list(&Prefix::root(), None, 9).await.map(drop),
        removable.delete(&key("job/object")).await,
        removable.sweep().await,
        removable.patch().unwrap().write_extents(&key("job/object"), vec![Extent::new(0, vec![some()])]).await,
        removable.eject().await.map(drop),
    ];
    if let Some(reclaim) = removable.reclaim() {
        answers.push(reclaim.punch(&key("job/object"), &[]).await);
        answers.push(reclaim.allocated_bytes(&key("job/object")).await.map(drop));
    }
    if let Some(cloner) = removable.clone_range() {
        answers.push(cloner.create_from(&key("new"), &[]).await);
    }
    answers.into_iter().map(Result::unwrap_err).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn a_swap_in_the_middle_of_a_run_ends_every_handle_for_ever() {
    let desk = Desk::new();
    let (blue, red) = (desk.prepare("Blue").await, desk.prepare("Red").await);
    desk.insert("Blue");
    let removable = Removable::open(desk.place()).await.unwrap();
    let clone = removable.clone();
    removable.put(&key("job/object"), some()).await.unwrap();
    let mut writers = Vec::new();
    for number in 0..3 {
        let mut writer = clone.create(&key(&format!("job/unfinished-{number}"))).await.unwrap();
        writer.write(vec![Bytes::from(vec![7; 2 << 20])]).await.unwrap();
        writers.push(writer);
    }
    desk.take_out("Blue");
    desk.insert("Red");
    let advice = [format!("medium {red} took its place"), format!("insert medium {blue}, and start anew")];
    let advice: Vec<&str> = advice.iter().map(String::as_str).collect();
    // A writer that is about to make its object visible finds out by itself.
    let mut writers = writers.into_iter();
    expect(&writers.next().unwrap().finish().await.unwrap_err(), ErrorKind::WrongMedia, &advice);
    let mut writer = writers.next().unwrap();
    expect(&writer.write(vec![some()]).await.unwrap_err(), ErrorKind::WrongMedia, &advice);
    expect(&writer.finish().await.unwrap_err(), ErrorKind::WrongMedia, &advice);
    for error in ask_all(&removable).await {
        expect(&error, ErrorKind::WrongMedia, &advice);
    }
    // Also when it is back.
    desk.take_out("Red");
    desk.insert("Blue");
    for error in ask_all(&clone).await {
        expect(&error, ErrorKind::WrongMedia, &advice);
    }
    expect(&writers.next().unwrap().finish().await.unwrap_err(), ErrorKind::WrongMedia, &advice);
    // Neither drive has anything that was not finished, and nothing went to the other one.
    assert_eq!(names(&desk.drive("Red")), [".offsite-medium"]);
    let anew = Removable::open(desk.place()).await.unwrap();
    anew.sweep().await.unwrap();
    assert_eq!(names(&desk.place().join("job")), ["object"]);
    assert_eq!(anew.get(&key("job/object"), 9).await.unwrap(), some());
}

#[tokio::test]
async fn a_medium_that_was_away_for_a_moment_is_told_as_such() {
    for is_back in [false, true] {
        let desk = Desk::new();
        let blue = desk.prepare("Blue").await;
        desk.insert("Blue");
        let removable = Removable::open(desk.place()).await.unwrap();
        removable.put(&key("job/object"), some()).await.unwrap();
        desk.take_out("Blue");
        let named = format!("medium {blue}");
        let advice = if is_back {
            // As it would be mounted anew: another folder, the same marker and content.
            let copied = std::process::Command::new("cp").arg("-r").args([desk.drive("Blue"), desk.place()]).status();
            assert!(copied.unwrap().success());
            ["it was taken out, and is back", "start anew", named.as_str()]
        } else {
            ["it was taken out, there is no medium at", "insert it", named.as_str()]
        };
        for error in ask_all(&removable).await {
            expect(&error, ErrorKind::MediaAbsent, &advice);
        }
        if is_back {
            let anew = Removable::open(desk.place()).await.unwrap();
            assert_eq!(anew.get(&key("job/object"), 9).await.unwrap(), some());
        }
    }
}

#[tokio::test]
async fn a_marker_that_is_replaced_or_removed_is_a_swap_too() {
    for replace in [false, true] {
        let desk = Desk::new();
        let red = desk.prepare("Red").await;
        desk.prepare("Blue").await;
        let removable = Removable::open(desk.drive("Blue")).await.unwrap();
        if replace {
            fs::copy(desk.drive("Red").join(".offsite-medium"), desk.drive("Blue").join(".offsite-medium")).unwrap();
            for error in ask_all(&removable).await {
                expect(&error, ErrorKind::WrongMedia, &[&format!("medium {red} took its place")]);
            }
        } else {
            fs::remove_file(desk.drive("Blue").join(".offsite-medium")).unwrap();
            for error in ask_all(&removable).await {
                expect(&error, ErrorKind::MediaAbsent, &["there is no medium at"]);
            }
        }
    }
}

#[tokio::test]
async fn ejecting_waits_for_no_one_and_ends_every_handle() {
    let desk = Desk::new();
    let blue = desk.prepare("Blue").await;
    let removable = Removable::open(desk.drive("Blue")).await.unwrap();
    let clone = removable.clone();
    let mut writer = clone.create(&key("job/object")).await.unwrap();
    writer.write(vec![some()]).await.unwrap();
    let error = removable.eject().await.unwrap_err();
    expect(&error, ErrorKind::Unavailable, &["1 objects are being written", "wait for them"]);
    writer.finish().await.unwrap();
    drop(clone.create(&key("job/dropped")).await.unwrap());
    let ejected = removable.eject().await.unwrap();
    let place = desk.drive("Blue");
    assert_eq!(
        ejected.to_string(),
        format!("everything is on medium {blue}; unmount {}, then take it out", place.display())
    );
    for error in ask_all(&clone).await {
        expect(&error, ErrorKind::MediaAbsent, &["it was ejected: insert it, and start anew", "Blue"]);
    }
    assert_eq!(Removable::open(place).await.unwrap().get(&key("job/object"), 9).await.unwrap(), some());
}
