//! Retention in TOML: the table `[jobs.NAME.retention]`, and the same keys in their own file.

use offsite::retention::Anchors;
use offsite::retention::ArchiveMethod;
use offsite::retention::Days;
use offsite::retention::DeletedMachines;
use offsite::retention::Gfs;
use offsite::retention::Marking;
use offsite::retention::MonthDay;
use offsite::retention::Policy;
use offsite::retention::QuarterMonth;
use offsite::retention::Regular;
use offsite::retention::Simple;
use offsite::retention::Weekday;
use offsite::retention::Zone;
use serde::{Deserialize, Deserializer, de};

/// The keys. A key that this version does not know is an error.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(crate) struct RetentionConfig {
    keep: Option<u32>,
    keep_days: Option<u32>,
    deleted_machines_days: Option<u32>,
    gfs: Option<GfsConfig>,
    time_zone: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
struct GfsConfig {
    #[serde(default)]
    weekly: u32,
    #[serde(default)]
    monthly: u32,
    #[serde(default)]
    quarterly: u32,
    #[serde(default)]
    yearly: u32,
    #[serde(default, deserialize_with = "method")]
    method: ArchiveMethod,
    #[serde(default, deserialize_with = "marking")]
    marking: Marking,
    /// Whether slots that were missed are filled from older points of the source.
    #[serde(default)]
    backfill: bool,
    #[serde(default, deserialize_with = "weekday")]
    weekday: Option<Weekday>,
    hour: Option<u32>,
    /// The day of the month. The quarter's and the year's month use it, too, unless they have their own.
    #[serde(default, deserialize_with = "month_day")]
    month_day: Option<MonthDay>,
    #[serde(default, deserialize_with = "quarter_month")]
    quarter_month: QuarterMonth,
    #[serde(default, deserialize_with = "month_day")]
    quarter_day: Option<MonthDay>,
    #[serde(default, deserialize_with = "year_month")]
    year_month: Option<u32>,
    #[serde(default, deserialize_with = "month_day")]
    year_day: Option<MonthDay>,
}

impl RetentionConfig {
    /// Returns the policy of these keys.
    ///
    /// # Errors
    /// The fault in words, if a key has a wrong value.
    pub(crate) fn policy(&self) -> Result<Policy, String> {
        self.policy_in(Zone::utc())
    }

    /// Returns the policy of these keys, in `zone` unless they name another.
    ///
    /// # Errors
    /// The fault in words, if a key has a wrong value.
    pub(crate) fn policy_in(&self, zone: Zone) -> Result<Policy, String> {
        let regular = match (self.keep, self.keep_days) {
            (Some(_), Some(_)) => return Err("keep and keep_days exclude each other: give one of them".to_owned()),
            (Some(keep), None) => Regular::Simple(Simple::new(keep).map_err(|error| format!("keep: {error}"))?),
            (None, Some(days)) => Regular::Days(Days::new(days).map_err(|error| format!("keep_days: {error}"))?),
            (None, None) => Regular::default(),
        };
        self.deleted_machines()?;
        let gfs = self.gfs.as_ref().map(GfsConfig::gfs).transpose().map_err(|error| format!("gfs: {error}"))?;
        let zone = match &self.time_zone {
            None => zone,
            Some(name) => Zone::named(name).map_err(|error| format!("time_zone: {error}"))?,
        };
        Ok(Policy::new(regular).with_gfs(gfs).with_zone(zone))
    }
}

impl RetentionConfig {
    /// Returns when machines go that the job no longer selects. `None` if they stay.
    ///
    /// # Errors
    /// The fault in words, if a key has a wrong value.
    pub(crate) fn deleted_machines(&self) -> Result<Option<DeletedMachines>, String> {
        let days = self.deleted_machines_days.map(DeletedMachines::after_days).transpose();
        days.map_err(|error| format!("deleted_machines_days: {error}"))
    }
}

impl RetentionConfig {
    /// Returns whether slots that were missed are filled from older points of the source.
    pub(crate) fn back_fills(&self) -> bool {
        self.gfs.as_ref().is_some_and(|gfs| gfs.backfill)
    }
}

impl GfsConfig {
    fn gfs(&self) -> Result<Gfs, String> {
        if self.backfill && self.method == ArchiveMethod::Active {
            return Err("backfill = true and method = \"active\" exclude each other: an archive that is read whole from the source is \
                        a full of the chain, and none can be put into it later. Use another method, or leave backfill out"
                .to_owned());
        }
        let gfs =
            Gfs::new(self.weekly, self.monthly, self.quarterly, self.yearly).map_err(|error| error.to_string())?;
        let month_day = self.month_day.unwrap_or_default();
        let mut anchors = Anchors::default()
            .on_month_day(month_day)
            .in_quarter(self.quarter_month, self.quarter_day.unwrap_or(month_day));
        anchors = anchors
            .in_year(self.year_month.unwrap_or(1), self.year_day.unwrap_or(month_day))
            .map_err(|error| error.to_string())?;
        if let Some(weekday) = self.weekday {
            anchors = anchors.on_weekday(weekday);
        }
        if let Some(hour) = self.hour {
            anchors = anchors.at_hour(hour).map_err(|error| error.to_string())?;
        }
        Ok(gfs.with_anchors(anchors).with_method(self.method).with_marking(self.marking))
    }
}

const WEEKDAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const ORDINALS: [&str; 4] = ["first", "second", "third", "fourth"];

/// A number, or words.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(u32),
    Words(String),
}

/// Parses one of `choices` by its name.
fn one_of<'de, T: Copy, D: Deserializer<'de>>(deserializer: D, choices: &[(&str, T)]) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    let found = choices.iter().find(|(name, _)| *name == text.to_lowercase());
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<String> = choices.iter().map(|(name, _)| format!("{name:?}")).collect();
        de::Error::custom(format!("{text:?} is none of {}", names.join(", ")))
    })
}

fn method<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ArchiveMethod, D::Error> {
    let choices = [
        ("shared", ArchiveMethod::Shared),
        ("independent", ArchiveMethod::Independent),
        ("active", ArchiveMethod::Active),
    ];
    one_of(deserializer, &choices)
}

fn marking<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Marking, D::Error> {
    one_of(deserializer, &[("nearest", Marking::Nearest), ("in-interval", Marking::InInterval)])
}

fn weekday<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Weekday>, D::Error> {
    let choices: Vec<_> = WEEKDAYS.into_iter().zip(Weekday::ALL).collect();
    one_of(deserializer, &choices).map(Some)
}

fn quarter_month<'de, D: Deserializer<'de>>(deserializer: D) -> Result<QuarterMonth, D::Error> {
    one_of(deserializer, &[("first", QuarterMonth::First), ("last", QuarterMonth::Last)])
}

fn year_month<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    match Written::deserialize(deserializer)? {
        Written::Number(number) => Ok(Some(number)),
        Written::Words(text) => {
            let month = MONTHS.iter().zip(1..).find(|(name, _)| **name == text.to_lowercase());
            let (_, month) =
                month.ok_or_else(|| de::Error::custom(format!("{text:?} is no month: write \"january\", or 1")))?;
            Ok(Some(month))
        }
    }
}

fn month_day<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<MonthDay>, D::Error> {
    let day = match Written::deserialize(deserializer)? {
        Written::Number(number) => MonthDay::day(number).map_err(de::Error::custom)?,
        Written::Words(text) => parse_month_day(&text).ok_or_else(|| {
            de::Error::custom(format!(
                "{text:?} is no day of a month: write \"first sunday\" (to \"fourth\"), \"last sunday\", \"last day\" or 15"
            ))
        })?,
    };
    Ok(Some(day))
}

fn parse_month_day(text: &str) -> Option<MonthDay> {
    let text = text.to_lowercase();
    let (which, day) = text.split_once(' ')?;
    if (which, day) == ("last", "day") {
        return Some(MonthDay::last_day());
    }
    let weekday = Weekday::ALL[WEEKDAYS.iter().position(|name| *name == day)?];
    if which == "last" {
        return Some(MonthDay::last(weekday));
    }
    let (_, nth) = ORDINALS.iter().zip(1..).find(|(name, _)| **name == which)?;
    MonthDay::nth(nth, weekday).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Policy, String> {
        toml::from_str::<RetentionConfig>(text).map_err(|error| error.to_string())?.policy()
    }

    #[test]
    fn keys_become_a_policy() {
        let policy = parse(
            "keep = 3\ntime_zone = \"Europe/Berlin\"\n[gfs]\nweekly = 4\nyearly = 3\nmethod = \"active\"\nmarking = \"in-interval\"\n\
             weekday = \"Saturday\"\nhour = 1\nmonth_day = \"last day\"\nquarter_month = \"last\"\nquarter_day = 15\n\
             year_month = \"december\"\n",
        );
        let anchors = Anchors::default()
            .at_hour(1)
            .unwrap()
            .on_weekday(Weekday::Saturday)
            .on_month_day(MonthDay::last_day())
            .in_quarter(QuarterMonth::Last, MonthDay::day(15).unwrap())
            .in_year(12, MonthDay::last_day())
            .unwrap();
        let gfs = Gfs::new(4, 0, 0, 3).unwrap().with_anchors(anchors).with_method(ArchiveMethod::Active);
        let expected = Policy::new(Simple::new(3).unwrap())
            .with_gfs(gfs.with_marking(Marking::InInterval))
            .with_zone(Zone::named("Europe/Berlin").unwrap());
        assert_eq!(policy, Ok(expected));
        assert_eq!(parse(""), Ok(Policy::default()));
        let by_days = parse("keep_days = 30").unwrap();
        assert_eq!(by_days.regular, Regular::Days(Days::new(30).unwrap()));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (text, word) in [
            ("keep = 1", "at least 2"),
            ("keep = 2\nkeep_days = 3", "exclude"),
            ("keep_days = 0", "keep_days"),
            ("deleted_machines_days = 0", "deleted_machines_days"),
            ("kept = 2", "kept"),
            ("time_zone = \"Mars/Olympus\"", "Mars/Olympus"),
            ("gfs = {}", "without a tier"),
            ("gfs = { weekly = 10000 }", "9999"),
            ("gfs = { weekly = 1, hour = 24 }", "hour 24"),
            ("gfs = { weekly = 1, weekday = \"caturday\" }", "caturday"),
            ("gfs = { weekly = 1, month_day = \"fifth sunday\" }", "fifth sunday"),
            ("gfs = { weekly = 1, month_day = 32 }", "day 32"),
            ("gfs = { weekly = 1, year_month = 13 }", "month 13"),
            ("gfs = { weekly = 1, year_month = \"brumaire\" }", "brumaire"),
            ("gfs = { weekly = 1, method = \"magic\" }", "\"shared\", \"independent\", \"active\""),
            ("gfs = { weekly = 1, daily = 1 }", "daily"),
            ("gfs = { weekly = 1, method = \"active\", backfill = true }", "leave backfill out"),
            ("gfs = { weekly = 1, backfill = \"yes\" }", "backfill"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
