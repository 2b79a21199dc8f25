//! Other names for objects of the tested place.

use std::fmt;
use std::sync::Arc;

use crate::{Key, Result};

type Link = dyn Fn(&Key) -> Result<()> + Send + Sync;

/// Gives an object of the place another name outside of it, as `cp -l` does.
#[derive(Clone)]
pub struct Linker(pub(super) Arc<Link>);

impl Linker {
    /// A linker that calls `link` with the key of the object.
    pub fn new(link: impl Fn(&Key) -> Result<()> + Send + Sync + 'static) -> Self {
        Self(Arc::new(link))
    }
}

impl fmt::Debug for Linker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Linker")
    }
}
