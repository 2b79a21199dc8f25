//! `offsite cache`

use std::path::Path;

use offsite::Populate;
use offsite::report::{Amount, PopulateReport};

use crate::args::{Cache as Arguments, CacheCommand};
use crate::cache::CacheSettings;
use crate::config::Config;
use crate::json::events;
use crate::progress::Lines;
use crate::signals::Stop;
use crate::status::{Failure, Status};
use crate::{json, place, print, progress, render};

pub(crate) async fn run(arguments: &Arguments, path: &Path) -> Result<Status, Failure> {
    let CacheCommand::Populate { repo, cache, json } = &arguments.command;
    let config = Config::load(path)?;
    let settings = settings(&config, cache.as_deref(), path)?;
    let stop = Stop::listen()?;
    let repository = place::open_until(repo, &config, &stop).await?;
    let opened = config.caches.open(&settings).await?;
    let populate = Populate::new(&opened, &repository).progress(progress::shown(Lines::wanted(*json)));
    let filled = async { Ok(populate.run().await?) };
    let report = stop.end(filled, "the cache keeps what it has got; the next call goes on from there").await?;
    if *json {
        events::print_report(json::populate(&settings.repository, &report, opened.used_bytes().await))?;
    } else {
        print::text(summary(&settings, &report, opened.used_bytes().await));
    }
    let is_whole = report.failure.is_none() && report.unfilled.is_empty() && report.damaged_blocks == 0;
    Ok(if is_whole { Status::Done } else { Status::Warnings })
}

/// Returns the cache that is meant.
fn settings(config: &Config, named: Option<&str>, path: &Path) -> Result<CacheSettings, Failure> {
    let wrong = |why: String| Failure::WrongUse(format!("config {}: {why}", path.display()));
    if let Some(name) = named {
        let why = format!("repository {name:?} has no cache: add cache = {{ path = \"...\", size = \"...\" }} to it");
        return config.cache_of(name).ok_or_else(|| wrong(why));
    }
    let mut all = config.caches();
    match (all.pop(), all.is_empty()) {
        (Some(only), true) => Ok(only),
        (None, _) => Err(wrong(
            "no repository has a cache: add cache = { path = \"...\", size = \"...\" } to the one that copies go to"
                .to_owned(),
        )),
        (Some(_), false) => Err(wrong("several repositories have a cache: say which with --cache NAME".to_owned())),
    }
}

fn summary(settings: &CacheSettings, report: &PopulateReport, used_bytes: u64) -> String {
    let amount = |amount: Amount| {
        let blocks = render::count(usize::try_from(amount.blocks).unwrap_or(usize::MAX), "block", "blocks");
        format!("{blocks} ({})", render::bytes(amount.bytes))
    };
    let mut text = format!(
        "cache of {}: {} added, {} there before; it has {} of {}\n",
        settings.repository,
        amount(report.kept),
        amount(report.had),
        render::bytes(used_bytes),
        render::bytes(settings.size_bytes),
    );
    if report.is_full {
        text.push_str("  it is full: older restore points are left out\n");
    }
    if report.damaged_blocks > 0 {
        text.push_str(&format!("  warning   {} blocks cannot be read or are damaged\n", report.damaged_blocks));
    }
    for unfilled in &report.unfilled {
        text.push_str(&format!("  warning   job {} was not read to its end: {}\n", unfilled.job, unfilled.why));
    }
    if let Some(why) = &report.failure {
        text.push_str(&format!("  warning   the cache takes no more: {why}\n"));
    }
    text
}
