//! The tags of a machine, and the containers that it is in.

use std::collections::BTreeSet;

/// The longest tag or container, in bytes.
const LABEL_BYTES_MAX: usize = 256;
/// The most tags, and the most containers, of a machine.
const LABELS_MAX: usize = 256;

/// The tags of a machine, and the containers (folders, hosts) that it is in.
///
/// Filters of a copy job's [selection](crate::selection) match them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Labels {
    tags: BTreeSet<String>,
    containers: BTreeSet<String>,
}

/// The error for texts that are no [`Labels`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LabelsError {
    /// The text is empty, longer than 256 bytes, has control characters, or starts or ends with white space.
    #[error(
        "{0:?} is no tag or container: use 1 to 256 bytes without control characters and without blanks at the ends"
    )]
    Text(String),
    /// One machine has too many tags or too many containers. The value is how many.
    #[error("{0} tags or containers of one machine: the limit is 256")]
    Many(usize),
}

impl Labels {
    /// Builds the labels of a machine.
    ///
    /// There are at most 256 tags and 256 containers.
    ///
    /// A container may be a path, such as `site/rack 4/host-2`.
    ///
    /// # Errors
    /// [`LabelsError`] with the offending text or number.
    pub fn new(
        tags: impl IntoIterator<Item = String>,
        containers: impl IntoIterator<Item = String>,
    ) -> Result<Self, LabelsError> {
        let labels = Self { tags: tags.into_iter().collect(), containers: containers.into_iter().collect() };
        for texts in [&labels.tags, &labels.containers] {
            if texts.len() > LABELS_MAX {
                return Err(LabelsError::Many(texts.len()));
            }
            let is_wrong = |text: &&String| {
                text.is_empty()
                    || text.len() > LABEL_BYTES_MAX
                    || text.trim() != text.as_str()
                    || text.chars().any(char::is_control)
            };
            if let Some(text) = texts.iter().find(is_wrong) {
                return Err(LabelsError::Text(text.clone()));
            }
        }
        Ok(labels)
    }

    /// The tags, sorted.
    pub fn tags(&self) -> impl Iterator<Item = &str> + Clone {
        self.tags.iter().map(String::as_str)
    }

    /// The containers, sorted.
    pub fn containers(&self) -> impl Iterator<Item = &str> + Clone {
        self.containers.iter().map(String::as_str)
    }

    /// The tags and containers of both.
    ///
    /// At most 256 of each are kept.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let joined = |own: &BTreeSet<String>, others: &BTreeSet<String>| -> BTreeSet<String> {
            own.union(others).take(LABELS_MAX).cloned().collect()
        };
        Self { tags: joined(&self.tags, &other.tags), containers: joined(&self.containers, &other.containers) }
    }

    /// Returns `true` if there is neither a tag nor a container.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tags.is_empty() && self.containers.is_empty()
    }
}
