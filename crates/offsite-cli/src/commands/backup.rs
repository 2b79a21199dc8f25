//! `offsite backup`

mod ending;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use offsite::model::Labels;
use offsite::model::MachineName;
use offsite::report::BackupReport;
use offsite::retention::Simple;
use offsite::{BackupJob, FullKind, ImageSource};

use ending::Ending;

use crate::args::{Backup, FormatOf};
use crate::commands::{planned, transform_lines};
use crate::config::Config;
use crate::json::events;
use crate::progress::Lines;
use crate::signals::Stop;
use crate::status::{Failure, Status};
use crate::{json, place, print, progress, render, words};

pub(crate) async fn run(arguments: &Backup, config: &Path) -> Result<Status, Failure> {
    let config = Config::load(config)?;
    let keep = arguments.keep.map(Simple::new).transpose().map_err(|error| Failure::WrongUse(error.to_string()))?;
    let mut names: Vec<_> = arguments.machines.iter().map(|(name, _)| name).collect();
    names.sort();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Failure::WrongUse(format!(
            "machine {} is given twice; name it once, with its disks separated by commas",
            twice[0]
        )));
    }
    let labels = labels(arguments)?;
    let repository = place::open(&arguments.repo, &config).await?;
    let stop = Stop::listen()?;
    let ending =
        Arc::new(Ending::new(stop.clone(), progress::shown(Lines::wanted(arguments.json && !arguments.dry_run))));
    let mut job = BackupJob::new(&repository, arguments.job.clone())
        .method(arguments.method.into())
        .progress(ending.clone())
        .gate(ending.clone());
    if arguments.full || arguments.synthetic_full {
        job = job.full(if arguments.full { FullKind::Active } else { FullKind::Synthetic });
    }
    for (machine, images) in images(arguments)? {
        job = job.machine(machine, images);
    }
    for (machine, labels) in labels {
        job = job.labels(machine, labels);
    }
    if let Some(block_size) = arguments.block_size {
        job = job.block_size(block_size);
    }
    if let Some(keep) = keep {
        job = job.keep(keep);
    }
    job = job.trust_clock(arguments.trust_clock);
    if arguments.dry_run {
        return plan(arguments, &job, &stop).await;
    }
    let backed_up = async { Ok(job.run(arguments.at.unwrap_or_else(place::now)).await?) };
    let report = ending.end(backed_up).await?;
    if arguments.json {
        events::print_report(json::backup(arguments.job.as_str(), &report))?;
    } else {
        print::text(summary(arguments.job.as_str(), &report));
    }
    for machine in &report.failed {
        let why = words::reason(&machine.why);
        print::problem(format_args!("machine {} was not backed up: {why}", machine.name));
    }
    for warning in report.machines.iter().flat_map(|machine| &machine.warnings) {
        print::warning(words::image(warning));
    }
    if report.transform.is_stopped
        && let Some(signal) = stop.signal()
    {
        let what =
            format!("restore point #{} was made and is kept; the next backup goes on with the rest", report.sequence);
        return Err(Failure::Stopped { signal, what });
    }
    let is_clean = report.transform.is_well()
        && report.failed.is_empty()
        && report.machines.iter().all(|machine| machine.warnings.is_empty());
    Ok(if is_clean { Status::Done } else { Status::Warnings })
}

/// Prints what the backup would do.
async fn plan(arguments: &Backup, job: &BackupJob, stop: &Stop) -> Result<Status, Failure> {
    let planned = async { Ok(job.plan(arguments.at.unwrap_or_else(place::now)).await?) };
    let plan = stop.cut_off(planned, planned::NOTHING_WRITTEN).await?;
    if arguments.json {
        json::print(&json::planned::backup(arguments.job.as_str(), &plan))?;
    } else {
        print::text(planned::backup(arguments.job.as_str(), &plan));
    }
    for machine in &plan.failed {
        let why = words::reason(&machine.why);
        print::problem(format_args!("machine {} would not be backed up: {why}", machine.name));
    }
    Ok(if plan.failed.is_empty() { Status::Done } else { Status::Warnings })
}

/// Returns the images of each machine, with how to read them.
fn images(arguments: &Backup) -> Result<Vec<(MachineName, Vec<ImageSource>)>, Failure> {
    let mut is_used = vec![false; arguments.formats.len()];
    let mut machines = Vec::new();
    for (machine, disks) in &arguments.machines {
        let mut sources = Vec::new();
        for disk in disks {
            let mut image = ImageSource::new(&disk.image);
            if let Some(name) = &disk.name {
                image = image.named(name.clone());
            }
            let own = [machine.to_string(), format!("{machine}:{}", image.name())];
            // The format of a disk comes before that of its machine, and that before the format of all images.
            let rank = |of: &FormatOf| match &of.whose {
                None => Some(0),
                Some(whose) => own.iter().position(|own| own == whose).map(|depth| depth + 1),
            };
            let ranked = arguments.formats.iter().zip(&mut is_used).filter_map(|(of, is_used)| {
                let rank = rank(of)?;
                *is_used = true;
                Some((rank, of.format))
            });
            if let Some((_, format)) = ranked.max_by_key(|(rank, _)| *rank) {
                image = image.with_format(format.into());
            }
            if arguments.allow_backing_files {
                image = image.allow_backing_files();
            }
            if arguments.force_share {
                image = image.force_share();
            }
            sources.push(image);
        }
        machines.push((machine.clone(), sources));
    }
    match arguments.formats.iter().zip(is_used).find(|(_, is_used)| !is_used) {
        Some((FormatOf { whose: Some(whose), .. }, _)) => Err(Failure::WrongUse(format!(
            "--format {whose}:...: this run has no such machine or disk; a disk is called as its image's file, or as you name it \
             (MACHINE=NAME=IMAGE)"
        ))),
        _ => Ok(machines),
    }
}

/// Returns the labels of the machines that have some.
fn labels(arguments: &Backup) -> Result<BTreeMap<MachineName, Labels>, Failure> {
    let mut texts: BTreeMap<&MachineName, [Vec<String>; 2]> = BTreeMap::new();
    for (given, kind) in [(&arguments.tags, 0), (&arguments.containers, 1)] {
        for text in given {
            // Names and tags may contain colons. The names are known, so the tag follows the name.
            let named = arguments.machines.iter().filter_map(|(name, _)| {
                let label = text.strip_prefix(name.as_str())?.strip_prefix(':')?;
                Some((name, label))
            });
            let (name, label) = named.max_by_key(|(name, _)| name.as_str().len()).ok_or_else(|| {
                Failure::WrongUse(format!("{text:?}: write MACHINE:TAG, for a machine that this run backs up"))
            })?;
            let own = texts.entry(name).or_default();
            own[kind].extend((!label.is_empty()).then(|| label.to_owned()));
        }
    }
    let labels = texts.into_iter().map(|(name, [tags, containers])| {
        let labels = Labels::new(tags, containers).map_err(|error| Failure::WrongUse(error.to_string()))?;
        Ok((name.clone(), labels))
    });
    labels.collect()
}

/// Returns the report in words.
fn summary(job: &str, report: &BackupReport) -> String {
    let kind = if report.full { "full" } else { "increment" };
    let mut text = format!("{job}: restore point #{} of {} ({kind})\n", report.sequence, report.time);
    let mut rows = vec![["  machine", "disks", "read", "changed"].map(str::to_owned).to_vec()];
    rows.extend(report.machines.iter().map(|machine| {
        vec![
            format!("  {}", machine.name),
            render::bytes(machine.disk_bytes),
            render::bytes(machine.read_bytes),
            render::bytes(machine.changed_bytes),
        ]
    }));
    text.push_str(&render::table(&rows, &[1, 2, 3]));
    let read: u64 = report.machines.iter().map(|machine| machine.read_bytes).sum();
    let changed: u64 = report.machines.iter().map(|machine| machine.changed_bytes).sum();
    text.push_str(&format!(
        "  stored    {} in {}{}, in {}{}\n",
        render::bytes(report.stored_bytes),
        render::count(usize::try_from(report.stored_blocks).unwrap_or(usize::MAX), "block", "blocks"),
        saving(changed, report.stored_bytes),
        render::duration(report.duration),
        render::rate(read, report.duration),
    ));
    if let Some(rolled_back) = report.rolled_back {
        text.push_str(&format!("  rollback  #{rolled_back} is a step back from #{} now\n", report.sequence));
    }
    for line in transform_lines(&report.transform) {
        text.push_str(&format!("  {line}\n"));
    }
    text
}

/// Says how much compression saved.
fn saving(plain: u64, stored: u64) -> String {
    match plain.checked_sub(stored) {
        Some(saved) if plain > 0 => format!(" ({} saved, {} %)", render::bytes(saved), saved * 100 / plain),
        _ => String::new(),
    }
}
