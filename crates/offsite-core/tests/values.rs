//! The laws of small values: sizes of blocks, ids, names, labels, times, how much of a machine there is.

use offsite_core::retention::{BlockLives, DeletedMachines, Flags, Tier};
use offsite_core::schedule::{Period, TimeOfDay};
use offsite_core::{
    BlockMap, BlockSize, Digest, DiskIdentity, DiskMap, DiskName, DiskNumber, ImageFormat, IndexReference, Labels,
    LabelsError, MachineMap, MachineName, MachineState, ObjectId, PointKind, RestorePoint, Run, Sequence, Status,
    Stored, StoredBlock, Timestamp,
};
use proptest::prelude::*;

#[test]
fn a_size_is_found_by_its_bytes_and_named_by_them() {
    assert_eq!(BlockSize::ALL.map(BlockSize::bytes), [1 << 18, 1 << 19, 1 << 20, 1 << 22]);
    for size in BlockSize::ALL {
        assert_eq!(BlockSize::from_bytes(size.bytes().into()), Ok(size));
        assert!(BlockSize::from_bytes(u64::from(size.bytes()) + 1).is_err());
        let (number, unit) = (size.to_string(), size.bytes());
        let (number, unit) = (number.split_once(' ').unwrap(), unit);
        let factor = if number.1 == "KiB" { 1 << 10 } else { 1 << 20 };
        assert_eq!(number.0.parse::<u32>().unwrap() * factor, unit, "{size}");
    }
}

proptest! {
    /// The blocks of a disk follow each other, and together are as long as it.
    #[test]
    fn blocks_tile_a_disk(size in prop::sample::select(&BlockSize::ALL[..]), blocks in 0..20u64, tail in 0..3u64, cut in any::<u32>()) {
        let tail = [0, 1, u64::from(cut % size.bytes())][usize::try_from(tail).unwrap()];
        let size_bytes = blocks * u64::from(size.bytes()) + tail;
        let count = u32::try_from(size.count(size_bytes)).unwrap();
        let mut end = 0;
        for block in 0..count {
            prop_assert_eq!(size.offset(block), end);
            let length = size.length_at(block, size_bytes);
            prop_assert!(length > 0 && (length == size.bytes() || block + 1 == count));
            end += u64::from(length);
        }
        prop_assert_eq!(end, size_bytes);
        prop_assert_eq!(size.length_at(count, size_bytes), 0);
    }

    /// An id is told by its epoch and its count, and sorts by them, as its text does.
    #[test]
    fn ids_sort_by_age(left in any::<(u32, u32)>(), right in any::<(u32, u32)>()) {
        let id = |(epoch, count)| ObjectId::new(epoch, count);
        prop_assert_eq!(id(left).epoch(), left.0);
        prop_assert_eq!(ObjectId::from_stored(id(left).stored()), id(left));
        prop_assert_eq!(ObjectId::parse(&id(left).to_string()), Some(id(left)));
        prop_assert_eq!(id(left).cmp(&id(right)), left.cmp(&right));
        prop_assert_eq!(id(left).to_string().cmp(&id(right).to_string()), left.cmp(&right));
    }
}

#[test]
fn an_id_has_one_spelling() {
    for wrong in ["00000003-00000abg", "0000003-000000abc", "00000003-0000abc", "000000030000abc-"] {
        assert_eq!(ObjectId::parse(wrong), None, "{wrong}");
    }
    assert_eq!(format!("{:?}", ObjectId::new(3, 0xabc)), "00000003-00000abc");
}

/// What people read of them in messages.
#[test]
fn values_are_told_apart_in_messages() {
    let mut digest = [0; 32];
    (digest[0], digest[7], digest[8]) = (0x0a, 0xff, 0x11);
    assert_eq!(format!("{:?}", Digest(digest)), "0a000000000000ff..");
    assert_eq!(Sequence(17).to_string(), "17");
    assert_eq!(DiskNumber(2).to_string(), "2");
    let name = MachineName::new("web 01").unwrap();
    assert_eq!(
        (name.to_string(), format!("{name:?}"), name.as_str()),
        ("web 01".into(), "\"web 01\"".into(), "web 01")
    );
    assert_eq!(format!("{name:>8}|"), "  web 01|");
}

#[test]
fn a_name_has_at_most_128_bytes_and_nothing_that_a_path_minds() {
    assert!(MachineName::new(&"n".repeat(128)).is_ok());
    for wrong in ["", &"n".repeat(129), "a\nb", "a/b", "a\\b", " a", "a ", ".a"] {
        assert!(MachineName::new(wrong).unwrap_err().to_string().contains("no machine name"), "{wrong:?}");
    }
    assert!(MachineName::new("a.b c").is_ok());
}

#[test]
fn labels_have_at_most_256_bytes_and_are_at_most_256() {
    let new = |text: &str| Labels::new([text.to_owned()], []).and(Labels::new([], [text.to_owned()]));
    assert!(new(&"t".repeat(256)).is_ok());
    for wrong in ["", &"t".repeat(257), "a\tb", " a", "a "] {
        assert_eq!(new(wrong), Err(LabelsError::Text(wrong.to_owned())));
    }
    let many = |count: usize| (0..count).map(|number| number.to_string());
    assert!(Labels::new(many(256), many(256)).is_ok());
    assert_eq!(Labels::new(many(257), []), Err(LabelsError::Many(257)));
    assert_eq!(Labels::new([], many(257)), Err(LabelsError::Many(257)));
}

#[test]
fn a_union_of_labels_has_what_either_has_up_to_the_limit() {
    let labels = |tags: &[&str], containers: &[&str]| {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        Labels::new(owned(tags), owned(containers)).unwrap()
    };
    let both = labels(&["b"], &["x"]).union(&labels(&["a", "b"], &["y"]));
    assert_eq!(both, labels(&["a", "b"], &["x", "y"]));
    assert!(both.tags().eq(["a", "b"]) && both.containers().eq(["x", "y"]));
    assert!(!labels(&["a"], &[]).is_empty() && !labels(&[], &["a"]).is_empty() && labels(&[], &[]).is_empty());
    let many = |from: usize| Labels::new((from..from + 200).map(|number| number.to_string()), []).unwrap();
    assert_eq!(many(1000).union(&many(2000)).tags().count(), 256);
}

#[test]
fn the_first_and_the_last_time_are_those_that_a_text_can_name() {
    for (end, beyond) in [(Timestamp::MIN, -1), (Timestamp::MAX, 1)] {
        assert_eq!(Timestamp::from_unix_secs(end.unix_secs()), Ok(end));
        assert!(Timestamp::from_unix_secs(end.unix_secs() + beyond).is_err());
        assert_eq!(end.saturating_add_secs(beyond), end);
        assert_eq!(Timestamp::parse(&end.to_string()), Ok(end));
    }
}

#[test]
fn a_machine_is_whole_unless_its_copy_was_cut_off() {
    let time = Timestamp::from_unix_secs(0).unwrap();
    let machine = |name: &str, status| MachineState::new(MachineName::new(name).unwrap(), status, time);
    let machines =
        vec![machine("a", Status::Complete), machine("b", Status::Incomplete), machine("c", Status::Carried)];
    assert_eq!(machines.iter().map(MachineState::is_whole).collect::<Vec<_>>(), [true, false, true]);
    let point = RestorePoint::new(
        Sequence(1),
        time,
        PointKind::Full,
        machines,
        IndexReference::new(ObjectId::new(1, 1), 0, Digest([0; 32])),
    )
    .with_flags(offsite_core::retention::Flags::NONE);
    for machine in &point.machines {
        assert_eq!(point.machine(&machine.name), Some(machine));
    }
    assert_eq!(point.machine(&MachineName::new("d").unwrap()), None);
}

#[test]
fn a_period_has_a_length_and_is_no_longer_than_a_year() {
    for none in [Period::days(0), Period::hours(0), Period::minutes(0)] {
        assert!(none.unwrap_err().to_string().contains("no length"));
    }
    for long in [Period::days(367), Period::hours(366 * 24 + 1), Period::minutes(u32::MAX)] {
        assert!(long.unwrap_err().to_string().contains("longer than 366 days"));
    }
    assert!(Period::days(366).is_ok() && Period::hours(366 * 24).is_ok());
}

#[test]
fn a_time_of_day_is_made_of_digits() {
    for wrong in ["+1:00", "10:+1", "1:0", "111:00", ":00", "24:01", "10:60", "1000"] {
        assert!(TimeOfDay::parse(wrong).is_err(), "{wrong}");
    }
    assert_eq!(TimeOfDay::parse("9:05").unwrap().to_string(), "09:05");
}

#[test]
fn a_number_of_days_is_what_was_given() {
    assert_eq!(DeletedMachines::after_days(30).unwrap().days(), 30);
}

fn disk_identity() -> DiskIdentity {
    DiskIdentity::new(DiskName::new("vda").expect("a plain name"), ImageFormat::Raw)
}

/// What a restore point has stored follows its map through any change of it.
#[test]
fn what_is_stored_follows_the_map() {
    let map = |blocks: &[(u32, u32)]| {
        let run = |(block, length): &(u32, u32)| Run::Stored {
            block: *block,
            at: StoredBlock { file: ObjectId::new(1, 1), offset: 0, length: *length, digest: Digest([0; 32]) },
        };
        let disk = DiskMap::new(disk_identity(), 10, 10, 0, blocks.iter().map(run).collect()).unwrap();
        let mut map = BlockMap::empty();
        let captured = Timestamp::from_unix_secs(0).unwrap();
        map.insert(MachineName::new("a").unwrap(), MachineMap::new(captured, [(DiskNumber(0), disk)].into()));
        map
    };
    let whole = Stored::of(&map(&[(0, 100), (1, 200), (5, 400)]));
    assert_eq!(whole, Stored::new(3, 700));
    let after = whole.exchanged(&map(&[(1, 200)]), &map(&[(1, 50), (2, 8)]));
    assert_eq!(after, Stored::new(4, 558));
    assert_eq!(after.exchanged(&map(&[(0, 100), (1, 50), (2, 8), (5, 400)]), &map(&[])), Stored::default());
}

/// Each frame lives from the first point that refers to it to the last, also where a state is like the one before.
#[test]
fn lives_of_frames_are_counted_by_first_and_last_point() {
    let map = |frames: &[(u64, u32)]| {
        let run = |((offset, length), block): (&(u64, u32), u32)| Run::Stored {
            block,
            at: StoredBlock { file: ObjectId::new(1, 1), offset: *offset, length: *length, digest: Digest([0; 32]) },
        };
        let disk = DiskMap::new(disk_identity(), 10, 10, 0, frames.iter().zip(0..).map(run).collect()).unwrap();
        let mut map = BlockMap::empty();
        let captured = Timestamp::from_unix_secs(0).unwrap();
        map.insert(MachineName::new("a").unwrap(), MachineMap::new(captured, [(DiskNumber(0), disk)].into()));
        map
    };
    let mut lives = BlockLives::default();
    lives.add(Sequence(1), &map(&[(0, 10), (100, 20), (200, 30)]));
    lives.add(Sequence(2), &map(&[(100, 20), (200, 30), (300, 40)]));
    lives.add(Sequence(3), &map(&[(200, 30), (400, 50)]));
    let found: Vec<_> = lives.finish().iter().map(|life| (life.first.0, life.last.0, life.bytes)).collect();
    assert_eq!(found, [(1, 1, 10), (1, 2, 20), (1, 3, 30), (2, 2, 40), (3, 3, 50)]);
}

/// Disks have the same content only if all is the same: what they are known by, their size, and each block.
#[test]
fn disks_of_another_name_or_size_are_other_disks() {
    let other = DiskIdentity::new(DiskName::new("vdb").unwrap(), disk_identity().format);
    let disk = |identity, size| DiskMap::new(identity, size, 10, 0, Vec::new()).unwrap();
    let one = disk(disk_identity(), 10);
    assert!(one.same_content(&disk(disk_identity(), 10)));
    assert!(!one.same_content(&disk(other.clone(), 10)));
    assert!(!one.same_content(&disk(disk_identity(), 9)));
    assert!(!one.same_content(&disk(other, 9)));
}

#[test]
fn names_of_disks_are_shown_as_they_are() {
    let name = DiskName::new("web 01.qcow2").unwrap();
    assert_eq!((name.to_string(), format!("{name:>14}")), ("web 01.qcow2".to_owned(), "  web 01.qcow2".to_owned()));
    assert_eq!(format!("{name:?}"), format!("{:?}", "web 01.qcow2"));
}

#[test]
fn flags_are_a_set_of_tiers() {
    for value in 0..=u8::MAX {
        let flags = Flags::from_stored(value);
        assert_eq!(flags.is_some(), value < 16, "{value}");
        let Some(flags) = flags else { continue };
        assert_eq!(flags.stored(), value);
        for tier in Tier::ALL {
            let others = |flags: Flags| flags.tiers().filter(|other| *other != tier).collect::<Vec<_>>();
            let (with, without) = (flags.with(tier), flags.without(tier));
            assert!(with.contains(tier) && !without.contains(tier));
            assert!(others(with) == others(flags) && others(without) == others(flags));
        }
    }
}
