//! A folder keeps the contract, in each way in which its files may come into being.

use std::sync::Arc;

use offsite_backends::{CreateBy, Local, LocalOptions};
use offsite_repository::testing::conformance::Options;
use offsite_repository::{Repository, conformance_tests};
use tempfile::TempDir;

async fn open(options: LocalOptions) -> (Arc<Local>, Options, TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let local = Local::open_with(folder.path(), options).await.expect("a repository in it");
    (Arc::new(local), Options::default(), folder)
}

mod as_found {
    use super::*;
    conformance_tests!(async || open(LocalOptions::default()).await);
}

mod linking_unnamed {
    use super::*;
    conformance_tests!(async || {
        open(LocalOptions { create_by: Some(CreateBy::LinkingUnnamed), ..LocalOptions::default() }).await
    });
}

mod renaming_staged {
    use super::*;
    conformance_tests!(async || {
        open(LocalOptions { create_by: Some(CreateBy::RenamingStaged), ..LocalOptions::default() }).await
    });
}

mod linking_staged_walking_folders {
    use super::*;
    conformance_tests!(async || {
        let options =
            LocalOptions { create_by: Some(CreateBy::LinkingStaged), walk_folders: true, ..LocalOptions::default() };
        open(options).await
    });
}

mod renaming_claimed {
    use super::*;
    conformance_tests!(async || {
        open(LocalOptions { create_by: Some(CreateBy::RenamingClaimed), ..LocalOptions::default() }).await
    });
}

#[tokio::test]
async fn this_machine_can_do_what_is_tested() {
    let (local, _, folder) = open(LocalOptions::default()).await;
    println!("{:?}, punching: {}", local.create_by(), local.reclaim().is_some());
    assert!(local.create_by().is_some() && local.patch().is_some());
    let left: Vec<_> = std::fs::read_dir(folder.path()).expect("the folder").collect();
    assert!(left.is_empty(), "opening left {left:?}");
}
