//! Files that are the same in every run.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Files by their paths, which are relative and have `/` between their parts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    /// What each file holds.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// A step from one tree to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The file is new, or what it holds is.
    Write {
        /// Where.
        path: String,
        /// What it holds now.
        content: Vec<u8>,
    },
    /// The file is gone.
    Remove {
        /// Where it was.
        path: String,
    },
}

impl Tree {
    /// `count` files in a few folders, of up to `bytes_max` bytes each: mostly text, a third of them noise, some empty.
    #[must_use]
    pub fn random(seed: u64, count: usize, bytes_max: usize) -> Self {
        let mut numbers = Numbers::new(seed);
        let mut tree = Self::default();
        for number in 0..count {
            let folder = ["", "etc/", "var/log/", "home-of-ann/notes/"][numbers.below(4)];
            tree.files.insert(format!("{folder}file-{number:04}"), content(&mut numbers, bytes_max));
        }
        tree
    }

    /// Changes that fit this tree: about a tenth of its files rewritten or removed, and one or two new ones.
    #[must_use]
    pub fn random_changes(&self, seed: u64, bytes_max: usize) -> Vec<Change> {
        let mut numbers = Numbers::new(seed);
        let mut changes = Vec::new();
        for path in self.files.keys() {
            match numbers.below(20) {
                0 => changes.push(Change::Remove { path: path.clone() }),
                1 => changes.push(Change::Write { path: path.clone(), content: content(&mut numbers, bytes_max) }),
                _ => {}
            }
        }
        for number in 0..=numbers.below(2) {
            let path = format!("new-of-{seed}/file-{number}");
            changes.push(Change::Write { path, content: content(&mut numbers, bytes_max) });
        }
        changes
    }

    /// Takes the changes over.
    pub fn apply(&mut self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Write { path, content } => drop(self.files.insert(path.clone(), content.clone())),
                Change::Remove { path } => drop(self.files.remove(path)),
            }
        }
    }

    /// Writes the files below `folder`.
    ///
    /// # Panics
    /// If that fails.
    #[track_caller]
    pub fn write_to(&self, folder: &Path) {
        for (path, content) in &self.files {
            let path = folder.join(path);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).unwrap_or_else(|error| panic!("{parent:?}: {error}"));
            }
            fs::write(&path, content).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        }
    }
}

fn content(numbers: &mut Numbers, bytes_max: usize) -> Vec<u8> {
    let length = numbers.below(bytes_max + 1);
    match numbers.below(12) {
        0 => Vec::new(),
        1..=4 => numbers.noise(length),
        _ => {
            let mut text = Vec::with_capacity(length + 64);
            while text.len() < length {
                text.extend(format!("{:05} the quick brown fox\n", numbers.below(100_000)).bytes());
            }
            text.truncate(length);
            text
        }
    }
}

/// SplitMix64: the smallest generator of numbers that look random.
struct Numbers(u64);

impl Numbers {
    fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        number ^ (number >> 31)
    }

    #[allow(clippy::cast_possible_truncation)] // less than `bound`, which is a usize
    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn noise(&mut self, length: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..length.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).collect();
        bytes.truncate(length);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_tree_and_one_history() {
        let mut tree = Tree::random(1, 60, 5000);
        assert_eq!(tree.files.len(), 60);
        assert_eq!(tree, Tree::random(1, 60, 5000));
        assert_ne!(tree, Tree::random(2, 60, 5000));
        assert!(tree.files.values().any(Vec::is_empty), "an empty file is worth a test");

        let before = tree.clone();
        let changes = tree.random_changes(3, 5000);
        assert_eq!(changes, before.random_changes(3, 5000));
        tree.apply(&changes);
        assert_ne!(tree, before);
    }
}
