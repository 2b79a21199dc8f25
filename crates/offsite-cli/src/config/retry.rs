//! How a job waits for a place that cannot be reached: the table `retry` of `[jobs.NAME]`.

use std::time::Duration;

use offsite::RetryPolicy;
use serde::Deserialize;
use toml::Spanned;

use super::bounds::duration;
use super::fault::{Fault, fault};

const DEADLINE_MAX: Duration = Duration::from_secs(7 * 86_400);

/// The keys of the table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RetryConfig {
    first_pause: Option<Spanned<String>>,
    pause_max: Option<Spanned<String>>,
    deadline: Option<Spanned<String>>,
}

impl RetryConfig {
    /// Returns the policy of these keys.
    pub(super) fn policy(&self) -> Result<RetryPolicy, Fault> {
        let base = RetryPolicy::default();
        let deadline = match &self.deadline {
            None => base.deadline,
            Some(text) => duration(text.get_ref()).filter(|deadline| *deadline <= DEADLINE_MAX).ok_or_else(|| {
                let why = format!(
                    "{:?} is no time to wait in all: write \"10 minutes\" or \"2 hours\", at most a week, or \"0 seconds\" to wait for \
                     nothing",
                    text.get_ref()
                );
                fault("retry.deadline", text, why)
            })?,
        };
        let first_pause = pause("retry.first_pause", self.first_pause.as_ref())?;
        let pause_max = pause("retry.pause_max", self.pause_max.as_ref())?;
        // A key that is left out does not contradict one that is there.
        let first = first_pause.unwrap_or_else(|| base.first_pause.min(pause_max.unwrap_or(base.pause_max)));
        let longest = pause_max.unwrap_or_else(|| base.pause_max.max(first));
        if let Some(text) = self.pause_max.as_ref().filter(|_| longest < first) {
            return Err(fault("retry.pause_max", text, "it is shorter than first_pause: exchange the two"));
        }
        Ok(base.with_first_pause(first).with_pause_max(longest).with_deadline(deadline))
    }
}

fn pause(key: &'static str, text: Option<&Spanned<String>>) -> Result<Option<Duration>, Fault> {
    let Some(text) = text else { return Ok(None) };
    let pause = duration(text.get_ref()).filter(|pause| !pause.is_zero() && *pause <= DEADLINE_MAX);
    let why = || format!("{:?} is no pause: write \"1 second\" or \"2 minutes\", at most a week", text.get_ref());
    pause.map(Some).ok_or_else(|| fault(key, text, why()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> Result<RetryPolicy, String> {
        let config: RetryConfig = toml::from_str(text).map_err(|error| error.to_string())?;
        config.policy().map_err(|fault| fault.why)
    }

    #[test]
    fn a_policy_is_read_as_people_write_it() {
        let all = policy("first_pause = \"2 seconds\"\npause_max = \"1 minute\"\ndeadline = \"2 hours\"").unwrap();
        let secs = [all.first_pause, all.pause_max, all.deadline].map(|duration| duration.as_secs());
        assert_eq!(secs, [2, 60, 7200]);
        assert_eq!(policy(""), Ok(RetryPolicy::default()));
        assert_eq!(policy("deadline = \"0 seconds\"").unwrap().deadline, Duration::ZERO);
        assert_eq!(policy("first_pause = \"2 minutes\"").unwrap().pause_max.as_secs(), 120);
        for (text, why) in [
            ("deadline = \"soon\"", "retry.deadline: \"soon\" is no time to wait in all"),
            ("deadline = \"8 days\"", "at most a week"),
            ("first_pause = \"0 seconds\"", "retry.first_pause: \"0 seconds\" is no pause"),
            ("pause_max = \"-1 seconds\"", "retry.pause_max"),
            ("first_pause = \"1 minute\"\npause_max = \"2 seconds\"", "exchange the two"),
            ("tries = 3", "unknown field"),
        ] {
            let told = policy(text).unwrap_err();
            assert!(told.contains(why), "{text}: {told}");
        }
    }
}
