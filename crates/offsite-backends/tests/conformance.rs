//! A folder keeps the contract, in each way in which its files may come into being, also among several processes: this test
//! binary is its own racer.

use std::path::PathBuf;

use offsite_backends::{CreateMethod, Local, LocalOptions};
use offsite_repository::testing::conformance::{Factory, Linker, Options, RacerProcess, factory, play_racer};
use offsite_repository::{Error, ErrorKind, Repository, conformance_tests};
use tempfile::TempDir;

const PLACE: &str = "OFFSITE_TEST_PLACE";

/// A way in which files come into being, and whether folders are walked instead of opened at once.
fn options_of(way: &str) -> LocalOptions {
    let create_method = match way {
        "linking-unnamed" => Some(CreateMethod::LinkingUnnamed),
        "renaming-staged" => Some(CreateMethod::RenamingStaged),
        "renaming-claimed" => Some(CreateMethod::RenamingClaimed),
        "linking-staged-walking-folders" => Some(CreateMethod::LinkingStaged),
        _ => None,
    };
    LocalOptions::default().with_create_method(create_method).with_walk_folders(way.ends_with("walking-folders"))
}

fn open(way: &'static str) -> (impl Factory, Options, TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().to_owned();
    let racers = RacerProcess::this_test("part_of_a_racer", PLACE, format!("{way} {}", path.display()));
    let factory = factory(move || Local::open_with(path.clone(), options_of(way)));
    let (objects, outside) = (folder.path().to_owned(), tempfile::tempdir().expect("a temporary folder"));
    let linker = Linker::new(move |key| {
        let linked = std::fs::hard_link(objects.join(key.as_str()), outside.path().join("linked"));
        linked.map_err(|error| Error::new(ErrorKind::Unsupported, "link").with_key(key).with_source(error))
    });
    (factory, Options::default().with_processes(racers).with_linker(linker), folder)
}

/// Plays a racer, if this process is one.
#[tokio::test]
async fn part_of_a_racer() {
    let Some(place) = std::env::var_os(PLACE) else { return };
    let place = place.into_string().expect("text");
    let (way, path) = place.split_once(' ').expect("a way and a folder");
    let local = Local::open_with(PathBuf::from(path), options_of(way)).await.expect("a repository");
    play_racer(&local).await;
}

mod as_found {
    use super::*;
    conformance_tests!(async || open("as-found"));
}

mod linking_unnamed {
    use super::*;
    conformance_tests!(async || open("linking-unnamed"));
}

mod renaming_staged {
    use super::*;
    conformance_tests!(async || open("renaming-staged"));
}

mod linking_staged_walking_folders {
    use super::*;
    conformance_tests!(async || open("linking-staged-walking-folders"));
}

mod renaming_claimed {
    use super::*;
    conformance_tests!(async || open("renaming-claimed"));
}

#[tokio::test]
async fn this_machine_can_do_what_is_tested() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let local = Local::open(folder.path()).await.expect("a repository in it");
    println!("{:?}, punching: {}", local.create_method(), local.reclaim().is_some());
    assert!(local.create_method().is_some() && local.patch().is_some());
    let left: Vec<_> = std::fs::read_dir(folder.path()).expect("the folder").collect();
    assert!(left.is_empty(), "opening left {left:?}");
}
