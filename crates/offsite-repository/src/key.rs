//! Names of objects.

use std::fmt;

/// The longest key, in bytes.
pub(crate) const KEY_BYTES_MAX: usize = 900;
/// The longest component of a key, in bytes. FAT and ext4 allow 255; the names of unfinished objects need some of them.
const COMPONENT_BYTES_MAX: usize = 200;
/// Names that Windows keeps for devices, whatever their extension.
const RESERVED: [&str; 22] = [
    "con", "prn", "aux", "nul", "com1", "com2", "com3", "com4", "com5", "com6", "com7", "com8", "com9", "lpt1", "lpt2",
    "lpt3", "lpt4", "lpt5", "lpt6", "lpt7", "lpt8", "lpt9",
];

/// The name of an object: one or more components, joined by `/`.
///
/// Each component is a portable file name:
///
/// - It has 1 to 200 printable ASCII characters, none of them `< > : " / \ | ? *`.
/// - It neither starts nor ends with a dot or a blank.
/// - It is not a device name of Windows, such as `nul` or `com1`.
///
/// The whole key has at most 900 bytes. So each key is a valid path on ext4, XFS, NTFS, FAT and exFAT, and a valid S3 key. Keys
/// are ordered by their bytes.
///
/// ```
/// use offsite_repository::Key;
///
/// let key = Key::new("nightly/head/00000001")?;
/// assert_eq!(key.name(), "00000001");
/// assert_eq!(key.folder().as_str(), "nightly/head");
/// assert!(Key::new("what?").is_err());
/// # Ok::<(), offsite_repository::KeyError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

/// The error for a text that is no [`Key`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The text or one of its components is empty.
    #[error("an empty name")]
    Empty,
    /// The text or one of its components is too long.
    #[error("{name:?} has {bytes} bytes, at most {limit_bytes} are portable")]
    TooLong {
        /// The key or component.
        name: String,
        /// The length of it, in bytes.
        bytes: usize,
        /// The largest length that is allowed, in bytes.
        limit_bytes: usize,
    },
    /// A component contains a character that some file system refuses.
    #[error("{name:?} has {character:?}: use letters, digits, blanks and . _ - ( ) + @ and the like")]
    ForbiddenCharacter {
        /// The component.
        name: String,
        /// The offending character.
        character: char,
    },
    /// This component starts or ends with a dot or a blank.
    #[error("{0:?} starts or ends with a dot or a blank")]
    DotOrBlankAtEnd(String),
    /// This component is a device name of Windows.
    #[error("{0:?} is a device name on Windows")]
    ReservedName(String),
}

impl Key {
    /// Parses a key.
    ///
    /// # Errors
    /// [`KeyError`] with the component that is not portable, and the reason.
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

    /// The folder of the key: all components but the last.
    ///
    /// It is the root if there is only one.
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

/// A folder of keys.
///
/// It is the root, or all keys that begin with the same components and a slash.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Prefix(String);

impl Prefix {
    /// The root: all keys.
    #[must_use]
    pub fn root() -> Self {
        Self(String::new())
    }

    /// The folder with this path.
    ///
    /// All keys below it have the prefix `folder/`.
    ///
    /// # Errors
    /// The same as [`Key::new`].
    pub fn new(folder: impl Into<String>) -> std::result::Result<Self, KeyError> {
        Key::new(folder).map(|key| Self(key.0))
    }

    /// The path of the folder, without a slash at its end.
    ///
    /// It is empty for the root.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns `true` if `key` lies below this folder.
    #[must_use]
    pub fn contains(&self, key: &Key) -> bool {
        self.0.is_empty() || key.0.strip_prefix(&self.0).is_some_and(|rest| rest.starts_with('/'))
    }

    /// The key with this name in this folder.
    ///
    /// # Errors
    /// The same as [`Key::new`].
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
