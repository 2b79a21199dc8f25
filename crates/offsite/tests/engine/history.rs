//! Long random histories of a backup job and its copy: everything kept restores, and no byte is taken for nothing.

use offsite_repository::testing::{Memory, MemoryOptions};

use crate::support::objects::{key, keys, space, stray};
use crate::support::truth::Truth;
use crate::support::{BLOCK, Machines, Random, copy_job, day, keep, memory_repository_with, open_memory, seed};

const OPERATIONS: i64 = 40;
const JOBS: [&str; 2] = ["nightly", "Offsite Copy"];

/// A machine's disk: usually a few blocks, now and then a part of one.
fn disk_bytes(random: &mut Random) -> usize {
    match random.below(4) {
        0 => 1 + random.below(BLOCK),
        1 => BLOCK * (1 + random.below(5)),
        _ => BLOCK * random.below(5) + 1 + random.below(BLOCK),
    }
}

/// Changes the machines in one of the ways in which machines change.
fn change(machines: &mut Machines, random: &mut Random, added: &mut usize) {
    let names = machines.names();
    let name = names[random.below(names.len())].clone();
    let disks = machines.sizes(&name);
    match random.below(9) {
        0 if names.len() < 4 => {
            *added += 1;
            let disks: Vec<_> = (0..1 + random.below(2)).map(|_| disk_bytes(random)).collect();
            machines.add(&format!("vm{added:02}"), &disks);
        }
        1 if disks.len() < 3 => machines.add_disk(&name, disk_bytes(random)),
        2 if disks.len() > 1 => machines.remove_disk(&name),
        3 | 4 => machines.resize(&name, random.below(disks.len()), disk_bytes(random)),
        _ => machines.change(&name, 1 + random.below(3)),
    }
}

async fn history(seed: u64, options: MemoryOptions) {
    let mut random = Random::new(seed);
    let (source, primary) = memory_repository_with(options.clone()).await;
    let (target, second) = memory_repository_with(options.clone()).await;
    let mut machines = Machines::new(seed);
    machines.add("vm00", &[disk_bytes(&mut random), disk_bytes(&mut random)]);
    let (mut added, mut kept, mut truth) = (0, [4, 3], Truth::default());
    for number in 0..OPERATIONS {
        let now = day(number);
        match random.below(8) {
            0 => kept[random.below(2)] = 2 + u32::try_from(random.below(5)).unwrap(),
            operation if number == 0 || operation < 5 => {
                for _ in 0..random.below(3) {
                    change(&mut machines, &mut random, &mut added);
                }
                // A machine may be missing from a day's backup.
                let all = machines.names();
                let mut names: Vec<&str> = all.iter().map(String::as_str).collect();
                if names.len() > 1 && random.below(4) == 0 {
                    names.remove(random.below(names.len()));
                }
                truth.record(&machines, &names, now);
                let report = machines.backup(&primary, &names).keep(keep(kept[0])).run(now).await.unwrap();
                assert_eq!(report.transform.released.held_bytes, 0);
            }
            _ if keys(&source, "nightly").is_empty() => continue,
            _ => {
                let report = copy_job(&primary, &second).transforms(keep(kept[1])).run(now).await.unwrap();
                assert!(report.sync.is_none_or(|sync| sync.tally.kept_to_plan()));
                assert!(report.transform.operations.iter().all(|report| report.tally.kept_to_plan()));
            }
        }
        for (memory, job) in [&source, &target].into_iter().zip(JOBS) {
            check(memory, job, &truth, &options, number).await;
        }
    }
    for (key, _) in source.contents() {
        source.remove(&key);
    }
    assert!(!truth.check(&open_memory(&target).await, JOBS[1]).await.is_empty());
}

async fn check(memory: &Memory, job: &str, truth: &Truth, options: &MemoryOptions, number: i64) {
    if keys(memory, job).is_empty() {
        return;
    }
    truth.check(&open_memory(memory).await, job).await;
    assert_eq!(stray(memory, job), [""; 0], "after operation {number}");
    let (taken, needed) = space(memory, job).await;
    if options.reclaim {
        assert_eq!(taken, needed, "{job}, after operation {number}");
    } else {
        assert!(taken >= needed);
    }
    assert!(
        memory
            .contents()
            .iter()
            .all(|(found, _)| found.as_str().starts_with(job) || *found == key("offsite-repository"))
    );
}

#[tokio::test]
async fn space_comes_back_where_holes_can_be_punched() {
    let seed = seed(11);
    for seed in seed..seed + 3 {
        println!("OFFSITE_SEED={seed}");
        history(seed, MemoryOptions::default()).await;
    }
}

#[tokio::test]
async fn files_go_as_wholes_where_holes_cannot_be_punched() {
    let seed = seed(21);
    for seed in seed..seed + 2 {
        println!("OFFSITE_SEED={seed}");
        history(seed, MemoryOptions::default().with_reclaim(false)).await;
    }
}

/// Where the repository bounds the length of objects, restore points have several files.
#[tokio::test]
async fn backup_files_come_in_parts_where_objects_are_bounded() {
    let seed = seed(31);
    let options = MemoryOptions::default().with_object_bytes_max(600 << 10);
    for seed in seed..seed + 2 {
        println!("OFFSITE_SEED={seed}");
        history(seed, options.clone()).await;
    }
}
