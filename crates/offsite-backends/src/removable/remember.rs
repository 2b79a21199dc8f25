//! What stays on the host when a medium goes.

use offsite_repository::{Key, Prefix};

/// What to keep of a medium on the host, for the time when it is away.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RememberOptions {
    /// It copies the objects below these.
    pub prefixes: Vec<Prefix>,
    /// It copies these, too.
    pub keys: Vec<Key>,
    /// It copies no longer ones.
    pub object_bytes_max: u64,
    /// The present time, in seconds since 1970.
    pub seen_unix_secs: i64,
}

impl RememberOptions {
    /// Keeps the list of objects that are on the medium now (in seconds since 1970), and copies none.
    #[must_use]
    pub fn new(seen_unix_secs: i64) -> Self {
        Self { prefixes: Vec::new(), keys: Vec::new(), object_bytes_max: u64::MAX, seen_unix_secs }
    }

    /// Sets [`RememberOptions::prefixes`].
    #[must_use]
    pub fn with_prefixes(mut self, prefixes: Vec<Prefix>) -> Self {
        self.prefixes = prefixes;
        self
    }

    /// Sets [`RememberOptions::keys`].
    #[must_use]
    pub fn with_keys(mut self, keys: Vec<Key>) -> Self {
        self.keys = keys;
        self
    }

    /// Sets [`RememberOptions::object_bytes_max`].
    #[must_use]
    pub fn with_object_bytes_max(mut self, object_bytes_max: u64) -> Self {
        self.object_bytes_max = object_bytes_max;
        self
    }
}
