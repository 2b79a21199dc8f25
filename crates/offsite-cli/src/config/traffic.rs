//! How much may cross the network: `[[traffic_rules]]`, and `bandwidth` of `[jobs.NAME]`.

use std::collections::BTreeMap;
use std::ops::Range;

use offsite::retention::Zone;
use offsite::schedule::Window;
use offsite::{IpNet, JobName, TrafficRule, TrafficRuleError};
use serde::Deserialize;
use toml::Spanned;

use super::fault::{Fault, fault};
use super::timing::WindowConfig;
use super::{Config, JobConfig, RepositoryConfig};

/// Units of a limit, and how many bits they have.
const UNITS: [(&str, u64); 11] = [
    ("bit/s", 1),
    ("kbit/s", 1_000),
    ("Mbit/s", 1_000_000),
    ("Gbit/s", 1_000_000_000),
    ("B/s", 8),
    ("kB/s", 8_000),
    ("MB/s", 8_000_000),
    ("GB/s", 8_000_000_000),
    ("KiB/s", 8 << 10),
    ("MiB/s", 8 << 20),
    ("GiB/s", 8 << 30),
];

/// One of `[[traffic_rules]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct TrafficRuleConfig {
    /// The addresses that the data comes from.
    source: Option<Spanned<String>>,
    /// The addresses that it goes to.
    target: Option<Spanned<String>>,
    /// The repository that it is read from or written to, in place of addresses.
    repository: Option<Spanned<String>>,
    limit: Spanned<String>,
    /// When the rule holds. Without them, it always does.
    hours: Option<Spanned<WindowConfig>>,
    /// Where the hours are meant; UTC unless it is said.
    time_zone: Option<Spanned<String>>,
    /// Whether the rule is for restores, too.
    #[serde(default)]
    restores: bool,
}

/// The limit of a job: one, or one for each of several hours.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a limit like \"20 MiB/s\", or an array of { limit, when }")]
pub(super) enum BandwidthConfig {
    One(String),
    Several(Vec<LimitConfig>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct LimitConfig {
    limit: String,
    when: Option<WindowConfig>,
}

/// A rule, and where it stands.
struct Stands {
    rule: TrafficRule,
    /// What it is called in messages.
    what: String,
    span: Range<usize>,
}

impl Config {
    /// The rules of the file.
    pub(super) fn rules(&self) -> Result<Vec<TrafficRule>, Fault> {
        let mut stand = Vec::new();
        for (number, config) in (1..).zip(&self.traffic_rules) {
            let what = format!("traffic rule {number}");
            let rule = config.rule(&self.repositories).map_err(|fault| fault.of(&what))?;
            stand.push(Stands { rule, what, span: config.limit.span() });
        }
        for (name, job) in &self.jobs {
            let rules = job.limits(name).map_err(|fault| fault.of(&format!("job {name:?}")))?;
            let span = job.bandwidth.as_ref().map_or(0..0, Spanned::span);
            let what = |number: usize| format!("limit {number} of bandwidth of job {name:?}");
            let named = (1..).zip(rules).map(|(number, rule)| Stands { rule, what: what(number), span: span.clone() });
            stand.extend(named);
        }
        let rules: Vec<TrafficRule> = stand.iter().map(|stands| stands.rule.clone()).collect();
        match TrafficRule::check(&rules) {
            Err(error @ TrafficRuleError::Overlap { first, second, .. }) => {
                let name = |number: usize| stand.get(number).map_or("", |stands| stands.what.as_str());
                let why = format!("{} and {}: {error}", name(first), name(second));
                Err(Fault { why, span: stand.get(second).map_or(0..0, |stands| stands.span.clone()) })
            }
            Err(error) => Err(Fault { why: error.to_string(), span: 0..0 }),
            Ok(()) => Ok(rules),
        }
    }
}

impl TrafficRuleConfig {
    fn rule(&self, repositories: &BTreeMap<String, RepositoryConfig>) -> Result<TrafficRule, Fault> {
        let limit = limit(self.limit.get_ref()).map_err(|why| fault("limit", &self.limit, why))?;
        let of_limit = |error: TrafficRuleError| fault("limit", &self.limit, error);
        let rule = match (&self.repository, &self.source, &self.target) {
            (Some(name), None, None) if repositories.contains_key(name.get_ref()) => {
                TrafficRule::of_repository(name.get_ref().as_str(), limit).map_err(of_limit)?
            }
            (Some(name), None, None) => {
                let known = repositories.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                let why = format!("the config has no repository {:?}; it has: {known}", name.get_ref());
                return Err(fault("repository", name, why));
            }
            (Some(name), _, _) => {
                let why = "a rule is for a repository, or for source and target: leave one of them out";
                return Err(fault("repository", name, why));
            }
            (None, source, target) => {
                let (from, to) = (range("source", source.as_ref())?, range("target", target.as_ref())?);
                let told = |error: TrafficRuleError| match (&error, source, target) {
                    (TrafficRuleError::HostBits { range, .. }, Some(text), _) if Some(*range) == from => {
                        fault("source", text, error)
                    }
                    (TrafficRuleError::HostBits { .. }, _, Some(text)) => fault("target", text, error),
                    (TrafficRuleError::NoScope, ..) => Fault { why: error.to_string(), span: self.limit.span() },
                    _ => of_limit(error),
                };
                TrafficRule::between(from, to, limit).map_err(told)?
            }
        };
        let zone = match &self.time_zone {
            None => Zone::utc(),
            Some(name) => Zone::named(name.get_ref()).map_err(|error| fault("time_zone", name, error))?,
        };
        let rule = rule.restores(self.restores);
        match &self.hours {
            None => Ok(rule),
            Some(hours) => {
                let window = Window::parse(hours.get_ref().texts(), zone);
                Ok(rule.hours(window.map_err(|error| fault("hours", hours, error))?))
            }
        }
    }
}

impl JobConfig {
    /// The rules of `bandwidth`.
    fn limits(&self, name: &str) -> Result<Vec<TrafficRule>, Fault> {
        let Some(bandwidth) = &self.bandwidth else { return Ok(Vec::new()) };
        let zone = self.timing().zone()?;
        let told = |why: String| fault("bandwidth", bandwidth, why);
        let job = JobName::new(name).map_err(|error| told(error.to_string()))?;
        let rule = |text: &str| {
            let rule = limit(text)
                .and_then(|limit| TrafficRule::of_job(job.clone(), limit).map_err(|error| error.to_string()));
            rule.map_err(told)
        };
        match bandwidth.get_ref() {
            BandwidthConfig::One(text) => Ok(vec![rule(text)?]),
            BandwidthConfig::Several(limits) => {
                let timed = |config: &LimitConfig| {
                    let rule = rule(&config.limit)?;
                    let Some(when) = &config.when else { return Ok(rule) };
                    let window = Window::parse(when.texts(), zone.clone());
                    Ok(rule.hours(window.map_err(|error| told(format!("when: {error}")))?))
                };
                limits.iter().map(timed).collect()
            }
        }
    }
}

impl Fault {
    /// The fault with the name of the table that it lies in.
    fn of(self, what: &str) -> Self {
        Self { why: format!("{what}: {}", self.why), ..self }
    }
}

/// A range of addresses, or one address.
fn range(key: &str, text: Option<&Spanned<String>>) -> Result<Option<IpNet>, Fault> {
    let Some(text) = text else { return Ok(None) };
    let one = || text.get_ref().parse().ok().map(|address: std::net::IpAddr| IpNet::from(address));
    let range = text.get_ref().parse().ok().or_else(one);
    let why = || format!("{:?} is no range: write \"10.1.0.0/16\", \"fd00::/8\" or one address", text.get_ref());
    range.map(Some).ok_or_else(|| fault(key, text, why()))
}

/// Bytes a second of a limit like `100 Mbit/s` or `20 MiB/s`.
fn limit(text: &str) -> Result<u64, String> {
    let read = || {
        let (count, unit) = text.trim().split_once(' ')?;
        let (_, bits) = UNITS.iter().find(|(name, _)| *name == unit.trim())?;
        count.parse::<u64>().ok()?.checked_mul(*bits)
    };
    let bits =
        read().ok_or_else(|| format!("{text:?} is no limit: write \"100 Mbit/s\", \"64 kbit/s\" or \"20 MiB/s\""))?;
    match bits / 8 {
        0 if bits > 0 => Err(format!("{text:?} is less than a byte a second: give at least \"8 bit/s\"")),
        bytes => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_people_write_them() {
        assert_eq!(limit("100 Mbit/s"), Ok(12_500_000));
        assert_eq!(limit("64 kbit/s"), Ok(8_000));
        assert_eq!(limit("20 MiB/s"), Ok(20 << 20));
        assert_eq!(limit("0 MB/s"), Ok(0));
        for text in ["", "100", "100Mbit/s", "100 mbit/s", "-1 MB/s", "1.5 MB/s", "18446744073709551615 B/s"] {
            assert!(limit(text).unwrap_err().contains("100 Mbit/s"), "{text}");
        }
        assert!(limit("7 bit/s").unwrap_err().contains("8 bit/s"));
    }
}
