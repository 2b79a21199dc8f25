//! `offsite restore`

use std::path::Path;

use offsite::core::Sequence;
use offsite::{PointSelector, Restore as RestoreJob};

use crate::args::Restore;
use crate::config::Config;
use crate::local_time::LocalTime;
use crate::signals::Stop;
use crate::status::{Failure, Status};
use crate::{json, place, print, progress, render};

pub(crate) async fn run(arguments: &Restore, config: &Path) -> Result<Status, Failure> {
    let config = Config::load(config)?;
    let stop = Stop::listen()?;
    let repository = place::open_until(&arguments.repo, &config, &stop).await?;
    let point = match (arguments.at, arguments.point) {
        (Some(time), _) => PointSelector::At(time),
        (None, Some(sequence)) => PointSelector::Sequence(Sequence(sequence)),
        (None, None) => PointSelector::Latest,
    };
    let restore =
        RestoreJob::new(&repository, config.folder_of(&arguments.repo, &arguments.job), arguments.machine.clone())
            .point(point)
            .format(arguments.format.into())
            .progress(progress::bars());
    let restored = async { Ok(restore.run(&arguments.to).await?) };
    let what = format!("{} is not restored, and no image has its name", arguments.machine);
    let report = stop.end(restored, &what).await?;
    if arguments.json {
        json::print(&json::restore(arguments.machine.as_str(), &report))?;
        return Ok(Status::Done);
    }
    let captured = LocalTime::of(&config, arguments.job.as_str()).time(report.captured);
    print::line(format_args!("{}: as of {captured}, from restore point #{}", arguments.machine, report.sequence));
    for disk in &report.disks {
        print::line(format_args!(
            "  {}  {} ({} of data, the rest sparse)",
            disk.path.display(),
            render::bytes(disk.size_bytes),
            render::bytes(disk.data_bytes)
        ));
    }
    let data: u64 = report.disks.iter().map(|disk| disk.data_bytes).sum();
    print::line(format_args!(
        "  restored  {} from {} stored, every block compared with its digest, in {}{}",
        render::bytes(data),
        render::bytes(report.traffic.bytes_read),
        render::duration(report.duration),
        render::rate(data, report.duration),
    ));
    Ok(Status::Done)
}
