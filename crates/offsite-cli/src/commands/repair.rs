//! `offsite repair`

use std::path::Path;

use offsite::{Basis, Repair as RepairJob, RepairReport};

use crate::args::Repair;
use crate::config::Config;
use crate::status::{Failure, Status};
use crate::{json, place, print, progress, render};

pub(crate) async fn run(arguments: &Repair, config: &Path) -> Result<Status, Failure> {
    let config = Config::load(config)?;
    let repository = place::recover(&arguments.repo, &config, !arguments.dry_run).await?;
    let repair = RepairJob::new(&repository, arguments.job.clone()).progress(progress::bars());
    let report = if arguments.dry_run { repair.plan().await? } else { repair.run(place::now()).await? };
    if arguments.json {
        json::print(&json::repair(arguments.job.as_str(), &report))?;
    } else {
        print::text(summary(arguments.job.as_str(), &report, arguments.dry_run));
    }
    Ok(if report.left_out.is_empty() { Status::Done } else { Status::Warnings })
}

fn summary(job: &str, report: &RepairReport, dry_run: bool) -> String {
    let points = render::count(report.points.len(), "restore point", "restore points");
    if report.is_intact() && report.left_out.is_empty() {
        return format!("{job}: {points}, nothing to repair; `offsite verify --read-data` reads the blocks too\n");
    }
    let by = match report.basis {
        Basis::Head => "by the newest head",
        Basis::HeadCopy => "by the second copy of the newest head",
        Basis::Indexes => "by the indexes, every block compared with its digest",
    };
    let mut text = format!("{job}: {points}, {by}{}\n", if dry_run { " (dry run: nothing was written)" } else { "" });
    for head in &report.damaged_heads {
        text.push_str(&format!("  damaged   {head}\n"));
    }
    for object in &report.restored {
        text.push_str(&format!("  restored  {object}\n"));
    }
    for index in &report.salvaged {
        text.push_str(&format!("  salvaged  {index}, from the frames of its blocks\n"));
    }
    for left in &report.left_out {
        text.push_str(&format!("  LEFT OUT  #{}: {}\n", left.sequence, left.why));
    }
    if let Some(number) = report.head {
        text.push_str(&format!("  head      {number}; what is left out keeps its backup files\n"));
    }
    text
}
