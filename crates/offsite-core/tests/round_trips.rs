//! Random heads and indexes are read back as what was written, and what cannot be read is not written.

mod model;
mod samples;

use offsite_core::CommitId;
use offsite_core::FolderId;
use offsite_core::format::WireFormat;
use std::collections::BTreeMap;

use model::{Store, World, history, live};
use offsite_core::Index;
use offsite_core::format::index::Directory;
use offsite_core::format::{Envelope, FormatError, Kind};
use offsite_core::retention::Flags;
use offsite_core::{
    BlockMap, Chain, Digest, DiskIdentity, DiskMap, DiskName, DiskNumber, ImageFormat, Labels, MachineMap, MachineName,
    MachineNumber, MachineState, ObjectId, Origin, PointKind, Sequence, Status, Stored, Timestamp, Transferred,
};
use offsite_core::{FileState, Head, Lease, RetiredObject, Retirement, Role};
use proptest::prelude::*;

fn status(number: u8) -> Status {
    [Status::Complete, Status::Incomplete, Status::Carried][usize::from(number % 3)]
}

fn state(
    name: &MachineName,
    status: Status,
    captured: Timestamp,
    origin: Option<([u8; 16], u64)>,
    bytes: u64,
) -> MachineState {
    let origin = origin.map(|(folder, sequence)| Origin::new(FolderId::new(folder), Sequence(sequence)));
    let transferred = match status {
        Status::Incomplete => Transferred::new(bytes, bytes / 3),
        _ => Transferred::default(),
    };
    MachineState::new(name.clone(), status, captured).with_origin(origin).with_transferred(transferred)
}

/// The index of the step between two random worlds.
fn index() -> impl Strategy<Value = Index> {
    (
        history(3),
        any::<[u8; 16]>(),
        any::<[u64; 3]>(),
        any::<Option<([u8; 16], u64)>>(),
        any::<[u8; 3]>(),
        -1_000_000..1_000_000i64,
    )
        .prop_map(|(days, folder, [id, sequence, length], origin, statuses, secs)| {
            let (mut store, mut world, mut latest) = (Store::default(), World::new(), BlockMap::empty());
            let mut step = BlockMap::empty();
            for day in &days {
                live(&mut world, day);
                let wanted = store.write(&model::captured(&world, day), model::time(secs));
                step = latest.diff(&wanted);
                latest = latest.overlay(&step);
            }
            // A full has blocks of many files.
            let step = if statuses[0].is_multiple_of(2) { latest } else { step };
            let machines: Vec<_> = step
                .machines()
                .keys()
                .zip(statuses)
                .zip(0..)
                .map(|((name, wish), number)| {
                    (
                        state(name, status(wish), model::time(secs), origin, secs.unsigned_abs()),
                        MachineNumber(100 - number),
                    )
                })
                .collect();
            // Of a machine that is whole an index that stands on others need not speak.
            let layered = statuses[1] % 2 == 0;
            let spoken = |name: &offsite_core::MachineName| {
                !layered || statuses[2] % 3 == 0 || machines.first().is_some_and(|(first, _)| first.name != *name)
            };
            let spare =
                |name: &_| machines.iter().any(|(state, _)| state.name == *name && state.status == Status::Incomplete);
            let (kind, base) = match statuses[0] % 3 {
                0 => (PointKind::Full, None),
                1 => (PointKind::Increment, Some(Sequence(sequence / 2))),
                _ => (PointKind::Rollback, Some(Sequence(u64::MAX))),
            };
            Index {
                folder: FolderId::new(folder),
                id: ObjectId::from_stored(id),
                sequence: Sequence(sequence.clamp(1, u64::MAX - 1)),
                time: model::time(secs * 1000),
                kind,
                is_back_filled: false,
                base,
                block_size: model::BLOCK_SIZE,
                below: if layered { samples::layered_index().below } else { vec![] },
                files: step.files().into_iter().map(|file| (file, length.max(1 << 40))).collect(),
                map: step.project(|name| !spare(name) && spoken(name)),
                spare: step.project(spare),
                machines,
            }
        })
}

fn head() -> impl Strategy<Value = Head> {
    let texts = prop::collection::btree_set("[a-z0-9äß _]{1,20}[a-z]", 1..6);
    let objects = prop::collection::vec((any::<u64>(), any::<u64>(), any::<Option<i32>>(), 0..3u8), 0..6);
    let points =
        prop::collection::vec((any::<[u64; 4]>(), any::<i32>(), any::<Option<([u8; 16], u64)>>(), any::<u8>()), 0..8);
    (
        texts,
        objects,
        points,
        any::<[[u8; 16]; 2]>(),
        prop::collection::vec(any::<[u8; 16]>(), 0..5),
        any::<Option<(String, u32)>>(),
        any::<(u64, u32, bool)>(),
        0..32u32,
    )
        .prop_map(|(texts, objects, points, [folder, commit], ancestry, lease, (number, epoch, copy), shift)| {
            let machines: Vec<_> =
                texts.iter().filter_map(|text| offsite_core::MachineName::new(text.trim()).ok()).rev().collect();
            let machines: Vec<_> = std::collections::BTreeSet::from_iter(machines).into_iter().rev().collect();
            let time = |secs: i32| samples::time(secs.into());
            // An archive, a rollback, and a full with increments, as far as there are points.
            let kinds = match points.len() {
                0..3 => [&[PointKind::Full][..], &[PointKind::Increment; 8]].concat(),
                _ => {
                    [&[PointKind::Full, PointKind::Rollback, PointKind::Full][..], &[PointKind::Increment; 8]].concat()
                }
            };
            let mut points: Vec<_> = points
                .into_iter()
                .zip(0u64..)
                .map(|(([id, length, blocks, bytes], secs, origin, statuses), position)| {
                    let states = machines
                        .iter()
                        .rev()
                        .take(1 + usize::from(statuses % 3))
                        .map(|name| state(name, status(statuses), time(secs), origin, bytes));
                    offsite_core::RestorePoint::new(
                        Sequence(position * 3),
                        time(secs),
                        kinds[usize::try_from(position).expect("a few points")],
                        states.collect(),
                        offsite_core::IndexReference::new(
                            ObjectId::from_stored(id),
                            length >> 8,
                            Digest::of(&id.to_le_bytes()),
                        ),
                    )
                    .with_below(samples::layered_index().below.repeat(usize::from(statuses % 3)))
                    .with_stored(Stored::new(blocks, bytes >> 8))
                    .with_flags(Flags::from_stored(statuses % 16).expect("four bits"))
                })
                .collect();
            let archives = if kinds[1] == PointKind::Rollback { vec![points.remove(0)] } else { vec![] };
            let number = number.max(1);
            let file = |(id, length, until, _): &(u64, u64, Option<i32>, u8)| {
                let mut file = FileState::new(length >> 8, length >> 10);
                file.retain_until = until.map(time);
                (ObjectId::from_stored(*id), file)
            };
            // Other ids than those of the files, and since a head that there was.
            let retirement = |(id, since, _, what): &(u64, u64, Option<i32>, u8)| {
                Retirement::new(
                    since % number + 1,
                    match what {
                        0 => RetiredObject::File(ObjectId::from_stored(!id)),
                        1 => RetiredObject::Index(ObjectId::from_stored(!id)),
                        _ => RetiredObject::Ranges {
                            list: ObjectId::from_stored(!id),
                            digest: Digest::of(&id.to_le_bytes()),
                        },
                    },
                    since >> 8,
                )
            };
            let chain = match machines.is_empty() {
                true => Chain::new(offsite_core::BlockSize::KiB512, vec![]),
                false => Chain::with_archives(offsite_core::BlockSize::KiB512, archives, points),
            }
            .expect("a chain");
            let role = if copy { Role::Copy } else { Role::Backup };
            let mut head =
                Head::new(FolderId::new(folder), CommitId::new(commit), role, 1 << shift, samples::time(0), chain);
            head.number = number;
            head.ancestry = ancestry.into_iter().map(CommitId::new).collect();
            head.boundary = number / 2;
            head.epoch = epoch;
            head.sealed_epoch = epoch / 2;
            head.lease = lease.map(|(holder, duration_secs)| Lease::new(holder, duration_secs));
            head.next_sequence = Sequence(100);
            head.files = objects.iter().map(file).collect();
            head.retired = objects.iter().map(retirement).collect();
            head.last_selected = machines.iter().step_by(2).map(|name| (name.clone(), time(-7))).collect();
            head.labels = machines
                .iter()
                .take(2)
                .map(|name| {
                    (
                        name.clone(),
                        Labels::new([name.to_string()], (0..shift).map(|host| format!("site/host {host}")))
                            .expect("labels"),
                    )
                })
                .collect();
            head.settled_policy = copy.then_some(number);
            head.compacted = copy.then_some(samples::time(-8));
            head.brings_history = copy;
            head.machines = machines;
            head
        })
}

proptest! {
    #![proptest_config(model::config(1000))]

    #[test]
    fn an_index_reads_back(index in index()) {
        let bytes = index.encode().unwrap();
        prop_assert_eq!(&Index::decode(&bytes).unwrap(), &index);
        let directory = Directory::decode(&bytes).unwrap();
        prop_assert!(directory.files().eq(index.files.keys().copied()));
        for file in index.files.keys().copied().chain([ObjectId::from_stored(u64::MAX)]) {
            prop_assert_eq!(directory.file_bytes(file), index.files.get(&file).copied());
        }
        let point = offsite_core::format::index::point(&index, &bytes).unwrap();
        prop_assert_eq!(point.stored, Stored::of(&index.map));
        prop_assert_eq!(&point.below, &index.below);
        prop_assert_eq!(point.index.length, bytes.len() as u64);
    }

    #[test]
    fn a_head_reads_back(head in head()) {
        prop_assert_eq!(Head::decode(&head.encode().unwrap()).unwrap(), head);
    }
}

#[test]
fn a_head_that_cannot_be_read_is_not_written() {
    let refused = |change: fn(&mut Head)| {
        let mut head = samples::head();
        change(&mut head);
        assert!(matches!(head.encode(), Err(FormatError::Invalid { .. })), "{head:?}");
    };
    refused(|head| head.number = 0);
    refused(|head| head.boundary = head.number);
    refused(|head| head.sealed_epoch = head.epoch + 1);
    refused(|head| head.alignment_bytes = 0);
    refused(|head| head.alignment_bytes = 3 << 10);
    refused(|head| head.next_sequence = Sequence(42));
    refused(|head| head.machines[0] = head.machines[1].clone());
    refused(|head| head.machines.truncate(1));
    refused(|head| {
        head.last_selected.insert(samples::name("unknown"), samples::time(0));
    });
    refused(|head| {
        let file = head.files.values_mut().next().expect("a file");
        file.live_bytes = file.length + 1;
    });
}

#[test]
fn a_head_at_the_edge_of_what_can_be_read_is_written() {
    let mut head = samples::head();
    head.boundary = head.number - 1;
    head.sealed_epoch = head.epoch;
    for file in head.files.values_mut() {
        file.live_bytes = file.length;
    }
    assert_eq!(Head::decode(&head.encode().unwrap()).unwrap(), head);
    let lengths: Vec<_> = head.files.iter().map(|(id, file)| (*id, file.length)).collect();
    assert!(!lengths.is_empty() && head.file_lengths().into_iter().eq(lengths));
}

/// A lease that claims years is waited for as long as any may be.
#[test]
fn a_lease_is_waited_for_within_reason() {
    let secs = |duration_secs| Lease::new(String::new(), duration_secs).silence().as_secs();
    assert_eq!([0, 3, 3_600, 3_601, u32::MAX].map(secs), [0, 3, 3_600, 3_600, 3_600]);
}

#[test]
fn an_index_that_cannot_be_read_is_not_written() {
    let refused = |change: fn(&mut Index)| {
        let mut index = samples::index();
        change(&mut index);
        assert!(matches!(index.encode(), Err(FormatError::Invalid { .. })), "{index:?}");
    };
    refused(|index| {
        index.files.pop_last();
    });
    refused(|index| {
        index.files.insert(ObjectId::new(1, 1), 8192 + 163);
    });
    refused(|index| index.machines.reverse());
    refused(|index| index.machines[0].1 = index.machines[1].1);
    refused(|index| {
        // One machine twice, with blocks for it alone.
        index.machines[1].0 = index.machines[0].0.clone();
        index.map = index.map.project(|name| name.as_str() == "app");
    });
    refused(|index| drop(index.machines.pop()));
    refused(|index| drop(index.machines.remove(0)));
    refused(|index| index.machines[0].0.status = Status::Incomplete);
    refused(|index| std::mem::swap(&mut index.map, &mut index.spare));
    refused(|index| index.map = BlockMap::empty());
}

/// A full stands on no other point, an increment on an earlier one, a rollback on a later one.
#[test]
fn the_base_of_a_point_is_one_that_its_kind_can_have() {
    use PointKind::{Full, Increment, Rollback};
    let mut index = samples::index();
    let own = index.sequence;
    let bases = [None, Some(Sequence(own.0 - 1)), Some(own), Some(Sequence(own.0 + 1))];
    for (kind, can) in [
        (Full, [true, false, false, false]),
        (Increment, [false, true, false, false]),
        (Rollback, [false, false, false, true]),
    ] {
        for (base, can) in bases.into_iter().zip(can) {
            (index.kind, index.base) = (kind, base);
            assert_eq!(index.encode().is_ok(), can, "{kind:?} {base:?}");
        }
    }
}

/// Where nothing lies below, each machine has blocks.
#[test]
fn an_index_that_stands_alone_says_all() {
    let alone = Index { below: vec![], ..samples::layered_index() };
    assert!(matches!(alone.encode(), Err(FormatError::Invalid { .. })));
}

#[test]
fn a_directory_may_be_as_long_as_the_limit_and_no_longer() {
    let disk = |number: u64| {
        let name = DiskName::new(&format!("disk {number:05}")).unwrap();
        let identity = DiskIdentity::new(name, ImageFormat::Raw);
        DiskMap::new(identity, u64::from(u32::MAX), 4096, 4096, vec![]).unwrap()
    };
    // Ten machines of many empty disks, and one that fills what is left of 16 MiB.
    let with = |last_disks: u64, last: &str| {
        let mut index = samples::index();
        (index.map, index.spare, index.machines) = (BlockMap::empty(), BlockMap::empty(), Vec::new());
        let full = (0..10).map(|number| (format!("{number:02}"), 1 << 16));
        for ((name, disks), number) in full.chain([(last.to_owned(), last_disks)]).zip(0..) {
            let disks: BTreeMap<_, _> = (0..=u16::MAX).map(DiskNumber).zip((0..disks).map(disk)).collect();
            let state = MachineState::new(samples::name(&name), Status::Complete, samples::time(0));
            index.map.insert(state.name.clone(), MachineMap::new(samples::time(0), disks));
            index.machines.push((state, MachineNumber(number)));
        }
        index
    };
    let record_bytes = |index: &Index| Envelope::decode(Kind::Index, &index.encode().unwrap()).unwrap().record_bytes;
    let limit_bytes = 16 << 20;
    let left = limit_bytes - record_bytes(&with(1000, "z"));
    // A disk takes 24 bytes, a longer name the rest.
    let (disks, name) = (1000 + left / 24, "z".repeat(usize::try_from(1 + left % 24).unwrap()));
    let longest = with(disks, &name);
    assert_eq!(record_bytes(&longest), limit_bytes);
    let longer = with(disks, &format!("{name}z")).encode().unwrap_err();
    assert_eq!(longer, FormatError::Long { what: "index", bytes: limit_bytes + 1, limit_bytes });
}
