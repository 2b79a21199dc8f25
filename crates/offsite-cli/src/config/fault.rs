//! A fault of a config, and its place.

use std::ops::Range;

use toml::Spanned;

/// A key with a wrong value.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) why: String,
    /// The place of the value in the file.
    pub(super) span: Range<usize>,
}

/// Makes the fault of a key with a wrong value.
pub(super) fn fault<T>(key: &str, value: &Spanned<T>, why: impl ToString) -> Fault {
    Fault { why: format!("{key}: {}", why.to_string()), span: value.span() }
}
