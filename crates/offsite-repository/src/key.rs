//! Names of objects.

use std::fmt;

/// The longest key, in bytes.
pub(crate) const KEY_BYTES_MAX: usize = 900;
/// The longest component between two slashes, in bytes; FAT and ext4 stop at 255, staged names need some of it.
const COMPONENT_BYTES_MAX: usize = 200;
/// Names that Windows keeps for devices, whatever their extension.
const RESERVED: [&str; 22] = [
    "con", "prn", "aux", "nul", "com1", "com2", "com3", "com4", "com5", "com6", "com7", "com8", "com9", "lpt1", "lpt2",
    "lpt3", "lpt4", "lpt5", "lpt6", "lpt7", "lpt8", "lpt9",
];

/// The name of an object: components joined by `/`, each of which is a portable file name.
///
/// A portable component has 1 to 200 printable ASCII bytes, none of `< > : " / \ | ? *`, no dot at either end, no blank
/// at either end, and is no device name of Windows. So each key is a path on ext4, XFS, NTFS, FAT and exFAT, and an S3
/// key, as it stands. Keys are ordered by their bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

/// Why a text is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The text or one of its components is empty.
    #[error("an empty name")]
    Empty,
    /// The text or one of its components is too long.
    #[error("{name:?} has {bytes} bytes, at most {limit_bytes} are portable")]
    TooLong {
        /// What is too long.
        name: String,
        /// Its length.
        bytes: usize,
        /// The limit.
        limit_bytes: usize,
    },
    /// A character that some file system refuses.
    #[error("{name:?} has {character:?}: use letters, digits, blanks and . _ - ( ) + @ and the like")]
    ForbiddenCharacter {
        /// The component.
        name: String,
        /// The offending character.
        character: char,
    },
    /// A dot or blank at an end.
    #[error("{0:?} starts or ends with a dot or a blank")]
    DotOrBlankAtEnd(String),
    /// A device name of Windows.
    #[error("{0:?} is a device name on Windows")]
    ReservedName(String),
}

impl Key {
    /// Parses a key.
    ///
    /// # Errors
    /// [`KeyError`] tells which component is not portable, and why.
    pub fn new(text: impl Into<String>) -> std::result::Result<Self, KeyError> {
        let text = text.into();
        if text.len() > KEY_BYTES_MAX {
            return Err(KeyError::TooLong { bytes: text.len(), name: text, limit_bytes: KEY_BYTES_MAX });
        }
        text.split('/').try_for_each(check_component)?;
        Ok(Self(text))
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last component.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// The components before the last; the root if there are none.
    #[must_use]
    pub fn folder(&self) -> Prefix {
        match self.0.rfind('/') {
            Some(slash) => Prefix(self.0[..slash].to_owned()),
            None => Prefix::root(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Key {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Key {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <String as serde::Deserialize>::deserialize(deserializer)?;
        Self::new(text).map_err(serde::de::Error::custom)
    }
}

/// A folder of keys: the root, or all keys that start with some components and a slash.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Prefix(String);

impl Prefix {
    /// All keys.
    #[must_use]
    pub fn root() -> Self {
        Self(String::new())
    }

    /// The keys below `folder`.
    ///
    /// # Errors
    /// As for [`Key::new`].
    pub fn new(folder: impl Into<String>) -> std::result::Result<Self, KeyError> {
        Key::new(folder).map(|key| Self(key.0))
    }

    /// The folder's path without a slash at its end; empty for the root.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `key` lies below this folder.
    #[must_use]
    pub fn contains(&self, key: &Key) -> bool {
        self.0.is_empty() || key.0.strip_prefix(&self.0).is_some_and(|rest| rest.starts_with('/'))
    }

    /// The key `name` in this folder.
    ///
    /// # Errors
    /// As for [`Key::new`].
    pub fn key(&self, name: &str) -> std::result::Result<Key, KeyError> {
        if self.0.is_empty() { Key::new(name) } else { Key::new(format!("{}/{name}", self.0)) }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

fn check_component(name: &str) -> std::result::Result<(), KeyError> {
    if name.is_empty() {
        return Err(KeyError::Empty);
    }
    if name.len() > COMPONENT_BYTES_MAX {
        return Err(KeyError::TooLong { name: name.to_owned(), bytes: name.len(), limit_bytes: COMPONENT_BYTES_MAX });
    }
    let refused = |character: char| !(' '..='~').contains(&character) || "<>:\"\\|?*".contains(character);
    if let Some(character) = name.chars().find(|character| refused(*character)) {
        return Err(KeyError::ForbiddenCharacter { name: name.to_owned(), character });
    }
    if name.starts_with(['.', ' ']) || name.ends_with(['.', ' ']) {
        return Err(KeyError::DotOrBlankAtEnd(name.to_owned()));
    }
    let stem = name.split('.').next().unwrap_or(name).trim_end().to_ascii_lowercase();
    if RESERVED.contains(&stem.as_str()) {
        return Err(KeyError::ReservedName(name.to_owned()));
    }
    Ok(())
}
