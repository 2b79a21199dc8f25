//! What the catalogue knows of a medium.

use offsite_repository::ObjectInfo;
use serde::{Deserialize, Serialize};

use super::marker::{Medium, MediumId};

/// What the catalogue knows of a medium, as [`Removable::remember`](super::Removable::remember) last saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KnownMedium {
    /// The medium.
    pub medium: Medium,
    /// The time at which it was last seen, in seconds since 1970-01-01T00:00:00Z.
    pub seen_unix_secs: i64,
    /// The length of the largest object that it can store, in bytes.
    pub object_bytes_max: u64,
    /// What its file system can do besides the four verbs.
    pub abilities: MediumAbilities,
    /// Its objects, in ascending order of their keys.
    pub objects: Vec<ObjectInfo>,
}

impl KnownMedium {
    /// A medium of which only the id is known.
    pub(super) fn by_id(id: MediumId) -> Self {
        Self {
            medium: Medium { id, label: id.to_string() },
            seen_unix_secs: 0,
            object_bytes_max: 0,
            abilities: MediumAbilities::default(),
            objects: Vec::new(),
        }
    }
}

/// What a medium can do besides the four verbs.
///
/// It lets a run be planned while the medium is away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct MediumAbilities {
    /// The granularity of [`Reclaim`](offsite_repository::Reclaim) in bytes. `None` if it cannot punch holes.
    pub punch_granularity_bytes: Option<u64>,
    /// The granularity of [`CloneRange`](offsite_repository::CloneRange) in bytes. `None` if it cannot clone ranges.
    pub clone_granularity_bytes: Option<u64>,
    /// `true` if it can write into objects ([`Patch`](offsite_repository::Patch)).
    pub patches: bool,
}
