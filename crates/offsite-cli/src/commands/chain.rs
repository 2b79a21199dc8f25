//! `offsite chain`

use std::path::Path;

use offsite::JobFolder;
use offsite::core::retention::{Simple, Verdict, simple};
use offsite::core::{PointKind, Timestamp};
use serde_json::json;

use crate::args::Chain;
use crate::config::Config;
use crate::status::{Failure, Status};
use crate::{json, place, render};

/// The longest bar.
const BAR_CHARS: u128 = 24;

pub(crate) async fn run(arguments: &Chain, config: &Path) -> Result<Status, Failure> {
    let config = Config::load(config)?;
    let repository = place::open(&arguments.repo, &config).await?;
    let folder = JobFolder::open(&repository, &arguments.job).await?;
    for damaged in folder.damaged_heads() {
        eprintln!("offsite: warning: {damaged}");
    }
    // Only the config knows what a job keeps; its chain says what there is.
    let policy = match config.jobs.get(arguments.job.as_str()) {
        Some(job)
            if job.target == arguments.repo || place::open(&job.target, &config).await?.id() == repository.id() =>
        {
            Some(job.keep().map_err(Failure::WrongUse)?)
        }
        _ => None,
    };
    let now = place::now();
    if arguments.json {
        let verdicts = verdicts(&folder, policy, now);
        let points = folder.chain().points().iter().enumerate();
        let points: Vec<_> =
            points.map(|(position, point)| json::point(point, verdicts.as_ref().map(|all| &all[position]))).collect();
        json::print(&json!({
            "job": arguments.job.as_str(),
            "location": repository.location(),
            "block_bytes": folder.chain().block_size().bytes(),
            "files": folder.file_count(),
            "stored_bytes": folder.chain().points().iter().map(|point| point.stored_bytes).sum::<u64>(),
            "points": points,
        }))?;
    } else {
        print!("{}", draw(&folder, policy, now));
    }
    Ok(if folder.damaged_heads().is_empty() { Status::Done } else { Status::Warnings })
}

fn verdicts(folder: &JobFolder, policy: Option<Simple>, now: Timestamp) -> Option<Vec<Verdict>> {
    policy.map(|policy| simple(folder.chain().points(), policy, now))
}

/// The chain as a drawing: a bar a point, as long as what is stored for it.
pub(crate) fn draw(folder: &JobFolder, policy: Option<Simple>, now: Timestamp) -> String {
    let points = folder.chain().points();
    let verdicts = verdicts(folder, policy, now);
    let largest = points.iter().map(|point| point.stored_bytes).max().unwrap_or(0).max(1);
    let mut text = format!(
        "{}: {}, {} stored in {}, blocks of {}\n",
        folder.job(),
        render::count(points.len(), "restore point", "restore points"),
        render::bytes(points.iter().map(|point| point.stored_bytes).sum()),
        render::count(folder.file_count(), "backup file", "backup files"),
        folder.chain().block_size(),
    );
    let rows = points.iter().enumerate().map(|(position, point)| {
        let filled = (u128::from(point.stored_bytes) * BAR_CHARS).div_ceil(largest.into());
        // A point for which nothing had to be stored must not look like one with a little.
        let bar = match filled {
            0 => "\u{b7}".to_owned(),
            filled => "\u{2588}".repeat(usize::try_from(filled).unwrap_or_default()),
        };
        let bar = match point.kind {
            PointKind::Full => bar,
            PointKind::Increment if position + 1 == points.len() => format!("\u{2514}\u{2500} {bar}"),
            PointKind::Increment => format!("\u{251c}\u{2500} {bar}"),
        };
        let why = match verdicts.as_ref().map(|verdicts| &verdicts[position]) {
            None => String::new(),
            Some(verdict) if verdict.keeps() => {
                let reasons: Vec<String> = verdict.reasons.iter().map(ToString::to_string).collect();
                format!("kept: {}", reasons.join("; "))
            }
            Some(_) => "goes with the next run".to_owned(),
        };
        vec![
            format!("  {bar}"),
            format!("#{}", point.sequence),
            point.time.to_string(),
            json::kind(point.kind).to_owned(),
            render::bytes(point.stored_bytes),
            render::count(point.machines.len(), "machine", "machines"),
            why,
        ]
    });
    text.push_str(&render::table(&rows.collect::<Vec<_>>(), &[4]));
    text
}
