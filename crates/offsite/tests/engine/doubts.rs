//! What nobody is likely to have meant, though nothing has failed: it is said. And copies that would not fit: they are not begun.

use std::sync::Arc;

use offsite::model::Labels;
use offsite::report::{CopyReport, Doubt, Note};
use offsite::selection::{MachineFilter, Pattern};
use offsite::{Bytes, CopyJob, Error, JobFolder, OpenRepository, RunPlan, Selection, Source};
use offsite_repository::testing::{Faulty, Memory};

use crate::support::{BLOCK, Machines, copy_job, day, job, keep, machine, memory_repository, unseen};

/// What there is to be said beside what came of it.
trait Said {
    fn said(&self) -> Vec<String>;
}

impl Said for CopyReport {
    fn said(&self) -> Vec<String> {
        words(&self.notes, &self.doubts)
    }
}

impl Said for RunPlan {
    fn said(&self) -> Vec<String> {
        words(&self.notes, &self.doubts)
    }
}

fn words(notes: &[Note], doubts: &[Doubt]) -> Vec<String> {
    notes.iter().map(ToString::to_string).chain(doubts.iter().map(ToString::to_string)).collect()
}

/// Holds that one thing is said, and that it has all these texts.
#[track_caller]
fn assert_says(notes: &[String], texts: &[&str]) {
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(texts.iter().all(|text| notes[0].contains(text)), "no {texts:?} in {notes:?}");
}

fn named(names: &[&str]) -> MachineFilter {
    MachineFilter::default().with_machines(names.iter().map(|name| Pattern::new(name)))
}

/// db01 is backed up no more: it is said with each run, by a plan, too, until it is excluded; then its copy may stay as it is.
#[tokio::test]
async fn a_machine_that_comes_no_more_is_said_until_it_is_excluded() {
    let (_, primary) = memory_repository().await;
    let (_, second) = memory_repository().await;
    let mut machines = Machines::new(201);
    ["db01", "web01"].iter().for_each(|name| machines.add(name, &[3 * BLOCK]));
    let copy = || copy_job(&primary, &second).transforms(keep(2));
    machines.backup(&primary, &["db01", "web01"]).run(day(0)).await.unwrap();
    assert_eq!(copy().run(day(0)).await.unwrap().said(), [""; 0]);
    // The source keeps two points, so that it merges what it has of db01 in the end.
    for number in 1..5 {
        machines.change("web01", 1);
        machines.backup(&primary, &["web01"]).keep(keep(2)).run(day(number)).await.unwrap();
        let texts = ["db01 is no longer in the restore points of job nightly"];
        assert_says(&copy().plan(day(number)).await.unwrap().said(), &texts);
        assert_says(&copy().run(day(number)).await.unwrap().said(), &texts);
        let excluded = copy().select(Selection::all().without(vec![machine("db01")]));
        assert_eq!(excluded.plan(day(number)).await.unwrap().said(), [""; 0]);
    }
}

/// A source that has lost a machine altogether, or another one in its place.
#[tokio::test]
async fn a_machine_that_no_source_has_is_said() {
    let (_, primary) = memory_repository().await;
    let (_, branch) = memory_repository().await;
    let (_, second) = memory_repository().await;
    let mut machines = Machines::new(202);
    ["db01", "web01"].iter().for_each(|name| machines.add(name, &[3 * BLOCK]));
    machines.backup(&primary, &["db01", "web01"]).run(day(0)).await.unwrap();
    copy_job(&primary, &second).run(day(0)).await.unwrap();
    machines.backup(&branch, &["web01"]).run(day(1)).await.unwrap();
    let copy = || copy_job(&branch, &second).adopt(true);
    assert_says(&copy().run(day(1)).await.unwrap().said(), &["db01 was copied before, and no source has it any more"]);
    // What is not seen is not gone.
    let unseen = copy().unseen(vec![unseen("primary", "it is away")]);
    assert_says(&unseen.run(day(2)).await.unwrap().said(), &["it is away"]);
    let other = copy().select(Selection::machines(vec![machine("web01")]));
    assert_eq!(other.run(day(3)).await.unwrap().said(), [""; 0]);
}

/// Machines that are backed up one by one into one folder, and one that is backed up every fourth day only, are not missed.
#[tokio::test]
async fn machines_that_come_in_turn_or_rarely_are_not_missed() {
    let (_, primary) = memory_repository().await;
    let (_, second) = memory_repository().await;
    let mut machines = Machines::new(203);
    let names = ["app01", "db01", "rare01", "web01"];
    names.iter().for_each(|name| machines.add(name, &[2 * BLOCK]));
    let mut at = day(0);
    for number in 0..10 {
        for name in names.iter().filter(|name| **name != "rare01" || number % 4 == 0) {
            machines.change(name, 1);
            at = at.saturating_add_secs(60);
            machines.backup(&primary, &[name]).run(at).await.unwrap();
            // In the middle of the round, too.
            assert_eq!(copy_job(&primary, &second).run(at).await.unwrap().said(), [""; 0], "{name}, round {number}");
        }
    }
    for _ in 0..9 {
        at = at.saturating_add_secs(60);
        machines.change("web01", 1);
        machines.backup(&primary, &["web01"]).run(at).await.unwrap();
    }
    let notes = copy_job(&primary, &second).run(at).await.unwrap().said();
    assert_eq!(notes.len(), 2, "app01 and db01 have left the round, rare01 may yet come: {notes:?}");
}

/// A machine that is backed up alone, every third day, may stay away for one more round. In no later point is a machine that was backed up
/// with it.
#[tokio::test]
async fn a_machine_that_comes_alone_is_missed_once_it_stays_away_for_two_rounds() {
    let (_, primary) = memory_repository().await;
    let (_, second) = memory_repository().await;
    let mut machines = Machines::new(210);
    ["rare01", "web01"].iter().for_each(|name| machines.add(name, &[2 * BLOCK]));
    for number in 0..11 {
        let name = if number == 0 || number == 3 { "rare01" } else { "web01" };
        machines.change(name, 1);
        machines.backup(&primary, &[name]).keep(keep(99)).run(day(number)).await.unwrap();
        let notes = copy_job(&primary, &second).run(day(number)).await.unwrap().said();
        // The days 4 to 9 are six without it.
        match number {
            0..9 => assert_eq!(notes, [""; 0], "day {number}"),
            _ => assert_says(&notes, &["rare01 is no longer in the restore points of job nightly"]),
        }
    }
}

#[tokio::test]
async fn a_disk_that_is_lost_is_said() {
    let (_, primary) = memory_repository().await;
    let (_, second) = memory_repository().await;
    let mut machines = Machines::new(204);
    machines.add("web01", &[100 * BLOCK, 8 * BLOCK]);
    machines.fill_with_noise("web01");
    let copy = || copy_job(&primary, &second);
    machines.backup(&primary, &["web01"]).run(day(0)).await.unwrap();
    assert_eq!(copy().run(day(0)).await.unwrap().said(), [""; 0]);
    machines.resize("web01", 1, 4 * BLOCK);
    machines.backup(&primary, &["web01"]).run(day(1)).await.unwrap();
    assert_eq!(copy().run(day(1)).await.unwrap().said(), [""; 0], "half of it is left");
    machines.resize("web01", 1, BLOCK);
    machines.backup(&primary, &["web01"]).run(day(2)).await.unwrap();
    let shrunk = ["disk 1 of web01 has shrunk from 1.0 MiB to 256.0 KiB"];
    assert_says(&copy().plan(day(2)).await.unwrap().said(), &shrunk);
    assert_says(&copy().run(day(2)).await.unwrap().said(), &shrunk);
    machines.overwrite("web01", |disk| disk[..].chunks_mut(BLOCK).skip(40).for_each(|block| block.fill(0)));
    machines.backup(&primary, &["web01"]).run(day(3)).await.unwrap();
    let emptied = ["disk 0 of web01 has lost more than half of its data: 100 blocks before, 40"];
    assert_says(&copy().run(day(3)).await.unwrap().said(), &emptied);
    machines.remove_disk("web01");
    machines.backup(&primary, &["web01"]).run(day(4)).await.unwrap();
    assert_says(&copy().run(day(4)).await.unwrap().said(), &["disk 1 of web01 (256.0 KiB) is gone"]);
    machines.change("web01", 1);
    machines.backup(&primary, &["web01"]).run(day(5)).await.unwrap();
    assert_eq!(copy().run(day(5)).await.unwrap().said(), [""; 0], "what is said is the change");
}

#[tokio::test]
async fn a_selection_that_leaves_all_machines_out_is_said() {
    let (_, primary) = memory_repository().await;
    let (_, second) = memory_repository().await;
    let mut machines = Machines::new(216);
    machines.add("web01", &[BLOCK]);
    machines.backup(&primary, &["web01"]).run(day(0)).await.unwrap();
    let copy = copy_job(&primary, &second).select(Selection::all().without(vec![machine("web01")]));
    let report = copy.run(day(0)).await.unwrap();
    assert_says(&report.said(), &["nothing is copied, as the selection leaves out all machines of the sources"]);
}

#[tokio::test]
async fn a_disk_that_has_half_of_its_data_left_is_not_said() {
    let (_, primary) = memory_repository().await;
    let (_, second) = memory_repository().await;
    let mut machines = Machines::new(215);
    machines.add("web01", &[100 * BLOCK]);
    machines.fill_with_noise("web01");
    for number in 0..2 {
        machines.backup(&primary, &["web01"]).run(day(number)).await.unwrap();
        assert_eq!(copy_job(&primary, &second).run(day(number)).await.unwrap().said(), [""; 0], "day {number}");
        machines.overwrite("web01", |disk| disk[50 * BLOCK..].fill(0));
    }
}

#[tokio::test]
async fn a_pattern_that_matches_nothing_is_said() {
    let (_, primary) = memory_repository().await;
    let (_, second) = memory_repository().await;
    let mut machines = Machines::new(205);
    ["db01", "web01"].iter().for_each(|name| machines.add(name, &[BLOCK]));
    machines.backup(&primary, &["db01", "web01"]).run(day(0)).await.unwrap();
    let notes = async |include: &[&str], exclude: &[&str]| {
        let selection = Selection::all().include(named(include)).exclude(named(exclude));
        copy_job(&primary, &second).select(selection).plan(day(0)).await.unwrap().said()
    };
    assert_eq!(notes(&["web*", "db01"], &[]).await, [""; 0]);
    assert_eq!(notes(&[], &["db*"]).await, [""; 0]);
    assert_says(&notes(&["web*", "app*"], &[]).await, &["\"app*\", among the included machines, matches nothing"]);
    assert_says(&notes(&[], &["dv01"]).await, &["\"dv01\", among the excluded machines, matches nothing"]);
    let source = Source::backup(&primary, job("nightly"), vec![Pattern::new("web*"), Pattern::new("x*")]);
    let of_source = CopyJob::of(job("Offsite Copy"), vec![source], &second).unwrap();
    assert_says(
        &of_source.plan(day(0)).await.unwrap().said(),
        &["\"x*\", among the machines of a source, matches nothing"],
    );
    let tags = MachineFilter::default().with_tags(vec![Pattern::new("gold")]);
    let by_tag = copy_job(&primary, &second).select(Selection::all().include(named(&["*"])).exclude(tags));
    assert_says(&by_tag.plan(day(0)).await.unwrap().said(), &["\"gold\", among the excluded tags, matches nothing"]);
}

/// A tag is written without a wildcard as a rule, and a machine that is named in full is missed as a machine.
#[tokio::test]
async fn a_tag_that_matches_nothing_is_said_and_one_that_does_is_not() {
    let (_, primary) = memory_repository().await;
    let (_, second) = memory_repository().await;
    let mut machines = Machines::new(208);
    ["db01", "web01"].iter().for_each(|name| machines.add(name, &[BLOCK]));
    let gold = Labels::new(["gold".to_owned()], []).unwrap();
    machines.backup(&primary, &["db01", "web01"]).labels(machine("db01"), gold).run(day(0)).await.unwrap();
    let notes = async |tag: &str, names: &[&str]| {
        let include = named(names).with_tags(vec![Pattern::new(tag)]);
        let copy = copy_job(&primary, &second).select(Selection::all().include(include));
        copy.plan(day(0)).await.unwrap().said()
    };
    assert_eq!(notes("gold", &["web01"]).await, [""; 0]);
    assert_says(&notes("silver", &["web01"]).await, &["\"silver\", among the included tags, matches nothing"]);
}

#[tokio::test]
async fn a_job_knows_its_forerunners() {
    let (_, primary) = memory_repository().await;
    let (_, second) = memory_repository().await;
    let mut machines = Machines::new(206);
    machines.add("web01", &[3 * BLOCK]);
    machines.backup(&primary, &["web01"]).run(day(0)).await.unwrap();
    let named = |name| CopyJob::new(job(name), &primary, job("nightly"), &second).unwrap();
    assert_eq!(named("New").forerunners().await.unwrap(), []);
    named("Old").run(day(0)).await.unwrap();
    assert_eq!(named("New").forerunners().await.unwrap(), [job("Old")]);
    assert_eq!(named("Old").forerunners().await.unwrap(), [], "it has a chain");
    // A job of other machines is none.
    let (_, branch) = memory_repository().await;
    machines.backup(&branch, &["web01"]).run(day(1)).await.unwrap();
    let of_branch = CopyJob::new(job("New"), &branch, job("nightly"), &second).unwrap();
    assert_eq!(of_branch.forerunners().await.unwrap(), []);
}

/// A copy that does not fit is refused with both numbers before a block is read, and goes once there is room; what gives space back
/// is done in any case.
#[tokio::test]
async fn a_copy_that_would_not_fit_is_not_begun() {
    let (_, primary) = memory_repository().await;
    let target = Faulty::new(Memory::new());
    let second = OpenRepository::initialise(Arc::new(target.clone()), day(0)).await.unwrap();
    let mut machines = Machines::new(207);
    machines.add("web01", &[40 * BLOCK]);
    machines.fill_with_noise("web01");
    let copy = |min_free: u64| copy_job(&primary, &second).transforms(keep(2)).min_free_bytes(min_free);
    machines.backup(&primary, &["web01"]).run(day(0)).await.unwrap();
    let plan = copy(0).plan(day(0)).await.unwrap().sync.unwrap();
    assert_eq!(plan.room.free_bytes, None, "memory does not tell");
    assert!(plan.room.is_enough() && plan.room.needed_bytes > plan.cost.bytes_written);
    let needed = plan.room.needed_bytes;
    for (free, min_free) in [(needed - 1, 0), (needed + 999, 1_000)] {
        target.tell_free_bytes(Some(free));
        let planned = copy(min_free).plan(day(0)).await.unwrap().sync.unwrap().room;
        assert_eq!((planned.free_bytes, planned.is_enough()), (Some(free), false));
        let error = copy(min_free).run(day(0)).await.unwrap_err();
        assert!(matches!(error, Error::NoRoom { .. }), "{error}");
        let text = error.to_string();
        let numbers = [format!("it needs {}", Bytes(needed)), format!("and {} are free", Bytes(free))];
        assert!(numbers.iter().all(|number| text.contains(number)), "no {numbers:?} in {text}");
        assert_eq!(text.contains("of which 1000 B must stay free"), min_free > 0, "{text}");
        assert!(JobFolder::open(&second, &job("Offsite Copy")).await.unwrap().chain().latest().is_none());
    }
    target.tell_free_bytes(Some(needed));
    copy(0).run(day(0)).await.unwrap();
    for number in 1..4 {
        machines.change("web01", 2);
        machines.backup(&primary, &["web01"]).run(day(number)).await.unwrap();
        target.tell_free_bytes(None);
        copy_job(&primary, &second).transforms(keep(4)).run(day(number)).await.unwrap();
    }
    // Nothing is free, and the transforms do what they must.
    target.tell_free_bytes(Some(0));
    let report = copy_job(&primary, &second).transforms(keep(2)).transform(day(4), 0).await.unwrap();
    assert!(!report.operations.is_empty(), "{report:?}");
}
