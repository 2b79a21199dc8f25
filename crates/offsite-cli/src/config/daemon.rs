//! The table `[daemon]`: settings for all jobs.

use serde::Deserialize;
use toml::Spanned;

use super::fault::Fault;
use super::mail::DigestConfig;

/// The default number of jobs that work at once.
const JOBS_AT_ONCE: usize = 2;

/// The keys of the table.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(crate) struct DaemonConfig {
    /// The number of jobs that transfer or transform at once.
    jobs_at_once: Option<Spanned<usize>>,
    /// One mail a day about all jobs.
    pub(super) digest: Option<DigestConfig>,
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
}
