//! `offsite verify`

use std::path::Path;

use offsite::{Damage, JobFolder, JobName, OpenRepository, Verify as VerifyJob, VerifyReport};
use serde_json::json;

use crate::args::Verify;
use crate::commands::{failed, jobs, left};
use crate::config::Config;
use crate::json::events;
use crate::progress::Lines;
use crate::signals::Stop;
use crate::state::Verified;
use crate::status::{Failure, Status};
use crate::{clock, json, place, print, progress, render, words};

pub(crate) async fn run(arguments: &Verify, config: &Path) -> Result<Status, Failure> {
    let config = Config::load(config)?;
    let stop = Stop::listen()?;
    let repository = place::open_until(&arguments.repo, &config, &stop).await?;
    let (jobs, mut status) = jobs(&repository, &arguments.repo, arguments.job.as_deref(), &config).await?;
    for job in jobs {
        let verify = VerifyJob::new(&repository, job.clone())
            .read_data(arguments.read_data)
            .progress(progress::shown(Lines::wanted(arguments.json)));
        let verify = match arguments.budget_mib {
            Some(mib) => verify.budget_bytes(mib.get().saturating_mul(1 << 20)),
            None => verify,
        };
        let verified = async { Ok(verify.run().await?) };
        let report = match stop.end(verified, &format!("job {job} is not verified to its end")).await {
            Ok(report) => report,
            Err(Failure::Failed(why)) if arguments.job.is_none() => {
                let failure = Failure::Failed(why);
                if arguments.json {
                    events::print_report(json!({ "job": job.as_str(), "failure": failure.text() }))?;
                }
                status = status.and(failed(&job, &failure));
                continue;
            }
            Err(failure) => return Err(failure),
        };
        if arguments.json {
            events::print_report(json::verify(job.as_str(), &report))?;
        } else {
            let has_read = arguments.read_data || arguments.budget_mib.is_some();
            print::text(config.local_time(job.as_str()).text(&summary(
                &arguments.repo,
                job.as_str(),
                &report,
                has_read,
            )));
        }
        if let Some(copy) = config.copy_job_of(&arguments.repo, &job) {
            let mut verified = Verified::of(clock::clock()?.now().to_string(), &report.damage);
            if report.damage.is_empty() {
                verified.files = known(&repository, &job).await?;
            }
            if let Err(why) = config.state_dir().keep_verified(copy, verified) {
                print::warning(why);
                status = status.and(Status::Warnings);
            }
        }
        if !report.notes.is_empty() {
            status = status.and(Status::Warnings);
        }
        // Damage that touches no restore point is a warning. Any other damage is a failure.
        status = report.damage.iter().fold(status, |status, damage| {
            status.and(if damage.touches.is_empty() { Status::Warnings } else { Status::Failed })
        });
    }
    Ok(status)
}

/// Returns the damage that earlier verifications have found and this one has not read, one line for each machine of each restore
/// point.
async fn known(repository: &OpenRepository, job: &JobName) -> Result<Vec<String>, Failure> {
    let known = JobFolder::open(repository, job).await?.known_damage().await?;
    let machines = known.points.iter().flat_map(|(point, machines)| machines.keys().map(move |name| (point, name)));
    Ok(machines.map(|(point, name)| format!("{name} in #{point}, as an earlier verification has found")).collect())
}

fn summary(repo: &str, job: &str, report: &VerifyReport, read_data: bool) -> String {
    let number = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
    let looked = if read_data {
        format!("{} read and compared with their digests{}", render::bytes(report.bytes_read), left(report))
    } else {
        "presence only; --read-data reads every block".to_owned()
    };
    let mut text = format!(
        "{job}: {}, {}, {}: {}, in {}{}\n",
        render::count(number(report.points), "restore point", "restore points"),
        render::count(number(report.files), "backup file", "backup files"),
        render::count(number(report.blocks), "block", "blocks"),
        looked,
        render::duration(report.duration),
        render::rate(report.bytes_read, report.duration),
    );
    if report.damage.is_empty() && report.notes.is_empty() {
        let all = if read_data { "intact" } else { "all files are there (contents not read)" };
        text.push_str(&format!("  {all}\n"));
    }
    for note in &report.notes {
        text.push_str(&format!("  warning   {}\n", words::note(note)));
    }
    for damage in &report.damage {
        text.push_str(&format!("  DAMAGED   {}: {}\n", damage.object, words::damage(&damage.what)));
        text.push_str(&format!("            {}\n", touches(damage)));
    }
    let tells = |damage: &Damage| ["/head/", "/index/"].iter().any(|folder| damage.object.as_str().contains(folder));
    if report.damage.iter().any(tells) {
        text.push_str(&format!(
            "  `offsite repair {repo} \"{job}\"` makes heads and indexes again from their second copies\n"
        ));
    }
    text
}

pub(super) fn touches(damage: &Damage) -> String {
    if damage.touches.is_empty() {
        return "touches none of these restore points".to_owned();
    }
    let points: Vec<String> = damage
        .touches
        .iter()
        .map(|touched| match &touched.machine {
            Some(machine) => format!("#{} ({machine})", touched.sequence),
            None => format!("#{}", touched.sequence),
        })
        .collect();
    format!("touches {}: restore from another point, or another repository", points.join(", "))
}
