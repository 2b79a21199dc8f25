//! The surroundings of a job, on schedule or by hand: its repositories, and what follows each interval.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use offsite::model::RepositoryId;
use offsite::report::{ErrorSummary, Note, Unseen};
use offsite::runner::{Activity, Clock, CopyRun, OpenFailure, OpenJob, RunReport, RunStatus};
use offsite::{CopyJob, JobFolder, JobName, Lend, Lending, OpenRepository, Progress, Source, Transforms};
use offsite_backends::{EjectedMedium, Medium};

use crate::cache::NotOpen;
use crate::config::{Config, JobConfig};
use crate::error_text::one_line;
use crate::mail::{self, Mail, Origin, RunFacts};
use crate::mailing::post;
use crate::media::Inserted;
use crate::post_job::ScriptInput;
use crate::status::Failure;
use crate::{advice, json, place};

/// Hears what happens around a job.
pub(crate) trait Listener: Send + Sync {
    /// The script of the job printed a line.
    fn script(&self, line: &str);

    /// The medium of the target can be taken out.
    fn ejected(&self, ejected: &EjectedMedium);
}

/// A job of the config.
pub(crate) struct Host {
    pub(crate) name: JobName,
    pub(crate) config: Arc<Config>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) apply_changes_at_once: bool,
    /// Whether somebody has checked that the clock is right.
    pub(crate) trusts_clock: bool,
    /// Whether machines may be taken over from other job folders than they came from.
    pub(crate) adopts: bool,
    pub(crate) progress: Arc<dyn Progress>,
    pub(crate) listener: Arc<dyn Listener>,
    /// The open buckets. Each opening tries whether the store keeps conditions, which costs requests. Folders and drives are opened
    /// anew each time, as others may be mounted there.
    buckets: Mutex<BTreeMap<String, OpenRepository>>,
    /// The targets that are known to have the job's folder.
    begun: Mutex<BTreeSet<RepositoryId>>,
    /// Whether the job could not be opened because the config is wrong.
    is_wrong_use: AtomicBool,
}

impl Host {
    pub(crate) fn new(
        name: JobName,
        config: Arc<Config>,
        clock: Arc<dyn Clock>,
        progress: Arc<dyn Progress>,
        listener: Arc<dyn Listener>,
    ) -> Self {
        Self {
            name,
            config,
            clock,
            apply_changes_at_once: false,
            trusts_clock: false,
            adopts: false,
            progress,
            listener,
            buckets: Mutex::default(),
            begun: Mutex::default(),
            is_wrong_use: AtomicBool::new(false),
        }
    }

    /// Whether the job could not be opened because the config is wrong.
    pub(crate) fn is_wrong_use(&self) -> bool {
        self.is_wrong_use.load(Ordering::Relaxed)
    }

    fn job(&self) -> Result<&JobConfig, Failure> {
        let job = self.config.jobs.get(self.name.as_str());
        job.ok_or_else(|| Failure::WrongUse(format!("the config has no job {}", self.name)))
    }

    async fn repository(&self, repo: &str) -> Result<OpenRepository, Failure> {
        let is_bucket = self.config.location(repo).is_some_and(|location| location.starts_with("s3://"));
        if !is_bucket {
            return place::open_in_job(repo, &self.config, &self.name).await;
        }
        let known = self.buckets.lock().unwrap_or_else(PoisonError::into_inner).get(repo).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let opened = place::open_in_job(repo, &self.config, &self.name).await?;
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner).insert(repo.to_owned(), opened.clone());
        Ok(opened)
    }

    /// Returns the sources in repositories that can be opened, and why others cannot.
    pub(crate) async fn sources(&self) -> Result<(Vec<Source>, Vec<Unseen>), Failure> {
        let job = self.job()?;
        let mut open: BTreeMap<&str, OpenRepository> = BTreeMap::new();
        let mut failures: BTreeMap<&str, Failure> = BTreeMap::new();
        let mut sources = Vec::new();
        for source in job.sources() {
            let repo = source.repository.as_str();
            if !open.contains_key(repo) && !failures.contains_key(repo) {
                match self.repository(repo).await {
                    Ok(opened) => drop(open.insert(repo, opened)),
                    Err(failure) => drop(failures.insert(repo, failure)),
                }
            }
            if let Some(repository) = open.get(repo) {
                sources.push(source.source(repository, &self.config).map_err(Failure::WrongUse)?);
            }
        }
        match failures.pop_first() {
            Some((_, failure @ Failure::WrongUse(_))) if sources.is_empty() => Err(failure),
            first => {
                let unseen = |(repo, failure): (&str, Failure)| {
                    let (text, named) = (one_line(failure.text()), format!("repository {repo}: "));
                    let text = text.strip_prefix(&named).unwrap_or(&text);
                    let why = ErrorSummary::new(text, !matches!(failure, Failure::WrongUse(_)));
                    Unseen::Repository { name: repo.to_owned(), why }
                };
                Ok((sources, first.into_iter().chain(failures).map(unseen).collect()))
            }
        }
    }

    /// Returns the job from these sources to this target. `medium` is the medium of the target, if it is on one. `unseen` has the
    /// sources that are not read.
    pub(crate) async fn copy_job(
        &self,
        sources: Vec<Source>,
        mut unseen: Vec<Unseen>,
        target: &OpenRepository,
        medium: Option<&Medium>,
    ) -> Result<CopyJob, Failure> {
        let job = self.job()?;
        let (transforms, untold) = self.transforms(medium).await?;
        unseen.extend(untold);
        // If drives are used in turn, each has its own job folders.
        let sources_rotate = job.sources().iter().any(|source| {
            self.config.location(&source.repository).is_some_and(|location| location.starts_with("removable:"))
        });
        let copy = CopyJob::of(self.folder()?, sources, target)?
            .unseen(unseen)
            .min_free_bytes(job.min_free_bytes().map_err(|fault| Failure::WrongUse(fault.why))?)
            .retry(job.retry().map_err(|fault| Failure::WrongUse(fault.why))?)
            .adopt(self.adopts || sources_rotate)
            .back_fill(job.back_fill().map_err(|fault| Failure::WrongUse(fault.why))?)
            .history(job.history().map_err(|fault| Failure::WrongUse(fault.why))?)
            .select(job.selection().map_err(Failure::WrongUse)?)
            .transforms(transforms)
            .progress(self.progress.clone());
        let former = self.former_name(&copy, target).await?;
        let (lending, without) = self.lending(job).await?;
        let notes = former.into_iter().chain(without).map(|text| Note::Custom { text }).collect();
        Ok(copy.lending(lending).notes(notes))
    }

    /// Returns what the job may read at the side of its target, and why it does without its cache.
    async fn lending(&self, job: &JobConfig) -> Result<(Lending, Option<String>), Failure> {
        let lending = Lending::new(job.lend()).filter(self.config.state_dir().filter());
        let Some(settings) = self.config.cache_of(&job.target).filter(|_| job.lend() != Lend::Never) else {
            return Ok((lending, None));
        };
        match self.config.caches.open(&settings).await {
            Ok(cache) => Ok((lending.cache(cache), None)),
            // A copy that waited for a cache would be worse off than one without.
            Err(NotOpen::InUse(why)) => Ok((lending, Some(format!("the copy goes without its cache: {why}")))),
            Err(NotOpen::Failed(failure @ Failure::WrongUse(_))) => Err(failure),
            Err(NotOpen::Failed(failure)) => {
                Ok((lending, Some(format!("the copy goes without its cache: {}", one_line(failure.text())))))
            }
        }
    }

    /// Returns the name of the job's folder in its target.
    pub(crate) fn folder(&self) -> Result<JobName, Failure> {
        Ok(self.config.folder_of(&self.job()?.target, &self.name))
    }

    /// Returns a note if the job is about to begin anew, and a chain in the target may be this job's under a former name.
    async fn former_name(&self, copy: &CopyJob, target: &OpenRepository) -> Result<Option<String>, Failure> {
        let begun = || self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        if begun().contains(&target.id()) {
            return Ok(None);
        }
        let (job, folder, name) = (self.job()?, self.folder()?, &self.name);
        let has = async |folder: &JobName| match JobFolder::open(target, folder).await {
            Err(offsite::Error::UnknownJob { .. }) => Ok(false),
            found => found.map(|_| true),
        };
        if folder != *name && has(name).await? {
            let (old, location) = (folder.as_str(), target.location());
            return Err(Failure::WrongUse(match has(&folder).await? {
                true => format!(
                    "renamed_from = {old:?} goes on with the chain of that name, and {location} has one of the name {name}, too; keep \
                     one of them: remove renamed_from, or move the folder {name} away"
                ),
                false => format!(
                    "renamed_from = {old:?} names a chain that {location} does not have, and it has one of the name {name}: remove \
                     renamed_from, and the job goes on with that one"
                ),
            }));
        }
        if has(&folder).await? {
            begun().insert(target.id());
            return Ok(None);
        }
        let is_of_another = |found: &JobName| {
            let mut others = self
                .config
                .jobs
                .iter()
                .filter(|(other, config)| *other != name.as_str() && config.target == job.target);
            others.any(|(other, config)| config.renamed_from().unwrap_or(other) == found.as_str())
        };
        let former = copy.forerunners().await.unwrap_or_default().into_iter().find(|found| !is_of_another(found));
        Ok(former.map(|former| {
            format!(
                "{} has a chain of job {former} with copies from the same source, and no job of the config has that name: if this is the \
                 job under a new name, write renamed_from = {:?}, and it goes on with that chain; without it, a new full is made",
                target.location(),
                former.as_str()
            )
        }))
    }

    /// Returns what to do to the chain, and the media whose restore points retention cannot count now.
    pub(crate) async fn transforms(&self, medium: Option<&Medium>) -> Result<(Transforms, Vec<Unseen>), Failure> {
        let (transforms, untold) = transforms(&self.name, &self.config, medium).await?;
        let Self { apply_changes_at_once, trusts_clock, .. } = *self;
        Ok((transforms.apply_changes_at_once(apply_changes_at_once).trusts_clock(trusts_clock), untold))
    }

    /// Returns the repository that the job copies to, and its drive, if it is on one.
    pub(crate) async fn target(&self) -> Result<(OpenRepository, Option<Medium>), Failure> {
        match self.inserted().await? {
            Some(inserted) => Ok((inserted.repository, Some(inserted.removable.medium().clone()))),
            None => Ok((self.repository(&self.job()?.target).await?, None)),
        }
    }

    async fn open_job(&self) -> Result<CopyJob, Failure> {
        let (sources, unseen) = self.sources().await?;
        let (target, medium) = self.target().await?;
        self.copy_job(sources, unseen, &target, medium.as_ref()).await
    }

    /// Returns the drive that the job copies to. `None` if it does not copy to drives.
    async fn inserted(&self) -> Result<Option<Inserted>, Failure> {
        match place::media(&self.job()?.target, &self.config)? {
            Some(set) => set.open().await.map(Some),
            None => Ok(None),
        }
    }

    /// Writes down what is on the drive, and says that it can be taken out.
    pub(crate) async fn let_go(&self) -> Result<(), Failure> {
        if let Some(inserted) = self.inserted().await? {
            inserted.remember(self.clock.now()).await?;
            self.listener.ejected(&inserted.removable.eject().await?);
        }
        Ok(())
    }

    async fn run_script(&self, report: &CopyRun) -> Result<(), String> {
        let script = match self.job().map(|job| job.script(self.config.folder())) {
            Ok(Ok(Some(script))) => script,
            // A config with a fault is not in force.
            _ => return Ok(()),
        };
        let point = report.point.map(|point| point.0);
        let input = ScriptInput { job: self.name.as_str(), result: report.status().word(), point };
        script.run(input, &json::interval(report), &|line| self.listener.script(line)).await
    }

    /// Sends the mail of a run, if the config asks for it. `warnings` is what went wrong after the run. Returns what went wrong with the
    /// mail, one sentence each.
    async fn send_mail(&self, report: &CopyRun, warnings: &[String]) -> Vec<String> {
        let job = self.name.as_str();
        let Some(mail) = self.config.job_mail(job) else { return Vec::new() };
        let host = mail::host_name();
        let facts = RunFacts::of(report, warnings, host.clone());
        if !mail.is_wanted(facts.status) {
            return Vec::new();
        }
        let letter = mail::run(&facts, &self.config.local_time(job));
        let written = self.clock.now().to_string();
        post(&self.config).send(&Mail::new(&letter, Origin::Job(job.to_owned()), written, &host)).await
    }
}

#[async_trait]
impl OpenJob<CopyJob> for Host {
    async fn open(&self) -> Result<CopyJob, OpenFailure> {
        self.open_job().await.map_err(|failure| {
            let is_wrong_use = matches!(failure, Failure::WrongUse(_));
            self.is_wrong_use.store(is_wrong_use, Ordering::Relaxed);
            OpenFailure::new(one_line(failure.text()), !is_wrong_use)
        })
    }

    fn words(&self, error: &offsite::Error) -> String {
        advice::line_of(error)
    }
}

#[async_trait]
impl Activity for Host {
    async fn after(&self, report: &RunReport) -> Vec<String> {
        let RunReport::Copy(report) = report else { return Vec::new() };
        let mut warnings = Vec::new();
        // After a failure, another drive may be there than the one that the job has opened.
        if (report.status() != RunStatus::Failed || report.point.is_some())
            && let Err(failure) = self.let_go().await
        {
            warnings.push(format!("do not take the medium out: {}", one_line(failure.text())));
        }
        // The host that did the work reports it.
        if !report.is_done_elsewhere() {
            warnings.extend(self.run_script(report).await.err());
            let untold = self.send_mail(report, &warnings).await;
            warnings.extend(untold);
        }
        warnings
    }
}

/// Returns what the config asks to be done to the chain of the job `name`, and the media whose restore points retention cannot
/// count now. `medium` is the medium of the chain, if it is on one.
pub(crate) async fn transforms(
    name: &JobName,
    config: &Config,
    medium: Option<&Medium>,
) -> Result<(Transforms, Vec<Unseen>), Failure> {
    let job = config.jobs.get(name.as_str());
    let job = job.ok_or_else(|| Failure::WrongUse(format!("the config has no job {name}")))?;
    let (mut elsewhere, mut untold) = (Vec::new(), Vec::new());
    if let (Some(medium), Some(set)) = (medium, place::media(&job.target, config)?) {
        (elsewhere, untold) = set.elsewhere(medium.id, &config.folder_of(&job.target, name)).await?;
    }
    let transforms = job.transforms().map_err(Failure::WrongUse)?;
    Ok((transforms.elsewhere(elsewhere), untold))
}
