//! What lies in a repository's folder.

use offsite_core::format::WireFormat;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use offsite::model::Head;

/// All files below `folder`, by their relative paths, with what they hold.
#[track_caller]
pub fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    files(folder).into_iter().map(|path| (path.clone(), fs::read(folder.join(&path)).unwrap())).collect()
}

/// The relative paths of all files below `folder`, hidden ones included.
#[track_caller]
pub fn files(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(inner) = folders.pop() {
        for entry in fs::read_dir(folder.join(&inner)).unwrap() {
            let entry = entry.unwrap();
            let path = inner.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else {
                found.insert(path.to_str().unwrap().to_owned());
            }
        }
    }
    found
}

/// The names in the folder `part` of a job's folder; none if it is not there yet.
pub fn names(job: &Path, part: &str) -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir(job.join(part)) else { return BTreeSet::new() };
    // A name may vanish between the listing and this.
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    // The second copies of indexes and heads are beside the backup files, and none.
    names.filter(|name| part != "blocks" || !(name.ends_with(".index") || name.ends_with(".head"))).collect()
}

/// The newest head of a job's folder.
#[track_caller]
pub fn newest_head(job: &Path) -> Head {
    let name = names(job, "head").pop_last().unwrap_or_else(|| panic!("no head in {}", job.display()));
    Head::decode(&fs::read(job.join("head").join(name)).unwrap()).unwrap()
}

/// Holds that nothing is left in a job's folder but what its newest head refers to.
#[track_caller]
pub fn assert_tidy(job: &Path) {
    let head = newest_head(job);
    assert_eq!(head.retired, [], "{}: the last run released everything", job.display());
    assert_eq!(head.lease, None, "{}: the last run gave its lease back", job.display());
    let mut expected: BTreeSet<String> = BTreeSet::new();
    // The newest heads stay, for readers and for writers that ask whether their commit won.
    expected.extend((head.boundary + 1..=head.number).map(|number| format!("head/{number:020}")));
    expected.extend(head.files.keys().map(|id| format!("blocks/{id}")));
    expected.extend(head.chain.indexes().map(|index| format!("index/{}", index.id)));
    // Each index has a second copy beside the backup files, and so has the newest head that changed the chain.
    expected.extend(head.chain.indexes().map(|index| format!("blocks/{}.index", index.id)));
    let found = files(job);
    expected.extend(found.iter().filter(|name| name.ends_with(".head")).take(1).cloned());
    // What verification found last.
    expected.extend(found.iter().filter(|name| name.starts_with("verify/")).take(1).cloned());
    let left: Vec<_> = found.difference(&expected).collect();
    let lost: Vec<_> = expected.difference(&found).collect();
    assert!(left.is_empty() && lost.is_empty(), "{}: left over {left:?}, lost {lost:?}", job.display());
}

/// Changes one bit of a file.
#[track_caller]
pub fn flip(file: &Path, at: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at] ^= 0x10;
    // Heads and indexes are read-only for their owner too, on some file systems.
    fs::write(file, bytes).unwrap();
}
