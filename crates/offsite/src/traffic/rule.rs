//! What a rule says, and which flows it is for.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU64;

use ipnet::IpNet;
use offsite_core::Timestamp;
use offsite_core::schedule::Window;

use super::name::FlowName;
use crate::JobName;

/// A year from here, in which hours are compared: 2026-01-01, 00:00 UTC.
const YEAR_UNIX_SECS: i64 = 1_767_225_600;
const YEAR_SECS: i64 = 366 * 86_400;

/// A limit for the block data that crosses the network.
///
/// A rule applies to the flows between two ranges of addresses, of one repository, or of one job. All its flows together carry at
/// most `limit_bytes_per_sec` bytes per second, both directions counted, and share them evenly. If several rules apply to a flow, all
/// of them hold.
///
/// A source range matches the address that the data comes from, and a target range the address that it goes to. One end is the
/// [endpoint](crate::repository::Repository::endpoint) of the repository. The other end is the address that this host has towards it.
/// No rule applies to a repository on this host, as its data crosses no network.
///
/// ```
/// use offsite::{TrafficRule, TrafficRuleError};
///
/// let rule = TrafficRule::between(Some("10.1.0.0/16".parse()?), Some("10.2.0.0/16".parse()?), 12_500_000)?;
/// assert_eq!(rule.limit_bytes_per_sec(), 12_500_000);
/// let wrong = TrafficRule::between(Some("10.1.0.1/16".parse()?), None, 12_500_000).unwrap_err();
/// assert!(wrong.to_string().contains("10.1.0.0/16"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrafficRule {
    scope: Scope,
    limit_bytes_per_sec: NonZeroU64,
    hours: Window,
    restores: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Scope {
    Between { source: Option<IpNet>, target: Option<IpNet> },
    Repository(String),
    Job(JobName),
}

/// The error for a rule, or a set of rules, that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrafficRuleError {
    /// The limit is 0.
    #[error("a limit of 0 would stop all of it; give at least 1 byte a second, or leave the rule out")]
    NoLimit,
    /// The address of a range has bits behind the prefix.
    #[error("{range} has bits behind its prefix: write {meant} for the range, or {single} for the one address")]
    HostBits {
        /// The range, as it was given.
        range: IpNet,
        /// The range without those bits.
        meant: IpNet,
        /// The range that has only this address.
        single: IpNet,
    },
    /// The rule names no range.
    #[error("it names neither a range nor a repository: give source, target or both, or repository")]
    NoScope,
    /// Two rules apply to the same flows at the same hours, so it is open which of them is meant.
    #[error("two rules are for {scope} at the same hours: keep one of them, or give them hours that do not overlap")]
    Overlap {
        /// What both rules apply to, in words.
        scope: String,
        /// The number of the first rule in the list, counted from 0.
        first: usize,
        /// The number of the second rule.
        second: usize,
    },
}

impl TrafficRule {
    /// A rule for data that comes from addresses in `source` and goes to addresses in `target`.
    ///
    /// `None` means any address.
    ///
    /// # Errors
    /// [`TrafficRuleError`] for a limit of 0, for a range with bits behind its prefix, and if both ranges are `None`.
    pub fn between(
        source: Option<IpNet>,
        target: Option<IpNet>,
        limit_bytes_per_sec: u64,
    ) -> Result<Self, TrafficRuleError> {
        if source.is_none() && target.is_none() {
            return Err(TrafficRuleError::NoScope);
        }
        for range in source.iter().chain(&target) {
            if range.trunc() != *range {
                return Err(TrafficRuleError::HostBits {
                    range: *range,
                    meant: range.trunc(),
                    single: IpNet::from(range.addr()),
                });
            }
        }
        Self::of(Scope::Between { source, target }, limit_bytes_per_sec)
    }

    /// A rule for what is read from the repository `name`, and written to it.
    ///
    /// The name is that of [`FlowName::new`].
    ///
    /// # Errors
    /// [`TrafficRuleError::NoLimit`] for a limit of 0.
    pub fn of_repository(name: impl Into<String>, limit_bytes_per_sec: u64) -> Result<Self, TrafficRuleError> {
        Self::of(Scope::Repository(name.into()), limit_bytes_per_sec)
    }

    /// A rule for what one job reads and writes.
    ///
    /// The job is that of [`FlowName::in_job`].
    ///
    /// # Errors
    /// [`TrafficRuleError::NoLimit`] for a limit of 0.
    pub fn of_job(job: JobName, limit_bytes_per_sec: u64) -> Result<Self, TrafficRuleError> {
        Self::of(Scope::Job(job), limit_bytes_per_sec)
    }

    fn of(scope: Scope, limit_bytes_per_sec: u64) -> Result<Self, TrafficRuleError> {
        let limit_bytes_per_sec = NonZeroU64::new(limit_bytes_per_sec).ok_or(TrafficRuleError::NoLimit)?;
        Ok(Self { scope, limit_bytes_per_sec, hours: Window::always(), restores: false })
    }

    /// Sets the hours of the week in which the rule holds (default: always).
    #[must_use]
    pub fn hours(mut self, hours: Window) -> Self {
        self.hours = hours;
        self
    }

    /// Sets whether the rule applies to restores, too (default: no).
    #[must_use]
    pub fn restores(mut self, restores: bool) -> Self {
        self.restores = restores;
        self
    }

    /// The limit, in bytes per second.
    #[must_use]
    pub fn limit_bytes_per_sec(&self) -> u64 {
        self.limit_bytes_per_sec.get()
    }

    /// Returns `true` if `time` is in the hours of the rule.
    #[must_use]
    pub fn is_in_force(&self, time: Timestamp) -> bool {
        self.hours.is_open(time)
    }

    /// Whether the rule is for the flow `name` between these ends, its source and its target.
    pub(super) fn is_for(&self, name: &FlowName, ends: Option<(IpAddr, IpAddr)>) -> bool {
        if name.is_restore() && !self.restores {
            return false;
        }
        match &self.scope {
            Scope::Between { source, target } => ends.is_some_and(|(from, to)| {
                source.is_none_or(|range| range.contains(&from)) && target.is_none_or(|range| range.contains(&to))
            }),
            Scope::Repository(repository) => name.repository() == repository,
            Scope::Job(job) => name.job() == Some(job),
        }
    }

    /// Whether two rules are for the same, whatever their limits and hours.
    pub(super) fn is_for_the_same(&self, other: &Self) -> bool {
        self.scope == other.scope
    }

    /// Checks that rules make sense together, as [`Traffic::set_rules`](crate::Traffic::set_rules) does.
    ///
    /// A range may lie in the range of another rule: both rules hold. Two rules for the same ranges, repository or job must not hold
    /// at the same hours.
    ///
    /// # Errors
    /// [`TrafficRuleError::Overlap`] with the numbers of the first two that do.
    pub fn check(rules: &[Self]) -> Result<(), TrafficRuleError> {
        for (second, rule) in rules.iter().enumerate() {
            let clashes = |other: &Self| rule.is_for_the_same(other) && overlap(&rule.hours, &other.hours);
            if let Some(first) = rules[..second].iter().position(clashes) {
                return Err(TrafficRuleError::Overlap { scope: rule.scope.to_string(), first, second });
            }
        }
        Ok(())
    }
}

/// Says what a rule is for: `traffic from 10.1.0.0/16 to 10.2.0.0/16`.
impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Between { source: Some(source), target: Some(target) } => {
                write!(formatter, "traffic from {source} to {target}")
            }
            Self::Between { source: Some(source), target: None } => write!(formatter, "traffic from {source}"),
            Self::Between { source: None, target: Some(target) } => write!(formatter, "traffic to {target}"),
            Self::Between { source: None, target: None } => formatter.write_str("all traffic"),
            Self::Repository(name) => write!(formatter, "traffic of repository {name}"),
            Self::Job(job) => write!(formatter, "traffic of job {job}"),
        }
    }
}

/// Whether there is a time in a year at which both windows are open.
fn overlap(one: &Window, other: &Window) -> bool {
    let start = Timestamp::from_unix_secs(YEAR_UNIX_SECS).unwrap_or(Timestamp::MIN);
    let end = start.saturating_add_secs(YEAR_SECS);
    let mut time = start;
    while time < end {
        if one.is_open(time) && other.is_open(time) {
            return true;
        }
        let Some(next) = one.next_change(time).into_iter().chain(other.next_change(time)).min() else { return false };
        time = next;
    }
    false
}

#[cfg(test)]
mod tests {
    use offsite_core::retention::Zone;

    use super::*;

    fn range(text: &str) -> Option<IpNet> {
        Some(text.parse().unwrap())
    }

    fn hours(text: &str, zone: &str) -> Window {
        Window::parse(&[text], Zone::named(zone).unwrap()).unwrap()
    }

    fn rule(source: &str, target: &str) -> TrafficRule {
        TrafficRule::between(range(source), range(target), 1_000).unwrap()
    }

    #[test]
    fn rules_that_make_no_sense_are_refused_with_the_way_out() {
        let words = |rule: Result<TrafficRule, TrafficRuleError>| rule.unwrap_err().to_string();
        assert!(words(TrafficRule::between(None, None, 1)).contains("give source, target or both"));
        assert!(words(TrafficRule::between(range("10.0.0.0/8"), None, 0)).contains("at least 1 byte"));
        assert!(words(TrafficRule::of_repository("dr", 0)).contains("at least 1 byte"));
        let host = words(TrafficRule::between(range("fd00::1/64"), None, 1));
        assert!(host.contains("fd00::/64") && host.contains("fd00::1/128"), "{host}");
    }

    #[test]
    fn the_same_rule_twice_is_refused_unless_the_hours_are_apart() {
        let rule = rule("10.1.0.0/16", "10.2.0.0/16");
        let other = TrafficRule::of_repository("dr", 5).unwrap();
        let always = [rule.clone(), other.clone(), rule.clone()];
        let error = TrafficRule::check(&always).unwrap_err();
        assert!(matches!(error, TrafficRuleError::Overlap { first: 0, second: 2, .. }), "{error}");
        assert!(error.to_string().contains("from 10.1.0.0/16 to 10.2.0.0/16"), "{error}");
        let day = rule.clone().hours(hours("08:00-18:00", "Europe/Berlin"));
        let night = rule.clone().hours(hours("18:00-08:00", "Europe/Berlin"));
        assert_eq!(TrafficRule::check(&[day.clone(), other, night.clone()]), Ok(()));
        // The hours of another zone are others.
        assert!(TrafficRule::check(&[day, rule.hours(hours("18:00-08:00", "America/New_York"))]).is_err());
    }

    #[test]
    fn a_rule_is_for_the_ends_that_it_names() {
        let from = |text: &str| -> IpAddr { text.parse().unwrap() };
        let (here, there) = (from("10.1.0.4"), from("10.2.0.9"));
        let name = FlowName::new("dr");
        let between = rule("10.1.0.0/16", "10.2.0.0/16");
        assert!(between.is_for(&name, Some((here, there))));
        assert!(!between.is_for(&name, Some((there, here))));
        assert!(!between.is_for(&name, None), "an end that is not known is in no range");
        let to = TrafficRule::between(None, range("10.2.0.0/16"), 1).unwrap();
        assert!(to.is_for(&name, Some((there, there))) && !to.is_for(&name, Some((here, here))));
        let repository = TrafficRule::of_repository("dr", 1).unwrap();
        assert!(repository.is_for(&name, None) && !repository.is_for(&FlowName::new("primary"), None));
        let job = JobName::new("Offsite Copy").unwrap();
        let of_job = TrafficRule::of_job(job.clone(), 1).unwrap();
        assert!(of_job.is_for(&name.clone().in_job(job), None) && !of_job.is_for(&name, None));
        let restore = name.restoring();
        assert!(!repository.is_for(&restore, None) && repository.restores(true).is_for(&restore, None));
    }
}
