//! What a copy reads at the side of its target: `cache` of `[repositories.NAME]`, and `lending` of `[jobs.NAME]`.

use std::path::{Path, PathBuf};

use offsite::Lend;
use serde::Deserialize;
use toml::Spanned;

use super::bounds::bytes;
use super::{Config, JobConfig, path};
use crate::cache::CacheSettings;

/// The block cache of a repository.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CacheConfig {
    path: PathBuf,
    size: Spanned<String>,
}

/// When a job looks up what the side of its target has.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum LendingConfig {
    #[default]
    Auto,
    Always,
    Never,
}

impl From<LendingConfig> for Lend {
    fn from(lending: LendingConfig) -> Self {
        match lending {
            LendingConfig::Auto => Self::Auto,
            LendingConfig::Always => Self::Always,
            LendingConfig::Never => Self::Never,
        }
    }
}

impl Config {
    /// Returns the cache of the repository that `repo` names or locates. `None` if it has none.
    pub(crate) fn cache_of(&self, repo: &str) -> Option<CacheSettings> {
        let name = self.repository_name(repo);
        let cache = self.repositories.get(name)?.cache.as_ref()?;
        let size_bytes = bytes(cache.size.get_ref())?;
        Some(CacheSettings { repository: name.to_owned(), path: self.folder().join(&cache.path), size_bytes })
    }

    /// Returns all caches.
    pub(crate) fn caches(&self) -> Vec<CacheSettings> {
        self.repositories.keys().filter_map(|name| self.cache_of(name)).collect()
    }

    /// Says what is wrong with the cache of a repository.
    pub(super) fn cache_fault(&self, name: &str) -> Option<String> {
        let cache = self.repositories.get(name)?.cache.as_ref()?;
        if let Some(fault) = path::fault(&cache.path) {
            return Some(format!("cache.path: {fault}"));
        }
        let size = cache.size.get_ref();
        match bytes(size) {
            None => {
                return Some(format!("cache.size: {size:?} is no size: write \"500 MiB\", \"10 GiB\" or \"1 TiB\""));
            }
            Some(0) => return Some("cache.size: 0 holds nothing; leave the cache out to have none".to_owned()),
            Some(_) => {}
        }
        let here = real(&self.folder().join(&cache.path));
        for (other, repository) in &self.repositories {
            let location = self.location(other).filter(|location| !location.contains(':')).map(PathBuf::from);
            let places = repository.places.iter().map(|place| self.folder().join(place));
            let shared = location.into_iter().chain(places).map(|place| real(&place));
            if let Some(place) = shared.into_iter().find(|place| here.starts_with(place) || place.starts_with(&here)) {
                let (here, place) = (here.display(), place.display());
                return Some(format!(
                    "cache.path: {here} and {place} of repository {other:?} lie in each other; choose a folder outside, on a disk of \
                     this host"
                ));
            }
        }
        let is_same = |other: &&String| {
            let other = self.repositories.get(*other).and_then(|other| other.cache.as_ref());
            other.is_some_and(|other| real(&self.folder().join(&other.path)) == here)
        };
        let before = self.repositories.keys().take_while(|other| *other != name).find(is_same);
        before
            .map(|other| format!("cache.path: it is that of repository {other:?}; give each cache a folder of its own"))
    }
}

impl JobConfig {
    /// Returns when the job looks up what the side of its target has.
    pub(crate) fn lend(&self) -> Lend {
        self.lending.into()
    }
}

/// Returns a path without links and dots, as far as it exists.
fn real(path: &Path) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for above in whole.ancestors() {
        if let (Ok(real), Ok(rest)) = (above.canonicalize(), whole.strip_prefix(above)) {
            return if rest.as_os_str().is_empty() { real } else { real.join(rest) };
        }
    }
    whole
}
