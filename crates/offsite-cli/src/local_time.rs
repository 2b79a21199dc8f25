//! Times for people, in the zone of the job: `2026-11-22 23:00:00 CET`. Machines get RFC 3339 in UTC.

use std::sync::LazyLock;

use jiff::tz::{TimeZone, TimeZoneDatabase};
use offsite::model::Timestamp;

/// The zone of this host. UTC if the host names none.
static HOST: LazyLock<TimeZone> = LazyLock::new(|| TimeZone::try_system().unwrap_or(TimeZone::UTC));

/// The length of a time without fractions and zone, `2026-11-22T22:00:00`, in bytes.
const TIME_BYTES: usize = 19;

/// The time zone in which times are shown.
#[derive(Debug, Clone)]
pub(crate) struct LocalTime(TimeZone);

impl LocalTime {
    /// Returns the zone of this host.
    pub(crate) fn host() -> Self {
        Self(HOST.clone())
    }

    /// Returns the name of this host's zone. `None` if it has no name.
    pub(crate) fn name_of_host() -> Option<String> {
        HOST.iana_name().map(str::to_owned)
    }

    /// Returns the zone with this IANA name. It is that of the host if there is no name, or if the name is unknown.
    pub(crate) fn of_zone(name: Option<&str>) -> Self {
        let zone = name.and_then(|name| TimeZoneDatabase::bundled().get(name).ok());
        zone.map_or_else(Self::host, Self)
    }

    /// Returns a time in words.
    pub(crate) fn time(&self, time: Timestamp) -> String {
        match jiff::Timestamp::from_second(time.unix_secs()) {
            Ok(instant) => instant.to_zoned(self.0.clone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string(),
            Err(_) => time.to_string(),
        }
    }

    /// Replaces each time in a text that stands alone. A time in a path or in quotes stays as it is.
    pub(crate) fn text(&self, text: &str) -> String {
        let mut done = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(|letter: char| letter.is_ascii_digit()) {
            let (before, from) = rest.split_at(at);
            done.push_str(before);
            let is_alone = done.chars().next_back().is_none_or(|letter| letter.is_whitespace() || letter == '(');
            match time_at(from).filter(|_| is_alone) {
                Some((time, length)) => {
                    done.push_str(&self.time(time));
                    rest = &from[length..];
                }
                None => {
                    let digits = from.bytes().take_while(u8::is_ascii_digit).count();
                    done.push_str(&from[..digits]);
                    rest = &from[digits..];
                }
            }
        }
        done + rest
    }
}

/// Returns the time in UTC that a text starts with, and the length of its text in bytes. `None` if it starts with none.
fn time_at(text: &str) -> Option<(Timestamp, usize)> {
    let seconds = text.get(..TIME_BYTES)?;
    let after = text.get(TIME_BYTES..)?;
    let fraction =
        after.strip_prefix('.').map_or(0, |digits| 1 + digits.bytes().take_while(u8::is_ascii_digit).count());
    let after = after.get(fraction..)?.strip_prefix('Z')?;
    let mut next = after.chars();
    let is_alone = match next.next() {
        None => true,
        // The dot ends a sentence, and is no part of a name.
        Some('.') => next.next().is_none_or(char::is_whitespace),
        Some(letter) => letter.is_whitespace() || ",;:)".contains(letter),
    };
    let time = Timestamp::parse(&format!("{seconds}Z")).ok().filter(|_| is_alone)?;
    Some((time, TIME_BYTES + fraction + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(name: &str) -> LocalTime {
        LocalTime(TimeZoneDatabase::bundled().get(name).unwrap())
    }

    #[test]
    fn times_are_told_with_their_zone() {
        let [winter, summer] =
            ["2026-11-22T22:00:00Z", "2026-07-01T22:00:00Z"].map(|text| Timestamp::parse(text).unwrap());
        assert_eq!(local("Europe/Berlin").time(winter), "2026-11-22 23:00:00 CET");
        assert_eq!(local("Europe/Berlin").time(summer), "2026-07-02 00:00:00 CEST");
        assert_eq!(LocalTime(TimeZone::UTC).time(winter), "2026-11-22 22:00:00 UTC");
    }

    #[test]
    fn times_in_texts_are_told_and_names_are_left() {
        let berlin = local("Europe/Berlin");
        for (text, told) in [
            ("of 2026-11-22T22:00:00Z, and 7 more", "of 2026-11-22 23:00:00 CET, and 7 more"),
            ("(2026-11-22T22:00:00Z)", "(2026-11-22 23:00:00 CET)"),
            ("2026-11-22T22:00:00.123456Z: x", "2026-11-22 23:00:00 CET: x"),
            ("until 2026-11-22T22:00:00Z.\n", "until 2026-11-22 23:00:00 CET.\n"),
        ] {
            assert_eq!(berlin.text(text), told);
        }
        for text in [
            "",
            "backup-2026-11-22T22:00:00Z.img",
            "/srv/2026-11-22T22:00:00Z",
            "to 2026-11-22T22:00:00Z.img",
            "\"2026-11-22T22:00:00Z\"",
            "2026-11-22T22:00:00+01:00",
            "2026-13-22T22:00:00Z",
            "12 \u{e9}2026",
        ] {
            assert_eq!(berlin.text(text), text);
        }
    }
}
