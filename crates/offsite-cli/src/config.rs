//! The config file.

mod bounds;
mod daemon;
mod fault;
mod mail;
pub(crate) mod path;
mod sources;
mod timing;
mod transform;
mod zone;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use daemon::DaemonConfig;
use fault::Fault;
use mail::MailConfig;
pub(crate) use mail::{DigestSettings, JobMail};
use offsite::runner::Settings;
use offsite::{JobName, Selection, Transforms};
use serde::Deserialize;
use toml::Spanned;

use crate::local_time::LocalTime;
use crate::mail::Account;
use crate::policy::RetentionConfig;
use crate::post_job::Script;
use crate::state::StateDir;
use crate::status::Failure;
pub(crate) use sources::SourceConfig;
use sources::{ExcludeConfig, SelectConfig, SourcesConfig, objects};
use timing::{AfterConfig, Timing, WindowConfig};
use transform::TransformConfig;

/// `offsite.toml`. A key that this version does not know is refused, never ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    #[serde(default)]
    pub(crate) repositories: BTreeMap<String, RepositoryConfig>,
    #[serde(default)]
    pub(crate) jobs: BTreeMap<String, JobConfig>,
    #[serde(default)]
    pub(crate) daemon: DaemonConfig,
    /// What mails of jobs and the digest have in common.
    #[serde(default)]
    mail: MailConfig,
    /// The folder for what the host keeps. The default is `.offsite` beside the file.
    state_dir: Option<PathBuf>,
    /// Its tables as they are in the file, to see what has changed.
    #[serde(skip)]
    tables: toml::Table,
    /// Where the file lies: its relative paths start there.
    #[serde(skip)]
    folder: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RepositoryConfig {
    /// A folder, `s3://bucket/prefix`, or `removable:NAME` for drives that are used in turn.
    pub(crate) location: String,
    /// The store's URL. Without it, `AWS_ENDPOINT_URL` or AWS.
    pub(crate) endpoint: Option<String>,
    /// The bucket's region. Without it, `AWS_REGION` or us-east-1.
    pub(crate) region: Option<String>,
    /// Asserts that at most one process writes there at a time, for stores that ignore conditions on writes.
    #[serde(default)]
    pub(crate) single_writer: bool,
    /// What the store checks the bodies of requests by. Without it, SHA-256.
    pub(crate) checksum: Option<ChecksumConfig>,
    /// A file with access keys, as the tools of AWS have one. The keys themselves are never in a config.
    pub(crate) credentials_file: Option<PathBuf>,
    /// The profile in that file.
    pub(crate) profile: Option<String>,
    /// Where one of the drives may show up: the folders that they are mounted at.
    #[serde(default)]
    places: Vec<PathBuf>,
    /// The longest file on a drive, in MiB; none: what its file system takes, and 1 GiB where that punches no holes. An index
    /// is one file: some 50 bytes for each block.
    file_mib_max: Option<u64>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ChecksumConfig {
    Sha256,
    Crc64Nvme,
}

/// The folder for what the host keeps, beside the config, if nothing is said.
const STATE_DIR: &str = ".offsite";

/// More than the largest block.
const FILE_MIB_MIN: u64 = 8;

impl RepositoryConfig {
    /// A key that only buckets have.
    fn bucket_key(&self) -> Option<&'static str> {
        let keys = [
            ("endpoint", self.endpoint.is_some()),
            ("region", self.region.is_some()),
            ("single_writer", self.single_writer),
            ("checksum", self.checksum.is_some()),
            ("credentials_file", self.credentials_file.is_some()),
            ("profile", self.profile.is_some()),
        ];
        keys.into_iter().find_map(|(key, is_set)| is_set.then_some(key))
    }

    /// What is wrong with a path, by its key.
    fn path_fault(&self) -> Option<String> {
        let is_folder = !self.location.contains("://") && !self.location.starts_with("removable:");
        let location = path::location_fault(&self.location).filter(|_| is_folder).map(|why| ("location", why));
        let credentials = self.credentials_file.as_deref().map(|path| ("credentials_file", path));
        let places = self.places.iter().map(|path| ("places", path.as_path()));
        let mut paths = credentials.into_iter().chain(places);
        let fault = location.or_else(|| paths.find_map(|(key, path)| Some((key, path::fault(path)?))));
        fault.map(|(key, why)| format!("{key}: {why}"))
    }

    /// What is wrong with the keys that say where media are.
    fn media_fault(&self) -> Option<String> {
        let location = &self.location;
        let Some(name) = location.strip_prefix("removable:") else {
            let keys = [("places", !self.places.is_empty()), ("file_mib_max", self.file_mib_max.is_some())];
            let key = keys.into_iter().find_map(|(key, is_set)| is_set.then_some(key))?;
            return Some(format!("{key} is for drives (removable:NAME), and {location} is none"));
        };
        if JobName::new(name).is_err() {
            return Some(format!("{location}: name the set of drives as a job may be named: removable:weekly, say"));
        }
        if self.file_mib_max.is_some_and(|mib| mib < FILE_MIB_MIN) {
            return Some(format!("file_mib_max: {FILE_MIB_MIN} or more"));
        }
        let no_place = self.places.is_empty() || self.places.iter().any(|place| place.as_os_str().is_empty());
        no_place.then(|| "add places: the folders at which its drives are mounted".to_owned())
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
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
    /// How old the copy of a machine may be before it is overdue. Without it, no copy ever is.
    max_age: Option<Spanned<String>>,
    /// What stays free in the target: a copy that would take of it is not begun.
    min_free: Option<Spanned<String>>,
    /// The name that the job had when its chain began: that is the name of its folder in the target.
    renamed_from: Option<String>,
}

impl Config {
    /// Reads the file. A missing one is empty: locations can be typed.
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

    /// What the file at `path`, with this text, says.
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
        for (name, job) in &config.jobs {
            JobName::new(name).map_err(|error| wrong(error.to_string()))?;
            // Before any job runs: one with a wrong number would stop the runs of those after it.
            job.settings()
                .and_then(|_| job.script(&config.folder).map(drop))
                .and_then(|()| config.mail_of(job).map(drop))
                .and_then(|()| job.max_age().map(drop))
                .and_then(|()| job.min_free_bytes().map(drop))
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
        Ok(config)
    }

    /// What is wrong with a job's former name.
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

    /// Whether two names or locations are of one repository, as far as the file tells.
    fn is_same_place(&self, one: &str, other: &str) -> bool {
        let place = |repo: &str| self.location(repo).unwrap_or_else(|| repo.to_owned());
        one == other || place(one) == place(other)
    }

    /// The folder of `job` in the repository `repo`: it has the job's name, or the former one of a job that was renamed.
    pub(crate) fn folder_of(&self, repo: &str, job: &JobName) -> JobName {
        let renamed = self.jobs.get(job.as_str()).filter(|config| self.is_same_place(&config.target, repo));
        let old = renamed.and_then(|config| JobName::new(config.renamed_from()?).ok());
        old.unwrap_or_else(|| job.clone())
    }

    /// The job whose copies are in the folder `folder` of the repository `repo`.
    pub(crate) fn copy_job_of(&self, repo: &str, folder: &JobName) -> Option<&str> {
        let is_its = |(name, job): &(&String, &JobConfig)| {
            let has_folder = |name| self.folder_of(&job.target, &name) == *folder;
            (job.target == repo || self.is_place(&job.target, repo)) && JobName::new(name).is_ok_and(has_folder)
        };
        self.jobs.iter().find(is_its).map(|(name, _)| name.as_str())
    }

    /// The jobs that were named, or all; `path` is the file's.
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

    /// Where the file lies.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// How times of a job are shown: in its `time_zone`, or else in the host's.
    pub(crate) fn local_time(&self, job: &str) -> LocalTime {
        LocalTime::of_zone(self.jobs.get(job).and_then(|job| job.time_zone()))
    }

    /// Mail of the job `name`, if it sends any.
    pub(crate) fn job_mail(&self, name: &str) -> Option<JobMail> {
        // A config with a fault is not in force.
        self.mail_of(self.jobs.get(name)?).ok().flatten()
    }

    fn mail_of(&self, job: &JobConfig) -> Result<Option<JobMail>, Fault> {
        job.after.as_ref().map_or(Ok(None), |after| after.mail(&self.mail, &self.folder))
    }

    /// The daily mail about all jobs, if there is one.
    pub(crate) fn digest(&self) -> Result<Option<DigestSettings>, Fault> {
        self.daemon.digest.as_ref().map(|digest| digest.settings(&self.mail, &self.folder)).transpose()
    }

    /// The addresses and the server that mails have in common, if they are said.
    pub(crate) fn common_mail(&self) -> Option<Account> {
        self.mail.account(&self.folder).ok()
    }

    /// The folder for what the host keeps; a relative path starts at the file.
    pub(crate) fn state_dir(&self) -> StateDir {
        StateDir::new(self.folder.join(self.state_dir.as_deref().unwrap_or(Path::new(STATE_DIR))))
    }

    /// Has this folder for what the host keeps, whatever the file says.
    pub(crate) fn keep_state_dir(&mut self, folder: &StateDir) {
        self.state_dir = Some(std::path::absolute(folder.path()).unwrap_or_else(|_| folder.path().to_owned()));
    }

    /// What tells whether the job `name` is the same in another config: its table, and those of its repositories.
    pub(crate) fn revision(&self, name: &str) -> String {
        let table = |kind: &str, name: &str| self.tables.get(kind).and_then(|tables| tables.get(name));
        let mut revision = format!("{:?}", table("jobs", name));
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

    /// The location behind `name`, if the file has it; a relative path starts at the file.
    pub(crate) fn location(&self, name: &str) -> Option<String> {
        let location = &self.repositories.get(name)?.location;
        let is_path = !location.contains("://") && !location.starts_with("removable:");
        Some(if is_path { self.folder.join(location).to_string_lossy().into_owned() } else { location.clone() })
    }

    /// Where the media of the repository `repo` show up, and the folder of their catalogue; none if the file does not have it.
    /// `name` is the set's.
    pub(crate) fn media(&self, repo: &str, name: &str) -> Option<(Vec<PathBuf>, PathBuf, Option<u64>)> {
        let repository = self.repositories.get(repo)?;
        let places = repository.places.iter().map(|place| self.folder.join(place)).collect();
        let file_bytes_max = repository.file_mib_max.map(|mib| mib.saturating_mul(1 << 20));
        Some((places, self.state_dir().media(name), file_bytes_max))
    }
}

/// The folder for what the host keeps, where the config at `path` makes no sense: as far as its `state_dir` can be read.
pub(crate) fn state_dir_in(path: &Path) -> StateDir {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let table = toml::from_str::<toml::Table>(&text).or_else(|error| {
        // What stands before the fault.
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

/// A name as a key of the file: in quotes, if it is not of letters, digits, _ and - alone.
fn toml_key(name: &str) -> String {
    let is_bare = |letter: char| letter.is_ascii_alphanumeric() || "_-".contains(letter);
    if !name.is_empty() && name.chars().all(is_bare) { name.to_owned() } else { format!("{name:?}") }
}

/// What is wrong with the file. The line is shown, but not one that may hold a key: it belongs elsewhere, and whoever
/// prints this does not know that it is one.
fn explain(error: &toml::de::Error, file: &str) -> String {
    // TOML has times of its own, which no key takes, and tells of them as of tables.
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

    /// When the job works.
    pub(crate) fn settings(&self) -> Result<Settings, Fault> {
        self.timing().settings()
    }

    /// The zone that its days and hours are reckoned in, if it is said.
    pub(crate) fn time_zone(&self) -> Option<&str> {
        self.time_zone.as_ref().map(|zone| zone.get_ref().as_str())
    }

    /// How old the copy of a machine may be before it is overdue.
    pub(crate) fn max_age(&self) -> Result<Option<Duration>, Fault> {
        self.max_age.as_ref().map(bounds::max_age).transpose()
    }

    /// How many bytes stay free in the target.
    pub(crate) fn min_free_bytes(&self) -> Result<u64, Fault> {
        Ok(self.min_free.as_ref().map(bounds::min_free).transpose()?.unwrap_or_default())
    }

    /// The name that the job had before.
    pub(crate) fn renamed_from(&self) -> Option<&str> {
        self.renamed_from.as_deref()
    }

    /// What is run after each interval, if anything is; a relative path starts in `folder`.
    pub(crate) fn script(&self, folder: &Path) -> Result<Option<Script>, Fault> {
        self.after.as_ref().map_or(Ok(None), |after| after.script(folder))
    }

    /// Where the job takes restore points from.
    pub(crate) fn sources(&self) -> &[SourceConfig] {
        &self.source.0
    }

    /// The machines that the job takes.
    pub(crate) fn selection(&self) -> Result<Selection, String> {
        let SelectConfig { machines, containers, tags, exclude } = &self.select;
        let ExcludeConfig(other) = exclude;
        let exclude = objects(&other.machines, &other.containers, &other.tags)?;
        Ok(Selection::all().include(objects(machines, containers, tags)?).exclude(exclude))
    }

    /// What the job keeps, and how its chain is transformed.
    pub(crate) fn transforms(&self) -> Result<Transforms, String> {
        let zone = self.timing().zone().map_err(|fault| fault.why)?;
        let (policy, deleted_machines) = (self.retention.policy_in(zone)?, self.retention.deleted_machines()?);
        // Who has not said how often the job runs may start it by hand, a few times a year.
        let settings = self.every.as_ref().map(|_| self.settings()).transpose().map_err(|fault| fault.why)?;
        let clock_ahead_max_secs = settings.map(|settings| settings.schedule.ahead_max_secs());
        Ok(self
            .transform
            .transforms(policy)?
            .deleted_machines(deleted_machines)
            .clock_ahead_max_secs(clock_ahead_max_secs))
    }
}
