//! Whether a copy looked up what the side of the target already has.

use std::fmt;

/// Whether a copy looked up what the side of the target already has, or why it did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum LookUp {
    /// It looked up each block.
    Made,
    /// It looked up each block in the block cache alone: the target is across the network itself, or cannot tell where it is.
    CacheOnly,
    /// No block had to come from a source.
    NothingMissing,
    /// The job does not want it.
    Off,
    /// The sources are on this host, as this process is. A look-up would save no link.
    SourceIsHere,
    /// The target is across the network itself, or cannot tell where it is. What it has would have to cross the network, too.
    TargetIsAway,
}

impl fmt::Display for LookUp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Made => "each block was looked up at the side of the target",
            Self::CacheOnly => {
                "looked up in the cache alone: the target is not on this host, so its chains save no link"
            }
            Self::NothingMissing => "not looked up: no block has to come from a source",
            Self::Off => "not looked up: the job does not want it",
            Self::SourceIsHere => "not looked up: the source is on this host, so no link is saved",
            Self::TargetIsAway => "not looked up: the target is not on this host, so no link is saved",
        })
    }
}
