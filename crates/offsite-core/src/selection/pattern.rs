//! Names with wildcards.

use std::fmt;

/// A name with wildcards.
///
/// `*` stands for any text, also for none. `?` stands for exactly one character. All other characters stand for themselves. Upper
/// and lower case differ.
///
/// ```
/// use offsite_core::selection::Pattern;
///
/// assert!(Pattern::new("web*").matches("web01"));
/// assert!(!Pattern::new("web?").matches("web01"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern {
    text: String,
}

impl Pattern {
    /// Makes a pattern of `text`.
    ///
    /// Every text is a pattern.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self { text: text.to_owned() }
    }

    /// The text of a pattern without wildcards.
    ///
    /// `None` if it has a wildcard.
    #[must_use]
    pub fn as_name(&self) -> Option<&str> {
        (!self.text.contains(['*', '?'])).then_some(&self.text)
    }

    /// Returns `true` if the pattern matches all of `name`.
    ///
    /// It takes time proportional to at most the product of both lengths, however many `*` there are.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let (pattern, name): (Vec<char>, Vec<char>) = (self.text.chars().collect(), name.chars().collect());
        let (mut at, mut read) = (0, 0);
        // The position after the last `*`, and how much of the name it stands for so far. Only that `*` need ever be tried again.
        let mut star: Option<(usize, usize)> = None;
        while read < name.len() {
            match pattern.get(at) {
                Some('*') => {
                    star = Some((at, read));
                    at += 1;
                }
                Some(letter) if *letter == '?' || *letter == name[read] => {
                    at += 1;
                    read += 1;
                }
                _ => {
                    let Some((place, until)) = star else { return false };
                    (at, read) = (place, until + 1);
                }
            }
        }
        pattern[at..].iter().all(|letter| *letter == '*')
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.text)
    }
}
