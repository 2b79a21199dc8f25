//! The marker of a medium.

use std::fmt;
use std::str::FromStr;

use offsite_repository::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::sealed::{Unsealed, hex, seal, unseal};

/// The name of the marker file at a medium's root. A key never starts with a dot.
pub(super) const MARKER: &str = ".offsite-medium";
/// A marker is far shorter.
pub(super) const MARKER_BYTES_MAX: usize = 4_096;
const KIND: &str = "offsite-medium";
const VERSION: u32 = 1;
const LABEL_CHARACTERS_MAX: usize = 64;

/// The identity of a medium: 128 random bits, written as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MediumId([u8; 16]);

/// The error for a text that is no [`MediumId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MediumIdError;

impl fmt::Display for MediumIdError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the identity of a medium has 32 hexadecimal digits, in small letters")
    }
}

impl std::error::Error for MediumIdError {}

impl fmt::Display for MediumId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for MediumId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for MediumId {
    type Err = MediumIdError;

    fn from_str(text: &str) -> std::result::Result<Self, MediumIdError> {
        let canonical = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 32 || !text.bytes().all(canonical) {
            return Err(MediumIdError);
        }
        u128::from_str_radix(text, 16).map(|number| Self(number.to_be_bytes())).map_err(|_| MediumIdError)
    }
}

/// A medium: its identity and its label.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Medium {
    /// The identity. No other medium has the same.
    pub id: MediumId,
    /// The text on its sticker. Two media may have the same.
    pub label: String,
}

impl fmt::Display for Medium {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?} ({})", self.label, self.id)
    }
}

/// The content of the marker at a medium's root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Marked {
    pub(super) medium: Medium,
    /// `true` if it is a plain folder that stands for a drive, so that nothing need be mounted there.
    pub(super) is_folder: bool,
}

/// The stored form.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Marker {
    id: String,
    label: String,
    is_folder: bool,
}

impl Medium {
    /// A new one.
    pub(super) fn new(label: &str) -> Result<Self> {
        let refused = |why: String| Error::new(ErrorKind::Unsupported, "prepare").with_subject(why);
        check_label(label).map_err(|why| refused(format!("a medium with the label {label:?}")).with_detail(why))?;
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|error| Error::new(ErrorKind::Unavailable, "prepare").with_source(error))?;
        Ok(Self { id: MediumId(id), label: label.to_owned() })
    }
}

impl Marked {
    pub(super) fn to_marker(&self) -> Result<Vec<u8>> {
        let Self { medium: Medium { id, label }, is_folder } = self;
        let marker = Marker { id: id.to_string(), label: label.clone(), is_folder: *is_folder };
        seal(KIND, VERSION, &marker).map_err(|error| Error::new(ErrorKind::Unsupported, "prepare").with_source(error))
    }

    /// Reads the content of a marker. `place` is for errors.
    pub(super) fn from_marker(place: &str, file: &[u8]) -> Result<Self> {
        let damaged = || {
            let detail = format!(
                "its {MARKER} is damaged: check the file system; if the medium is known otherwise, remove that file and prepare it again"
            );
            Error::new(ErrorKind::Corrupt, "identify the medium at").with_location(place).with_detail(detail)
        };
        let marker: Marker = unseal(KIND, VERSION, file).map_err(|why| match why {
            Unsealed::Damaged => damaged(),
            Unsealed::Newer => Error::new(ErrorKind::Unsupported, "identify the medium at")
                .with_location(place)
                .with_detail("a later version of this program prepared it: use that one"),
        })?;
        let id = marker.id.parse().map_err(|_| damaged())?;
        check_label(&marker.label).map_err(|_| damaged())?;
        Ok(Self { medium: Medium { id, label: marker.label }, is_folder: marker.is_folder })
    }
}

/// Checks that people can tell a label from others at a glance.
pub(super) fn check_label(label: &str) -> std::result::Result<(), &'static str> {
    if label.trim() != label || label.is_empty() {
        return Err("a label has at least one character, and no blank at either end");
    }
    if label.chars().count() > LABEL_CHARACTERS_MAX || label.chars().any(char::is_control) {
        return Err("a label has at most 64 characters, and all of them can be seen");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_read_back_and_its_bytes_are_these() {
        let id = "00112233445566778899aabbccddeeff".parse().expect("an id");
        let marked = Marked { medium: Medium { id, label: "Blue 1".to_owned() }, is_folder: false };
        let marker = marked.to_marker().expect("a marker");
        let golden = "offsite-medium 1 dff1c954ead3b337\n\
                      {\"id\":\"00112233445566778899aabbccddeeff\",\"label\":\"Blue 1\",\"is_folder\":false}\n";
        assert_eq!(String::from_utf8_lossy(&marker), golden);
        assert_eq!(Marked::from_marker("/mnt", &marker).expect("the medium"), marked);
        for (altered, kind) in [
            (String::from_utf8_lossy(&marker).replace("Blue", "Bluf"), ErrorKind::Corrupt),
            (String::new(), ErrorKind::Corrupt),
            (String::from_utf8_lossy(&marker).replace("medium 1", "medium 2"), ErrorKind::Unsupported),
        ] {
            assert_eq!(Marked::from_marker("/mnt", altered.as_bytes()).expect_err(&altered).kind(), kind);
        }
    }

    #[test]
    fn ids_and_labels_that_are_none_are_refused() {
        for text in ["", "0", "00112233445566778899AABBCCDDEEFF", "+0112233445566778899aabbccddeeff"] {
            assert_eq!(text.parse::<MediumId>(), Err(MediumIdError), "{text}");
        }
        for label in ["", " ", "a ", "a\nb", &"n".repeat(65)] {
            assert_eq!(Medium::new(label).expect_err(label).kind(), ErrorKind::Unsupported);
        }
        assert_ne!(Medium::new("a").expect("a medium").id, Medium::new("a").expect("a medium").id);
    }
}
