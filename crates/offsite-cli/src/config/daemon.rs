//! `[daemon]`: what concerns all jobs.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::timing::Fault;

/// How many jobs work at once if nothing is said.
const JOBS_AT_ONCE: usize = 2;
/// The status file's name, beside the config, if nothing is said.
const STATUS: &str = ".offsite-status.json";

/// The keys.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DaemonConfig {
    /// How many jobs transfer or transform at once.
    jobs_at_once: Option<Spanned<usize>>,
    /// The file that knows the jobs' state.
    status: Option<PathBuf>,
}

impl DaemonConfig {
    pub(crate) fn jobs_at_once(&self) -> Result<usize, Fault> {
        match &self.jobs_at_once {
            None => Ok(JOBS_AT_ONCE),
            Some(count) if *count.get_ref() == 0 => Err(Fault {
                why: "[daemon] jobs_at_once: 0 would let no job work: give at least 1".to_owned(),
                span: count.span(),
            }),
            Some(count) => Ok(*count.get_ref()),
        }
    }

    /// The status file; a relative path starts in `folder`.
    pub(super) fn status(&self, folder: &Path) -> PathBuf {
        status(self.status.as_deref(), folder)
    }
}

/// The status file, if the config names this one, or none; a relative path starts in `folder`.
pub(super) fn status(named: Option<&Path>, folder: &Path) -> PathBuf {
    folder.join(named.unwrap_or(Path::new(STATUS)))
}
