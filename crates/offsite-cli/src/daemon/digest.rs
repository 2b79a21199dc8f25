//! The daily mail about all jobs: when it is written.

use std::collections::BTreeMap;
use std::sync::Arc;

use offsite::model::Timestamp;
use offsite::runner::Clock;
use offsite::schedule::Interval;
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::digest_facts::facts;
use super::digest_memory::Remembered;
use crate::config::{Config, DigestSettings};
use crate::mail::{self, Mail, Origin, host_name};
use crate::mailing::post;
use crate::state::StateDir;
use crate::totals::Totals;

/// Returns `true` if the daemon must write a digest at `now`, after the one of `before`. If several hours of a digest have passed, one
/// digest is enough.
fn is_due(days: &Interval, before: Timestamp, now: Timestamp) -> bool {
    // A clock that was ahead must not silence the digest until its time comes.
    before < days.at(now).start && before <= now
}

/// Returns when the daemon must write the next digest.
fn next(days: &Interval, now: Timestamp) -> Timestamp {
    days.at(now).end
}

/// Writes digests by the config of now, until it is dropped.
pub(super) async fn run(mut configs: watch::Receiver<Arc<Config>>, clock: Arc<dyn Clock>, state: StateDir) {
    let mut remembered = Remembered::load(&state);
    loop {
        let config = configs.borrow_and_update().clone();
        let Ok(Some(settings)) = config.digest() else {
            if configs.changed().await.is_err() {
                return;
            }
            continue;
        };
        let now = clock.now();
        let before = match remembered.take().filter(|before| before.written().is_some_and(|written| written <= now)) {
            Some(before) => before,
            // The first one counts from here.
            None => keep(Remembered::at(now, totals(&state)), &state),
        };
        let is_due = before.written().is_some_and(|written| is_due(&settings.days, written, now));
        remembered = Some(if is_due { write(&config, &settings, &state, &before, now).await } else { before });
        tokio::select! {
            () = clock.wait_until(next(&settings.days, now)) => {}
            changed = configs.changed() => if changed.is_err() { return },
        }
    }
}

/// Writes a digest and sends it. Returns what the daemon remembers of it.
async fn write(
    config: &Config,
    settings: &DigestSettings,
    state: &StateDir,
    before: &Remembered,
    now: Timestamp,
) -> Remembered {
    let host = host_name();
    let letter = mail::digest(&facts(config, state, before, now, &host).await, &settings.local());
    let post = post(config);
    let mail = Mail::new(&letter, Origin::Digest, now.to_string(), &host);
    // The order matters: keep, remember, send. If the process ends in between, the digest still comes, and hardly ever twice.
    let kept = post.keep(&mail);
    let remembered = keep(Remembered::at(now, totals(state)), state);
    let warnings = post.send_kept(kept, &mail).await;
    if warnings.is_empty() {
        info!("the digest was sent to {}: {}", settings.account.recipients(), letter.subject);
    }
    warnings.iter().for_each(|warning| warn!("the digest: {warning}"));
    remembered
}

fn keep(remembered: Remembered, state: &StateDir) -> Remembered {
    if let Err(why) = remembered.keep(state) {
        error!("the digest: {why}; after a restart it may come twice");
    }
    remembered
}

fn totals(state: &StateDir) -> BTreeMap<String, Totals> {
    state.last_results().0.into_iter().map(|(job, last)| (job, last.totals)).collect()
}

#[cfg(test)]
mod tests {
    use offsite::retention::Zone;
    use offsite::schedule::{Period, TimeOfDay};

    use super::*;

    fn time(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    fn at_seven(zone: &str) -> Interval {
        Interval::new(Period::days(1).unwrap(), TimeOfDay::parse("07:00").unwrap(), Zone::named(zone).unwrap())
    }

    #[test]
    fn a_digest_is_due_once_a_day_and_once_after_a_stop() {
        let days = at_seven("Europe/Berlin");
        let due = |before, now| is_due(&days, time(before), time(now));
        // 07:00 in Berlin is 06:00 in winter.
        assert!(!due("2026-11-22T06:00:00Z", "2026-11-23T05:59:59Z"));
        assert!(due("2026-11-22T06:00:00Z", "2026-11-23T06:00:00Z"));
        assert!(!due("2026-11-23T06:00:00Z", "2026-11-23T06:00:01Z"));
        // Days of stop make one digest.
        assert!(due("2026-11-20T06:00:00Z", "2026-11-23T17:00:00Z"));
        assert!(!due("2026-11-23T17:00:00Z", "2026-11-24T05:00:00Z"));
        assert_eq!(next(&days, time("2026-11-23T17:00:00Z")), time("2026-11-24T06:00:00Z"));
        // A clock that has gone back.
        assert!(!due("2027-01-01T00:00:00Z", "2026-11-23T06:00:00Z"));
    }

    #[test]
    fn the_hour_is_that_of_the_zone_in_summer_and_in_winter() {
        let days = at_seven("Europe/Berlin");
        assert_eq!(next(&days, time("2026-03-28T06:00:00Z")), time("2026-03-29T05:00:00Z"));
        assert_eq!(next(&days, time("2026-10-24T05:00:00Z")), time("2026-10-25T06:00:00Z"));
    }
}
