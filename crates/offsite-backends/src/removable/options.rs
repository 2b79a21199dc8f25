//! Where to look for a medium.

use std::path::PathBuf;

use super::catalogue::MediaCatalogue;
use super::marker::MediumId;

/// Where to look for a medium, and which.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RemovableOptions {
    /// Folders where a medium is mounted.
    pub places: Vec<PathBuf>,
    /// Folders in which media are mounted, each at a folder of its own there.
    pub parents: Vec<PathBuf>,
    /// The media that will do. If it is empty, any will.
    pub expected: Vec<MediumId>,
    /// Knows the labels of media that are away, for messages. `None` lets messages name those by their ids.
    pub catalogue: Option<MediaCatalogue>,
    /// The largest object, where the medium would take larger ones. Larger backups are in more files then. `None` leaves it to
    /// the medium.
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
