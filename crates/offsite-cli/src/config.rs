//! The config file.

mod bounds;
mod cache;
mod daemon;
mod fault;
mod mail;
pub(crate) mod path;
mod repository;
mod retry;
mod sources;
mod timing;
mod traffic;
mod transform;
mod zone;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cache::LendingConfig;
use daemon::DaemonConfig;
use fault::{Fault, fault};
use mail::MailConfig;
pub(crate) use mail::{DigestSettings, JobMail};
use offsite::repository::{StreamRange, StreamShare, Streams};
use offsite::runner::Settings;
use offsite::schedule::{Lookup, Schedule};
use offsite::{History, JobName, RetryPolicy, Selection, Traffic, Transforms};
use repository::STREAMS;
pub(crate) use repository::{ChecksumConfig, RepositoryConfig};
use retry::RetryConfig;
use serde::Deserialize;
use toml::Spanned;

use crate::cache::Caches;
use crate::local_time::LocalTime;
use crate::mail::Account;
use crate::policy::RetentionConfig;
use crate::post_job::Script;
use crate::state::StateDir;
use crate::status::Failure;
pub(crate) use sources::SourceConfig;
use sources::{ExcludeConfig, SelectConfig, SourcesConfig, objects};
use timing::{AfterConfig, Timing, WindowConfig};
use traffic::{BandwidthConfig, TrafficRuleConfig};
use transform::TransformConfig;

/// The default folder for what the host keeps, beside the config.
const STATE_DIR: &str = ".offsite";

/// The file `offsite.toml`. A key that this version does not know is an error.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(crate) struct Config {
    #[serde(default)]
    pub(crate) repositories: BTreeMap<String, RepositoryConfig>,
    #[serde(default)]
    pub(crate) jobs: BTreeMap<String, JobConfig>,
    #[serde(default)]
    pub(crate) daemon: DaemonConfig,
    #[serde(default)]
    traffic_rules: Vec<TrafficRuleConfig>,
    /// What the mails of the jobs and the digest have in common.
    #[serde(default)]
    mail: MailConfig,
    /// The folder for what the host keeps. `None` stands for `.offsite` beside the file.
    state_dir: Option<PathBuf>,
    /// The registry of the rules about traffic. All jobs of this process share it.
    #[serde(skip)]
    pub(crate) traffic: Traffic,
    /// The registry of the requests under way. All jobs of this process share it.
    #[serde(skip)]
    streams: Streams,
    /// The block caches that this process has open.
    #[serde(skip)]
    pub(crate) caches: Caches,
    /// The tables as they are in the file. They tell what has changed.
    #[serde(skip)]
    tables: toml::Table,
    /// The folder of the file. Relative paths start there.
    #[serde(skip)]
    folder: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(crate) struct JobConfig {
    source: SourcesConfig,
    #[serde(default)]
    select: SelectConfig,
    pub(crate) target: String,
    #[serde(default)]
    retention: RetentionConfig,
    #[serde(default)]
    transform: TransformConfig,
    every: Option<Spanned<String>>,
    at: Option<Spanned<String>>,
    time_zone: Option<Spanned<String>>,
    lookup: Option<Spanned<String>>,
    mode: Option<Spanned<String>>,
    window: Option<Spanned<WindowConfig>>,
    after: Option<AfterConfig>,
    /// The age from which the copy of a machine is overdue. `None` if no copy ever is.
    max_age: Option<Spanned<String>>,
    /// The space that stays free in the target. A copy that would use it does not begin.
    min_free: Option<Spanned<String>>,
    /// How the job waits for a place that cannot be reached.
    retry: Option<RetryConfig>,
    /// The limit of the block data that the job carries over the network.
    bandwidth: Option<Spanned<BandwidthConfig>>,
    /// When the job looks up what the side of its target has.
    #[serde(default)]
    lending: LendingConfig,
    /// How much of its sources' past the job brings while it is new.
    history: Option<Spanned<String>>,
    /// The name that the job had when its chain began. Its folder in the target has that name.
    renamed_from: Option<String>,
}

impl Config {
    /// Reads the file. A missing file counts as empty, as locations can be typed.
    pub(crate) fn load(path: &Path) -> Result<Self, Failure> {
        let wrong = |why: String| wrong(path, why);
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && path == Path::new("offsite.toml") => {
                return Ok(Self::default());
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(wrong("there is no such file".to_owned()));
            }
            Err(error) => return Err(wrong(error.to_string())),
        };
        Self::parse(&text, path)
    }

    /// Parses the text of the file at `path`.
    pub(crate) fn parse(text: &str, path: &Path) -> Result<Self, Failure> {
        let wrong = |why: String| wrong(path, why);
        let mut config: Self = toml::from_str(text).map_err(|error| wrong(explain(&error, text)))?;
        config.tables = toml::from_str(text).map_err(|error| wrong(explain(&error, text)))?;
        config.folder = path.parent().map(Path::to_owned).unwrap_or_default();
        let wrong_at = |what: &str, fault: Fault| {
            let line = text.get(..fault.span.start).map_or(1, |before| before.matches('\n').count() + 1);
            Failure::WrongUse(format!("config {}, line {line}: {what}{}", path.display(), fault.why))
        };
        config
            .daemon
            .jobs_at_once()
            .and_then(|_| config.mail.check(&config.folder))
            .and_then(|()| config.digest().map(drop))
            .map_err(|fault| wrong_at("", fault))?;
        if let Some(fault) = config.state_dir.as_deref().and_then(path::fault) {
            return Err(wrong(format!("state_dir: {fault}")));
        }
        for (name, repository) in &mut config.repositories {
            if let Some(key) = repository.bucket_key().filter(|_| !repository.location.starts_with("s3://")) {
                let location = &repository.location;
                return Err(wrong(format!(
                    "repository {name:?}: {key} is for buckets (s3://...), and {location} is none"
                )));
            }
            if let Some(fault) = repository.streams_fault() {
                return Err(wrong(format!("repository {name:?}: {fault}")));
            }
            if let Some(fault) = repository.path_fault() {
                return Err(wrong(format!("repository {name:?}: {fault}")));
            }
            if let Some(fault) = repository.media_fault() {
                return Err(wrong(format!("repository {name:?}: {fault}")));
            }
            if let Some(file) = &mut repository.credentials_file {
                *file = config.folder.join(&*file);
            }
        }
        for name in config.repositories.keys() {
            if let Some(fault) = config.cache_fault(name) {
                return Err(wrong(format!("repository {name:?}: {fault}")));
            }
        }
        for (name, job) in &config.jobs {
            JobName::new(name).map_err(|error| wrong(error.to_string()))?;
            // It checks them before any job runs. Otherwise, a wrong number would stop the jobs after it.
            job.settings()
                .and_then(|_| job.script(&config.folder).map(drop))
                .and_then(|()| config.mail_of(job).map(drop))
                .and_then(|()| job.max_age().map(drop))
                .and_then(|()| job.min_free_bytes().map(drop))
                .and_then(|()| job.retry().map(drop))
                .and_then(|()| job.history().map(drop))
                .map_err(|fault| wrong_at(&format!("job {name:?}: "), fault))?;
            job.selection()
                .and_then(|_| job.transforms().map(drop))
                .map_err(|error| wrong(format!("job {name:?}: {error}")))?;
            if job.after.as_ref().is_some_and(AfterConfig::is_empty) {
                return Err(wrong(format!("job {name:?}: after is empty: name a script or a mail, or leave it out")));
            }
            if let Some(fault) = job.sources().iter().find_map(SourceConfig::fault) {
                return Err(wrong(format!("job {name:?}: {fault}")));
            }
            if job.sources().is_empty() {
                return Err(wrong(format!("job {name:?} has no source")));
            }
            if let Some(fault) = config.rename_fault(name, job) {
                return Err(wrong(format!("job {name:?}: renamed_from: {fault}")));
            }
            for repository in job.sources().iter().map(|source| &source.repository).chain([&job.target]) {
                if !config.repositories.contains_key(repository) {
                    return Err(wrong(format!(
                        "job {name:?} names the repository {repository:?}; add [repositories.{}] with its location",
                        toml_key(repository)
                    )));
                }
            }
        }
        let rules = config.rules().map_err(|fault| wrong_at("", fault))?;
        config.traffic.set_rules(rules).map_err(|error| wrong(error.to_string()))?;
        Ok(config)
    }

    /// Puts the rules about traffic in force in `traffic`, also for jobs that run, and uses `traffic` from now on.
    pub(crate) fn keep_traffic(&mut self, traffic: &Traffic) {
        // They were checked when the file was read.
        if traffic.set_rules(self.traffic.rules()).is_ok() {
            self.traffic = traffic.clone();
        }
    }

    /// Uses `streams` from now on, also for jobs that run.
    pub(crate) fn keep_streams(&mut self, streams: &Streams) {
        self.streams = streams.clone();
        for (name, repository) in &self.repositories {
            // The bounds hold for those who have a share already.
            drop(self.streams.share(name, repository.stream_range()));
        }
    }

    /// Returns a share of the requests to the repository that `repo` names or locates, for one job.
    pub(crate) fn stream_share(&self, repo: &str) -> StreamShare {
        let name = self.repository_name(repo);
        let range = self.repositories.get(name).map(RepositoryConfig::stream_range);
        self.streams.share(name, range.unwrap_or_else(|| StreamRange::up_to(STREAMS)))
    }

    /// Uses the block caches that another config of this process has open.
    pub(crate) fn keep_caches(&mut self, caches: &Caches) {
        self.caches = caches.clone();
    }

    /// Returns the name of the repository that `repo` names or locates. A location that the file does not have stays as it is.
    pub(crate) fn repository_name<'a>(&'a self, repo: &'a str) -> &'a str {
        if self.repositories.contains_key(repo) {
            return repo;
        }
        self.repositories.keys().find(|name| self.is_place(name, repo)).map_or(repo, String::as_str)
    }

    /// Says what is wrong with the former name of a job.
    fn rename_fault(&self, name: &str, job: &JobConfig) -> Option<String> {
        let old = match JobName::new(job.renamed_from()?) {
            Ok(old) => old,
            Err(error) => return Some(error.to_string()),
        };
        let is_taken = |(other, other_job): (&String, &JobConfig)| {
            let folder = other_job.renamed_from().unwrap_or(other);
            other != name
                && self.is_same_place(&other_job.target, &job.target)
                && folder.eq_ignore_ascii_case(old.as_str())
        };
        match self.jobs.iter().find(|other| is_taken(*other)) {
            _ if old.as_str() == name => Some("it is the job's name".to_owned()),
            Some((other, _)) => Some(format!("the folder {old} of {} is job {other:?}'s", job.target)),
            None => None,
        }
    }

    /// Whether two names or locations are of one repository, as far as the file says.
    fn is_same_place(&self, one: &str, other: &str) -> bool {
        let place = |repo: &str| self.location(repo).unwrap_or_else(|| repo.to_owned());
        one == other || place(one) == place(other)
    }

    /// Returns the folder of `job` in the repository `repo`. It has the name of the job, or the former name if the job was renamed.
    pub(crate) fn folder_of(&self, repo: &str, job: &JobName) -> JobName {
        let renamed = self.jobs.get(job.as_str()).filter(|config| self.is_same_place(&config.target, repo));
        let old = renamed.and_then(|config| JobName::new(config.renamed_from()?).ok());
        old.unwrap_or_else(|| job.clone())
    }

    /// Returns the job whose copies are in the folder `folder` of the repository `repo`. `None` if there is no such job.
    pub(crate) fn copy_job_of(&self, repo: &str, folder: &JobName) -> Option<&str> {
        let is_its = |(name, job): &(&String, &JobConfig)| {
            let has_folder = |name| self.folder_of(&job.target, &name) == *folder;
            (job.target == repo || self.is_place(&job.target, repo)) && JobName::new(name).is_ok_and(has_folder)
        };
        self.jobs.iter().find(is_its).map(|(name, _)| name.as_str())
    }

    /// Returns the named jobs, or all. `path` is that of the file.
    pub(crate) fn job_names(&self, named: &[String], path: &Path) -> Result<Vec<JobName>, Failure> {
        let known: Vec<&str> = self.jobs.keys().map(String::as_str).collect();
        if known.is_empty() {
            return Err(Failure::WrongUse(format!(
                "no copy job: {} has no [jobs.NAME]; see `offsite demo`, which leaves one to look at",
                path.display()
            )));
        }
        if let Some(name) = named.iter().find(|name| !self.jobs.contains_key(*name)) {
            let known = known.join(", ");
            return Err(Failure::WrongUse(format!("config {} has no job {name:?}; it has: {known}", path.display())));
        }
        let names = if named.is_empty() { known } else { named.iter().map(String::as_str).collect() };
        names.into_iter().map(|name| JobName::new(name).map_err(|error| wrong(path, error.to_string()))).collect()
    }

    /// Returns the folder of the file.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the zone in which times of a job are shown: its `time_zone`, or that of the host.
    pub(crate) fn local_time(&self, job: &str) -> LocalTime {
        LocalTime::of_zone(self.jobs.get(job).and_then(|job| job.time_zone()))
    }

    /// Returns the mail of the job `name`. `None` if the job sends none.
    pub(crate) fn job_mail(&self, name: &str) -> Option<JobMail> {
        // A config with a fault is not in force.
        self.mail_of(self.jobs.get(name)?).ok().flatten()
    }

    fn mail_of(&self, job: &JobConfig) -> Result<Option<JobMail>, Fault> {
        job.after.as_ref().map_or(Ok(None), |after| after.mail(&self.mail, &self.folder))
    }

    /// Returns the daily mail about all jobs. `None` if there is none.
    pub(crate) fn digest(&self) -> Result<Option<DigestSettings>, Fault> {
        self.daemon.digest.as_ref().map(|digest| digest.settings(&self.mail, &self.folder)).transpose()
    }

    /// Returns the addresses and the server of `[mail]`. `None` if `[mail]` does not name them.
    pub(crate) fn common_mail(&self) -> Option<Account> {
        self.mail.account(&self.folder).ok()
    }

    /// Returns the folder for what the host keeps. A relative path starts at the file.
    pub(crate) fn state_dir(&self) -> StateDir {
        StateDir::new(self.folder.join(self.state_dir.as_deref().unwrap_or(Path::new(STATE_DIR))))
    }

    /// Sets the folder for what the host keeps, whatever the file says.
    pub(crate) fn keep_state_dir(&mut self, folder: &StateDir) {
        self.state_dir = Some(std::path::absolute(folder.path()).unwrap_or_else(|_| folder.path().to_owned()));
    }

    /// Returns a text that changes with the job `name`: it has its table, and those of its repositories.
    ///
    /// `bandwidth` is left out, as it can change while the job goes on.
    pub(crate) fn revision(&self, name: &str) -> String {
        let table = |kind: &str, name: &str| self.tables.get(kind).and_then(|tables| tables.get(name));
        let mut job = table("jobs", name).and_then(toml::Value::as_table).cloned();
        job.iter_mut().for_each(|job| drop(job.remove("bandwidth")));
        let mut revision = format!("{job:?}");
        if self.job_mail(name).is_some() {
            revision.push_str(&format!("\n{:?}", self.tables.get("mail")));
        }
        if let Some(job) = self.jobs.get(name) {
            let repositories = job.sources().iter().map(|source| &source.repository).chain([&job.target]);
            for repository in repositories {
                revision.push_str(&format!("\n{:?}", table("repositories", repository)));
            }
        }
        revision
    }

    /// Returns the location of the repository `name`. `None` if the file does not have it. A relative path starts at the file.
    pub(crate) fn location(&self, name: &str) -> Option<String> {
        let location = &self.repositories.get(name)?.location;
        let is_path = !location.contains("://") && !location.starts_with("removable:");
        Some(if is_path { self.folder.join(location).to_string_lossy().into_owned() } else { location.clone() })
    }

    /// Returns where the media of the repository `repo` are mounted, the folder of their catalogue, and the greatest length of a
    /// file in bytes. `None` if the file does not have the repository. `name` is the name of the set.
    pub(crate) fn media(&self, repo: &str, name: &str) -> Option<(Vec<PathBuf>, PathBuf, Option<u64>)> {
        let repository = self.repositories.get(repo)?;
        let places = repository.places.iter().map(|place| self.folder.join(place)).collect();
        let file_bytes_max = repository.file_mib_max.map(|mib| mib.saturating_mul(1 << 20));
        Some((places, self.state_dir().media(name), file_bytes_max))
    }
}

/// Returns the folder for what the host keeps, if the config at `path` is wrong. It uses the part of the file with `state_dir` that
/// can be read.
pub(crate) fn state_dir_in(path: &Path) -> StateDir {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let table = toml::from_str::<toml::Table>(&text).or_else(|error| {
        // The part before the fault can be read.
        let sound = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        toml::from_str(sound.rsplit_once('\n').map_or("", |(lines, _)| lines))
    });
    let named = table.ok().and_then(|table| Some(PathBuf::from(table.get("state_dir")?.as_str()?)));
    let folder = path.parent().unwrap_or(Path::new(""));
    StateDir::new(folder.join(named.as_deref().unwrap_or(Path::new(STATE_DIR))))
}

fn wrong(path: &Path, why: String) -> Failure {
    Failure::WrongUse(format!("config {}: {why}", path.display()))
}

/// Returns a name as a key of the file. It is in quotes unless it has only letters, digits, _ and -.
fn toml_key(name: &str) -> String {
    let is_bare = |letter: char| letter.is_ascii_alphanumeric() || "_-".contains(letter);
    if !name.is_empty() && name.chars().all(is_bare) { name.to_owned() } else { format!("{name:?}") }
}

/// Says what is wrong with the file, and shows the line. It does not show a line that may contain an access key: a user who prints
/// this may not know that it is one.
fn explain(error: &toml::de::Error, file: &str) -> String {
    // TOML has its own times. No key of the config takes one, and errors call them tables.
    let is_time = |value: &str| value.parse::<toml::value::Datetime>().is_ok();
    let text = match error.span().and_then(|span| file.get(span)).is_some_and(is_time) {
        true => error.to_string().replace(
            "invalid type: map, expected a string",
            "a time stands in quotes here, and a time of day is written HH:MM, such as \"22:00\"",
        ),
        false => error.to_string(),
    };
    let lower = text.to_ascii_lowercase();
    match ["secret", "token", "password", "access_key"].iter().any(|word| lower.contains(word)) {
        false => text.trim_end().to_owned(),
        true => format!(
            "{}; access keys belong into the environment or a credentials file",
            error.message().lines().next().unwrap_or_default()
        ),
    }
}

impl JobConfig {
    fn timing(&self) -> Timing<'_> {
        Timing {
            every: self.every.as_ref(),
            at: self.at.as_ref(),
            time_zone: self.time_zone.as_ref(),
            lookup: self.lookup.as_ref(),
            mode: self.mode.as_ref(),
            window: self.window.as_ref(),
        }
    }

    /// Returns when the job works.
    pub(crate) fn settings(&self) -> Result<Settings, Fault> {
        self.timing().settings()
    }

    /// Returns the zone in which its days and hours are meant. `None` if the file does not say it.
    pub(crate) fn time_zone(&self) -> Option<&str> {
        self.time_zone.as_ref().map(|zone| zone.get_ref().as_str())
    }

    /// Returns the age from which the copy of a machine is overdue. `None` if no copy ever is.
    pub(crate) fn max_age(&self) -> Result<Option<Duration>, Fault> {
        self.max_age.as_ref().map(bounds::max_age).transpose()
    }

    /// Returns how many bytes stay free in the target.
    pub(crate) fn min_free_bytes(&self) -> Result<u64, Fault> {
        Ok(self.min_free.as_ref().map(bounds::min_free).transpose()?.unwrap_or_default())
    }

    /// Returns how the job waits for a place that cannot be reached.
    pub(crate) fn retry(&self) -> Result<RetryPolicy, Fault> {
        self.retry.as_ref().map_or_else(|| Ok(RetryPolicy::default()), RetryConfig::policy)
    }

    /// Returns how much of its sources' past the job brings while it is new.
    pub(crate) fn history(&self) -> Result<History, Fault> {
        let Some(written) = &self.history else { return Ok(History::Newest) };
        let history = match written.get_ref().as_str() {
            "newest" => History::Newest,
            "all" => History::All,
            "wanted" => History::Wanted,
            other => {
                let why = format!(
                    "{other:?} is none of \"newest\" (nothing of the past), \"all\" (each restore point of the source) and \
                     \"wanted\" (those that the retention of this job would still keep)"
                );
                return Err(fault("history", written, why));
            }
        };
        match &self.lookup {
            Some(lookup) if history != History::Newest && self.settings()?.lookup == Lookup::Forward => {
                let why = format!(
                    "{:?} takes only restore points of the interval that is open, and history = {:?} brings older ones: leave one of \
                     them out",
                    lookup.get_ref(),
                    written.get_ref()
                );
                Err(fault("lookup", lookup, why))
            }
            _ => Ok(history),
        }
    }

    /// Returns the schedule of the job if slots that it missed are filled.
    pub(crate) fn back_fill(&self) -> Result<Option<Schedule>, Fault> {
        if self.retention.back_fills() { self.settings().map(|settings| Some(settings.schedule)) } else { Ok(None) }
    }

    /// Returns the name that the job had before. `None` if it has always had its name.
    pub(crate) fn renamed_from(&self) -> Option<&str> {
        self.renamed_from.as_deref()
    }

    /// Returns the script that runs after each interval. `None` if there is none. A relative path starts in `folder`.
    pub(crate) fn script(&self, folder: &Path) -> Result<Option<Script>, Fault> {
        self.after.as_ref().map_or(Ok(None), |after| after.script(folder))
    }

    /// Returns where the job takes restore points from.
    pub(crate) fn sources(&self) -> &[SourceConfig] {
        &self.source.0
    }

    /// Returns the machines that the job selects.
    pub(crate) fn selection(&self) -> Result<Selection, String> {
        let SelectConfig { machines, containers, tags, exclude } = &self.select;
        let ExcludeConfig(other) = exclude;
        let exclude = objects(&other.machines, &other.containers, &other.tags)?;
        Ok(Selection::all().include(objects(machines, containers, tags)?).exclude(exclude))
    }

    /// Returns what the job keeps, and how its chain is transformed.
    pub(crate) fn transforms(&self) -> Result<Transforms, String> {
        let zone = self.timing().zone().map_err(|fault| fault.why)?;
        let (policy, deleted_machines) = (self.retention.policy_in(zone)?, self.retention.deleted_machines()?);
        // A job without `every` may be started by hand, perhaps a few times a year.
        let settings = self.every.as_ref().map(|_| self.settings()).transpose().map_err(|fault| fault.why)?;
        let clock_ahead_max_secs = settings.map(|settings| settings.schedule.ahead_max_secs());
        Ok(self
            .transform
            .transforms(policy)?
            .deleted_machines(deleted_machines)
            .clock_ahead_max_secs(clock_ahead_max_secs))
    }
}
