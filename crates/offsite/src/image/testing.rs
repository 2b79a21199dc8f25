//! Checks whether an image or a sink keeps its contract.
//!
//! [`check_image`] reads a [`DiskImage`](crate::DiskImage) and compares it with its expected content. [`check_sink`] writes disks
//! to [`DiskSink`](crate::DiskSink)s and compares what they hold with what was written. Both block and return a [`Report`]. They do
//! not panic, and they do not wait for a clock.
//!
//! ```
//! # use std::io;
//! # #[derive(Debug)]
//! # struct Volume(Vec<u8>);
//! # impl offsite::DiskImage for Volume {
//! #     fn location(&self) -> String { "a volume".to_owned() }
//! #     fn size_bytes(&self) -> u64 { self.0.len() as u64 }
//! #     fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
//! #         buffer.copy_from_slice(&self.0[offset as usize..][..buffer.len()]);
//! #         Ok(())
//! #     }
//! # }
//! use offsite::testing::check_image;
//!
//! let content = vec![7; 100_000];
//! let report = check_image(&Volume(content.clone()), &content);
//! assert!(report.nothing_failed(), "{report}");
//! ```

mod images;
mod sinks;

use std::fmt;

pub use images::check_image;
pub use sinks::{TriedSink, check_sink};

/// The result of one case.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CaseReport {
    /// The name of the case.
    pub name: &'static str,
    /// What broke the contract. `None` if the case passed.
    pub failure: Option<String>,
}

/// The results of all cases. Its `Display` is a table.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The image or sink that was tested, in words.
    pub location: String,
    /// The cases in the order in which they ran.
    pub cases: Vec<CaseReport>,
}

impl Report {
    /// Returns `true` if no case failed.
    #[must_use]
    pub fn nothing_failed(&self) -> bool {
        self.failed().next().is_none()
    }

    /// Returns the cases that failed.
    pub fn failed(&self) -> impl Iterator<Item = &CaseReport> {
        self.cases.iter().filter(|case| case.failure.is_some())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.location)?;
        for CaseReport { name, failure } in &self.cases {
            let outcome = failure.as_ref().map_or_else(|| "passed".to_owned(), |what| format!("FAILED: {what}"));
            write!(formatter, "\n  {name:<14} {outcome}")?;
        }
        Ok(())
    }
}

/// The outcome of a case.
type Seen = Result<(), String>;

fn case(name: &'static str, seen: Seen) -> CaseReport {
    CaseReport { name, failure: seen.err() }
}

/// Says where two disks differ first.
fn compare(what: &str, found: &[u8], expected: &[u8]) -> Seen {
    if found.len() != expected.len() {
        return Err(format!("{what}: {} bytes, not {}", found.len(), expected.len()));
    }
    match found.iter().zip(expected).position(|(found, expected)| found != expected) {
        None => Ok(()),
        Some(at) => Err(format!("{what}: byte {at} is {:#04x}, not {:#04x}", found[at], expected[at])),
    }
}

/// Numbers that look random and are always the same.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap_or_default() % bound.max(1)
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(255)).unwrap_or_default() + 1
    }
}
