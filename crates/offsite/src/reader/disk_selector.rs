//! The choice of a disk.

use offsite_core::{DiskName, DiskNumber, MachineName};

use crate::{Error, ErrorPlace, Result};

/// Selects a disk of a machine, by number or name.
///
/// Names, numbers and texts convert into it:
///
/// ```
/// use offsite::{DiskSelector, model::DiskNumber};
///
/// assert_eq!(DiskSelector::from(DiskNumber(1)), DiskSelector::Number(DiskNumber(1)));
/// assert_eq!(DiskSelector::from("vda"), DiskSelector::Text("vda".to_owned()));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskSelector {
    /// The disk with this number.
    Number(DiskNumber),
    /// The disk with this name. If no disk has the name and the text is a number, the disk with that number.
    Text(String),
}

impl From<DiskNumber> for DiskSelector {
    fn from(number: DiskNumber) -> Self {
        Self::Number(number)
    }
}

impl From<&DiskName> for DiskSelector {
    fn from(name: &DiskName) -> Self {
        Self::Text(name.to_string())
    }
}

impl From<&str> for DiskSelector {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<&String> for DiskSelector {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<String> for DiskSelector {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl DiskSelector {
    /// Finds the selected disk among those of a machine.
    ///
    /// # Errors
    /// [`Error::UnknownDisk`] with the disks that exist.
    pub(crate) fn find<'a>(
        &self,
        machine: &MachineName,
        disks: impl Iterator<Item = (DiskNumber, &'a DiskName)> + Clone,
    ) -> Result<DiskNumber> {
        let mut numbers = disks.clone().map(|(number, _)| number);
        let found = match self {
            Self::Number(wanted) => numbers.find(|number| number == wanted),
            Self::Text(text) => {
                let named = disks.clone().find(|(_, name)| name.as_str() == text).map(|(number, _)| number);
                // A name that is a number is one; any other number counts the disks.
                named.or_else(|| numbers.find(|number| number.to_string() == *text))
            }
        };
        found.ok_or_else(|| Error::UnknownDisk {
            machine: machine.to_string(),
            disk: match self {
                Self::Number(number) => number.to_string(),
                Self::Text(text) => text.clone(),
            },
            known: disks.map(|(number, name)| format!("{number} ({name})")).collect(),
            at: ErrorPlace::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_a_number_is_a_name_and_a_number_is_a_number() {
        let names = ["1", "data", "x"].map(|name| DiskName::new(name).unwrap());
        let disks = || (0..).map(DiskNumber).zip(&names);
        let machine = MachineName::new("web01").unwrap();
        let find = |disk: DiskSelector| disk.find(&machine, disks()).ok().map(|number| number.0);
        let found = ["1", "0", "data", "2", "3", "vda"].map(|text| find(text.into()));
        assert_eq!(found, [Some(0), Some(0), Some(1), Some(2), None, None]);
        assert_eq!([1, 2, 3].map(|number| find(DiskNumber(number).into())), [Some(1), Some(2), None]);
        assert_eq!(find((&names[0]).into()), Some(0));
    }
}
