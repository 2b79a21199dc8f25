//! When a job works, and what follows its intervals: the keys `every` to `after` of `[jobs.NAME]`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use offsite::retention::Zone;
use offsite::runner::Settings;
use offsite::schedule::{Every, Lookup, Period, Schedule, TimeOfDay, Window};
use serde::Deserialize;
use toml::Spanned;

use super::bounds::duration;
use super::fault::{Fault, fault};
use super::mail::{AfterMailConfig, JobMail, MailConfig};
use crate::post_job::Script;

/// The default time limit of a script.
const TIME_LIMIT: Duration = Duration::from_secs(600);
const TIME_LIMIT_MAX: Duration = Duration::from_secs(7 * 86_400);

/// The keys as they are in the file. `JobConfig` has them beside its own keys, as they are in one table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timing<'a> {
    pub(super) every: Option<&'a Spanned<String>>,
    pub(super) at: Option<&'a Spanned<String>>,
    pub(super) time_zone: Option<&'a Spanned<String>>,
    pub(super) lookup: Option<&'a Spanned<String>>,
    pub(super) mode: Option<&'a Spanned<String>>,
    pub(super) window: Option<&'a Spanned<WindowConfig>>,
}

/// One text, or several.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "hours like \"mon-fri 20:00-06:00\", or an array of such")]
pub(super) enum WindowConfig {
    One(String),
    Several(Vec<String>),
}

impl WindowConfig {
    pub(super) fn texts(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Several(texts) => texts,
        }
    }
}

/// What follows each interval.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct AfterConfig {
    script: Option<Spanned<PathBuf>>,
    time_limit: Option<Spanned<String>>,
    mail: Option<Spanned<AfterMailConfig>>,
}

impl Timing<'_> {
    /// Returns the zone in which the job's days and hours are meant. The default is UTC.
    pub(super) fn zone(&self) -> Result<Zone, Fault> {
        let named =
            |name: &Spanned<String>| Zone::named(name.get_ref()).map_err(|error| fault("time_zone", name, error));
        self.time_zone.map_or_else(|| Ok(Zone::utc()), named)
    }

    /// Returns when the job works.
    pub(super) fn settings(&self) -> Result<Settings, Fault> {
        let zone = self.zone()?;
        let is_immediate = match self.mode {
            None => false,
            Some(mode) => match mode.get_ref().as_str() {
                "immediate" => true,
                "interval" => false,
                other => {
                    let why = format!(
                        "{other:?} is no mode: write \"interval\", or \"immediate\" to copy each point as it appears"
                    );
                    return Err(fault("mode", mode, why));
                }
            },
        };
        if is_immediate {
            let keys = [("every", self.every), ("at", self.at), ("lookup", self.lookup)];
            if let Some((key, value)) = keys.into_iter().find_map(|(key, value)| Some((key, value?))) {
                let why = format!(
                    "{:?} is for intervals, and mode = \"immediate\" has none: leave one of them out",
                    value.get_ref()
                );
                return Err(fault(key, value, why));
            }
        }
        let every = match self.every {
            _ if is_immediate => Every::Immediate,
            None => Every::Period(Period::days(1).map_err(|error| Fault { why: error.to_string(), span: 0..0 })?),
            Some(every) => Every::parse(every.get_ref()).map_err(|error| fault("every", every, error))?,
        };
        let parse_at = |at: &Spanned<String>| TimeOfDay::parse(at.get_ref()).map_err(|error| fault("at", at, error));
        let at = self.at.map_or_else(|| Ok(TimeOfDay::default()), parse_at)?;
        let mut settings = Settings::new(Schedule::new(every, at, zone.clone()));
        if let Some(lookup) = self.lookup {
            settings.lookup = Lookup::parse(lookup.get_ref()).map_err(|error| fault("lookup", lookup, error))?;
        }
        if let Some(window) = self.window {
            settings.window =
                Window::parse(window.get_ref().texts(), zone).map_err(|error| fault("window", window, error))?;
        }
        Ok(settings)
    }
}

impl AfterConfig {
    /// Returns the script. `None` if there is none. A relative path starts in `folder`, where the script runs.
    pub(super) fn script(&self, folder: &Path) -> Result<Option<Script>, Fault> {
        let Some(script) = &self.script else {
            return match &self.time_limit {
                None => Ok(None),
                Some(limit) => {
                    Err(fault("after.time_limit", limit, "it is a script's: name one with script, or leave it out"))
                }
            };
        };
        if script.get_ref().as_os_str().is_empty() {
            return Err(fault("after.script", script, "it is empty: name a program, or leave script out"));
        }
        if let Some(why) = super::path::fault(script.get_ref()) {
            return Err(fault("after.script", script, why));
        }
        let time_limit = match &self.time_limit {
            None => TIME_LIMIT,
            Some(limit) => time_limit(limit.get_ref()).map_err(|why| fault("after.time_limit", limit, why))?,
        };
        // The script starts in that folder. So its path must not depend on the folder of this process.
        let folder = std::path::absolute(folder.join(".")).unwrap_or_else(|_| folder.to_owned());
        Ok(Some(Script { path: folder.join(script.get_ref()), folder, time_limit }))
    }

    /// Returns `true` if the table is empty.
    pub(super) const fn is_empty(&self) -> bool {
        self.script.is_none() && self.time_limit.is_none() && self.mail.is_none()
    }

    /// Returns the mail. `None` if there is none. `base` has what the table leaves out.
    pub(super) fn mail(&self, base: &MailConfig, folder: &Path) -> Result<Option<JobMail>, Fault> {
        self.mail.as_ref().map(|mail| mail.get_ref().mail(mail.span(), base, folder)).transpose()
    }
}

/// Parses how long a script may take.
fn time_limit(text: &str) -> Result<Duration, String> {
    let limit = duration(text).filter(|limit| !limit.is_zero() && *limit <= TIME_LIMIT_MAX);
    limit.ok_or_else(|| {
        format!("{text:?} is no time limit: write \"90 seconds\", \"10 minutes\" or \"2 hours\", at most a week")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_limits_are_read_as_people_write_them() {
        assert_eq!(time_limit("10 minutes"), Ok(Duration::from_secs(600)));
        assert_eq!(time_limit("1 second"), Ok(Duration::from_secs(1)));
        for text in
            ["", "10", "0 seconds", "10 fortnights", "-1 hours", "8 days", "169 hours", "18446744073709551615 hours"]
        {
            assert!(time_limit(text).unwrap_err().contains("10 minutes"), "{text}");
        }
    }
}
