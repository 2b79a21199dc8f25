//! The config file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use offsite::core::MachineName;
use offsite::{JobName, MergeMethod, Selection, Transforms};
use serde::Deserialize;

use crate::policy::RetentionConfig;
use crate::status::Failure;

/// `offsite.toml`. A key that this version does not know is refused, never ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    #[serde(default)]
    pub(crate) repositories: BTreeMap<String, RepositoryConfig>,
    #[serde(default)]
    pub(crate) jobs: BTreeMap<String, JobConfig>,
    /// Where the file lies: its relative paths start there.
    #[serde(skip)]
    folder: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RepositoryConfig {
    pub(crate) location: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct JobConfig {
    pub(crate) source: SourceConfig,
    #[serde(default)]
    pub(crate) select: SelectConfig,
    pub(crate) target: String,
    #[serde(default)]
    retention: RetentionConfig,
    #[serde(default)]
    transform: TransformConfig,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct TransformConfig {
    #[serde(default)]
    merge: MergeConfig,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum MergeConfig {
    #[default]
    Auto,
    Adopt,
    Fold,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SourceConfig {
    pub(crate) repository: String,
    #[expect(dead_code, reason = "its only value so far says what the two others mean")]
    #[serde(default)]
    from: From,
    pub(crate) job: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum From {
    #[default]
    Job,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SelectConfig {
    #[serde(default)]
    machines: Vec<String>,
    #[serde(default)]
    exclude: Vec<String>,
}

impl Config {
    /// Reads the file. A missing one is empty: locations can be typed.
    pub(crate) fn load(path: &Path) -> Result<Self, Failure> {
        let wrong = |why: String| Failure::WrongUse(format!("config {}: {why}", path.display()));
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
        let mut config: Self = toml::from_str(&text).map_err(|error| wrong(error.to_string().trim_end().to_owned()))?;
        config.folder = path.parent().map(Path::to_owned).unwrap_or_default();
        for (name, job) in &config.jobs {
            JobName::new(name).map_err(|error| wrong(error.to_string()))?;
            // Before any job runs: one with a wrong number would stop the runs of those after it.
            job.selection()
                .and_then(|_| job.transforms().map(drop))
                .map_err(|error| wrong(format!("job {name:?}: {error}")))?;
            for repository in [&job.source.repository, &job.target] {
                if !config.repositories.contains_key(repository) {
                    return Err(wrong(format!(
                        "job {name:?} names the repository {repository:?}; add [repositories.{repository}] with its location"
                    )));
                }
            }
        }
        Ok(config)
    }

    /// The location behind `name`, if the file has it; a relative path starts at the file.
    pub(crate) fn location(&self, name: &str) -> Option<String> {
        let location = &self.repositories.get(name)?.location;
        let is_path = !location.contains("://") && !location.starts_with("removable:");
        Some(if is_path { self.folder.join(location).to_string_lossy().into_owned() } else { location.clone() })
    }
}

impl JobConfig {
    /// The machines that the job takes.
    pub(crate) fn selection(&self) -> Result<Selection, String> {
        let parse = |names: &[String]| names.iter().map(|name| MachineName::new(name)).collect::<Result<Vec<_>, _>>();
        let names = |names: &[String]| parse(names).map_err(|error| error.to_string());
        Ok(Selection::machines(names(&self.select.machines)?).without(names(&self.select.exclude)?))
    }

    /// What the job keeps, and how its chain is transformed.
    pub(crate) fn transforms(&self) -> Result<Transforms, String> {
        let merge = match self.transform.merge {
            MergeConfig::Auto => MergeMethod::Auto,
            MergeConfig::Adopt => MergeMethod::Adopt,
            MergeConfig::Fold => MergeMethod::Fold,
        };
        Ok(Transforms { merge, ..Transforms::keeping(self.retention.policy()?) })
    }
}
