//! The laws of small values: sizes of blocks, ids, names, labels, times, how much of a machine there is.

use offsite_core::{
    BlockSize, Digest, DiskNumber, IndexReference, Labels, LabelsError, MachineName, MachineState, ObjectId, PointKind,
    RestorePoint, Sequence, Status, Stored, Timestamp,
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
    let point = RestorePoint {
        sequence: Sequence(1),
        time,
        kind: PointKind::Full,
        machines,
        index: IndexReference { id: ObjectId::new(1, 1), length: 0, directory_checksum: 0 },
        below: Vec::new(),
        stored: Stored::default(),
        flags: offsite_core::retention::Flags::NONE,
    };
    for machine in &point.machines {
        assert_eq!(point.machine(&machine.name), Some(machine));
    }
    assert_eq!(point.machine(&MachineName::new("d").unwrap()), None);
}
