//! Names of jobs, which are names of folders on every kind of repository.

use std::fmt;

use offsite_repository::Key;

/// What the names of Offsite's own objects in the root of a repository begin with. No job has such a name, so that a later version
/// can add objects.
const RESERVED: &str = "offsite-";
/// The marker of a repository.
pub(crate) const MARKER: &str = "offsite-repository";
/// The folder of what a probe writes, and deletes again.
pub(crate) const PROBE: &str = "offsite-probe";

/// Folders of file systems and their tools, which often nobody may look into.
const FOREIGN: [&str; 3] = ["System Volume Information", "@eaDir", "lost+found"];
/// The longest name, in bytes.
const NAME_BYTES_MAX: usize = 100;

/// The name of a job and so of its folder: a portable file name of at most 100 bytes (see [`Key`]).
///
/// A name that begins with `offsite-` is refused, as Offsite's own objects have such names. So is the name of a folder that file systems
/// or their tools make, for example `lost+found`.
///
/// Names that differ only in case are one name, as some file systems cannot tell them apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobName(String);

/// Why a text names no job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} cannot name a job, as a job's name is a folder's name on every kind of repository: {reason}")]
pub struct JobNameError {
    name: String,
    reason: String,
}

impl JobName {
    /// Parses a name.
    ///
    /// # Errors
    /// [`JobNameError`] says what is wrong.
    pub fn new(name: &str) -> Result<Self, JobNameError> {
        let refuse = |reason: String| Err(JobNameError { name: name.to_owned(), reason });
        if name.contains('/') {
            return refuse("it has a slash".to_owned());
        }
        if name.len() > NAME_BYTES_MAX {
            return refuse(format!("it has {} bytes, at most {NAME_BYTES_MAX} are portable", name.len()));
        }
        if name.get(..RESERVED.len()).is_some_and(|start| start.eq_ignore_ascii_case(RESERVED)) {
            return refuse(format!("names that begin with {RESERVED} are for Offsite's own objects"));
        }
        if is_foreign(name) {
            return refuse("file systems and their tools have a folder of this name".to_owned());
        }
        match Key::new(name) {
            Ok(_) => Ok(Self(name.to_owned())),
            Err(error) => refuse(error.to_string()),
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether both names would be one folder on a file system that does not tell case apart.
    #[must_use]
    pub fn same_folder(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for JobName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for JobName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = <String as serde::Deserialize>::deserialize(deserializer)?;
        Self::new(&name).map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for JobName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

/// Whether a file system or its tools have a folder of this name: `FOUND.000` is what a check of a FAT file system leaves.
fn is_foreign(name: &str) -> bool {
    let is_number = |number: &str| number.parse::<u16>().is_ok();
    FOREIGN.iter().any(|foreign| foreign.eq_ignore_ascii_case(name))
        || name.to_ascii_uppercase().strip_prefix("FOUND.").is_some_and(is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn portable_names_pass_and_others_say_why() {
        for good in
            ["nightly", "Offsite Copy", "a", "web (EU) + db", "nightly.2", "FOUND.it", "offsite", "my-offsite-copy"]
        {
            assert!(JobName::new(good).is_ok(), "{good}");
        }
        for wrong in [
            "",
            ".",
            "..",
            ".hidden",
            "a/b",
            "a\\b",
            "end.",
            " a",
            "a ",
            "CON",
            "nul.txt",
            "caf\u{e9}",
            "Offsite-Repository",
            "Offsite-Probe",
            "offsite-key-0123456789abcdef",
            "lost+found",
            "System Volume Information",
            "FOUND.000",
            "a:b",
            "a\0b",
        ] {
            assert!(JobName::new(wrong).is_err(), "{wrong:?}");
        }
        assert!(JobName::new(&"x".repeat(100)).is_ok());
        assert!(JobName::new(&"x".repeat(101)).is_err());
    }
}
