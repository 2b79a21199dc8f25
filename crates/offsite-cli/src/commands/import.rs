//! `offsite import`

use std::fs::File;
use std::path::Path;

use offsite::{DamagedPart, Error, Import as ImportJob};

use crate::args::Import;
use crate::commands::planned;
use crate::config::Config;
use crate::json::events;
use crate::progress::Lines;
use crate::status::{Failure, Status};
use crate::{json, place, print, progress, render};

pub(crate) async fn run(arguments: &Import, config: &Path) -> Result<Status, Failure> {
    let config = Config::load(config)?;
    let from = &arguments.from;
    if arguments.dry_run && from.as_os_str() == "-" {
        return Err(Failure::WrongUse(
            "--dry-run needs a file: what it reads of standard input is gone for the import; save the export first"
                .to_owned(),
        ));
    }
    let repository = place::open(&arguments.repo, &config).await?;
    let import = ImportJob::new(&repository, config.folder_of(&arguments.repo, &arguments.job))
        .progress(progress::shown(Lines::wanted(arguments.json && !arguments.dry_run)));
    if arguments.dry_run {
        let plan = import.plan(open(from)?, place::now()).await.map_err(|error| named(from, error))?;
        if arguments.json {
            json::print(&json::planned::import(arguments.job.as_str(), &plan))?;
        } else {
            let local = config.local_time(arguments.job.as_str());
            print::text(planned::import(arguments.job.as_str(), &plan, &local));
        }
        return Ok(if plan.room.is_enough() { Status::Done } else { Status::Warnings });
    }
    let report = if from.as_os_str() == "-" {
        import.run(std::io::stdin(), place::now()).await?
    } else {
        import.run(open(from)?, place::now()).await.map_err(|error| named(from, error))?
    };
    if arguments.json {
        events::print_report(json::import(arguments.job.as_str(), &report))?;
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

fn open(from: &Path) -> Result<File, Failure> {
    Ok(File::open(from).map_err(|error| format!("cannot read {}: {error}", from.display()))?)
}

/// Returns the failure of an import from a file. If the file is no export or is damaged, it names the file.
fn named(from: &Path, error: Error) -> Failure {
    let is_of_file = matches!(&error, Error::Damaged { part: DamagedPart::Export, .. });
    match Failure::from(error) {
        Failure::Failed(text) if is_of_file => Failure::Failed(format!("{}: {text}", from.display())),
        failure => failure,
    }
}
