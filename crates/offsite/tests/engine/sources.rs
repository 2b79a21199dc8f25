//! Copies from several jobs, repositories and copies, by name, tag and container, beside backups that are at work.

use std::collections::BTreeSet;
use std::sync::Arc;

use offsite::model::{BlockSize, Labels, MachineName, Timestamp};
use offsite::report::{CopyReport, MachineOutcome, Note, Reason, Unseen};
use offsite::retention::{Gfs, Policy};
use offsite::schedule::PointRange;
use offsite::selection::{Decision, MachineFilter, Pattern};
use offsite::{BackupJob, CopyJob, Error, ImageSource, JobFolder, OpenRepository, Selection, Source, SyncRequest};

use crate::support::gates::Held;
use crate::support::objects::{foreign_lease, newest_head, put_successor, space, stray};
use crate::support::truth::Truth;
use crate::support::{BLOCK, Machines, Random, copy_job, day, job, keep, machine, memory_repository, restored, seed};

const COPY: &str = "Offsite Copy";

/// A backup job of one-disk machines.
fn backup(machines: &Machines, repository: &OpenRepository, name: &str, names: &[&str]) -> BackupJob {
    let backup = BackupJob::new(repository, job(name)).block_size(BlockSize::KiB256);
    names
        .iter()
        .fold(backup, |backup, name| backup.machine(machine(name), vec![ImageSource::new(machines.image(name, 0))]))
}

fn hours(number: i64) -> Timestamp {
    day(0).saturating_add_secs(number * 3600)
}

fn labels(tags: &[&str], containers: &[&str]) -> Labels {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    Labels::new(texts(tags), texts(containers)).unwrap()
}

fn copied(report: &CopyReport) -> Vec<(&str, &str, Timestamp)> {
    let machines = report.sync.iter().flat_map(|sync| &sync.machines);
    machines.map(|machine| (machine.name.as_str(), machine.job.as_str(), machine.captured)).collect()
}

/// The newest state of each machine, whichever job in whichever repository has it; new ones join by themselves.
#[tokio::test]
async fn a_machine_in_several_backups_gets_the_newest() {
    let (_, primary) = memory_repository().await;
    let (_, branch) = memory_repository().await;
    let (target, second) = memory_repository().await;
    let mut machines = Machines::new(81);
    for name in ["app01", "db01", "web01"] {
        machines.add(name, &[3 * BLOCK + 99]);
    }
    let sources = vec![Source::infrastructure(&primary), Source::infrastructure(&branch)];
    let copy = CopyJob::of(job(COPY), sources, &second).unwrap().transforms(keep(2));
    backup(&machines, &primary, "nightly", &["db01", "web01"]).run(hours(0)).await.unwrap();
    machines.change("web01", 2);
    backup(&machines, &primary, "hourly", &["web01"]).run(hours(1)).await.unwrap();
    let planned = copy.plan(hours(2)).await.unwrap();
    let report = copy.run(hours(2)).await.unwrap();
    assert_eq!(copied(&report), [("db01", "nightly", hours(0)), ("web01", "hourly", hours(1))]);
    let sync = report.sync.as_ref().unwrap();
    assert!(sync.tally.kept_to_plan());
    assert_eq!(planned.sync.map(|planned| planned.cost), Some(sync.tally.planned));
    assert_eq!(planned.machines, report.machines);
    // Each machine knows where it came from.
    let point = JobFolder::open(&second, &job(COPY)).await.unwrap().chain().latest().unwrap().clone();
    for (name, source) in [("db01", "nightly"), ("web01", "hourly")] {
        let folder = JobFolder::open(&primary, &job(source)).await.unwrap();
        let origin = point.machine(&machine(name)).unwrap().origin.unwrap();
        assert_eq!((origin.folder, origin.sequence.0), (folder.id(), 1));
    }
    for name in ["app01", "db01", "web01"] {
        machines.change(name, 2);
    }
    backup(&machines, &branch, "nightly", &["app01", "db01"]).run(hours(3)).await.unwrap();
    backup(&machines, &primary, "nightly", &["web01"]).run(hours(4)).await.unwrap();
    let report = copy.run(hours(5)).await.unwrap();
    let expected = [("app01", "nightly", hours(3)), ("db01", "nightly", hours(3)), ("web01", "nightly", hours(4))];
    assert_eq!(copied(&report), expected);
    for name in ["app01", "db01", "web01"] {
        assert_eq!(restored(&second, COPY, name, None).await, machines.content(name));
    }
    // An older state in another job is nothing new.
    backup(&machines, &primary, "hourly", &["db01"]).run(hours(2)).await.unwrap();
    assert!(copy.run(hours(6)).await.unwrap().sync.is_none());
    assert_eq!(stray(&target, COPY), [""; 0]);
}

#[tokio::test]
async fn machines_are_selected_by_name_tag_and_container() {
    let (_, primary) = memory_repository().await;
    let (target, second) = memory_repository().await;
    let (_, third) = memory_repository().await;
    let mut machines = Machines::new(82);
    let names = ["db01", "db02", "test01", "web01"];
    names.iter().for_each(|name| machines.add(name, &[BLOCK]));
    let nightly = backup(&machines, &primary, "nightly", &names)
        .labels(machine("db01"), labels(&["gold"], &["berlin/host-1"]))
        .labels(machine("db02"), labels(&["silver"], &["berlin/host-2"]))
        .labels(machine("test01"), labels(&["gold"], &["paris/host-1"]));
    nightly.run(day(0)).await.unwrap();
    let patterns = |texts: &[&str]| texts.iter().map(|text| Pattern::new(text)).collect::<Vec<_>>();
    let tags = |texts: &[&str]| MachineFilter::default().with_tags(patterns(texts));
    let containers = |texts: &[&str]| MachineFilter::default().with_containers(patterns(texts));
    let by_name = |texts: &[&str]| MachineFilter::default().with_machines(patterns(texts));
    let none = MachineFilter::default;
    let cases: [(MachineFilter, MachineFilter, &[&str]); 6] = [
        (none(), none(), &names),
        (tags(&["gold"]), none(), &["db01", "test01"]),
        (tags(&["gold"]), by_name(&["test*"]), &["db01"]),
        (containers(&["berlin"]), none(), &["db01", "db02"]),
        (containers(&["*/host-1"]), tags(&["sil*"]), &["db01", "test01"]),
        (by_name(&["db0?"]), containers(&["berlin/host-2"]), &["db01"]),
    ];
    for (position, (include, exclude, expected)) in cases.into_iter().enumerate() {
        let name = job(&format!("copy {position}"));
        let copy = CopyJob::new(name, &primary, job("nightly"), &second).unwrap();
        let report = copy.select(Selection::all().include(include).exclude(exclude)).run(day(0)).await.unwrap();
        assert_eq!(copied(&report).iter().map(|(name, ..)| *name).collect::<Vec<_>>(), expected);
    }
    // The copy knows the labels too: a copy of the copy selects by them. A run without labels leaves them as they are.
    assert_eq!(newest_head(&target, "copy 0").labels[&machine("db01")], labels(&["gold"], &["berlin/host-1"]));
    let gold = Selection::all().include(tags(&["gold"]));
    let again = CopyJob::new(job(COPY), &second, job("copy 0"), &third).unwrap().select(gold);
    assert_eq!(copied(&again.run(day(0)).await.unwrap()).len(), 2);
    machines.change("db01", 1);
    backup(&machines, &primary, "nightly", &names)
        .labels(machine("test01"), Labels::default())
        .run(day(1))
        .await
        .unwrap();
    CopyJob::new(job("copy 0"), &primary, job("nightly"), &second).unwrap().run(day(1)).await.unwrap();
    let report = again.run(day(1)).await.unwrap();
    assert_eq!(copied(&report), [("db01", "copy 0", day(1))]);
    assert_eq!(restored(&third, COPY, "db01", None).await, machines.content("db01"));
    assert!(!newest_head(&target, "copy 0").labels.contains_key(&machine("test01")));
}

/// Chosen machines of a job; a name that no source has is missed.
#[tokio::test]
async fn chosen_machines_of_a_job() {
    let (_, primary) = memory_repository().await;
    let (_, second) = memory_repository().await;
    let mut machines = Machines::new(83);
    ["db01", "web01", "web02"].iter().for_each(|name| machines.add(name, &[BLOCK]));
    backup(&machines, &primary, "nightly", &["db01", "web01"]).run(day(0)).await.unwrap();
    backup(&machines, &primary, "weekly", &["db01", "web02"]).run(day(1)).await.unwrap();
    let sources = vec![
        Source::backup(&primary, job("nightly"), vec![Pattern::new("db01"), Pattern::new("gone01")]),
        Source::backup(&primary, job("weekly"), vec![Pattern::new("web*")]),
    ];
    let report = CopyJob::of(job(COPY), sources, &second).unwrap().run(day(2)).await.unwrap();
    assert_eq!(copied(&report), [("db01", "nightly", day(0)), ("web02", "weekly", day(1))]);
    assert!(report.absent().eq([&machine("gone01")]));
}

/// A source that cannot be looked at is told, and keeps nothing of the others from being copied.
#[tokio::test]
async fn a_source_that_is_not_there_is_told() {
    let (_, primary) = memory_repository().await;
    let (_, second) = memory_repository().await;
    let mut machines = Machines::new(89);
    machines.add("web01", &[BLOCK]);
    machines.backup(&primary, &["web01"]).run(day(0)).await.unwrap();
    let nowhere = Source::job(&primary, job("nowhere"));
    let sources = vec![nowhere.clone(), Source::job(&primary, job("nightly"))];
    let report = CopyJob::of(job(COPY), sources, &second).unwrap().run(day(0)).await.unwrap();
    assert_eq!(copied(&report), [("web01", "nightly", day(0))]);
    assert!(matches!(&report.notes[..], [Note::NotSeen(Unseen::Source { .. })]), "{:?}", report.notes);
    let alone = CopyJob::of(job("alone"), vec![nowhere], &second).unwrap();
    assert!(matches!(alone.run(day(0)).await.unwrap_err(), Error::UnknownJob { .. }));
}

/// A copy is not made of itself, nor back to where it came from.
#[tokio::test]
async fn a_copy_is_never_of_its_own_repository() {
    let (_, primary) = memory_repository().await;
    let (_, second) = memory_repository().await;
    let mut machines = Machines::new(84);
    machines.add("web01", &[2 * BLOCK]);
    machines.backup(&primary, &["web01"]).run(day(0)).await.unwrap();
    let error =
        CopyJob::of(job(COPY), vec![Source::infrastructure(&primary), Source::infrastructure(&second)], &second);
    assert!(matches!(error.unwrap_err(), Error::SameRepository { .. }));
    let nowhere = CopyJob::of(job(COPY), Vec::new(), &second).unwrap();
    assert!(matches!(nowhere.run(day(0)).await.unwrap_err(), Error::NoSource { .. }));
    copy_job(&primary, &second).run(day(0)).await.unwrap();
    // There and back again: what came from the chain is not newer than what is in it.
    let back = CopyJob::new(job("back"), &second, job(COPY), &primary).unwrap();
    assert_eq!(copied(&back.run(day(1)).await.unwrap()).len(), 1);
    let all = CopyJob::of(job(COPY), vec![Source::infrastructure(&primary)], &second).unwrap();
    assert!(all.run(day(2)).await.unwrap().sync.is_none());
}

/// Blocks of another size cannot join a chain: the machine is told, the others are copied.
#[tokio::test]
async fn a_source_with_other_blocks_is_told() {
    let (_, primary) = memory_repository().await;
    let (_, second) = memory_repository().await;
    let mut machines = Machines::new(85);
    ["db01", "web01"].iter().for_each(|name| machines.add(name, &[BLOCK]));
    backup(&machines, &primary, "nightly", &["web01"]).run(day(0)).await.unwrap();
    let large = BackupJob::new(&primary, job("sql")).block_size(BlockSize::MiB1);
    large.machine(machine("db01"), vec![ImageSource::new(machines.image("db01", 0))]).run(day(0)).await.unwrap();
    let sources = vec![Source::job(&primary, job("nightly")), Source::job(&primary, job("sql"))];
    let copy = CopyJob::of(job(COPY), sources, &second).unwrap();
    for number in 1..3 {
        let report = copy.run(day(number)).await.unwrap();
        let [db, web] = &report.machines[..] else { panic!("{:?}", report.machines) };
        assert!(matches!(&db.outcome, MachineOutcome::Absent { why: Reason::OtherBlockSize { .. } }), "{db:?}");
        assert!(web.outcome.is_whole());
    }
    let alone = CopyJob::new(job(COPY), &primary, job("sql"), &second).unwrap();
    assert!(matches!(alone.run(day(3)).await.unwrap_err(), Error::InvalidSetting { setting: "name", .. }));
}

/// Only states of the range count, and only the machines that are asked for are copied.
#[tokio::test]
async fn a_range_bounds_what_counts() {
    let (_, primary) = memory_repository().await;
    let (_, second) = memory_repository().await;
    let mut machines = Machines::new(86);
    ["db01", "web01"].iter().for_each(|name| machines.add(name, &[BLOCK]));
    backup(&machines, &primary, "nightly", &["db01", "web01"]).run(day(0)).await.unwrap();
    machines.change("web01", 1);
    backup(&machines, &primary, "nightly", &["web01"]).run(day(2)).await.unwrap();
    let copy = copy_job(&primary, &second);
    let range = PointRange { not_before: day(1), not_after: day(3) };
    let request = SyncRequest::at(day(3)).range(range);
    let looked = copy.look(&request).await.unwrap();
    assert!(matches!(looked.choices[0].decision, Decision::TooOld { captured } if captured == day(0)), "{looked:?}");
    assert!(matches!(looked.choices[1].decision, Decision::Take { .. }), "{looked:?}");
    let only: BTreeSet<MachineName> = [machine("db01")].into();
    let nothing = copy.sync(&request.clone().machines(only.clone())).await.unwrap();
    assert!(nothing.sync.is_none());
    let synced = copy.sync(&request).await.unwrap();
    assert_eq!(synced.sync.unwrap().machines.len(), 1);
    let too_old = MachineOutcome::Absent { why: Reason::TooOld { captured: day(0) } };
    assert_eq!(synced.machines[0].outcome, too_old);
    let wide = SyncRequest::at(day(3)).machines(only);
    assert_eq!(copy.sync(&wide).await.unwrap().sync.unwrap().machines[0].name, machine("db01"));
    // Nothing of the future.
    backup(&machines, &primary, "nightly", &["web01"]).run(day(9)).await.unwrap();
    assert!(copy.run(day(4)).await.unwrap().sync.is_none());
}

/// While a backup is at work its machines are waited for; a look tells since when. Whether the holder lives, only the kernel or time
/// tells.
#[tokio::test]
async fn a_backup_at_work_is_waited_for() {
    let (source, primary) = memory_repository().await;
    let (_, second) = memory_repository().await;
    let mut machines = Machines::new(87);
    ["db01", "web01"].iter().for_each(|name| machines.add(name, &[BLOCK]));
    backup(&machines, &primary, "nightly", &["web01"]).run(day(0)).await.unwrap();
    backup(&machines, &primary, "weekly", &["db01"]).run(day(0)).await.unwrap();
    let sources = vec![Source::infrastructure(&primary)];
    let copy = CopyJob::of(job(COPY), sources, &second).unwrap();
    copy.run(day(0)).await.unwrap();
    machines.change("web01", 1);
    backup(&machines, &primary, "nightly", &["web01"]).run(day(1)).await.unwrap();
    backup(&machines, &primary, "weekly", &["db01"]).run(day(1)).await.unwrap();
    // A writer that renews its lease, as one on another host does.
    let head = put_successor(&source, "nightly", |head| {
        head.lease = Some(foreign_lease(2));
        head.clock = day(2);
        head.epoch += 1;
    })
    .await;
    let sign = tokio::spawn({
        let (source, head) = ((*source).clone(), head.clone());
        async move {
            for count in 1.. {
                crate::support::objects::renew(&source, "nightly", &head, count).await;
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    });
    let looked = copy.look(&SyncRequest::at(day(2))).await.unwrap();
    assert!(matches!(looked.choices[1].decision, Decision::Locked { captured } if captured == day(2)), "{looked:?}");
    let report = copy.run(day(2)).await.unwrap();
    assert_eq!(copied(&report), [("db01", "weekly", day(1))]);
    let waiting = MachineOutcome::Waiting { job: Some(job("nightly")) };
    assert_eq!(report.machines[1].outcome, waiting);
    sign.abort();
    let _ = sign.await;
    // Without a sign of life for as long as the lease says, nobody is at work.
    let report = copy.run(day(2)).await.unwrap();
    assert_eq!(copied(&report), [("web01", "nightly", day(1))]);
    assert_eq!(restored(&second, COPY, "web01", None).await, machines.content("web01"));
}

/// Backups, merges and releases go on at the source while a copy is held: none waits for the other, and the copy is right.
#[tokio::test]
async fn a_backup_never_waits_for_a_copy() {
    let (source, primary) = memory_repository().await;
    let (target, second) = memory_repository().await;
    let (mut machines, mut truth) = (Machines::new(88), Truth::default());
    machines.add("web01", &[6 * BLOCK]);
    for number in 0..3 {
        machines.change("web01", 3);
        truth.record(&machines, &["web01"], day(number));
        machines.backup(&primary, &["web01"]).keep(keep(2)).run(day(number)).await.unwrap();
    }
    let gate = Held::new();
    let copy = copy_job(&primary, &second);
    let request = SyncRequest::at(day(2)).gate(gate.clone());
    let running = tokio::spawn(async move { copy.sync(&request).await });
    gate.is_waiting().await;
    for number in 3..7 {
        machines.change("web01", 3);
        truth.record(&machines, &["web01"], day(number));
        let report = machines.backup(&primary, &["web01"]).keep(keep(2)).run(day(number)).await.unwrap();
        assert!(number == 3 || report.transform.released.held_bytes > 0, "{report:?}");
    }
    gate.let_through(1000);
    let synced = running.await.unwrap().unwrap().sync.unwrap();
    assert!(synced.tally.kept_to_plan());
    assert_eq!(synced.machines[0].captured, day(2));
    assert_eq!(truth.check(&second, COPY).await, [1]);
    assert_eq!(stray(&target, COPY), [""; 0]);
    machines.backup(&primary, &["web01"]).keep(keep(2)).run(day(6)).await.unwrap();
    assert_eq!(stray(&source, "nightly"), [""; 0]);
}

/// Random lives of three jobs in two repositories, copied as one and copied again, under archives too.
#[tokio::test]
async fn lives_of_several_sources() {
    let first = seed(101);
    for seed in first..first + 3 {
        println!("OFFSITE_SEED={seed}");
        let mut random = Random::new(seed);
        let (_, primary) = memory_repository().await;
        let (_, branch) = memory_repository().await;
        let (target, second) = memory_repository().await;
        let (last, third) = memory_repository().await;
        let (mut machines, mut truth) = (Machines::new(seed), Truth::default());
        let names = ["app01", "db01", "web01"];
        names.iter().for_each(|name| machines.add(name, &[BLOCK * (1 + random.below(4)) + random.below(99)]));
        let sources = vec![Source::infrastructure(&primary), Source::job(&branch, job("nightly"))];
        let gfs = Gfs::new(2, 1, 0, 0).unwrap();
        let policy = Policy::new(keep(3)).with_gfs(gfs);
        let copy = CopyJob::of(job(COPY), sources, &second).unwrap().transforms(policy);
        let again = CopyJob::of(job(COPY), vec![Source::infrastructure(&second)], &third).unwrap().transforms(keep(2));
        for number in 0..30 {
            let (repository, name) =
                [(&primary, "nightly"), (&primary, "hourly"), (&branch, "nightly")][random.below(3)];
            let chosen: Vec<&str> = names.into_iter().filter(|_| random.below(2) == 0).collect();
            if !chosen.is_empty() {
                chosen.iter().for_each(|name| machines.change(name, 1 + random.below(2)));
                truth.record(&machines, &chosen, day(number));
                backup(&machines, repository, name, &chosen).keep(keep(2)).run(day(number)).await.unwrap();
            }
            for (copy, memory, repository) in [(&copy, &target, &second), (&again, &last, &third)] {
                if random.below(2) == 0 {
                    continue;
                }
                let planned = copy.plan(day(number)).await;
                let report = match copy.run(day(number)).await {
                    Ok(report) => report,
                    // There is nothing yet.
                    Err(Error::NothingYet { .. } | Error::UnknownJob { .. }) => continue,
                    Err(error) => panic!("{error}"),
                };
                let planned = planned.unwrap();
                assert_eq!(planned.sync.map(|sync| sync.cost), report.sync.as_ref().map(|sync| sync.tally.planned));
                assert!(report.sync.is_none_or(|sync| sync.tally.kept_to_plan()));
                truth.check(repository, COPY).await;
                assert_eq!(stray(memory, COPY), [""; 0]);
                let (taken, needed) = space(memory, COPY).await;
                assert_eq!(taken, needed, "day {number}");
            }
        }
        copy.run(day(30)).await.unwrap();
        again.run(day(30)).await.unwrap();
        let known = JobFolder::open(&second, &job(COPY)).await.unwrap();
        for state in known.chain().all().flat_map(|point| &point.machines).map(|machine| &machine.name) {
            let content = machines.content(state.as_str());
            // What was not backed up since its last change the copies cannot know; else it is what it is now.
            let copied = restored(&third, COPY, state.as_str(), None).await;
            assert_eq!(copied, restored(&second, COPY, state.as_str(), None).await);
            assert_eq!(copied, content);
        }
        drop(Arc::clone(&last));
    }
}
