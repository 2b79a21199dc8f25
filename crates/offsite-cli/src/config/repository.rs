//! `[repositories.NAME]`: a place that stores restore points.

use std::path::PathBuf;

use offsite::JobName;
use offsite::repository::StreamRange;
use serde::Deserialize;

use super::cache::CacheConfig;
use super::path;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(crate) struct RepositoryConfig {
    /// A folder, `s3://bucket/prefix`, or `removable:NAME` for drives that are used in turn.
    pub(crate) location: String,
    /// The URL of the store. `None` stands for `AWS_ENDPOINT_URL`, or AWS.
    pub(crate) endpoint: Option<String>,
    /// The region of the bucket. `None` stands for `AWS_REGION`, or us-east-1.
    pub(crate) region: Option<String>,
    /// Asserts that at most one process writes there at a time, for stores that ignore conditions on writes.
    #[serde(default)]
    pub(crate) single_writer: bool,
    /// The checksum with which the store checks the bodies of requests. `None` stands for SHA-256.
    pub(crate) checksum: Option<ChecksumConfig>,
    /// A file with access keys, in the format of the tools of AWS. A config never has the keys themselves.
    pub(crate) credentials_file: Option<PathBuf>,
    /// The profile in that file.
    pub(crate) profile: Option<String>,
    /// The folders at which the drives are mounted.
    #[serde(default)]
    pub(super) places: Vec<PathBuf>,
    /// The largest number of requests for block data at once.
    pub(super) streams: Option<usize>,
    /// The greatest length of a file on a drive, in MiB. An index is one file: it takes some 50 bytes for each block.
    ///
    /// `None` stands for what its file system takes, and for 1 GiB if that punches no holes.
    pub(super) file_mib_max: Option<u64>,
    /// The block cache for copies to this repository, on a disk of this host.
    pub(super) cache: Option<CacheConfig>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ChecksumConfig {
    Sha256,
    Crc64Nvme,
}

/// The largest number of requests for block data at once, unless the config says another.
pub(super) const STREAMS: usize = 16;

/// More would take memory and sockets, and bring nothing.
const STREAMS_MAX: usize = 256;

/// More than the largest block.
const FILE_MIB_MIN: u64 = 8;

impl RepositoryConfig {
    /// Returns the bounds of the number of requests at once.
    pub(super) fn stream_range(&self) -> StreamRange {
        StreamRange::up_to(self.streams.unwrap_or(STREAMS))
    }

    /// Returns a key that only buckets may have. `None` if there is none.
    pub(super) fn bucket_key(&self) -> Option<&'static str> {
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

    /// Says what is wrong with the number of requests at once.
    pub(super) fn streams_fault(&self) -> Option<String> {
        let streams = self.streams?;
        let is_possible = (1..=STREAMS_MAX).contains(&streams);
        (!is_possible).then(|| {
            format!("streams = {streams}: write a number from 1 to {STREAMS_MAX}, or leave it out for up to {STREAMS}")
        })
    }

    /// Says what is wrong with a path, with its key.
    pub(super) fn path_fault(&self) -> Option<String> {
        let is_folder = !self.location.contains("://") && !self.location.starts_with("removable:");
        let location = path::location_fault(&self.location).filter(|_| is_folder).map(|why| ("location", why));
        let credentials = self.credentials_file.as_deref().map(|path| ("credentials_file", path));
        let places = self.places.iter().map(|path| ("places", path.as_path()));
        let mut paths = credentials.into_iter().chain(places);
        let fault = location.or_else(|| paths.find_map(|(key, path)| Some((key, path::fault(path)?))));
        fault.map(|(key, why)| format!("{key}: {why}"))
    }

    /// Says what is wrong with the keys about media.
    pub(super) fn media_fault(&self) -> Option<String> {
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
