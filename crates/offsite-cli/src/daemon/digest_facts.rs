//! The facts of a digest, from the state folder and from a look at the copies.

use std::collections::BTreeMap;
use std::time::Duration;

use offsite::model::Timestamp;
use offsite::runner::{FolderStore, JobStatus};
use offsite::{JobFolder, JobName};
use tokio::time::timeout;

use super::digest_memory::Remembered;
use crate::config::{Config, JobConfig};
use crate::error_text::{chain_of, one_line};
use crate::mail::{Digest, JobFacts, Last, PlaceFacts};
use crate::media::View;
use crate::state::{LastResult, StateDir};
use crate::status::Failure;
use crate::{host, place};

/// How long a look at the copies of a job may take.
const LOOK_MAX: Duration = Duration::from_secs(60);
/// How far the forecast goes.
const OUTLOOK_SECS: i64 = 7 * 86_400;
/// The greatest number of blocks for which there is a forecast. It takes memory for each block.
const OUTLOOK_BLOCKS_MAX: u64 = 4_000_000;

/// Returns all that the host of this name knows at `now`.
pub(super) async fn facts(
    config: &Config,
    state: &StateDir,
    before: &Remembered,
    now: Timestamp,
    host: &str,
) -> Digest {
    let (mut results, mut notes) = state.last_results();
    let looked = FolderStore::look(state.path());
    let statuses: BTreeMap<JobName, JobStatus> = match looked {
        Ok(daemon) => daemon.map(|daemon| daemon.jobs).unwrap_or_default(),
        Err(error) => {
            notes.push(chain_of(&error));
            BTreeMap::new()
        }
    };
    let mut jobs = Vec::new();
    for (name, job) in &config.jobs {
        let last = results.remove(name);
        let mut facts = told(name, job, last.as_ref(), before);
        let Ok(job_name) = JobName::new(name) else { continue };
        facts.failure =
            statuses.get(&job_name).and_then(|status| status.failure.as_ref()).map(|failure| one_line(&failure.why));
        match timeout(LOOK_MAX, places(&job_name, job, config, now)).await {
            Ok(Ok(places)) => facts.places = places,
            Ok(Err(failure)) => facts.unseen = Some(one_line(failure.text())),
            Err(_) => facts.unseen = Some(format!("no answer within {} s", LOOK_MAX.as_secs())),
        }
        jobs.push(facts);
    }
    Digest {
        host: host.to_owned(),
        now,
        since: before.written(),
        jobs,
        notes: notes.iter().map(|note| one_line(note)).collect(),
    }
}

/// Returns what the state folder tells of a job.
fn told(name: &str, job: &JobConfig, last: Option<&LastResult>, before: &Remembered) -> JobFacts {
    let counted = before.totals.get(name).copied().unwrap_or_default();
    JobFacts {
        name: name.to_owned(),
        target: job.target.clone(),
        last: last.map(|last| Last {
            result: last.text("result").unwrap_or("?").to_owned(),
            ended: last.text("ended").and_then(|text| Timestamp::parse(text).ok()),
            failure: last.text("failure").map(one_line),
        }),
        damage: last
            .and_then(|last| last.verified.as_ref())
            .map(|verified| verified.damage().map(one_line).collect())
            .unwrap_or_default(),
        done: last.map(|last| last.totals.since(counted)).unwrap_or_default(),
        machines: last
            .map(|last| last.newest().into_iter().map(|(machine, captured)| (machine.to_string(), captured)).collect())
            .unwrap_or_default(),
        max_age: job.max_age().ok().flatten(),
        ..JobFacts::default()
    }
}

/// Returns the places of a job's copies. It leaves out places without any.
async fn places(name: &JobName, job: &JobConfig, config: &Config, now: Timestamp) -> Result<Vec<PlaceFacts>, Failure> {
    let folder = config.folder_of(&job.target, name);
    let mut places = Vec::new();
    for View { repository, medium } in place::views(&job.target, config).await?.0 {
        let folder = match JobFolder::open(&repository, &folder).await {
            Ok(folder) => folder,
            Err(offsite::Error::UnknownJob { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        let (transforms, _) = host::transforms(name, config, medium.as_ref().map(|seen| &seen.medium)).await?;
        let blocks: u64 = folder.chain().all().map(|point| point.stored.blocks).sum();
        let rhythm = rhythm_secs(job);
        let leaving = match blocks <= OUTLOOK_BLOCKS_MAX {
            true => folder.forecast(&transforms, now, |time| Some(time.saturating_add_secs(rhythm))).await?,
            false => None,
        };
        let until = now.saturating_add_secs(OUTLOOK_SECS);
        let is_away = medium.as_ref().is_some_and(crate::media::Seen::is_away);
        places.push(PlaceFacts {
            drive: medium.as_ref().map(|seen| seen.medium.label.clone()),
            points: folder.chain().all().count(),
            used_bytes: folder.stored_bytes(),
            free_bytes: if is_away { None } else { repository.free_bytes().await? },
            leaving: leaving.map(|points| {
                let going = points.iter().filter(|point| point.goes.is_some_and(|goes| goes <= until));
                going.fold((0, 0), |(count, bytes), point| (count + 1, bytes + point.freed_bytes))
            }),
        });
    }
    Ok(places)
}

/// Returns the seconds from one restore point of the job to the next.
fn rhythm_secs(job: &JobConfig) -> i64 {
    const DAY_SECS: i64 = 86_400;
    let settings = job.settings().ok();
    let interval = settings.and_then(|settings| settings.schedule.interval().cloned());
    let span = interval.map(|interval| interval.at(Timestamp::from_unix_secs(0).unwrap_or(Timestamp::MIN)));
    let secs = span.map_or(DAY_SECS, |span| span.end.unix_secs().saturating_sub(span.start.unix_secs()));
    secs.max(1)
}
