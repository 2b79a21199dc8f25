//! What there is to say of a disk image that was backed up, as data.

use std::fmt;

/// What there is to say of a disk image that was backed up.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum ImageWarning {
    /// It was written to while it was read, so the restore point may hold parts of two moments.
    WrittenTo {
        /// The image's path.
        location: String,
    },
    /// It begins like an image of another format, and was a raw disk until now. It was backed up as the raw disk that it was.
    LooksLike {
        /// The image's path.
        location: String,
        /// The name of that format.
        format: String,
    },
    /// What an image of the caller's own says of itself.
    Custom {
        /// In the caller's words.
        text: String,
    },
}

impl fmt::Display for ImageWarning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrittenTo { location } => write!(
                formatter,
                "disk image {location} was written to while it was read, so the restore point may hold parts of two moments; back up a \
                 snapshot of it"
            ),
            Self::LooksLike { location, format } => write!(
                formatter,
                "disk image {location} begins like a {format} image, and was a raw disk until now; it was backed up as the raw disk that \
                 it was, as its machine can write such a beginning"
            ),
            Self::Custom { text } => formatter.write_str(text),
        }
    }
}
