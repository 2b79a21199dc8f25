//! Numbers that name things inside a job folder.

use std::fmt;

/// The name of a backup file, an index or another generated object of a job folder.
///
/// It consists of the epoch of the writer that made it and a count of that writer. An epoch belongs to one writer for
/// ever (taking it is a commit), and a writer counts upwards, so an id is never used twice, crashes included.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(u64);

impl ObjectId {
    /// The `count`-th object of the writer of `epoch`.
    #[must_use]
    pub const fn new(epoch: u32, count: u32) -> Self {
        Self((epoch as u64) << 32 | count as u64)
    }

    /// The id with this stored value.
    #[must_use]
    pub const fn from_stored(value: u64) -> Self {
        Self(value)
    }

    /// The value that is stored.
    #[must_use]
    pub const fn stored(self) -> u64 {
        self.0
    }

    /// The epoch of the writer that made the object.
    #[must_use]
    pub const fn epoch(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Parses what `Display` prints.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (epoch, count) = text.split_once('-')?;
        let plain = |part: &str| part.len() == 8 && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !plain(epoch) || !plain(count) {
            return None;
        }
        Some(Self::new(u32::from_str_radix(epoch, 16).ok()?, u32::from_str_radix(count, 16).ok()?))
    }
}

/// Two hexadecimal numbers of eight digits: epoch, dash, count. As a file name it sorts by age.
impl fmt::Display for ObjectId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:08x}-{:08x}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// The number of a restore point in its job folder. Later points have greater numbers; none is used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

impl fmt::Display for Sequence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_prints_and_parses() {
        let id = ObjectId::new(3, 0xabc);
        assert_eq!(id.to_string(), "00000003-00000abc");
        assert_eq!(ObjectId::parse(&id.to_string()), Some(id));
        for wrong in ["", "3-4", "00000003-00000ABC", "00000003_00000abc", "00000003-00000abc0", "+0000003-00000abc"] {
            assert_eq!(ObjectId::parse(wrong), None, "{wrong}");
        }
    }
}
