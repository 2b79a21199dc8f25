//! Restore points that enter or leave by other ways than a backup or copy job: exports, imports, and seeds.

pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod map;
