//! The time zone in which the times of a job are meant.

use std::path::Path;

use offsite::JobName;
use offsite::retention::Zone;

use super::Config;
use crate::local_time::LocalTime;

impl Config {
    /// Returns the `time_zone` of the copy job that reads or writes the folder `job` of the repository `repo`.
    ///
    /// If the file has no such job, or the job names no zone, it is the zone of this host. Times are shown in that zone, too.
    pub(crate) fn zone_of(&self, repo: &str, job: &JobName) -> Zone {
        let is_repo = |name: &str| name == repo || self.is_place(name, repo);
        let copy = self.jobs.get(job.as_str()).filter(|copy| is_repo(&copy.target));
        let of_source = || {
            self.jobs.values().find(|copy| {
                let mut sources = copy.sources().iter();
                sources.any(|source| source.job.as_deref() == Some(job.as_str()) && is_repo(&source.repository))
            })
        };
        let found = copy.or_else(of_source);
        let named = found.and_then(|job| job.time_zone().map(str::to_owned)).or_else(LocalTime::name_of_host);
        // An unknown zone was refused when the file was read.
        named.and_then(|name| Zone::named(&name).ok()).unwrap_or_else(Zone::utc)
    }

    /// Whether the repository `name` of the file is at the place `typed`.
    pub(super) fn is_place(&self, name: &str, typed: &str) -> bool {
        let Some(location) = self.location(name) else { return false };
        let is_same_folder = || {
            let real = |path: &str| Path::new(path).canonicalize().ok();
            real(&location).is_some_and(|location| Some(location) == real(typed))
        };
        location == typed || is_same_folder()
    }
}
