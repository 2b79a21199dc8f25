//! `offsite map`

use std::path::Path;
use std::sync::Arc;

use offsite::{Error, JobName, MapSeed, OpenRepository};
use offsite_backends::Local;

use crate::args::Map;
use crate::commands::planned;
use crate::config::Config;
use crate::error_text::chain_of;
use crate::json::events;
use crate::progress::Lines;
use crate::status::{Failure, Status};
use crate::{json, place, print, progress, render};

pub(crate) async fn run(arguments: &Map, config: &Path) -> Result<Status, Failure> {
    let config = Config::load(config)?;
    let repository = place::open(&arguments.repo, &config).await?;
    let (seed, seed_job) = seed(&arguments.seed).await?;
    let map = MapSeed::new(&repository, config.folder_of(&arguments.repo, &arguments.job), &seed, seed_job.clone())?
        .progress(progress::shown(Lines::wanted(arguments.json && !arguments.dry_run)));
    if arguments.dry_run {
        let plan = map.plan(place::now()).await?;
        if arguments.json {
            json::print(&json::planned::map(arguments.job.as_str(), seed_job.as_str(), &plan))?;
        } else {
            let local = config.local_time(arguments.job.as_str());
            print::text(planned::map(arguments.job.as_str(), seed_job.as_str(), &seed.location(), &plan, &local));
        }
        return Ok(if plan.is_whole() && plan.room.is_enough() { Status::Done } else { Status::Warnings });
    }
    let report = map.run(place::now()).await?;
    if arguments.json {
        events::print_report(json::map(arguments.job.as_str(), seed_job.as_str(), &report))?;
        return Ok(Status::Done);
    }
    print::line(format_args!(
        "{}: {} of {seed_job} in {}, the newest #{} of {}",
        arguments.job,
        render::count(usize::try_from(report.points).unwrap_or(usize::MAX), "restore point", "restore points"),
        seed.location(),
        report.sequence,
        config.local_time(arguments.job.as_str()).time(report.time),
    ));
    print::line(format_args!(
        "  mapped    {}, every block compared with its digest, in {}{}, {}",
        render::bytes(report.tally.target.bytes_written),
        render::duration(report.tally.duration),
        render::rate(report.tally.target.bytes_written, report.tally.duration),
        render::kept(&report.tally),
    ));
    Ok(Status::Done)
}

/// Returns the repository and the job that the path of a seed names: a repository with one job, or the folder of a job in a
/// repository.
async fn seed(path: &Path) -> Result<(OpenRepository, JobName), Failure> {
    if let Some(repository) = repository_at(path).await? {
        let jobs = repository.jobs().await?;
        return match &jobs[..] {
            [job] => Ok((repository, job.clone())),
            [] => Err(Failure::Failed(format!("{} has no job; a seed has restore points", path.display()))),
            jobs => {
                let names: Vec<String> = jobs.iter().map(|job| path.join(job.as_str()).display().to_string()).collect();
                let names = names.join(", ");
                Err(Failure::WrongUse(format!("{} has several jobs; name one of: {names}", path.display())))
            }
        };
    }
    let none = || Failure::Failed(format!("{} is neither a repository nor the folder of a job in one", path.display()));
    let (parent, name) = path.parent().zip(path.file_name()).ok_or_else(none)?;
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let repository = repository_at(parent).await?.ok_or_else(none)?;
    let job = name.to_str().and_then(|name| JobName::new(name).ok()).ok_or_else(none)?;
    Ok((repository, job))
}

/// Returns the repository in a folder. `None` if the folder is no repository.
async fn repository_at(path: &Path) -> Result<Option<OpenRepository>, Failure> {
    if !path.is_dir() {
        return Ok(None);
    }
    let backend = Local::open(path).await.map_err(|error| chain_of(&error))?;
    match OpenRepository::open(Arc::new(backend)).await {
        Err(Error::NotARepository { .. }) => Ok(None),
        answer => Ok(Some(answer?)),
    }
}
