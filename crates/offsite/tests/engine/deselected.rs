//! Machines that a job selects no more: when their copies go, and what keeps them.

use offsite::model::Labels;
use offsite::report::{Doubt, Note, PatternKind, PatternPlace};
use offsite::retention::DeletedMachines;
use offsite::selection::{MachineFilter, Pattern};
use offsite::{CopyJob, Selection, Source, SyncRequest, Transforms};
use offsite_repository::testing::Memory;

use crate::support::objects::newest_head;
use crate::support::{BLOCK, Machines, copy_job, day, job, machine, memory_repository, unseen};

const NAMES: [&str; 2] = ["db01", "web01"];

fn two_machines() -> Machines {
    let mut machines = Machines::new(209);
    NAMES.iter().for_each(|name| machines.add(name, &[BLOCK]));
    machines
}

fn removing_after_days(days: u32) -> Transforms {
    Transforms::default().deleted_machines(Some(DeletedMachines::after_days(days).unwrap()))
}

/// Whether the copy has any restore point of db01.
fn has_db(target: &Memory) -> bool {
    newest_head(target, "Offsite Copy").chain.all().any(|point| point.machine(&machine("db01")).is_some())
}

/// The tag may be lost, or mistyped: as long as nothing has it, no machine counts as one that the job selects no more. Once another machine
/// has it, the days are counted.
#[tokio::test]
async fn no_copy_is_removed_while_a_pattern_matches_nothing() {
    let (_, primary) = memory_repository().await;
    let (target, second) = memory_repository().await;
    let mut machines = two_machines();
    let include = MachineFilter::default().with_machines([Pattern::new("web*")]).with_tags([Pattern::new("gold")]);
    let transforms = removing_after_days(1);
    let copy = copy_job(&primary, &second).select(Selection::all().include(include));
    let copy = copy.transforms(transforms);
    // Who has the tag, day by day.
    let tagged = [Some("db01"), None, None, None, Some("web01"), Some("web01"), Some("web01")];
    for (number, tagged) in (0..).zip(tagged) {
        machines.change("web01", 1);
        let backup = NAMES.iter().fold(machines.backup(&primary, &NAMES), |backup, name| {
            let tags = (tagged == Some(*name)).then(|| "gold".to_owned());
            backup.labels(machine(name), Labels::new(tags, []).unwrap())
        });
        backup.run(day(number)).await.unwrap();
        let doubts = copy.run(day(number)).await.unwrap().doubts;
        let place = PatternPlace::Include(PatternKind::Tags);
        let idle = Doubt::IdlePattern { place, pattern: "gold".to_owned() };
        assert_eq!(doubts.contains(&idle), tagged.is_none(), "day {number}: {doubts:?}");
        assert!(tagged == Some("web01") || has_db(&target), "day {number}");
        let is_missed = |doubt: &Doubt| matches!(doubt, Doubt::Vanished { .. });
        assert!(!doubts.iter().any(is_missed), "day {number}: {doubts:?}");
    }
    assert!(!has_db(&target), "all patterns match, and the days are over");
}

/// The source is away for longer than the days of the job, and comes back without a machine: its days begin then, not when it was last
/// seen.
#[tokio::test]
async fn the_days_of_a_machine_begin_when_it_is_missed() {
    let (_, primary) = memory_repository().await;
    let (_, made_again) = memory_repository().await;
    let (target, second) = memory_repository().await;
    let mut machines = two_machines();
    machines.backup(&primary, &NAMES).run(day(0)).await.unwrap();
    let transforms = removing_after_days(5);
    copy_job(&primary, &second).transforms(transforms.clone()).run(day(0)).await.unwrap();
    let mut removed = None;
    for number in 9..20 {
        machines.change("web01", 1);
        machines.backup(&made_again, &["web01"]).run(day(number)).await.unwrap();
        let copy = copy_job(&made_again, &second).adopt(true).transforms(transforms.clone());
        copy.run(day(number)).await.unwrap();
        if !has_db(&target) {
            removed = Some(number);
            break;
        }
    }
    assert_eq!(removed, Some(13));
}

/// Transforms are done while the sources are away. A machine whose days are over stays then, and that is said: it may be selected again by
/// now.
#[tokio::test]
async fn no_machine_is_removed_while_the_sources_are_away_and_that_is_said() {
    let (_, primary) = memory_repository().await;
    let (target, second) = memory_repository().await;
    let mut machines = two_machines();
    let transforms = removing_after_days(1);
    let away = CopyJob::of(job("Offsite Copy"), Vec::new(), &second).unwrap();
    let away = away.unseen(vec![unseen("primary", "it is away")]).transforms(transforms.clone());
    machines.backup(&primary, &NAMES).run(day(0)).await.unwrap();
    copy_job(&primary, &second).transforms(transforms.clone()).run(day(0)).await.unwrap();
    assert_eq!(away.transform(day(0), 1).await.unwrap().notes, [], "none is due");
    // Syncs alone look which machines are selected, and remove none.
    let copy = copy_job(&primary, &second).select(Selection::machines(vec![machine("web01")])).transforms(transforms);
    for number in 1..3 {
        machines.change("web01", 1);
        machines.backup(&primary, &NAMES).run(day(number)).await.unwrap();
        copy.sync(&SyncRequest::at(day(number))).await.unwrap();
    }
    let report = away.transform(day(2), 2).await.unwrap();
    let [note] = &report.notes[..] else { panic!("{report:?}") };
    assert!(
        matches!(note, Note::DeselectedKept { why } if why.text.contains("repository primary: it is away")),
        "{note:?}"
    );
    assert!(has_db(&target), "{report:?}");
    let report = copy.transform(day(2), 0).await.unwrap();
    assert_eq!(report.notes, []);
    assert!(!has_db(&target), "it was due: {report:?}");
}

/// Days without a new backup are days on which the job selects, too: what is selected stays, and what is not goes when its days are over.
#[tokio::test]
async fn days_with_nothing_to_copy_count_for_the_selection() {
    let (_, primary) = memory_repository().await;
    let machines = two_machines();
    machines.backup(&primary, &NAMES).run(day(0)).await.unwrap();
    let transforms = removing_after_days(5);
    // From which day on db01 is not selected, and the first day on which it is gone.
    for (unselected, gone) in [(7, 11), (1, 5)] {
        let (target, second) = memory_repository().await;
        let copy = copy_job(&primary, &second).transforms(transforms.clone());
        copy.run(day(0)).await.unwrap();
        let fewer = || copy.clone().select(Selection::all().without(vec![machine("db01")]));
        for number in 1..=gone {
            let copy = if number < unselected { copy.clone() } else { fewer() };
            copy.transform(day(number), 0).await.unwrap();
            assert_eq!(has_db(&target), number < gone, "day {number}, not selected from day {unselected} on");
        }
    }
}

/// A pattern of a source that matches nothing may be mistyped, as one of the selection may be.
#[tokio::test]
async fn no_copy_is_removed_while_a_pattern_of_a_source_matches_nothing() {
    let (_, primary) = memory_repository().await;
    let (target, second) = memory_repository().await;
    let machines = two_machines();
    machines.backup(&primary, &NAMES).run(day(0)).await.unwrap();
    let transforms = removing_after_days(2);
    let copy = |patterns: &[&str]| {
        let patterns = patterns.iter().map(|pattern| Pattern::new(pattern)).collect();
        let source = Source::backup(&primary, job("nightly"), patterns);
        CopyJob::of(job("Offsite Copy"), vec![source], &second).unwrap().transforms(transforms.clone())
    };
    copy(&["db*", "web*"]).run(day(0)).await.unwrap();
    for number in 1..8 {
        copy(&["bd*", "web*"]).run(day(number)).await.unwrap();
        assert!(has_db(&target), "day {number}");
    }
    for number in 8..11 {
        copy(&["web*"]).run(day(number)).await.unwrap();
    }
    assert!(!has_db(&target));
}
