//! `offsite media`

use std::path::Path;

use offsite::model::Timestamp;
use offsite::{JobFolder, OpenRepository};
use serde_json::{Value, json};

use crate::args::{Media, MediaCommand};
use crate::config::Config;
use crate::local_time::LocalTime;
use crate::media::View;
use crate::status::{Failure, Status};
use crate::{json, place, print, render};

pub(crate) async fn run(arguments: &Media, config: &Path) -> Result<Status, Failure> {
    let config = Config::load(config)?;
    match &arguments.command {
        MediaCommand::List { repo, json } => list(repo.as_deref(), *json, &config).await,
        MediaCommand::Forget { repo, medium, json } => forget(repo, medium, *json, &config).await,
    }
}

/// Lists the drives of a repository, or of all repositories.
async fn list(repo: Option<&str>, is_json: bool, config: &Config) -> Result<Status, Failure> {
    let on_drives = |repo: &&str| config.location(repo).is_some_and(|location| location.starts_with("removable:"));
    let repos: Vec<&str> = match repo {
        Some(repo) => vec![repo],
        None => config.repositories.keys().map(String::as_str).filter(on_drives).collect(),
    };
    if repos.is_empty() {
        let why = "the config has no repository on drives: one has a location like \"removable:weekly\"";
        return Err(Failure::WrongUse(why.to_owned()));
    }
    let (local, mut status) = (LocalTime::host(), Status::Done);
    let mut listed: Vec<Value> = Vec::new();
    let mut rows =
        vec![["repository", "drive", "seen", "points", "newest", "stored", "id"].map(str::to_owned).to_vec()];
    for repo in repos {
        let Some(set) = place::media(repo, config)? else {
            return Err(Failure::WrongUse(format!("{repo} is not on drives")));
        };
        let views = match set.views().await {
            Ok((views, seen)) => {
                status = status.and(seen);
                views
            }
            // Another set can be listed.
            Err(failure) => {
                print::problem(failure.text());
                status = status.and(Status::Failed);
                continue;
            }
        };
        for View { repository, medium } in views {
            let Some(medium) = medium else { continue };
            let held = MediumContents::of(&repository).await?;
            let mut value = medium.json();
            value["repository"] = repo.into();
            value["points"] = held.points.into();
            value["newest"] = held.newest.map(|time| time.to_string()).into();
            value["stored_bytes"] = held.stored_bytes.into();
            listed.push(value);
            rows.push(vec![
                repo.to_owned(),
                medium.medium.label.clone(),
                medium.away_since().map_or_else(|| "there now".to_owned(), |time| local.time(time)),
                held.points.to_string(),
                held.newest.map_or_else(|| "-".to_owned(), |time| local.time(time)),
                render::bytes(held.stored_bytes),
                medium.medium.id.to_string(),
            ]);
        }
    }
    if is_json {
        json::print(&json!({ "media": listed }))?;
    } else if !listed.is_empty() {
        print::text(render::table(&rows, &[3, 5]));
    }
    Ok(status)
}

/// What a drive has of all jobs.
#[derive(Default)]
struct MediumContents {
    points: usize,
    newest: Option<Timestamp>,
    stored_bytes: u64,
}

impl MediumContents {
    async fn of(repository: &OpenRepository) -> Result<Self, Failure> {
        let mut held = Self::default();
        for job in repository.job_folders().await?.jobs {
            let folder = JobFolder::open(repository, &job).await?;
            held.points += folder.chain().all().count();
            held.newest = held.newest.max(folder.chain().latest().map(|point| point.time));
            held.stored_bytes = held.stored_bytes.saturating_add(folder.stored_bytes());
        }
        Ok(held)
    }
}

/// Forgets a drive that is not coming back.
async fn forget(repo: &str, medium: &str, is_json: bool, config: &Config) -> Result<Status, Failure> {
    let Some(set) = place::media(repo, config)? else {
        return Err(Failure::WrongUse(format!("{repo} is not on drives")));
    };
    let forgotten = set.forget(medium).await?;
    if is_json {
        json::print(&json!({ "forgotten": { "id": forgotten.id.to_string(), "label": forgotten.label } }))?;
    } else {
        print::line(format_args!(
            "forgot medium {forgotten}: the restore points on it no longer count; if it comes back, `offsite init {repo}` takes it in again"
        ));
    }
    Ok(Status::Done)
}
