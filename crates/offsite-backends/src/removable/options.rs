//! The options for finding a medium.

use std::path::PathBuf;

use super::catalogue::MediaCatalogue;
use super::marker::MediumId;

/// Which medium to look for, and where.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RemovableOptions {
    /// Folders at which a medium may be mounted.
    pub places: Vec<PathBuf>,
    /// Folders that contain mount points, such as `/media`. A medium may be mounted at each folder inside.
    pub parents: Vec<PathBuf>,
    /// The accepted media. An empty list accepts any.
    pub expected: Vec<MediumId>,
    /// The catalogue that knows the labels of media that are away, for messages. `None` lets messages name such media by their
    /// ids.
    pub catalogue: Option<MediaCatalogue>,
    /// A bound for the length of an object in bytes, below that of the medium. Larger backups are then stored in more files.
    /// `None` sets no further bound.
    pub object_bytes_max: Option<u64>,
}

impl RemovableOptions {
    /// Sets [`RemovableOptions::places`].
    #[must_use]
    pub fn with_places(mut self, places: Vec<PathBuf>) -> Self {
        self.places = places;
        self
    }

    /// Sets [`RemovableOptions::parents`].
    #[must_use]
    pub fn with_parents(mut self, parents: Vec<PathBuf>) -> Self {
        self.parents = parents;
        self
    }

    /// Sets [`RemovableOptions::expected`].
    #[must_use]
    pub fn with_expected(mut self, expected: Vec<MediumId>) -> Self {
        self.expected = expected;
        self
    }

    /// Sets [`RemovableOptions::catalogue`].
    #[must_use]
    pub fn with_catalogue(mut self, catalogue: MediaCatalogue) -> Self {
        self.catalogue = Some(catalogue);
        self
    }

    /// Sets [`RemovableOptions::object_bytes_max`].
    #[must_use]
    pub fn with_object_bytes_max(mut self, object_bytes_max: impl Into<Option<u64>>) -> Self {
        self.object_bytes_max = object_bytes_max.into();
        self
    }
}
