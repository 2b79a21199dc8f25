//! Telling someone how far a long operation is.

/// Listens to a long operation. Calls come from one task; they should return at once.
pub trait Progress: Send + Sync {
    /// An activity starts that will handle about so many bytes.
    fn begin(&self, activity: &str, total_bytes: u64);
    /// So many more bytes are done.
    fn advance(&self, bytes: u64);
    /// The activity is over.
    fn end(&self);
    /// Something that explains why nothing moves: a run that waits, and for what.
    fn note(&self, text: &str);
}

/// Nobody listens.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _activity: &str, _total_bytes: u64) {}
    fn advance(&self, _bytes: u64) {}
    fn end(&self) {}
    fn note(&self, _text: &str) {}
}
