//! What a copy job may read at the side of its target.

use std::path::PathBuf;

use offsite_repository::{Endpoint, Repository};

use crate::report::LookUp;
use crate::{BlockCache, OpenRepository};

/// When a copy looks up what the side of the target already has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Lend {
    /// If it saves a link: the target is on this host, and the source is not.
    #[default]
    Auto,
    /// In any case.
    Always,
    /// In no case.
    Never,
}

/// What a copy may read at the side of its target, so that it need not cross the link.
///
/// Before a block crosses, the copy looks its digest up in its own chain and in the other chains of the target repository. What it finds
/// becomes a new frame of its own chain. The copy compares each such block with its digest before it commits. If it cannot use the block,
/// it reads it from the source. So lenders never decide what a copy holds, and no two chains ever share a block.
///
/// ```
/// use offsite::{Lend, Lending};
///
/// let lending = Lending::new(Lend::Auto).filter("/var/lib/offsite/filter");
/// ```
#[derive(Debug, Clone, Default)]
pub struct Lending {
    pub(crate) lend: Lend,
    pub(crate) filter: Option<PathBuf>,
    pub(crate) cache: Option<BlockCache>,
}

impl Lending {
    /// Looks blocks up at these times, without a filter.
    #[must_use]
    pub fn new(lend: Lend) -> Self {
        Self { lend, filter: None, cache: None }
    }

    /// Keeps a filter in this folder.
    ///
    /// Without a filter, each look-up reads all indexes of the target repository, page by page. With it, a look-up reads some 8 bytes for
    /// each block, and the pages that have what it looks for. The filter can be deleted at any time. Several repositories and processes may
    /// share the folder.
    #[must_use]
    pub fn filter(mut self, folder: impl Into<PathBuf>) -> Self {
        self.filter = Some(folder.into());
        self
    }

    /// Looks blocks up in this cache, too, and puts there what comes over a link.
    #[must_use]
    pub fn cache(mut self, cache: BlockCache) -> Self {
        self.cache = Some(cache);
        self
    }

    /// Whether a look-up of the blocks that come from `source` saves anything.
    pub(crate) fn judge(&self, source: &OpenRepository, target: &OpenRepository) -> LookUp {
        let is_here = |repository: &OpenRepository| repository.backend().endpoint() == Endpoint::ThisHost;
        match self.lend {
            Lend::Always => LookUp::Made,
            Lend::Never => LookUp::Off,
            Lend::Auto if is_here(source) => LookUp::SourceIsHere,
            Lend::Auto if !is_here(target) && self.cache.is_some() => LookUp::CacheOnly,
            Lend::Auto if !is_here(target) => LookUp::TargetIsAway,
            Lend::Auto => LookUp::Made,
        }
    }
}
