//! `offsite check-repository`

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use offsite_repository::testing::conformance::{self, Options, Outcome, RacerProcess, Report};
use offsite_repository::{Error, ErrorKind, Repository};
use serde_json::{Value, json};

use crate::args::CheckRepository;
use crate::config::Config;
use crate::status::{Failure, Status};
use crate::{json, place, print, render};

pub(crate) async fn run(arguments: &CheckRepository, config_path: PathBuf) -> Result<Status, Failure> {
    let config = Config::load(&config_path)?;
    let repository = place::backend(&arguments.repo, &config).await?;
    if arguments.racer {
        conformance::play_racer(&*repository).await;
        return Ok(Status::Done);
    }
    let folder = place::folder(&arguments.repo, &config)?;
    let options = if arguments.quick { Options::quick() } else { Options::default() };
    let options = options.with_processes(racers(&arguments.repo, config_path)?);
    let started = Instant::now();
    let report = conformance::check(factory(arguments.repo.clone(), config), &options).await;
    let tidied = tidy(&*repository, folder.as_deref(), &report).await;
    if arguments.json {
        json::print(&fields(&report))?;
    } else {
        print::text(summary(&report, started));
    }
    tidied?;
    Ok(if report.nothing_failed() { Status::Done } else { Status::Failed })
}

/// Opens the place anew each time, so that the suite can compare what two handles see.
fn factory(repo: String, config: Config) -> impl conformance::Factory {
    let config = Arc::new(config);
    conformance::factory(move || {
        let (repo, config) = (repo.clone(), Arc::clone(&config));
        async move {
            place::backend(&repo, &config).await.map_err(|failure| {
                Error::new(ErrorKind::Unavailable, "open").with_location(repo).with_detail(failure.text())
            })
        }
    })
}

/// Starts this command again in other processes, as racers at the same place.
fn racers(repo: &str, config_path: PathBuf) -> Result<RacerProcess, Failure> {
    let program = std::env::current_exe().map_err(|error| format!("cannot find the offsite command: {error}"))?;
    let repo = repo.to_owned();
    Ok(RacerProcess::new(move || {
        let mut command = Command::new(&program);
        command.arg("--config").arg(&config_path).args(["check-repository", "--racer", "--", &repo]);
        command
    }))
}

/// Removes what the suite leaves behind: unfinished objects, and the folders of its objects.
async fn tidy(repository: &dyn Repository, root: Option<&Path>, report: &Report) -> Result<(), Failure> {
    // Without a folder nothing was written, and the path would be the place itself.
    if report.folder.is_empty() {
        return Ok(());
    }
    repository.sweep().await?;
    let Some(folder) = root.map(|root| root.join(&report.folder)) else { return Ok(()) };
    remove_empty_folders(&folder).map_err(|error| {
        Failure::Failed(format!("cannot remove {}, which the check has made: {error}; delete it", folder.display()))
    })
}

/// Removes a folder and the folders below it. It stops at a file, as the suite has deleted its own.
fn remove_empty_folders(folder: &Path) -> std::io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        // This is the kind of the entry itself. Links are not followed.
        if entry.file_type()?.is_dir() {
            remove_empty_folders(&entry.path())?;
        }
    }
    fs::remove_dir(folder)
}

/// Returns the result of a case in one word, and what there is to say of it.
fn words(outcome: &Outcome) -> (&'static str, String) {
    match outcome {
        Outcome::Passed => ("passed", String::new()),
        Outcome::Failed(what) => ("failed", what.clone()),
        Outcome::LeftOut(why) => ("left out", why.clone()),
        other => ("unknown", other.to_string()),
    }
}

fn summary(report: &Report, started: Instant) -> String {
    let mut rows = vec![["case", "result", "detail"].map(str::to_owned).to_vec()];
    rows.extend(report.cases.iter().map(|case| {
        let (result, detail) = words(&case.outcome);
        // The word is in capitals, as the reader looks for it among thirty lines.
        let result = if matches!(case.outcome, Outcome::Failed(_)) { "FAILED" } else { result };
        vec![case.name.to_owned(), result.to_owned(), detail.replace('\n', ";")]
    }));
    let [passed, failed, left_out] = counts(report);
    format!(
        "{}\n{}{passed} passed, {failed} failed, {left_out} left out, in {}\n{}\n",
        report.location,
        render::table(&rows, &[]),
        render::duration(started.elapsed()),
        verdict(failed, left_out),
    )
}

fn verdict(failed: usize, left_out: usize) -> String {
    match (failed, left_out) {
        (0, 0) => "nothing was found that speaks against keeping backups here".to_owned(),
        (0, 1) => "what was tried speaks for keeping backups here; 1 case was left out and says nothing".to_owned(),
        (0, _) => {
            format!("what was tried speaks for keeping backups here; {left_out} cases were left out and say nothing")
        }
        _ => "do not keep backups here: what failed is what they rely on".to_owned(),
    }
}

fn counts(report: &Report) -> [usize; 3] {
    [report.passed().count(), report.failed().count(), report.left_out().count()]
}

fn fields(report: &Report) -> Value {
    let cases = report.cases.iter().map(|case| {
        let (result, detail) = words(&case.outcome);
        json!({ "name": case.name, "result": result, "detail": (!detail.is_empty()).then_some(detail) })
    });
    let [passed, failed, left_out] = counts(report);
    json!({
        "location": report.location,
        "cases": cases.collect::<Vec<_>>(),
        "passed": passed,
        "failed": failed,
        "left_out": left_out,
    })
}
