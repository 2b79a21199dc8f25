//! The support library, tried on the real tools: a judge that approves everything is no judge.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};

use offsite_tests::ext4::{Entry, FileSystem};
use offsite_tests::qemu::{self, Format};
use offsite_tests::{Change, Tree, folder};

const SIZE_MIB: u64 = 16;

fn fails(action: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(action)).is_err()
}

#[test]
fn a_file_system_holds_what_was_put_into_it() {
    let folder = folder();
    let image = folder.path().join("disk.img");
    let tree = Tree::random(1, 30, 40_000);
    let system = FileSystem::create(&image, &tree, SIZE_MIB);
    system.check();
    assert_eq!(fs::metadata(&image).unwrap().len(), SIZE_MIB << 20);
    assert!(system.tree() == tree);
    assert!(system.list("").iter().any(|entry| entry.name == "lost+found" && entry.is_folder));
    let (path, content) = tree.files.first_key_value().unwrap();
    assert!(system.read(path) == *content);
}

#[test]
fn a_file_system_changes_as_its_tree_does() {
    let folder = folder();
    let mut tree = Tree::random(1, 40, 40_000);
    let system = FileSystem::create(&folder.path().join("disk.img"), &tree, SIZE_MIB);
    for day in 1..=4 {
        let changes = tree.random_changes(day, 40_000);
        system.change(&changes);
        tree.apply(&changes);
        system.check();
        assert!(system.tree() == tree, "day {day}");
    }
}

#[test]
fn one_script_may_write_a_file_twice_and_remove_what_it_wrote() {
    let folder = folder();
    let system = FileSystem::create(&folder.path().join("disk.img"), &Tree::default(), SIZE_MIB);
    let write = |path: &str, content: &str| Change::Write { path: path.into(), content: content.into() };
    system.change(&[
        write("deep/er/one file", "first"),
        write("deep/er/one file", "second!"),
        write("gone", "soon"),
        Change::Remove { path: "gone".into() },
        write("gone", "back"),
    ]);
    system.check();
    assert_eq!(system.list("deep/er"), [Entry { name: "one file".into(), is_folder: false, bytes: 7 }]);
    assert_eq!(system.read("deep/er/one file"), b"second!");
    assert_eq!(system.read("gone"), b"back");
}

#[test]
fn what_is_not_there_cannot_be_read_or_removed() {
    let folder = folder();
    let system = FileSystem::create(&folder.path().join("disk.img"), &Tree::default(), SIZE_MIB);
    assert!(fails(|| drop(system.read("nothing"))));
    assert!(fails(|| drop(system.list("nothing"))));
    assert!(fails(|| system.change(&[Change::Remove { path: "nothing".into() }])));
}

#[test]
fn a_damaged_file_system_is_noticed() {
    let folder = folder();
    let image = folder.path().join("disk.img");
    let system = FileSystem::create(&image, &Tree::random(1, 30, 40_000), SIZE_MIB);
    let mut bytes = fs::read(&image).unwrap();
    // The group descriptors, in the second block.
    bytes[4096..4096 + 64].fill(0xFF);
    fs::write(&image, bytes).unwrap();
    assert!(fails(|| system.check()));
}

#[test]
fn a_disk_survives_qcow2_and_the_way_back() {
    let folder = folder();
    let [raw, qcow2, small, back] =
        ["disk.img", "disk.qcow2", "small.qcow2", "back.img"].map(|name| folder.path().join(name));
    let tree = Tree::random(5, 30, 40_000);
    FileSystem::create(&raw, &tree, SIZE_MIB).check();

    qemu::convert(&raw, Format::Raw, &qcow2, Format::Qcow2);
    qemu::check(&qcow2);
    qemu::assert_same(&raw, Format::Raw, &qcow2, Format::Qcow2);
    assert_eq!(qemu::info(&qcow2, Format::Qcow2).virtual_bytes, SIZE_MIB << 20);

    qemu::convert_with(&qcow2, Format::Qcow2, &small, Format::Qcow2, &["-c"]);
    assert!(qemu::info(&small, Format::Qcow2).allocated_bytes < qemu::info(&qcow2, Format::Qcow2).allocated_bytes);

    qemu::convert(&small, Format::Qcow2, &back, Format::Raw);
    assert!(fs::read(&raw).unwrap() == fs::read(&back).unwrap());
    let restored = FileSystem::open(&back);
    restored.check();
    assert!(restored.tree() == tree);
}

#[test]
fn an_overlay_holds_the_difference_and_a_difference_is_seen() {
    let folder = folder();
    let [base, overlay, longer] = ["base.img", "overlay.qcow2", "longer.img"].map(|name| folder.path().join(name));
    qemu::create(&base, Format::Raw, 4 << 20);
    qemu::create_overlay(&overlay, &base, Format::Raw);
    assert_eq!(qemu::info(&overlay, Format::Qcow2).backing_file.as_deref(), Some(base.as_path()));
    assert!(qemu::is_same(&base, Format::Raw, &overlay, Format::Qcow2));

    qemu::write_pattern(&overlay, Format::Qcow2, 1 << 20, 4096, 0xAB);
    assert!(!qemu::is_same(&base, Format::Raw, &overlay, Format::Qcow2));
    assert!(fails(|| qemu::assert_same(&base, Format::Raw, &overlay, Format::Qcow2)));
    assert!(fs::read(&base).unwrap().iter().all(|&byte| byte == 0), "the base stays as it was");

    qemu::create(&longer, Format::Raw, 8 << 20);
    assert!(!qemu::is_same(&base, Format::Raw, &longer, Format::Raw), "zeros at the end make another disk");
    assert!(fails(|| qemu::check(&base)), "a raw disk is no qcow2 image");
}
