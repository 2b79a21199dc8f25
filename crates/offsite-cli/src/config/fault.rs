//! What is wrong with a config, and where.

use std::ops::Range;

use toml::Spanned;

/// A key whose value makes no sense.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) why: String,
    /// Where the value stands in the file.
    pub(super) span: Range<usize>,
}

/// Names the key and the place of a value that is wrong.
pub(super) fn fault<T>(key: &str, value: &Spanned<T>, why: impl ToString) -> Fault {
    Fault { why: format!("{key}: {}", why.to_string()), span: value.span() }
}
