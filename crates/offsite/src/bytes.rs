//! Numbers of bytes, for people.

use std::fmt;

/// A number of bytes. Shown, it is in binary units: `1.5 GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
        let Self(count) = *self;
        if count < 1024 {
            return write!(formatter, "{count} B");
        }
        let mut value = count as f64 / 1024.0;
        let mut unit = 0;
        while value >= 1024.0 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        write!(formatter, "{value:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_a_unit() {
        let shown = |count| Bytes(count).to_string();
        assert_eq!([0, 1023, 1024, 1536 << 20].map(shown), ["0 B", "1023 B", "1.0 KiB", "1.5 GiB"]);
        assert_eq!([1 << 50, u64::MAX].map(shown), ["1.0 PiB", "16384.0 PiB"], "there is no larger one");
    }
}
