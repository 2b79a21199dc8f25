//! How to use a store.

use std::sync::Arc;
use std::time::Duration;

use super::credentials::S3CredentialProvider;
use super::location::S3Location;

/// S3 allows no part below this but the last.
pub(super) const PART_BYTES_MIN: u64 = 5 << 20;
/// S3 allows no object of more parts.
pub(super) const PARTS_MAX: u64 = 10_000;
/// S3 allows no larger object.
const OBJECT_BYTES_MAX: u64 = 5 << 40;

/// How strictly the store enforces the dates of object lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum S3RetentionMode {
    /// Users with a special permission may lift a lock, with other tools.
    Governance,
    /// Nobody can lift a lock, the owner of the account included.
    Compliance,
}

/// How the store checks the bodies of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum S3Checksum {
    /// The body's SHA-256, as a part of the request's signature. Without the key nobody can change a body on its way, even without
    /// TLS. Every store checks it. Without SHA instructions a core hashes some 400 MB/s.
    Sha256,
    /// The body's CRC-64/NVME, at many times the speed. The signature does not cover the body: TLS keeps others from changing it on
    /// its way, as with AWS's own tools. Use it over plain HTTP only on links that you trust. Opening refuses a store that does not
    /// check it.
    Crc64Nvme,
}

impl S3Checksum {
    /// S3's name of it.
    pub(super) fn algorithm(self) -> &'static str {
        match self {
            Self::Sha256 => "SHA256",
            Self::Crc64Nvme => "CRC64NVME",
        }
    }
}

/// How to open a bucket. [`S3Options::new`] has values that are right for most.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct S3Options {
    /// The bucket and the folder in it.
    pub location: S3Location,
    /// Provides the access key.
    pub credentials: Arc<dyn S3CredentialProvider>,
    /// The store's URL, `https://host:port`. `None` stands for AWS.
    pub endpoint: Option<String>,
    /// The bucket's region. Stores other than AWS mostly take any.
    pub region: String,
    /// Asserts that at most one process writes to the repository at a time. This allows stores that ignore conditions on writes.
    /// Where the store honours them, it changes nothing.
    pub single_writer: bool,
    /// The length of the parts of an upload, at least 5 MiB. One request stores an object of up to this length. No object has more
    /// than 10,000 parts.
    pub part_bytes: u64,
    /// How many parts travel up, or ranges down, at once. All writers together hold this many parts in memory, and each
    /// writer the one that it fills.
    pub parts_in_flight: usize,
    /// The least throughput of the link. A request may take as long as it takes at this rate with all others in flight
    /// beside it, and half a minute more.
    pub least_rate_bytes_per_sec: u64,
    /// How often it repeats a request that had no answer, or an answer that blames the server.
    pub retries: u32,
    /// The pause before the first repetition. Each later pause is twice as long, up to ten seconds.
    pub first_pause: Duration,
    /// A sweep may remove what a writer left unfinished when the writer has given no sign of life for so long, by the store's
    /// clock. A writer at work gives four signs in that time.
    pub abandoned_after: Duration,
    /// How the store checks the bodies of requests.
    pub checksum: S3Checksum,
    /// How strictly the store enforces object lock.
    pub retention_mode: S3RetentionMode,
}

impl S3Options {
    /// The defaults: AWS's endpoint in `us-east-1`, parts of 8 MiB, 16 in flight, 64 KiB a second at least,
    /// SHA-256.
    pub fn new(location: S3Location, credentials: impl S3CredentialProvider + 'static) -> Self {
        Self {
            location,
            credentials: Arc::new(credentials),
            endpoint: None,
            region: "us-east-1".to_owned(),
            single_writer: false,
            part_bytes: 8 << 20,
            parts_in_flight: 16,
            least_rate_bytes_per_sec: 64 << 10,
            retries: 6,
            first_pause: Duration::from_millis(100),
            abandoned_after: Duration::from_secs(2 * 3_600),
            checksum: S3Checksum::Sha256,
            retention_mode: S3RetentionMode::Governance,
        }
    }

    /// Sets [`S3Options::endpoint`].
    #[must_use]
    pub fn with_endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = Some(endpoint.into());
        self
    }

    /// Sets [`S3Options::region`].
    #[must_use]
    pub fn with_region(mut self, region: impl Into<String>) -> Self {
        self.region = region.into();
        self
    }

    /// Sets [`S3Options::single_writer`].
    #[must_use]
    pub fn with_single_writer(mut self, single_writer: bool) -> Self {
        self.single_writer = single_writer;
        self
    }

    /// Sets [`S3Options::part_bytes`].
    #[must_use]
    pub fn with_part_bytes(mut self, part_bytes: u64) -> Self {
        self.part_bytes = part_bytes;
        self
    }

    /// Sets [`S3Options::parts_in_flight`].
    #[must_use]
    pub fn with_parts_in_flight(mut self, parts_in_flight: usize) -> Self {
        self.parts_in_flight = parts_in_flight;
        self
    }

    /// Sets [`S3Options::least_rate_bytes_per_sec`].
    #[must_use]
    pub fn with_least_rate_bytes_per_sec(mut self, least_rate_bytes_per_sec: u64) -> Self {
        self.least_rate_bytes_per_sec = least_rate_bytes_per_sec;
        self
    }

    /// Sets [`S3Options::retries`].
    #[must_use]
    pub fn with_retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// Sets [`S3Options::first_pause`].
    #[must_use]
    pub fn with_first_pause(mut self, first_pause: Duration) -> Self {
        self.first_pause = first_pause;
        self
    }

    /// Sets [`S3Options::abandoned_after`].
    #[must_use]
    pub fn with_abandoned_after(mut self, abandoned_after: Duration) -> Self {
        self.abandoned_after = abandoned_after;
        self
    }

    /// Sets [`S3Options::checksum`].
    #[must_use]
    pub fn with_checksum(mut self, checksum: S3Checksum) -> Self {
        self.checksum = checksum;
        self
    }

    /// Sets [`S3Options::retention_mode`].
    #[must_use]
    pub fn with_retention_mode(mut self, retention_mode: S3RetentionMode) -> Self {
        self.retention_mode = retention_mode;
        self
    }

    /// The largest object of parts of this length.
    pub(super) fn object_bytes_max(&self) -> u64 {
        self.part_bytes.saturating_mul(PARTS_MAX).min(OBJECT_BYTES_MAX)
    }
}
