//! Time zones of the IANA database, and civil arithmetic in them.

use std::fmt;

use jiff::Span;
use jiff::civil::{Date, DateTime};
use jiff::tz::{TimeZone, TimeZoneDatabase};

use crate::Timestamp;

/// A time zone of the IANA database, with its history and its rules for the future.
///
/// This crate bundles the database. So a zone means the same on each host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    zone: TimeZone,
    name: String,
}

/// The error for a name that is no [`Zone`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is no time zone: write a name of the IANA database, like Europe/Berlin or UTC")]
#[non_exhaustive]
pub struct ZoneError {
    /// The rejected name.
    pub name: String,
}

impl Zone {
    /// Coordinated universal time.
    #[must_use]
    pub fn utc() -> Self {
        Self { zone: TimeZone::UTC, name: "UTC".to_owned() }
    }

    /// Looks up a zone of the IANA database by name, such as `Europe/Berlin`.
    ///
    /// # Errors
    /// [`ZoneError`] with the name, if the bundled database does not have it.
    pub fn named(name: &str) -> Result<Self, ZoneError> {
        // The bundled database, never the host's: the same policy must mean the same everywhere.
        let zone = TimeZoneDatabase::bundled().get(name).map_err(|_| ZoneError { name: name.to_owned() })?;
        let name = zone.iana_name().unwrap_or(name).to_owned();
        Ok(Self { zone, name })
    }

    /// The name of the zone.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The date at `time` here.
    pub(crate) fn date(&self, time: Timestamp) -> Date {
        self.civil(time).date()
    }

    /// The first moment of a day here, which is not everywhere and always 00:00.
    pub(super) fn start_of(&self, date: Date) -> Option<Timestamp> {
        self.at(date.at(0, 0, 0, 0))
    }

    /// When the clocks here show `civil`. If they skip it, it is later by as much as they skip. If they show it twice, it is the
    /// first.
    pub(crate) fn at(&self, civil: DateTime) -> Option<Timestamp> {
        let time = self.zone.to_ambiguous_timestamp(civil).compatible().ok()?;
        Timestamp::from_unix_secs(time.as_second()).ok()
    }

    /// The same time of day so many days later; the last time there is, if that is past the calendar's end.
    pub(crate) fn days_later(&self, time: Timestamp, days: u32) -> Timestamp {
        let later = |span: Span| self.at(self.civil(time).checked_add(span).ok()?);
        Span::new().try_days(days).ok().and_then(later).unwrap_or(Timestamp::MAX)
    }

    /// When the clocks here are set for the first time after `time`, by rules that are known now.
    pub(crate) fn next_set_after(&self, time: Timestamp) -> Option<Timestamp> {
        let time = jiff::Timestamp::from_second(time.unix_secs()).ok()?;
        let set = self.zone.following(time).next()?;
        Timestamp::from_unix_secs(set.timestamp().as_second()).ok()
    }

    /// What the clocks here show at `time`.
    pub(crate) fn civil(&self, time: Timestamp) -> DateTime {
        let time = jiff::Timestamp::from_second(time.unix_secs()).unwrap_or(jiff::Timestamp::MAX);
        self.zone.to_datetime(time)
    }
}

/// Prints the name.
impl fmt::Display for Zone {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.name)
    }
}

/// UTC is the default zone.
impl Default for Zone {
    fn default() -> Self {
        Self::utc()
    }
}

/// `date`, so many months later; the month's last day where it has no such day.
pub(super) fn months_later(date: Date, months: u32) -> Option<Date> {
    date.checked_add(Span::new().try_months(months).ok()?).ok()
}

/// `date`, so many days later.
pub(super) fn days_later(date: Date, days: u32) -> Option<Date> {
    date.checked_add(Span::new().try_days(days).ok()?).ok()
}
