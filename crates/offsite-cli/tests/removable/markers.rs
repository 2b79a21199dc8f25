//! What a drive is known by, when it is lost.

use std::fs;

use serde_json::Value;

use crate::COPY;
use crate::support::{Offsite, day};
use crate::world::World;

/// A drive has two markers: one of the repository, and one that tells it from other drives. Each comes back, and the chain goes on.
#[test]
fn a_drive_that_has_lost_a_marker_gets_it_back() {
    let mut world = World::new(4, &["mount"], 4);
    let drives = ["blue", "red"];
    drives.iter().for_each(|drive| world.prepare(drive));
    for (number, drive) in (0..).zip(drives) {
        world.work(number);
        world.insert(drive);
        world.copy(number);
    }
    let run =
        |world: &World, number: i64, status: i32| world.offsite.run(["run", "--now", &day(number)]).expect(status);
    let is_increment = |report: &Value| report["syncs"][0]["kind"] == "increment";
    // Of the repository: lost or damaged, and put back by a repair.
    for (number, damaged) in [(2, None), (3, Some("no marker"))] {
        world.work(number);
        world.insert("blue");
        let marker = world.offsite.path("blue/offsite-repository");
        match damaged {
            None => fs::remove_file(&marker).unwrap(),
            Some(text) => fs::write(&marker, text).unwrap(),
        }
        let refused = run(&world, number, 1);
        assert!(refused.err.contains("`offsite repair REPO JOB` makes a new one"), "{refused}");
        world.offsite.ok(["repair", "rotation", COPY]);
        assert!(is_increment(&world.copy(number)), "day {number}");
    }
    // Of the drive: damaged, then lost. It is the drive that it was.
    world.work(4);
    world.insert("red");
    let marker = world.offsite.path("red/.offsite-medium");
    let before = fs::read(&marker).unwrap();
    fs::write(&marker, "no marker").unwrap();
    let refused = run(&world, 4, 1);
    for said in ["remove that file", "`offsite init rotation` then gives the drive its marker back"] {
        assert!(refused.err.contains(said), "{said}: {refused}");
    }
    fs::remove_file(&marker).unwrap();
    world.offsite.ok(["init", "rotation", "--allow-unmounted"]);
    assert_eq!(fs::read(&marker).unwrap(), before);
    assert!(is_increment(&world.copy(4)));
    assert_eq!(world.points().into_keys().collect::<Vec<_>>(), drives);
    assert_eq!(world.check(), [1, 4]);
    // Both at once, and one after the other before any run.
    for repairs_first in [true, false] {
        world.insert("red");
        fs::remove_file(world.offsite.path("red/offsite-repository")).unwrap();
        if repairs_first {
            world.offsite.ok(["repair", "rotation", COPY]);
        }
        fs::remove_file(&marker).unwrap();
        world.offsite.ok(["init", "rotation", "--allow-unmounted"]);
        assert_eq!(fs::read(&marker).unwrap(), before, "repaired first: {repairs_first}");
        assert_eq!(world.check(), [1, 4]);
    }
    // Another one that nobody remembers is taken in under a label of its own.
    let stranger = Offsite::new();
    stranger.ok(["init", "elsewhere"]);
    fs::rename(stranger.path("elsewhere"), world.offsite.path("green")).unwrap();
    world.prepare("green");
    assert_eq!(world.points().into_keys().collect::<Vec<_>>(), ["blue", "green", "red"]);
}
