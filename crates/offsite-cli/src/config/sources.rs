//! What a job copies: its sources, and the machines that it selects.

use offsite::selection::MachineFilter;
use offsite::selection::Pattern;
use offsite::{JobName, OpenRepository, Source};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::Config;

/// One source, or an array of several.
#[derive(Debug)]
pub(super) struct SourcesConfig(pub(super) Vec<SourceConfig>);

impl<'de> Deserialize<'de> for SourcesConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let one = OneOrSeveral { expecting: "a source or an array of sources", one: |source| vec![source] };
        deserializer.deserialize_any(one).map(Self)
    }
}

/// A table, or an array in its place. An error in either is told as if only that form existed.
struct OneOrSeveral<T, U> {
    expecting: &'static str,
    one: fn(T) -> U,
}

impl<'de, T: Deserialize<'de>, U: Deserialize<'de>> Visitor<'de> for OneOrSeveral<T, U> {
    type Value = U;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.expecting)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<U, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(self.one)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, array: A) -> Result<U, A::Error> {
        U::deserialize(SeqAccessDeserializer::new(array))
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(crate) struct SourceConfig {
    pub(crate) repository: String,
    #[serde(default)]
    from: From,
    pub(super) job: Option<String>,
    /// The machines of a backup.
    #[serde(default)]
    machines: Vec<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum From {
    /// The restore points of a job.
    #[default]
    Job,
    /// Chosen machines of a job.
    Backup,
    /// The newest point of each machine in any job.
    Infrastructure,
}

impl SourceConfig {
    /// Says what is wrong with the source.
    pub(super) fn fault(&self) -> Option<String> {
        let from = match self.from {
            From::Job => "job",
            From::Backup => "backup",
            From::Infrastructure => "infrastructure",
        };
        match (&self.job, self.from) {
            (Some(_), From::Infrastructure) => Some(format!(
                "source: from = {from:?} takes the newest restore points of any job: leave job out, or use from = \"job\""
            )),
            (None, From::Job | From::Backup) => Some(format!("source: from = {from:?} needs a job = \"NAME\"")),
            (Some(job), _) if JobName::new(job).is_err() => {
                JobName::new(job).err().map(|error| format!("source: {error}"))
            }
            _ if self.from == From::Backup && self.machines.is_empty() => {
                Some("source: from = \"backup\" takes chosen machines: add machines, or use from = \"job\"".to_owned())
            }
            _ if self.from != From::Backup && !self.machines.is_empty() => {
                Some("source: machines are chosen of a source from = \"backup\"; use select for all sources".to_owned())
            }
            _ => None,
        }
    }

    /// Returns the source in its open repository.
    pub(crate) fn source(&self, repository: &OpenRepository, config: &Config) -> Result<Source, String> {
        let job = self.job.as_deref().map(JobName::new).transpose().map_err(|error| error.to_string())?;
        let job = job.map(|job| config.folder_of(&self.repository, &job));
        Ok(match job {
            None => Source::infrastructure(repository),
            Some(job) => Source::backup(repository, job, patterns(&self.machines)?),
        })
    }
}

/// Machines by name, tag or container. In each pattern, `*` stands for any text and `?` for one character.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct SelectConfig {
    #[serde(default)]
    pub(super) machines: Vec<String>,
    #[serde(default)]
    pub(super) containers: Vec<String>,
    #[serde(default)]
    pub(super) tags: Vec<String>,
    #[serde(default)]
    pub(super) exclude: ExcludeConfig,
}

/// What is left out: names of machines, or a table of all that can be selected by.
#[derive(Debug, Default)]
pub(super) struct ExcludeConfig(pub(super) ObjectsConfig);

impl<'de> Deserialize<'de> for ExcludeConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expecting = "names of machines, or a table with machines, containers, tags";
        deserializer.deserialize_any(OneOrSeveral { expecting, one: Excluded::Objects }).map(
            |excluded| match excluded {
                Excluded::Machines(machines) => Self(ObjectsConfig { machines, ..ObjectsConfig::default() }),
                Excluded::Objects(objects) => Self(objects),
            },
        )
    }
}

enum Excluded {
    Machines(Vec<String>),
    Objects(ObjectsConfig),
}

impl<'de> Deserialize<'de> for Excluded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self::Machines)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct ObjectsConfig {
    #[serde(default)]
    pub(super) machines: Vec<String>,
    #[serde(default)]
    pub(super) containers: Vec<String>,
    #[serde(default)]
    pub(super) tags: Vec<String>,
}

pub(super) fn objects(machines: &[String], containers: &[String], tags: &[String]) -> Result<MachineFilter, String> {
    Ok(MachineFilter::default()
        .with_machines(patterns(machines)?)
        .with_containers(patterns(containers)?)
        .with_tags(patterns(tags)?))
}

fn patterns(texts: &[String]) -> Result<Vec<Pattern>, String> {
    match texts.iter().find(|text| text.trim().is_empty()) {
        Some(text) => Err(format!("{text:?} selects nothing: give a name, or * for any")),
        None => Ok(texts.iter().map(|text| Pattern::new(text)).collect()),
    }
}
