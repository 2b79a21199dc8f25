//! The identity of a disk: its name, and the format of its image.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::DiskNumber;

/// The longest disk name, in bytes. Most file systems have the same limit for file names.
const NAME_BYTES_MAX: usize = 255;

/// The name of a disk within its machine, such as `vda` or the file name of its image.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DiskName(Arc<str>);

/// The error for a text that is no [`DiskName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is no disk name: {reason}")]
pub struct DiskNameError {
    name: String,
    reason: &'static str,
}

impl DiskName {
    /// Parses a disk name.
    ///
    /// A name has 1 to 255 bytes. It contains no control character and no slash (`/` or `\`). It neither starts nor ends with
    /// white space.
    ///
    /// # Errors
    /// [`DiskNameError`] with the text and the rule that it breaks.
    pub fn new(name: &str) -> Result<Self, DiskNameError> {
        let refuse = |reason| Err(DiskNameError { name: name.to_owned(), reason });
        if name.is_empty() {
            return refuse("it is empty");
        }
        if name.len() > NAME_BYTES_MAX {
            return refuse("it has more than 255 bytes");
        }
        if name.chars().any(char::is_control) {
            return refuse("it has a control character");
        }
        if name.contains(['/', '\\']) {
            return refuse("it has a slash");
        }
        if name.trim() != name {
            return refuse("it starts or ends with a blank");
        }
        Ok(Self(name.into()))
    }

    /// The valid name that is nearest to `text`.
    ///
    /// It removes white space at both ends, replaces control characters and slashes with `_`, and cuts off what is too long. If
    /// nothing is left, the name is `disk`.
    ///
    /// ```
    /// use offsite_core::DiskName;
    ///
    /// assert_eq!(DiskName::nearest("a/b").as_str(), "a_b");
    /// assert_eq!(DiskName::nearest("  ").as_str(), "disk");
    /// ```
    #[must_use]
    pub fn nearest(text: &str) -> Self {
        let is_barred = |letter: char| letter.is_control() || letter == '/' || letter == '\\';
        let mut name: String = text.trim().chars().map(|letter| if is_barred(letter) { '_' } else { letter }).collect();
        let end = (0..=name.len().min(NAME_BYTES_MAX)).rev().find(|end| name.is_char_boundary(*end));
        name.truncate(end.unwrap_or_default());
        match name.trim() {
            "" => Self("disk".into()),
            name => Self(name.into()),
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DiskName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

impl fmt::Debug for DiskName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, formatter)
    }
}

/// The format of a disk image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum ImageFormat {
    /// The bytes of the disk, unchanged.
    #[default]
    Raw,
    /// QEMU's copy-on-write format (qcow2), versions 2 and 3.
    Qcow2,
}

impl ImageFormat {
    /// The name of the format: `raw` or `qcow2`.
    ///
    /// It is also the usual extension of such a file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

impl fmt::Display for ImageFormat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// What identifies a disk from one restore point to the next.
///
/// The format of an image is decided when the disk is first read. It never changes afterwards. Otherwise a guest could change it
/// by writing the first bytes of another format to its own disk.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct DiskIdentity {
    /// The name of the disk. It is unique within the machine.
    pub name: DiskName,
    /// The format in which backups read the image.
    pub format: ImageFormat,
}

impl DiskIdentity {
    /// The identity of a disk with this name and this image format.
    #[must_use]
    pub const fn new(name: DiskName, format: ImageFormat) -> Self {
        Self { name, format }
    }
}

/// Assigns a disk number to each of `names`.
///
/// `before` lists the known disks, ascending by number. For each name, the first rule that fits decides:
///
/// 1. The name gets the number of the known disk with the same name.
/// 2. The name gets the number of the known disk at the same position in `before`, unless another name has taken that disk by
///    rule 1.
/// 3. The name gets a new number: the lowest that no known disk has.
///
/// So the order of the names does not matter, and a removed disk does not shift the others. Images that get a new name each day
/// keep their numbers.
///
/// The result has the order of `names`. It is `None` if there are more disks than numbers (65,536).
#[must_use]
pub fn match_disks(before: &[(DiskNumber, DiskName)], names: &[DiskName]) -> Option<Vec<DiskNumber>> {
    let by_name = |name: &DiskName| before.iter().find(|(_, before)| before == name).map(|(number, _)| *number);
    let mut numbers: Vec<Option<DiskNumber>> = names.iter().map(by_name).collect();
    let found: BTreeSet<DiskNumber> = numbers.iter().flatten().copied().collect();
    for (number, (beside, _)) in numbers.iter_mut().zip(before) {
        if number.is_none() && !found.contains(beside) {
            *number = Some(*beside);
        }
    }
    let known: BTreeSet<DiskNumber> = before.iter().map(|(number, _)| *number).collect();
    let mut free = (0..=u16::MAX).map(DiskNumber).filter(|number| !known.contains(number));
    numbers.into_iter().map(|number| number.or_else(|| free.next())).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> DiskName {
        DiskName::new(text).unwrap()
    }

    fn matched(before: &[(u16, &str)], names: &[&str]) -> Vec<u16> {
        let before: Vec<_> = before.iter().map(|(number, text)| (DiskNumber(*number), name(text))).collect();
        let names: Vec<_> = names.iter().map(|text| name(text)).collect();
        match_disks(&before, &names).unwrap().into_iter().map(|number| number.0).collect()
    }

    #[test]
    fn names_are_what_a_file_can_be_called() {
        for text in ["vda", "web01.qcow2", ".hidden", "größe 2", &"x".repeat(255)] {
            assert_eq!(name(text).as_str(), text);
            assert_eq!(DiskName::nearest(text), name(text));
        }
        for text in ["", " ", "a/b", "a\\b", "a\nb", " a", "a ", &"x".repeat(256)] {
            assert!(DiskName::new(text).is_err(), "{text:?}");
        }
        assert_eq!(DiskName::nearest("a/b\n"), name("a_b"));
        assert_eq!(DiskName::nearest(" \t"), name("disk"));
        assert_eq!(DiskName::nearest(&"ü".repeat(200)), name(&"ü".repeat(127)));
    }

    #[test]
    fn a_disk_is_told_by_its_name_then_by_its_place() {
        let before = [(0, "a"), (1, "b"), (2, "c")];
        assert_eq!(matched(&[], &["a", "b"]), [0, 1]);
        assert_eq!(matched(&before, &["a", "b", "c"]), [0, 1, 2]);
        assert_eq!(matched(&before, &["c", "a", "b"]), [2, 0, 1], "another order");
        assert_eq!(matched(&before, &["b", "c"]), [1, 2], "one goes");
        assert_eq!(matched(&before, &["n", "a", "b", "c"]), [3, 0, 1, 2], "one comes");
        assert_eq!(matched(&before, &["a2", "b2", "c2"]), [0, 1, 2], "snapshots of another day");
        assert_eq!(matched(&before, &["a", "n", "c"]), [0, 1, 2], "one has another name");
        assert_eq!(matched(&before, &["b", "c", "n"]), [1, 2, 3], "one goes, one comes");
        assert_eq!(matched(&[(1, "b"), (4, "d")], &["b2", "d2", "e"]), [1, 4, 0]);
    }

    proptest! {
        #[test]
        fn each_disk_has_one_number_and_a_known_name_keeps_its_own(
            before in prop::collection::btree_map(0..9_u16, 0..12_u8, 0..6),
            given in prop::collection::btree_set(0..12_u8, 0..6).prop_map(Vec::from_iter).prop_shuffle(),
        ) {
            let text = |letter: u8| name(&format!("disk-{letter}"));
            let mut seen = BTreeSet::new();
            let before: Vec<_> = before.into_iter().filter(|(_, letter)| seen.insert(*letter))
                .map(|(number, letter)| (DiskNumber(number), text(letter))).collect();
            let names: Vec<_> = given.iter().map(|letter| text(*letter)).collect();
            let numbers = match_disks(&before, &names).unwrap();
            prop_assert_eq!(numbers.len(), names.len());
            prop_assert_eq!(numbers.iter().collect::<BTreeSet<_>>().len(), numbers.len());
            for (number, name) in numbers.iter().zip(&names) {
                if let Some((known, _)) = before.iter().find(|(_, before)| before == name) {
                    prop_assert_eq!(number, known);
                }
            }
        }
    }

    #[test]
    fn there_are_as_many_disks_as_numbers() {
        let names: Vec<_> = (0..=u16::MAX).map(|number| name(&format!("d{number}"))).collect();
        assert_eq!(match_disks(&[], &names).unwrap().len(), names.len());
        assert_eq!(match_disks(&[(DiskNumber(7), name("other"))], &[names, vec![name("more")]].concat()), None);
    }
}
