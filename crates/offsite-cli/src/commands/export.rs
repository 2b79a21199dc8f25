//! `offsite export`

use std::path::Path;

use offsite::Export as ExportJob;
use offsite::report::{ExportReport, ExportedMachine};

use crate::args::Export;
use crate::config::Config;
use crate::local_time::LocalTime;
use crate::signals::Stop;
use crate::status::{Failure, Status};
use crate::{json, place, print, progress, render};

pub(crate) async fn run(arguments: &Export, config: &Path) -> Result<Status, Failure> {
    let config = Config::load(config)?;
    let stop = Stop::listen()?;
    let repository = place::open_until(&arguments.repo, &config, &stop).await?;
    let point = place::point((arguments.at, arguments.point), &arguments.repo, &arguments.job, &config)?;
    let export = ExportJob::new(&repository, config.folder_of(&arguments.repo, &arguments.job))
        .point(point)
        .machines(arguments.machines.clone())
        .progress(progress::bars());
    let to = &arguments.to;
    let is_piped = to.as_os_str() == "-";
    let report = if is_piped {
        let output = print::raw()?;
        stop.end(async { Ok(export.run(output).await?) }, "what was written is no whole export").await?
    } else {
        let saved = async { Ok(export.save(to).await?) };
        stop.end(saved, &format!("{} is not written", to.display())).await?
    };
    let text = if arguments.json {
        format!("{}\n", json::text(&json::export(arguments.job.as_str(), &report))?)
    } else {
        let local = config.local_time(arguments.job.as_str());
        summary(arguments.job.as_str(), &report, to, &local)
    };
    // Standard output may be the export.
    if is_piped {
        print::message(text)
    } else {
        print::text(text)
    }
    Ok(Status::Done)
}

fn summary(job: &str, report: &ExportReport, to: &Path, local: &LocalTime) -> String {
    let machine = |machine: &ExportedMachine| match machine.sequence == report.sequence {
        true => machine.name.to_string(),
        false => format!("{} (of #{}, as of {})", machine.name, machine.sequence, local.time(machine.captured)),
    };
    let machines: Vec<String> = report.machines.iter().map(machine).collect();
    format!(
        "{job}: restore point #{} of {} to {}\n  machines  {}\n  exported  {}, {} of blocks read, in {}{}, {}\n",
        report.sequence,
        local.time(report.time),
        to.display(),
        machines.join(", "),
        render::bytes(report.bytes),
        render::bytes(report.tally.source.bytes_read),
        render::duration(report.tally.duration),
        render::rate(report.bytes, report.tally.duration),
        render::kept(&report.tally),
    )
}
