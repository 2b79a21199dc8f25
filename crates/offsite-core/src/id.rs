//! Identifiers and numbers of things in a repository.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The id of a backup file, an index or another object that a writer creates in a job folder.
///
/// It consists of the writer's epoch and a counter. A writer gets its epoch by a commit, so no two writers share one. Each writer
/// counts upwards. So an id never occurs twice, even after a crash.
///
/// ```
/// use offsite_core::ObjectId;
///
/// let id = ObjectId::new(3, 17);
/// assert_eq!(id.to_string(), "00000003-00000011");
/// assert_eq!(ObjectId::parse("00000003-00000011"), Some(id));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(u64);

impl ObjectId {
    /// The id of object number `count` of the writer with this epoch.
    #[must_use]
    pub const fn new(epoch: u32, count: u32) -> Self {
        Self((epoch as u64) << 32 | count as u64)
    }

    /// Converts the stored value to an id.
    ///
    /// See [`stored`](Self::stored).
    #[must_use]
    pub const fn from_stored(value: u64) -> Self {
        Self(value)
    }

    /// The value that the stored format uses.
    #[must_use]
    pub const fn stored(self) -> u64 {
        self.0
    }

    /// The epoch of the writer that created the object.
    #[must_use]
    pub const fn epoch(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Parses what `Display` prints.
    ///
    /// `None` for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (epoch, count) = text.split_once('-')?;
        let plain = |part: &str| part.len() == 8 && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !plain(epoch) || !plain(count) {
            return None;
        }
        Some(Self::new(u32::from_str_radix(epoch, 16).ok()?, u32::from_str_radix(count, 16).ok()?))
    }
}

/// Prints epoch, dash and counter, each as eight hexadecimal digits.
///
/// File names of this form sort by age.
impl fmt::Display for ObjectId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:08x}-{:08x}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// The number of a restore point in its job folder.
///
/// Later points have greater numbers. A number never occurs twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Sequence(pub u64);

impl fmt::Display for Sequence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

/// Declares an identity of 16 random bytes.
macro_rules! identity {
    ($(#[$documentation:meta])* $name:ident) => {
        $(#[$documentation])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// Makes an identity of these bytes.
            #[must_use]
            pub const fn new(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The bytes of the identity.
            #[must_use]
            pub const fn bytes(self) -> [u8; 16] {
                self.0
            }
        }

        /// Prints 32 hexadecimal digits.
        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, formatter)
            }
        }

        /// Parses what `Display` prints.
        impl FromStr for $name {
            type Err = IdentityError;

            fn from_str(text: &str) -> Result<Self, IdentityError> {
                from_hex(text).map(Self).ok_or(IdentityError)
            }
        }

        /// Writes bytes in a binary format, and hexadecimal digits in a human-readable one.
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    self.0.serialize(serializer)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
                } else {
                    <[u8; 16]>::deserialize(deserializer).map(Self)
                }
            }
        }
    };
}

identity! {
    /// Identifies a repository, wherever it is moved. It is drawn at random when the repository is created.
    RepositoryId
}

identity! {
    /// Identifies a job folder, wherever its repository is moved. It is drawn at random when the folder is created.
    FolderId
}

identity! {
    /// Identifies a commit to a job folder. The writer draws it at random, and recognizes its own commit by it.
    CommitId
}

identity! {
    /// Identifies a claim of a reader or writer. Its holder draws it at random.
    ClaimId
}

/// The error for a text that is no identity.
///
/// An identity has 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an identity has 32 hexadecimal digits")]
#[non_exhaustive]
pub struct IdentityError;

/// Decodes `BYTES` pairs of lower-case hexadecimal digits. `None` for any other text.
pub(crate) fn from_hex<const BYTES: usize>(text: &str) -> Option<[u8; BYTES]> {
    if text.len() != 2 * BYTES || !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let mut bytes = [0; BYTES];
    for (number, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * number..2 * number + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_prints_and_parses() {
        let id = ObjectId::new(3, 0xabc);
        assert_eq!(id.to_string(), "00000003-00000abc");
        assert_eq!(ObjectId::parse(&id.to_string()), Some(id));
        for wrong in ["", "3-4", "00000003-00000ABC", "00000003_00000abc", "00000003-00000abc0", "+0000003-00000abc"] {
            assert_eq!(ObjectId::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_identity_prints_and_parses() {
        let id = FolderId::new([0xa1; 16]);
        assert_eq!(id.to_string(), "a1".repeat(16));
        assert_eq!(id.to_string().parse(), Ok(id));
        for wrong in ["", "a1", &"A1".repeat(16), &"a1".repeat(17), &"ä1".repeat(11)] {
            assert_eq!(wrong.parse::<FolderId>(), Err(IdentityError), "{wrong}");
        }
    }
}
