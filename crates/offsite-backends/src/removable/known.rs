//! What is known of a medium.

use offsite_repository::ObjectInfo;
use serde::{Deserialize, Serialize};

use super::marker::{Medium, MediumId};

/// A medium, as [`Removable::remember`](super::Removable::remember) last saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KnownMedium {
    /// The medium.
    pub medium: Medium,
    /// When that was, in seconds since 1970.
    pub seen_unix_secs: i64,
    /// The largest object that it takes.
    pub object_bytes_max: u64,
    /// What its file system can do beyond the four verbs.
    pub abilities: MediumAbilities,
    /// Its objects, in ascending order of their keys.
    pub objects: Vec<ObjectInfo>,
}

impl KnownMedium {
    /// One of which nothing else is known.
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

/// What a medium can do, for planning a run on it while it is away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct MediumAbilities {
    /// The granularity of [`Reclaim`](offsite_repository::Reclaim). `None` says that it punches no holes.
    pub punch_granularity_bytes: Option<u64>,
    /// The granularity of [`CloneRange`](offsite_repository::CloneRange). `None` says that it clones no ranges.
    pub clone_granularity_bytes: Option<u64>,
    /// Whether it writes into objects ([`Patch`](offsite_repository::Patch)).
    pub patches: bool,
}
