//! Bounds of a job with a unit: the age of its copies, and the space that it leaves.

use std::time::Duration;

use toml::Spanned;

use super::fault::{Fault, fault};

/// Parses a duration like `90 seconds`, `10 minutes`, `26 hours`, `2 days` or `1 week`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let (count, unit) = text.trim().split_once(' ')?;
    let count: u64 = count.parse().ok()?;
    let unit_secs = match unit.trim() {
        "second" | "seconds" => 1,
        "minute" | "minutes" => 60,
        "hour" | "hours" => 3600,
        "day" | "days" => 86_400,
        "week" | "weeks" => 7 * 86_400,
        _ => return None,
    };
    count.checked_mul(unit_secs).map(Duration::from_secs)
}

/// Parses a number of bytes like `500 MiB`, `10 GiB` or `1 TiB`.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let (count, unit) = text.trim().split_once(' ')?;
    let count: u64 = count.parse().ok()?;
    let shift = match unit.trim() {
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return None,
    };
    count.checked_mul(1 << shift)
}

/// Parses how old a copy may be.
pub(super) fn max_age(text: &Spanned<String>) -> Result<Duration, Fault> {
    let age = duration(text.get_ref()).filter(|age| !age.is_zero());
    age.ok_or_else(|| {
        let why = format!("{:?} is no age: write \"90 minutes\", \"26 hours\" or \"2 days\"", text.get_ref());
        fault("max_age", text, why)
    })
}

/// Parses how many bytes stay free.
pub(super) fn min_free(text: &Spanned<String>) -> Result<u64, Fault> {
    bytes(text.get_ref()).ok_or_else(|| {
        let why = format!("{:?} is no size: write \"500 MiB\", \"10 GiB\" or \"1 TiB\"", text.get_ref());
        fault("min_free", text, why)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_read_as_people_write_them() {
        assert_eq!(duration("26 hours"), Some(Duration::from_secs(26 * 3600)));
        assert_eq!(duration("1 week"), Some(Duration::from_secs(7 * 86_400)));
        assert_eq!(duration("90 minutes"), duration("5400 seconds"));
        for text in ["", "26", "26hours", "-1 hours", "1.5 hours", "2 fortnights", "18446744073709551615 hours"] {
            assert_eq!(duration(text), None, "{text}");
        }
        assert_eq!(bytes("10 GiB"), Some(10 << 30));
        assert_eq!(bytes("1 KiB"), Some(1024));
        for text in ["", "10", "10GiB", "10 GB", "10 gib", "-1 MiB", "18446744073709551615 TiB"] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }
}
