//! `offsite repair`

use std::path::Path;

use offsite::{Basis, Repair as RepairJob, RepairReport};
use serde_json::json;

use super::verify::touches;
use crate::args::Repair;
use crate::config::Config;
use crate::json::events;
use crate::progress::Lines;
use crate::state::Verified;
use crate::status::{Failure, Status};
use crate::{clock, json, place, print, progress, render, words};

pub(crate) async fn run(arguments: &Repair, config: &Path) -> Result<Status, Failure> {
    let config = Config::load(config)?;
    let (repository, has_new_marker) = match arguments.dry_run {
        true => match place::is_marked(&arguments.repo, &config).await? {
            true => (place::open(&arguments.repo, &config).await?, false),
            false => return unmarked(arguments),
        },
        false => place::recover(&arguments.repo, &config).await?,
    };
    if has_new_marker && !arguments.json {
        print::text(format!(
            "{}: the marker was lost or damaged; there is a new one, and with it a new identity\n",
            repository.location()
        ));
    }
    let repair = RepairJob::new(&repository, config.folder_of(&arguments.repo, &arguments.job))
        .discard(arguments.discard)
        .progress(progress::shown(Lines::wanted(arguments.json && !arguments.dry_run)));
    let report = if arguments.dry_run { repair.plan().await? } else { repair.run().await? };
    if arguments.json {
        let mut value = json::repair(arguments.job.as_str(), &report);
        value["new_marker"] = has_new_marker.into();
        if arguments.dry_run { json::print(&value)? } else { events::print_report(value)? }
    } else {
        let local = config.local_time(arguments.job.as_str());
        print::text(local.text(&summary(arguments, &report)));
    }
    if let Some(copy) = config.copy_job_of(&arguments.repo, &arguments.job).filter(|_| !arguments.dry_run) {
        let found = Verified::of(clock::clock()?.now().to_string(), &report.damage);
        config.state_dir().keep_verified(copy, found).unwrap_or_else(print::warning);
    }
    let is_whole = report.left_out.is_empty() && report.damage.is_empty() && report.notes.is_empty();
    Ok(if is_whole { Status::Done } else { Status::Warnings })
}

/// Prints the plan for a repository without a marker: it gets one. More cannot be planned.
fn unmarked(arguments: &Repair) -> Result<Status, Failure> {
    if arguments.json {
        json::print(&json!({ "job": arguments.job.as_str(), "new_marker": true }))?;
    } else {
        print::text(format!(
            "{}: the marker is lost or damaged; a repair makes a new one, and only then finds out what else there is to do (dry run: \
             nothing was written)\n",
            arguments.repo
        ));
    }
    Ok(Status::Done)
}

fn summary(arguments: &Repair, report: &RepairReport) -> String {
    let Repair { repo, job, discard, dry_run, .. } = arguments;
    let points = render::count(report.points.len(), "restore point", "restore points");
    let by = match report.basis {
        Basis::Head => "by the newest head",
        Basis::HeadCopy => "by the second copy of the newest head",
        Basis::Indexes => "by the indexes, every block read and compared with its digest",
    };
    let what = match (report.is_intact(), *dry_run) {
        (true, _) if report.damage.is_empty() => ", nothing to repair",
        (true, _) => ", nothing that a repair can mend",
        (false, true) => " (dry run: nothing was written)",
        (false, false) => "",
    };
    let mut text = format!("{job}: {points}, {by}{what}\n");
    for head in &report.damaged_heads {
        text.push_str(&format!("  damaged   {head}\n"));
    }
    for object in &report.restored {
        text.push_str(&format!("  restored  {object}\n"));
    }
    for index in &report.salvaged {
        text.push_str(&format!("  salvaged  {index}, from the frames of its blocks\n"));
    }
    for index in &report.rewritten {
        text.push_str(&format!("  rewritten {index}, as what its restore point stood on is lost\n"));
    }
    for left in &report.left_out {
        let machine = left.machine.as_ref().map_or_else(String::new, |machine| format!(" {machine}"));
        text.push_str(&format!("  LEFT OUT  #{}{machine}: {}\n", left.sequence, left.reason()));
    }
    for note in &report.notes {
        text.push_str(&format!("  warning   {}\n", words::note(note)));
    }
    for damage in &report.damage {
        text.push_str(&format!("  DAMAGED   {}: {}\n", damage.object, words::damage(&damage.what)));
        text.push_str(&format!("            {}\n", touches(damage)));
    }
    if let Some(number) = report.head {
        text.push_str(&format!("  head      {number}\n"));
    }
    if !report.unneeded.is_empty() {
        let files = render::count(report.unneeded.len(), "backup file", "backup files");
        let bytes = render::bytes(report.unneeded.iter().map(|file| file.bytes).sum());
        let (word, then) = match discard {
            true => ("discarded", "the next run of the job removes what no reader needs".to_owned()),
            false => ("kept", format!("`offsite repair {repo} {:?} --discard` lets them go", job.as_str())),
        };
        text.push_str(&format!("  {word:<9} {files} of what was left out, {bytes}: {then}\n"));
    }
    if report.basis == Basis::Indexes {
        // Until then, copy jobs that select by them do not find their machines.
        text.push_str(
            "  tags and containers were in the heads: a backup job needs them again with its next backup (--tag, --container)\n",
        );
    } else {
        text.push_str("  blocks were not read: `offsite verify --read-data` reads them\n");
    }
    if report.damage.iter().any(|damage| !damage.touches.is_empty()) {
        text.push_str(
            "  the next run of the copy job puts damaged blocks back whose bytes a source or another restore point still has\n",
        );
    }
    text
}
