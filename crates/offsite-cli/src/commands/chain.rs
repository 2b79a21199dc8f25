//! `offsite chain`

use std::path::Path;

use offsite::model::{Chain as CoreChain, PointKind, RestorePoint};
use offsite::retention::{Departure, Verdict};
use offsite::{JobFolder, KnownDamage, Transforms};
use serde_json::json;

use crate::args::Chain;
use crate::commands::failed;
use crate::commands::points::{damaged, unreadable};
use crate::config::Config;
use crate::local_time::LocalTime;
use crate::media::View;
use crate::status::{Failure, Status};
use crate::{advice, clock, host, json, place, print, render, words};

/// The length of the longest bar, in characters.
const BAR_CHARS: u128 = 24;

pub(crate) async fn run(arguments: &Chain, config: &Path) -> Result<Status, Failure> {
    let config = Config::load(config)?;
    let (views, mut status) = place::views(&arguments.repo, &config).await?;
    let job = config.folder_of(&arguments.repo, &arguments.job);
    let mut unknown = None;
    let mut has_one = false;
    for view in views {
        let shown = match JobFolder::open(&view.repository, &job).await {
            Ok(folder) => show(&view, &folder, arguments, &config).await,
            // Another medium may have the job.
            Err(error @ offsite::Error::UnknownJob { .. }) => {
                unknown = Some(error);
                continue;
            }
            Err(error) => Err(error.into()),
        };
        has_one = true;
        match shown {
            Ok(shown) => status = status.and(shown),
            // Another medium can be shown.
            Err(Failure::Failed(why)) if view.medium.is_some() => {
                status = status.and(failed(&arguments.job, &Failure::Failed(why)));
            }
            Err(failure) => return Err(failure),
        }
    }
    match unknown {
        Some(error) if !has_one => Err(error.into()),
        _ => Ok(status),
    }
}

async fn show(
    View { repository, medium }: &View,
    folder: &JobFolder,
    arguments: &Chain,
    config: &Config,
) -> Result<Status, Failure> {
    for damaged in folder.damaged_heads() {
        print::warning(format_args!("{damaged}; {}", advice::OF_DAMAGED_HEAD));
    }
    // Only the config says what a job keeps. The chain says what there is.
    let transforms = match config.jobs.get(arguments.job.as_str()) {
        Some(job)
            if job.target == arguments.repo
                || place::views(&job.target, config)
                    .await?
                    .0
                    .iter()
                    .any(|view| view.repository.id() == repository.id()) =>
        {
            let (transforms, untold) =
                host::transforms(&arguments.job, config, medium.as_ref().map(|seen| &seen.medium)).await?;
            untold.iter().map(words::unseen).for_each(print::warning);
            transforms
        }
        _ => Transforms::default(),
    };
    let now = clock::clock_at(arguments.now)?.now();
    let known = folder.known_damage().await?;
    let verdicts = folder.verdicts(&transforms, now);
    let secs = rhythm_secs(folder.chain());
    let departures = match arguments.forecast {
        false => None,
        true => match folder.forecast(&transforms, now, |time| Some(time.saturating_add_secs(secs))).await? {
            None => {
                let why =
                    format!("no forecast: the config has no retention of job {} in this repository", arguments.job);
                return Err(Failure::WrongUse(why));
            }
            departures => departures,
        },
    };
    if arguments.json {
        let value = |point: &RestorePoint| {
            let is_of = |verdict: &&Verdict| verdict.sequence == point.sequence;
            let mut value = json::point(point, &known, verdicts.as_ref().and_then(|all| all.iter().find(is_of)));
            value["archived"] = folder.chain().is_archive(point.sequence).into();
            let departure = departures.as_ref().and_then(|all| all.iter().find(|it| it.sequence == point.sequence));
            if let Some(departure) = departure {
                value["becomes_archive"] = departure.archived.map(|time| time.to_string()).into();
                value["goes"] = departure.goes.map(|time| time.to_string()).into();
                value["frees_bytes"] = departure.freed_bytes.into();
            }
            value
        };
        let points: Vec<_> = folder.chain().all().map(value).collect();
        let mut value = json!({
            "job": arguments.job.as_str(),
            "location": repository.location(),
            "block_bytes": folder.chain().block_size().bytes(),
            "files": folder.file_count(),
            "stored_bytes": folder.stored_bytes(),
            "points": points,
        });
        if let Some(medium) = medium {
            value["medium"] = medium.json();
        }
        json::print(&value)?;
    } else {
        let local = config.local_time(arguments.job.as_str());
        medium.iter().for_each(|medium| print::line(local.text(&medium.words())));
        print::text(draw(folder, &known, verdicts.as_deref(), departures.as_deref(), &local));
    }
    Ok(if folder.damaged_heads().is_empty() && known.is_empty() { Status::Done } else { Status::Warnings })
}

/// Returns the time between points in seconds: the median of the last gaps, or a day.
fn rhythm_secs(chain: &CoreChain) -> i64 {
    const GAPS_MAX: usize = 14;
    let times: Vec<i64> = chain.points().iter().rev().take(GAPS_MAX + 1).map(|point| point.time.unix_secs()).collect();
    let mut gaps: Vec<i64> = times.windows(2).map(|pair| pair[0] - pair[1]).filter(|gap| *gap > 0).collect();
    gaps.sort_unstable();
    gaps.get(gaps.len() / 2).copied().unwrap_or(86_400)
}

/// Says what becomes of a point.
fn foretold(departure: &Departure) -> String {
    let archived = departure.archived.map(|time| format!("becomes an archive {time}, ")).unwrap_or_default();
    match departure.goes {
        Some(time) => format!("{archived}goes {time}, frees {}", render::bytes(departure.freed_bytes)),
        None => format!("{archived}stays longer than can be told"),
    }
}

/// Draws the archives, and then the chain. Each point has a bar, which shows how much its indexes refer to.
pub(crate) fn draw(
    folder: &JobFolder,
    known: &KnownDamage,
    verdicts: Option<&[Verdict]>,
    departures: Option<&[Departure]>,
    local: &LocalTime,
) -> String {
    let chain = folder.chain();
    let largest = chain.all().map(|point| point.stored.bytes).max().unwrap_or(0).max(1);
    let archives = match chain.archives().len() {
        0 => String::new(),
        count => format!(" ({count} of them beside the chain)"),
    };
    let mut text = format!(
        "{}: {}{archives}, {} stored in {}, blocks of {}\n",
        folder.job(),
        render::count(chain.all().count(), "restore point", "restore points"),
        render::bytes(folder.stored_bytes()),
        render::count(folder.file_count(), "backup file", "backup files"),
        chain.block_size(),
    );
    let rows = chain.all().map(|point| {
        let is_archived = chain.is_archive(point.sequence);
        let filled = (u128::from(point.stored.bytes) * BAR_CHARS).div_ceil(largest.into());
        // A point that had nothing to store must not look like one with a little.
        let bar = match filled {
            0 => "\u{b7}".to_owned(),
            filled if is_archived => "\u{2592}".repeat(usize::try_from(filled).unwrap_or_default()),
            filled => "\u{2588}".repeat(usize::try_from(filled).unwrap_or_default()),
        };
        let mut after = chain.points().iter().skip_while(|other| other.sequence <= point.sequence);
        let next = after.next().map(|next| next.kind);
        let bar = match point.kind {
            PointKind::Full => bar,
            PointKind::Rollback => format!("\u{250c}\u{2500} {bar}"),
            PointKind::Increment if next != Some(PointKind::Increment) => format!("\u{2514}\u{2500} {bar}"),
            PointKind::Increment => format!("\u{251c}\u{2500} {bar}"),
        };
        let why = match verdicts.and_then(|verdicts| verdicts.iter().find(|verdict| verdict.sequence == point.sequence))
        {
            None => String::new(),
            Some(verdict) if verdict.keeps() => {
                let reasons: Vec<String> = verdict.reasons.iter().map(ToString::to_string).collect();
                local.text(&format!("kept: {}", reasons.join("; ")))
            }
            Some(_) => "goes with the next run".to_owned(),
        };
        let kind = match is_archived {
            true if point.is_back_filled => "archive, back-filled",
            true => "archive",
            false => json::kind(point.kind),
        };
        let flags = point.flags.names().map(|name| format!(" {name}")).collect::<String>();
        vec![
            format!("  {bar}"),
            format!("#{}", point.sequence),
            local.time(point.time),
            format!("{kind}{flags}"),
            render::bytes(point.stored.bytes),
            machines(point, known),
            departures
                .and_then(|all| all.iter().find(|it| it.sequence == point.sequence))
                .map_or(why, |departure| local.text(&foretold(departure))),
        ]
    });
    text.push_str(&render::table(&rows.collect::<Vec<_>>(), &[4]));
    text
}

/// Says how many machines a point has, and which of them are incomplete or damaged.
fn machines(point: &RestorePoint, known: &KnownDamage) -> String {
    let mut text = render::count(point.machines.len(), "machine", "machines");
    for machine in point.machines.iter().filter(|machine| !machine.is_whole()) {
        let (done, left) = (machine.transferred.done_bytes, machine.transferred.left_bytes);
        text.push_str(&format!(
            ", {} incomplete ({} done, {} left)",
            machine.name,
            render::bytes(done),
            render::bytes(left)
        ));
    }
    for machine in &point.machines {
        match damaged(known.blocks(point.sequence, &machine.name)) {
            none if none.is_empty() => {}
            damaged => text.push_str(&format!(", {}{damaged}", machine.name)),
        }
    }
    text.push_str(&unreadable(known, point.sequence));
    text
}
