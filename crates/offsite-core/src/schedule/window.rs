//! The hours in which a job may transfer data.

use super::every::{DAY_SECS, parse_minutes};
use crate::Timestamp;
use crate::retention::Zone;

const WEEK_SECS: u32 = 7 * DAY_SECS;
const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// The hours of the week in which a job may transfer data, such as `mon-fri 20:00-06:00` and `sat-sun`.
///
/// The window is open while the wall clock of its time zone shows a time in it. An hour that the clocks skip never comes. An hour
/// that they show twice is open twice. Each window is open at some time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    zone: Zone,
    /// The open ranges (from, until) in seconds since Monday, 00:00. They ascend, and no two touch.
    open: Vec<(u32, u32)>,
}

/// The error for texts that are no [`Window`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no window: {fault}; write \"mon-fri 20:00-06:00\", \"sat-sun\", \"wed,fri 12:00-13:30\" or \"22:00-24:00\""
)]
pub struct WindowError {
    text: String,
    fault: String,
}

impl Window {
    /// A window that is always open, in UTC.
    #[must_use]
    pub fn always() -> Self {
        Self { zone: Zone::utc(), open: vec![(0, WEEK_SECS)] }
    }

    /// Parses a window.
    ///
    /// It is open in all hours that at least one of `texts` names.
    ///
    /// A text has days, then hours, separated by white space. Either may be missing:
    ///
    /// - Days: `mon`, `mon-fri`, `mon,wed`. Without days, the hours apply to every day.
    /// - Hours: `12:00-13:30`. `20:00-06:00` ends on the next day. Without hours, all of the day is open.
    ///
    /// # Errors
    /// [`WindowError`] with the text, what is wrong with it, and valid examples. An empty list is refused, as it would never
    /// open.
    pub fn parse<Text: AsRef<str>>(texts: &[Text], zone: Zone) -> Result<Self, WindowError> {
        let mut open = Vec::new();
        for text in texts {
            let text = text.as_ref();
            parse(text, &mut open).map_err(|fault| WindowError { text: text.to_owned(), fault })?;
        }
        if open.is_empty() {
            let fault = "without hours it would never open (leave it out to transfer at all times)";
            return Err(WindowError { text: String::new(), fault: fault.to_owned() });
        }
        Ok(Self { zone, open: united(open) })
    }

    /// Returns `true` if the window never closes.
    #[must_use]
    pub fn is_always_open(&self) -> bool {
        self.open == [(0, WEEK_SECS)]
    }

    /// Returns `true` if a job may transfer data at `time`.
    #[must_use]
    pub fn is_open(&self, time: Timestamp) -> bool {
        self.is_open_in_week(self.week_secs(time))
    }

    /// The first time after `time` at which the window opens or closes.
    ///
    /// `None` if it is always open.
    #[must_use]
    pub fn next_change(&self, time: Timestamp) -> Option<Timestamp> {
        if self.is_always_open() {
            return None;
        }
        let is_open = self.is_open(time);
        let mut from = time;
        // Between two settings of the clocks, the week runs evenly.
        loop {
            let now = self.week_secs(from);
            let edges = self.open.iter().flat_map(|(open, close)| [*open, *close]);
            let secs_until = |edge: u32| (edge + WEEK_SECS - now - 1) % WEEK_SECS + 1;
            let changes = edges.filter(|edge| self.is_open_in_week(edge % WEEK_SECS) != is_open);
            let change = changes.map(secs_until).min().map(|secs| from.saturating_add_secs(secs.into()))?;
            let Some(set) = self.zone.next_set_after(from).filter(|set| *set <= change) else { return Some(change) };
            if self.is_open(set) != is_open {
                return Some(set);
            }
            from = set;
        }
    }

    /// Returns `true` if the window is closed all the time from `from` until `until`.
    #[must_use]
    pub fn is_closed_throughout(&self, from: Timestamp, until: Timestamp) -> bool {
        !self.is_open(from) && self.next_change(from).is_none_or(|change| change >= until)
    }

    fn is_open_in_week(&self, secs: u32) -> bool {
        self.open.iter().any(|(open, close)| *open <= secs && secs < *close)
    }

    /// What the wall clock shows, in seconds since Monday, 00:00.
    fn week_secs(&self, time: Timestamp) -> u32 {
        let civil = self.zone.civil(time);
        let day = i32::from(civil.weekday().to_monday_zero_offset());
        let minutes = (day * 24 + i32::from(civil.hour())) * 60 + i32::from(civil.minute());
        u32::try_from(minutes * 60 + i32::from(civil.second())).unwrap_or_default()
    }
}

/// Adds the hours that a text names to `open`.
fn parse(text: &str, open: &mut Vec<(u32, u32)>) -> Result<(), String> {
    let lower = text.to_lowercase();
    let parts: Vec<&str> = lower.split_whitespace().collect();
    let (days, hours) = match parts[..] {
        [] => return Err("it is empty".to_owned()),
        [one] if one.contains(':') => (None, Some(one)),
        [one] => (Some(one), None),
        [days, hours] => (Some(days), Some(hours)),
        _ => return Err("it has more than days and hours".to_owned()),
    };
    let is_named = days.map_or(Ok([true; 7]), parse_days)?;
    let (from, until) = hours.map_or(Ok((0, DAY_SECS)), parse_hours)?;
    for day in (0..).zip(is_named).filter_map(|(day, is_named)| is_named.then_some(day)) {
        let (from, until) = (day * DAY_SECS + from, day * DAY_SECS + until);
        open.push((from, until.min(WEEK_SECS)));
        if until > WEEK_SECS {
            open.push((0, until - WEEK_SECS));
        }
    }
    Ok(())
}

fn parse_days(text: &str) -> Result<[bool; 7], String> {
    let day = |name: &str| {
        let found = DAYS.iter().position(|day| *day == name || day[..3] == *name);
        found.ok_or_else(|| format!("{name:?} is no day of the week"))
    };
    let mut is_named = [false; 7];
    for part in text.split(',') {
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (day(first)?, day(last)?),
            None => (day(part)?, day(part)?),
        };
        // Friday to Monday goes over the week's end.
        for number in 0..=(last + 7 - first) % 7 {
            is_named[(first + number) % 7] = true;
        }
    }
    Ok(is_named)
}

/// Parses hours to seconds of the day (from, until).
///
/// If they cross midnight, `until` is more than a day.
fn parse_hours(text: &str) -> Result<(u32, u32), String> {
    let (from, until) = text.split_once('-').ok_or_else(|| format!("{text:?} has no end"))?;
    let time = |text: &str| {
        let minutes = parse_minutes(text).ok_or_else(|| format!("{text:?} is no time of day"))?;
        Ok::<u32, String>(u32::from(minutes) * 60)
    };
    let (from, until) = (time(from)?, time(until)?);
    if from == DAY_SECS {
        return Err("it begins at 24:00, which is 00:00 of the next day".to_owned());
    }
    if from == until {
        return Err("it ends when it begins (name days alone for all of their hours)".to_owned());
    }
    Ok((from, if until < from { until + DAY_SECS } else { until }))
}

/// Sorts the ranges, and joins those that overlap or touch.
fn united(mut hours: Vec<(u32, u32)>) -> Vec<(u32, u32)> {
    hours.sort_unstable();
    let mut united: Vec<(u32, u32)> = Vec::new();
    for (from, until) in hours {
        match united.last_mut().filter(|last| from <= last.1) {
            Some(last) => last.1 = last.1.max(until),
            None => united.push((from, until)),
        }
    }
    united.retain(|(from, until)| from < until);
    united
}
