//! `offsite points`

use std::path::Path;

use offsite::model::{Sequence, Status as MachineStatus};
use offsite::{JobFolder, KnownDamage};
use serde_json::{Value, json};

use crate::args::Points;
use crate::commands::{UNREADABLE, failed, jobs};
use crate::config::Config;
use crate::media::View;
use crate::status::{Failure, Status};
use crate::{advice, json, place, print, render};

pub(crate) async fn run(arguments: &Points, config: &Path) -> Result<Status, Failure> {
    let config = Config::load(config)?;
    let (views, mut status) = place::views(&arguments.repo, &config).await?;
    for view in views {
        match list(&view, arguments, &config).await {
            Ok(listed) => status = status.and(listed),
            // Another medium can be listed.
            Err(failure) if view.medium.is_some() => {
                print::problem(failure.text());
                status = Status::Failed;
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(status)
}

async fn list(View { repository, medium }: &View, arguments: &Points, config: &Config) -> Result<Status, Failure> {
    let (jobs, mut status) = jobs(repository, &arguments.repo, arguments.job.as_deref(), config).await?;
    let mut unread: Vec<Value> = Vec::new();
    let mut listed: Vec<Value> = Vec::new();
    let mut rows = vec![["job", "point", "time", "kind", "stored", "machines"].map(str::to_owned).to_vec()];
    for job in jobs {
        let folder = match JobFolder::open(repository, &job).await {
            // Another medium may have the job.
            Err(offsite::Error::UnknownJob { .. }) if medium.is_some() => continue,
            Err(error) if arguments.job.is_none() => {
                let failure = Failure::from(error);
                unread.push(json!({ "job": job.as_str(), "why": failure.text() }));
                status = status.and(failed(&job, &failure));
                continue;
            }
            folder => folder?,
        };
        for damaged in folder.damaged_heads() {
            print::warning(format_args!("{damaged}; {}", advice::OF_DAMAGED_HEAD));
            status = status.and(Status::Warnings);
        }
        let known = folder.known_damage().await?;
        if !known.is_empty() {
            status = status.and(Status::Warnings);
        }
        let local = config.local_time(job.as_str());
        for point in folder.chain().all() {
            let mut value = json::point(point, &known, None);
            if arguments.json {
                // A damaged index hides the disks of a point. The point is listed all the same.
                match folder.disks(point).await {
                    Ok(disks) => json::add_disks(&mut value, &disks),
                    Err(error) => {
                        print::warning(format_args!(
                            "the disks of restore point {} of job {job} are unknown: {}",
                            point.sequence,
                            advice::line_of(&error)
                        ));
                        status = status.and(Status::Warnings);
                    }
                }
            }
            value["job"] = job.as_str().into();
            listed.push(value);
            let machines: Vec<String> = point
                .machines
                .iter()
                .map(|machine| {
                    let status = match machine.status {
                        MachineStatus::Complete => String::new(),
                        MachineStatus::Incomplete => format!(
                            " (incomplete: {} done, {} left)",
                            render::bytes(machine.transferred.done_bytes),
                            render::bytes(machine.transferred.left_bytes),
                        ),
                        other => format!(" ({} of {})", json::status(other), local.time(machine.captured)),
                    };
                    format!("{}{status}{}", machine.name, damaged(known.blocks(point.sequence, &machine.name)))
                })
                .collect();
            rows.push(vec![
                job.to_string(),
                format!("#{}", point.sequence),
                local.time(point.time),
                if point.is_back_filled { "back-filled".to_owned() } else { json::kind(point.kind).to_owned() },
                render::bytes(point.stored.bytes),
                format!("{}{}", machines.join(", "), unreadable(&known, point.sequence)),
            ]);
        }
    }
    if arguments.json {
        let mut value = json!({ "location": repository.location(), "points": listed, "unread": unread });
        if let Some(medium) = medium {
            value["medium"] = medium.json();
        }
        json::print(&value)?;
        return Ok(status);
    }
    medium.iter().for_each(|medium| print::line(medium.words()));
    if listed.is_empty() && unread.is_empty() {
        print::line(format_args!("{} has no restore points", repository.location()));
    } else if !listed.is_empty() {
        print::text(render::table(&rows, &[4]));
    }
    Ok(status)
}

/// Says that nothing of a restore point can be read.
pub(crate) fn unreadable(known: &KnownDamage, point: Sequence) -> String {
    if known.unreadable.contains(&point) { format!(" (DAMAGED: {UNREADABLE})") } else { String::new() }
}

/// Says how much of a machine is known to be damaged.
pub(crate) fn damaged(blocks: u64) -> String {
    match usize::try_from(blocks).unwrap_or(usize::MAX) {
        0 => String::new(),
        blocks => format!(" (DAMAGED: {})", render::count(blocks, "block", "blocks")),
    }
}
