//! `offsite export`

use std::path::Path;

use offsite::Export as ExportJob;
use offsite::report::ExportReport;

use crate::args::Export;
use crate::commands::planned;
use crate::config::Config;
use crate::json::events;
use crate::local_time::LocalTime;
use crate::progress::Lines;
use crate::signals::Stop;
use crate::status::{Failure, Status};
use crate::{json, place, print, progress, render};

pub(crate) async fn run(arguments: &Export, config: &Path) -> Result<Status, Failure> {
    let config = Config::load(config)?;
    let stop = Stop::listen()?;
    let to = &arguments.to;
    let is_piped = to.as_os_str() == "-";
    let repository = place::open_until(&arguments.repo, &config, &stop).await?;
    let point = place::point((arguments.at, arguments.point), &arguments.repo, &arguments.job, &config)?;
    let export = ExportJob::new(&repository, config.folder_of(&arguments.repo, &arguments.job))
        .point(point)
        .machines(arguments.machines.clone())
        .progress(progress::shown(Lines::wanted(arguments.json && !arguments.dry_run).beside(is_piped)));
    if arguments.dry_run {
        let planned = async { Ok(if is_piped { export.plan().await? } else { export.plan_save(to).await? }) };
        let plan = stop.cut_off(planned, planned::NOTHING_WRITTEN).await?;
        if arguments.json {
            json::print(&json::planned::export(arguments.job.as_str(), &plan))?;
        } else {
            let local = config.local_time(arguments.job.as_str());
            print::text(planned::export(arguments.job.as_str(), &plan, to, &local));
        }
        return Ok(if plan.is_whole() && plan.room.is_enough() { Status::Done } else { Status::Warnings });
    }
    let report = if is_piped {
        let output = print::raw()?;
        stop.end(async { Ok(export.run(output).await?) }, "what was written is no whole export").await?
    } else {
        let saved = async { Ok(export.save(to).await?) };
        stop.end(saved, &format!("{} is not written", to.display())).await?
    };
    // Standard output may be the export.
    if arguments.json {
        Lines::Output.beside(is_piped).print(&events::report(json::export(arguments.job.as_str(), &report)))?;
    } else {
        let text = summary(arguments.job.as_str(), &report, to, &config.local_time(arguments.job.as_str()));
        if is_piped { print::message(text) } else { print::text(text) }
    }
    Ok(Status::Done)
}

fn summary(job: &str, report: &ExportReport, to: &Path, local: &LocalTime) -> String {
    format!(
        "{job}: restore point #{} of {} to {}\n  machines  {}\n  exported  {}, {} of blocks read, in {}{}, {}\n",
        report.sequence,
        local.time(report.time),
        to.display(),
        planned::exported(&report.machines, report.sequence.0, local),
        render::bytes(report.bytes),
        render::bytes(report.tally.source.bytes_read),
        render::duration(report.tally.duration),
        render::rate(report.bytes, report.tally.duration),
        render::kept(&report.tally),
    )
}
