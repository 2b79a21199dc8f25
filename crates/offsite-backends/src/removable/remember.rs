//! What the host keeps of a medium.

use offsite_repository::{Key, Prefix};

/// What to keep of a medium on the host, for the time when it is away.
///
/// [`Removable::remember`](super::Removable::remember) takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RememberOptions {
    /// Copy all objects below these folders.
    pub prefixes: Vec<Prefix>,
    /// Copy these objects, too.
    pub keys: Vec<Key>,
    /// Copy no object that is longer than this, in bytes.
    pub object_bytes_max: u64,
    /// The present, in seconds since 1970-01-01T00:00:00Z.
    pub seen_unix_secs: i64,
}

impl RememberOptions {
    /// Keeps only the list of objects, and copies none.
    ///
    /// `seen_unix_secs` is the present, in seconds since 1970-01-01T00:00:00Z.
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
