//! What surrounds a daemon's job: its repositories, and what is done after each interval.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use offsite::runner::{Clock, JobHost, OpenFailure, RunReport};
use offsite::{CopyJob, JobName, OpenRepository};
use tracing::{info, warn};

use super::events::Notes;
use crate::config::{Config, JobConfig};
use crate::job::{self, Opening};
use crate::media::Inserted;
use crate::post_job::Told;
use crate::status::Failure;
use crate::{json, place};

/// A job of the config.
pub(super) struct Host {
    pub(super) name: JobName,
    pub(super) config: Arc<Config>,
    pub(super) clock: Arc<dyn Clock>,
    /// Buckets that are open: each opening tries whether the store keeps conditions, which costs requests. Folders and drives
    /// are opened anew each time, as others may be mounted there.
    pub(super) buckets: Mutex<BTreeMap<String, OpenRepository>>,
}

impl Host {
    fn job(&self) -> Result<&JobConfig, Failure> {
        let job = self.config.jobs.get(self.name.as_str());
        job.ok_or_else(|| Failure::WrongUse(format!("the config has no job {}", self.name)))
    }

    async fn repository(&self, repo: &str) -> Result<OpenRepository, Failure> {
        let is_bucket = self.config.location(repo).is_some_and(|location| location.starts_with("s3://"));
        if !is_bucket {
            return place::open(repo, &self.config).await;
        }
        let known = self.buckets.lock().unwrap_or_else(PoisonError::into_inner).get(repo).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let opened = place::open(repo, &self.config).await?;
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner).insert(repo.to_owned(), opened.clone());
        Ok(opened)
    }

    async fn open_job(&self) -> Result<CopyJob, Failure> {
        let job = self.job()?;
        let mut open: BTreeMap<&str, OpenRepository> = BTreeMap::new();
        for repo in job.sources().iter().map(|source| source.repository.as_str()) {
            if !open.contains_key(repo) {
                open.insert(repo, self.repository(repo).await?);
            }
        }
        let sources = job::sources(job, &open)?;
        let inserted = self.inserted(job).await?;
        let target = match &inserted {
            Some(inserted) => inserted.repository.clone(),
            None => self.repository(&job.target).await?,
        };
        let opening = Opening {
            name: self.name.as_str(),
            job,
            config: &self.config,
            apply_changes_at_once: false,
            progress: Arc::new(Notes { job: self.name.clone() }),
        };
        let medium = inserted.as_ref().map(|inserted| inserted.removable.medium());
        let (copy, untold) = opening.copy(&sources, &target, medium).await?;
        untold.iter().for_each(|why| warn!(job = self.name.as_str(), "{why}"));
        Ok(copy)
    }

    /// The drive that the job copies to, if it copies to drives.
    async fn inserted(&self, job: &JobConfig) -> Result<Option<Inserted>, Failure> {
        match place::media(&job.target, &self.config)? {
            Some(set) => set.open().await.map(Some),
            None => Ok(None),
        }
    }

    /// Writes down what is on the drive, and tells that it can be taken out.
    async fn let_go(&self) -> Result<(), Failure> {
        if let Some(inserted) = self.inserted(self.job()?).await? {
            inserted.remember(self.clock.now()).await?;
            let ejected = inserted.removable.eject().await?;
            info!(job = self.name.as_str(), "{ejected}");
        }
        Ok(())
    }

    async fn run_script(&self, report: &RunReport) -> Result<(), String> {
        let script = match self.job().map(|job| job.script(self.config.folder())) {
            Ok(Ok(Some(script))) => script,
            // A config with a fault is not in force.
            _ => return Ok(()),
        };
        let name = self.name.as_str();
        let point = report.point.map(|point| point.0);
        let told = Told { job: name, result: report.status().word(), point };
        script.run(told, &json::interval(report), &|line| info!(job = name, "script: {line}")).await
    }
}

#[async_trait]
impl JobHost for Host {
    async fn open(&self) -> Result<CopyJob, OpenFailure> {
        self.open_job().await.map_err(|failure| match failure {
            Failure::Failed(text) => OpenFailure { why: one_line(&text), is_retryable: true },
            Failure::WrongUse(text) => OpenFailure { why: one_line(&text), is_retryable: false },
        })
    }

    async fn after(&self, report: &RunReport) -> Vec<String> {
        let mut warnings = Vec::new();
        if report.point.is_some()
            && let Err(Failure::Failed(why) | Failure::WrongUse(why)) = self.let_go().await
        {
            warnings.push(format!("do not take the medium out: {}", one_line(&why)));
        }
        warnings.extend(self.run_script(report).await.err());
        warnings
    }
}

/// A line of a log is a line.
pub(super) fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join("; ")
}
