//! The names of a machine's disks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use offsite_core::DiskName;

use super::ImageSource;

/// Returns the names of disks, each different from the others.
///
/// A disk has the name that was given to it, or that of its image's file. Files of the same name get the names of their folders
/// before it, or a number.
///
/// # Errors
/// The name that was given to two disks.
pub(crate) fn disk_names(sources: &[ImageSource]) -> Result<Vec<DiskName>, DiskName> {
    let mut taken: BTreeSet<DiskName> = BTreeSet::new();
    for name in sources.iter().filter_map(|source| source.name.as_ref()) {
        if !taken.insert(name.clone()) {
            return Err(name.clone());
        }
    }
    let paths = || sources.iter().filter(|source| source.name.is_none()).filter_map(ImageSource::path);
    let depth_max = paths().map(|path| path.components().count()).max().unwrap_or(0);
    // All of them get the same number of folders. So the order in which they are given does not matter.
    let is_clear = |depth: &usize| {
        let mut seen = BTreeMap::new();
        paths().for_each(|path| *seen.entry(of_path(path, *depth)).or_insert(0) += 1);
        seen.iter().all(|(name, count)| *count == 1 && !taken.contains(name))
    };
    let depth = (1..=depth_max).find(is_clear).unwrap_or(1);
    let names = sources.iter().map(|source| match &source.name {
        Some(name) => name.clone(),
        None => {
            let name = of_path(source.path().unwrap_or(Path::new("")), depth);
            let again = (2..).map(|count| DiskName::nearest(&format!("{count}-{name}")));
            let free = std::iter::once(name.clone()).chain(again).find(|name| !taken.contains(name));
            let name = free.unwrap_or(name);
            taken.insert(name.clone());
            name
        }
    });
    Ok(names.collect())
}

/// Returns the last `depth` parts of a path as a name.
pub(super) fn of_path(path: &Path, depth: usize) -> DiskName {
    let parts = path.components().filter_map(|part| match part {
        std::path::Component::Normal(part) => Some(part.to_string_lossy()),
        _ => None,
    });
    let parts: Vec<_> = parts.collect();
    DiskName::nearest(&parts[parts.len().saturating_sub(depth)..].join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(sources: &[ImageSource]) -> Vec<String> {
        disk_names(sources).unwrap().iter().map(ToString::to_string).collect()
    }

    fn of(paths: &[&str]) -> Vec<String> {
        names(&paths.iter().map(ImageSource::new).collect::<Vec<_>>())
    }

    #[test]
    fn disks_are_called_as_their_files_and_none_as_another() {
        assert_eq!(of(&["/vm/web01.qcow2", "data.img"]), ["web01.qcow2", "data.img"]);
        assert_eq!(of(&["/vm/a/disk.img", "/vm/b/disk.img"]), ["a-disk.img", "b-disk.img"]);
        assert_eq!(of(&["/vm/b/disk.img", "/vm/a/disk.img"]), ["b-disk.img", "a-disk.img"], "in any order");
        assert_eq!(of(&["/x/a/disk.img", "/y/a/disk.img", "/y/b"]), ["x-a-disk.img", "y-a-disk.img", "y-b"]);
        assert_eq!(of(&["disk.img", "disk.img", "disk.img"]), ["disk.img", "2-disk.img", "3-disk.img"]);
        assert_eq!(of(&["..", "/"]), ["disk", "2-disk"]);
        let given = |path, name| ImageSource::new(path).named(DiskName::new(name).unwrap());
        assert_eq!(names(&[given("/vm/x", "vda"), ImageSource::new("/vm/vda")]), ["vda", "vm-vda"]);
        assert_eq!(disk_names(&[given("/a", "vda"), given("/b", "vda")]), Err(DiskName::new("vda").unwrap()));
        // The name of a file can be as long as that of a disk can be, and the number goes before it.
        let long = "x".repeat(255);
        assert_eq!(of(&[&long, &long]), [long.clone(), format!("2-{}", &long[2..])]);
    }
}
