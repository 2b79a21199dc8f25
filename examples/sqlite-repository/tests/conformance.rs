//! The backend keeps the contract.

use offsite_repository::testing::conformance::{Options, RacerProcess, factory, play_racer};
use offsite_sqlite_repository::Sqlite;

/// Tells this test binary, started anew, that it is a racer, and where.
const PLACE: &str = "OFFSITE_TEST_SQLITE_FILE";

offsite_repository::conformance_tests!(async || {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("objects.sqlite");
    let racers = RacerProcess::this_test("part_of_a_racer", PLACE, &file);
    (factory(move || Sqlite::open(file.clone())), Options::default().with_processes(racers), folder)
});

/// Does nothing, unless this process was started to race.
#[tokio::test]
async fn part_of_a_racer() {
    let Some(file) = std::env::var_os(PLACE) else { return };
    play_racer(&Sqlite::open(file).await.expect("the file of the process that started this one")).await;
}
