//! The present, from this host's clock.

use std::time::{SystemTime, UNIX_EPOCH};

use offsite_core::Timestamp;

/// Reads the clock of this host: `Timestamp::now()`.
///
/// [`Timestamp`] belongs to a crate that reads no clock, so the reading comes with this trait:
///
/// ```
/// use offsite::{Now, Timestamp};
///
/// let start = Timestamp::now();
/// println!("started at {start}");
/// ```
pub trait Now: Sized {
    /// The present, in whole seconds. A clock outside the years -9999 to 9999 reads as the first or the last time there is.
    #[must_use]
    fn now() -> Self;
}

impl Now for Timestamp {
    fn now() -> Self {
        of(SystemTime::now())
    }
}

/// `time` in whole seconds, rounded down.
fn of(time: SystemTime) -> Timestamp {
    let secs = match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        Err(error) => {
            let before = error.duration();
            let secs = before.as_secs().saturating_add(u64::from(before.subsec_nanos() > 0));
            i64::try_from(secs).map_or(i64::MIN, |secs| -secs)
        }
    };
    Timestamp::from_unix_secs(secs).unwrap_or(if secs < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_whole_seconds_rounded_down() {
        let secs = |time: SystemTime| of(time).unix_secs();
        assert_eq!(secs(UNIX_EPOCH), 0);
        assert_eq!(secs(UNIX_EPOCH + Duration::from_millis(1_999)), 1);
        assert_eq!(secs(UNIX_EPOCH - Duration::from_millis(1)), -1);
        assert_eq!(secs(UNIX_EPOCH - Duration::from_secs(2)), -2);
    }

    #[test]
    fn a_clock_out_of_range_reads_as_the_nearest_time() {
        let far = Duration::from_secs(1 << 40);
        assert_eq!(of(UNIX_EPOCH + far), Timestamp::MAX);
        assert_eq!(of(UNIX_EPOCH - far), Timestamp::MIN);
    }

    #[test]
    fn now_is_what_the_clock_says() {
        let before = of(SystemTime::now());
        let now = Timestamp::now();
        assert!(before <= now && now <= of(SystemTime::now()));
    }
}
