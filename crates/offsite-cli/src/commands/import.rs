//! `offsite import`

use std::path::Path;

use offsite::Import as ImportJob;

use crate::args::Import;
use crate::config::Config;
use crate::status::{Failure, Status};
use crate::{json, place, print, progress, render};

pub(crate) async fn run(arguments: &Import, config: &Path) -> Result<Status, Failure> {
    let config = Config::load(config)?;
    let repository = place::open(&arguments.repo, &config).await?;
    let import =
        ImportJob::new(&repository, config.folder_of(&arguments.repo, &arguments.job)).progress(progress::bars());
    let from = &arguments.from;
    let report = if from.as_os_str() == "-" {
        import.run(std::io::stdin(), place::now()).await?
    } else {
        let file = std::fs::File::open(from).map_err(|error| format!("cannot read {}: {error}", from.display()))?;
        import.run(file, place::now()).await?
    };
    if arguments.json {
        json::print(&json::import(arguments.job.as_str(), &report))?;
        return Ok(Status::Done);
    }
    let machines: Vec<String> = report.machines.iter().map(ToString::to_string).collect();
    let time = config.local_time(arguments.job.as_str()).time(report.time);
    print::line(format_args!(
        "{}: restore point #{} of {time}, exported from {}",
        arguments.job, report.sequence, report.job
    ));
    print::line(format_args!("  machines  {}", machines.join(", ")));
    print::line(format_args!(
        "  imported  {}, every block compared with its digest, in {}{}, {}",
        render::bytes(report.tally.target.bytes_written),
        render::duration(report.tally.duration),
        render::rate(report.tally.target.bytes_written, report.tally.duration),
        render::kept(&report.tally),
    ));
    Ok(Status::Done)
}
