//! `offsite restore`

use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use offsite::report::{RestoreReport, RestoredDisk};
use offsite::{DiskTarget, Restore as RestoreJob};

use crate::args::Restore;
use crate::commands::planned;
use crate::config::Config;
use crate::json::events;
use crate::local_time::LocalTime;
use crate::progress::Lines;
use crate::signals::Stop;
use crate::status::{Failure, Status};
use crate::{json, place, print, progress, render};

pub(crate) async fn run(arguments: &Restore, config: &Path) -> Result<Status, Failure> {
    let config = Config::load(config)?;
    let stop = Stop::listen()?;
    let is_piped = arguments.to.as_os_str() == "-";
    let output = (is_piped && !arguments.dry_run).then(print::raw).transpose()?;
    let repository = place::open_until(&arguments.repo, &config, &stop).await?;
    let point = place::point((arguments.at, arguments.point), &arguments.repo, &arguments.job, &config)?;
    let restore =
        RestoreJob::new(&repository, config.folder_of(&arguments.repo, &arguments.job), arguments.machine.clone())
            .point(point)
            .overwrite(arguments.overwrite)
            .salvage(arguments.salvage)
            .format(arguments.format.into())
            .progress(progress::shown(Lines::wanted(arguments.json && !arguments.dry_run).beside(is_piped)));
    let restore = arguments.disk.iter().fold(restore, RestoreJob::disk);
    if arguments.dry_run {
        return plan(arguments, &restore, &config, &stop).await;
    }
    let restored = async {
        Ok(match output {
            Some(output) => restore.disk_to(DiskTarget::writer(output)).await?,
            None => restore.run(&arguments.to).await?,
        })
    };
    let report = stop.end(restored, &stopped(arguments)).await?;
    // Standard output may be the disk.
    if arguments.json {
        Lines::Output.beside(is_piped).print(&events::report(json::restore(arguments.machine.as_str(), &report)))?;
    } else {
        let text = summary(arguments.machine.as_str(), &report, &config.local_time(arguments.job.as_str()));
        if is_piped { print::message(text) } else { print::text(text) }
    }
    let is_whole = report.disks.iter().all(|disk| disk.lost.is_empty());
    Ok(if is_whole { Status::Done } else { Status::Warnings })
}

/// Prints what the restore would do.
async fn plan(arguments: &Restore, restore: &RestoreJob, config: &Config, stop: &Stop) -> Result<Status, Failure> {
    let planned = async {
        Ok(match arguments.to.as_os_str() == "-" {
            true => restore.plan_disk_to(&DiskTarget::writer(std::io::sink())).await?,
            false => restore.plan(&arguments.to).await?,
        })
    };
    let plan = stop.cut_off(planned, planned::NOTHING_WRITTEN).await?;
    if arguments.json {
        json::print(&json::planned::restore(arguments.machine.as_str(), &plan))?;
    } else {
        let local = config.local_time(arguments.job.as_str());
        print::text(planned::restore(arguments.machine.as_str(), &plan, &local));
    }
    Ok(if plan.is_whole() && plan.fits() { Status::Done } else { Status::Warnings })
}

/// Says what remains after the command was stopped.
fn stopped(arguments: &Restore) -> String {
    let (machine, to) = (&arguments.machine, arguments.to.display());
    let is_device = arguments.to.metadata().is_ok_and(|metadata| metadata.file_type().is_block_device());
    if arguments.to.as_os_str() == "-" {
        format!("{machine} is not restored: what was written is no whole disk")
    } else if is_device && arguments.overwrite {
        format!("{machine} is not restored: {to} may hold a part of the disk now, and elsewhere what was on it before")
    } else if arguments.overwrite {
        format!("{machine} is not restored, and what was there is as it was")
    } else {
        format!("{machine} is not restored, and no image has its name")
    }
}

fn summary(machine: &str, report: &RestoreReport, local: &LocalTime) -> String {
    let captured = local.time(report.captured);
    let mut text = format!("{machine}: as of {captured}, from restore point #{}\n", report.sequence);
    for disk in &report.disks {
        text.push_str(&line(disk));
    }
    for disk in report.disks.iter().filter(|disk| !disk.lost.is_empty()) {
        text.push_str(&lost(disk));
    }
    let data: u64 = report.disks.iter().map(|disk| disk.data_bytes).sum();
    text.push_str(&format!(
        "  restored  {} from {} stored, every block compared with its digest, in {}{}\n",
        render::bytes(data),
        render::bytes(report.traffic.bytes_read),
        render::duration(report.duration),
        render::rate(data, report.duration),
    ));
    text
}

fn line(disk: &RestoredDisk) -> String {
    let (size, data) = (render::bytes(disk.size_bytes), render::bytes(disk.data_bytes));
    let (place, rest) = match (&disk.path, disk.device_bytes) {
        (Some(path), None) => (path.display().to_string(), "the rest sparse".to_owned()),
        (None, _) => (format!("disk {}", disk.number), "the rest zeros".to_owned()),
        (Some(path), Some(device_bytes)) => {
            let beyond = device_bytes.saturating_sub(disk.size_bytes);
            let beyond = match beyond {
                0 => String::new(),
                beyond => format!("; {} of the device beyond it are as they were", render::bytes(beyond)),
            };
            (path.display().to_string(), format!("the rest zeros{beyond}"))
        }
    };
    format!("  {place}  {size} ({data} of data, {rest})\n")
}

/// Says what of a disk is lost.
fn lost(disk: &RestoredDisk) -> String {
    let bytes: u64 = disk.lost.iter().map(|range| range.end - range.start).sum();
    let mut text =
        format!("  lost      {} of disk {}, which are zeros now; its bytes\n", render::bytes(bytes), disk.number);
    for range in &disk.lost {
        text.push_str(&format!("            {} to {}\n", range.start, range.end.saturating_sub(1)));
    }
    text
}
