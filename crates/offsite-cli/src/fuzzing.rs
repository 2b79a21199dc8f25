//! What the fuzz targets call. It is no part of the stable interface.

use std::path::Path;

use offsite::retention::Policy;

use crate::config::Config;
use crate::policy::RetentionConfig;

/// Returns how many jobs a config file with this text has. `None` if it is refused.
#[must_use]
pub fn config(text: &str) -> Option<usize> {
    Config::parse(text, Path::new("/etc/offsite.toml")).ok().map(|config| config.jobs.len())
}

/// Returns what a policy file with this text asks for. `None` if it is refused.
#[must_use]
pub fn policy(text: &str) -> Option<Policy> {
    toml::from_str::<RetentionConfig>(text).ok()?.policy().ok()
}
