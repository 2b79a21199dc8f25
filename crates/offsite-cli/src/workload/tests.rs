use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::{BLOCK_BYTES, BLOCK_PAGES, Changes, Disk, Kind, PAGE_BYTES, PageSet, Profile};

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn full(&self, disk: &Disk, version: u32) -> Vec<u8> {
        let path = self.file(&format!("{}.{version}", disk.name));
        disk.write_full(&path, version).unwrap();
        fs::read(path).unwrap()
    }
}

fn share_of_blocks(disk: &Disk, mut wanted: impl FnMut(u64) -> bool) -> f64 {
    (0..disk.size_mib).filter(|&block| wanted(block)).count() as f64 / disk.size_mib as f64
}

#[track_caller]
fn assert_near(what: &str, found: f64, wanted: f64, tolerance: f64) {
    assert!((found - wanted).abs() <= tolerance, "{what}: {found:.3}, and not {wanted:.3} ± {tolerance:.3}");
}

#[test]
fn the_same_arguments_give_the_same_bytes() {
    let folder = Folder::new();
    let disk = Disk::new("web01", 1, 24);
    let bytes = folder.full(&disk, 2);
    assert_eq!(bytes.len() as u64, disk.size_bytes());
    assert!(bytes == folder.full(&disk.clone(), 2));
    assert!(bytes != folder.full(&Disk::new("web02", 1, 24), 2), "the name makes a difference");
    assert!(bytes != folder.full(&Disk::new("web01", 2, 24), 2), "the seed makes a difference");
}

/// The bytes must stay the same between releases. Otherwise, figures that were measured on them would lose their meaning.
#[test]
fn the_bytes_of_a_disk_are_frozen() {
    let disk = Disk::new("web01", 1, 64);
    let image = disk.at(3);
    let mut bytes = vec![0; BLOCK_BYTES];
    let sums: Vec<u32> = (0..disk.size_mib)
        .map(|block| {
            image.read_block(block, &mut bytes);
            // This is Fletcher's idea in 32 bits: order counts, and it needs no crate.
            let (low, high) = bytes.iter().fold((0_u32, 0_u32), |(low, high), &byte| {
                let low = (low + u32::from(byte)) % 65521;
                (low, (high + low) % 65521)
            });
            high << 16 | low
        })
        .collect();
    let sum = sums.iter().fold(0_u64, |so_far, &sum| so_far.rotate_left(7) ^ u64::from(sum));
    assert_eq!(sum, 0xb169_0957_6d3a_6530, "{sum:#018x}");
}

#[test]
fn changing_a_disk_in_place_ends_where_writing_it_whole_does() {
    let folder = Folder::new();
    let disk =
        Disk { profile: Profile { changes: Changes::Share(0.2), ..Profile::for_size(40) }, ..Disk::new("db", 7, 40) };
    let path = folder.file("in-place");
    disk.write_full(&path, 0).unwrap();
    for version in 1..=6 {
        let before = fs::read(&path).unwrap();
        let written = disk.apply(&path, version).unwrap();
        assert_eq!(written, disk.changed_bytes(version));
        let after = fs::read(&path).unwrap();
        assert!(after == folder.full(&disk, version), "version {version}");
        let differing: Vec<u64> = (0..)
            .zip(before.chunks(BLOCK_BYTES).zip(after.chunks(BLOCK_BYTES)))
            .filter_map(|(block, (before, after))| (before != after).then_some(block))
            .collect();
        let announced: Vec<u64> = disk.changes(version).iter().map(|change| change.block).collect();
        assert_eq!(differing, announced, "version {version}");
    }
}

#[test]
fn an_image_tells_the_content_without_a_file() {
    let folder = Folder::new();
    let disk = Disk::new("mail", 3, 32);
    let file = folder.full(&disk, 4);
    let image = disk.at(4);
    let mut bytes = vec![0xFF; BLOCK_BYTES];
    for (block, expected) in (0..).zip(file.chunks_exact(BLOCK_BYTES)) {
        image.read_block(block, &mut bytes);
        assert!(bytes == expected, "block {block}");
        assert_eq!(image.is_hole(block), expected.iter().all(|&byte| byte == 0), "block {block}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn what_was_never_written_takes_no_space() {
    use std::os::unix::fs::MetadataExt;
    let folder = Folder::new();
    let disk = Disk::new("web01", 1, 64);
    let path = folder.file("sparse");
    disk.write_full(&path, 0).unwrap();
    let stored_blocks = (0..disk.size_mib).filter(|&block| disk.kind(block) != Kind::Zero).count();
    let allocated = fs::metadata(&path).unwrap().blocks() * 512;
    assert!(
        allocated < (stored_blocks + 1) as u64 * BLOCK_BYTES as u64,
        "{allocated} bytes for {stored_blocks} blocks"
    );
}

#[test]
fn kinds_have_their_shares_on_small_and_large_disks() {
    for (size_mib, tolerance) in [(96, 0.05), (1024, 0.03), (8192, 0.01)] {
        for name in ["web01", "db01", "mail"] {
            let disk = Disk::new(name, 1, size_mib);
            assert_near("zero", share_of_blocks(&disk, |block| disk.kind(block) == Kind::Zero), 0.20, tolerance);
            let noise = share_of_blocks(&disk, |block| disk.kind(block) == Kind::Incompressible);
            assert_near("incompressible", noise, 0.20, tolerance);
        }
    }
}

#[test]
fn machines_of_one_seed_share_a_part() {
    let (one, other) = (Disk::new("web01", 1, 512), Disk::new("db01", 1, 512));
    let (image_one, image_other) = (one.at(0), other.at(0));
    let (mut bytes_one, mut bytes_other) = (vec![0; BLOCK_BYTES], vec![0; BLOCK_BYTES]);
    let in_use = share_of_blocks(&one, |block| !image_one.is_hole(block));
    let common = share_of_blocks(&one, |block| {
        image_one.read_block(block, &mut bytes_one);
        image_other.read_block(block, &mut bytes_other);
        !image_one.is_hole(block) && bytes_one == bytes_other
    });
    assert_near("common", common / in_use, 0.15, 0.05);
}

#[test]
fn a_version_changes_its_share_of_the_blocks() {
    let disk = Disk::new("web01", 1, 8192);
    let (mut blocks, mut hot, mut whole) = (0, 0, 0);
    for version in 1..=10 {
        for change in disk.changes(version) {
            blocks += 1;
            hot += u32::from(disk.is_hot(change.block));
            whole += u32::from(change.is_whole());
            assert!(change.is_whole() || change.bytes() <= 32 * PAGE_BYTES as u64);
            assert!(change.bytes() > 0);
        }
    }
    assert_near("changed", f64::from(blocks) / 81_920.0, 0.05, 0.005);
    assert_near("of them in the hot part", f64::from(hot) / f64::from(blocks), 0.5, 0.05);
    assert_near("of them whole", f64::from(whole) / f64::from(blocks), 0.5, 0.05);
    assert!(disk.changes(0).is_empty());
}

#[test]
fn a_fixed_number_of_blocks_does_not_grow_with_the_disk() {
    for size_mib in [128, 1024] {
        let profile = Profile { changes: Changes::WholeBlocks(100), ..Profile::for_size(size_mib) };
        let disk = Disk { profile, ..Disk::new("web01", 1, size_mib) };
        assert_eq!(disk.changed_bytes(1), 100 << 20);
        assert_ne!(disk.changes(1), disk.changes(2));
    }
}

#[test]
fn mixed_content_compresses_about_two_to_one_and_noise_does_not() {
    let disk = Disk::new("web01", 1, 256);
    let image = disk.at(0);
    let mut bytes = vec![0; BLOCK_BYTES];
    let mut ratio = |kind| {
        let (mut plain, mut compressed) = (0, 0);
        for block in (0..disk.size_mib).filter(|&block| disk.kind(block) == kind).take(8) {
            image.read_block(block, &mut bytes);
            plain += bytes.len();
            compressed += zstd::bulk::compress(&bytes, 3).unwrap().len();
        }
        plain as f64 / compressed as f64
    };
    assert_near("mixed", ratio(Kind::Mixed), 2.0, 0.1);
    assert_near("incompressible", ratio(Kind::Incompressible), 1.0, 0.01);
}

#[test]
fn a_file_of_another_size_is_not_changed() {
    let folder = Folder::new();
    let path = folder.file("other");
    fs::write(&path, b"somebody's letter").unwrap();
    assert!(Disk::new("web01", 1, 8).apply(&path, 1).is_err());
    assert_eq!(fs::read(&path).unwrap(), b"somebody's letter");
}

#[test]
fn a_set_of_pages_is_its_runs() {
    let mut pages = PageSet::NONE;
    for page in [0, 1, 63, 64, 65, 200, BLOCK_PAGES - 1] {
        pages.insert(page);
    }
    assert_eq!(pages.runs().collect::<Vec<_>>(), [0..2, 63..66, 200..201, 255..256]);
    assert_eq!(pages.count(), 7);
    assert_eq!(PageSet::ALL.runs().map(|run| run.len()).collect::<Vec<_>>(), [BLOCK_PAGES]);
    assert_eq!(PageSet::NONE.runs().count(), 0);
}

#[test]
fn a_file_is_told_from_the_disk_by_one_byte() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    let disk = Disk::new("web01", 1, 8);
    disk.write_full(&path, 1).unwrap();
    assert!(disk.is_same(&path, 1).unwrap());
    assert!(!disk.is_same(&path, 0).unwrap());
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    assert!(!disk.is_same(&path, 1).unwrap());
    std::fs::write(&path, &bytes[1..]).unwrap();
    assert!(!disk.is_same(&path, 1).unwrap());
}
