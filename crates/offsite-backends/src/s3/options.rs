//! The options for opening a bucket.

use std::sync::Arc;
use std::time::Duration;

use offsite_repository::{StreamRange, StreamShare};

use super::credentials::S3CredentialProvider;
use super::location::S3Location;

/// The smallest part that S3 allows, except the last.
pub(super) const PART_BYTES_MIN: u64 = 5 << 20;
/// The largest number of parts of an object that S3 allows.
pub(super) const PARTS_MAX: u64 = 10_000;
/// The length of parts, unless it is said otherwise.
const PART_BYTES: u64 = 8 << 20;
/// About as many bytes of uploads are under way at once.
const UPLOAD_BYTES: u64 = 96 << 20;
/// As many requests for block data may be under way at once, unless it is said otherwise.
const STREAMS: usize = 16;
/// The largest object that S3 allows, in bytes.
const OBJECT_BYTES_MAX: u64 = 5 << 40;

/// How strictly the store enforces dates of object lock.
///
/// The modes are those of [S3 Object Lock](https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum S3RetentionMode {
    /// Users with a special permission can lift a lock, with other tools.
    Governance,
    /// Nobody can lift a lock, not even the owner of the account.
    Compliance,
}

/// How the store checks the bodies of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum S3Checksum {
    /// The SHA-256 of the body, as a part of the request's signature. Nobody without the key can change a body on its way, even
    /// without TLS. Every store checks it. On a CPU without SHA instructions, a core hashes about 400 MB/s.
    Sha256,
    /// The CRC-64/NVME of the body. It is many times faster. The signature does not cover the body, so only TLS keeps others from
    /// changing it on its way, as with AWS's own tools. Use it over plain HTTP only on links that you trust. Opening fails if the
    /// store does not check it.
    Crc64Nvme,
}

impl S3Checksum {
    /// The name that S3 uses for it.
    pub(super) fn algorithm(self) -> &'static str {
        match self {
            Self::Sha256 => "SHA256",
            Self::Crc64Nvme => "CRC64NVME",
        }
    }
}

/// How to open a bucket.
///
/// [`S3Options::new`] has values that suit most stores.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct S3Options {
    /// The bucket, and the folder in it.
    pub location: S3Location,
    /// The provider of the access key.
    pub credentials: Arc<dyn S3CredentialProvider>,
    /// The URL of the store, such as `https://host:port`. `None` means AWS.
    pub endpoint: Option<String>,
    /// The region of the bucket. Most stores other than AWS accept any.
    pub region: String,
    /// `true` asserts that at most one process writes to the repository at a time. It allows stores that ignore conditions on
    /// writes. It has no effect if the store honours them.
    pub single_writer: bool,
    /// The length of the parts of an upload in bytes, from 5 MiB to 1 GiB. An object of up to this length is stored with one
    /// request. No object has more than 10,000 parts.
    pub part_bytes: u64,
    /// The share of the requests for block data that may be under way at once. Each writer also holds the part that it fills in memory.
    pub streams: StreamShare,
    /// The slowest link to expect, in bytes per second. A request may take half a minute, plus the time that it needs at this
    /// rate with all others in flight beside it.
    pub least_rate_bytes_per_sec: u64,
    /// The number of repetitions of a request without an answer, or with an answer that blames the server.
    pub retries: u32,
    /// The pause before the first repetition. Each later pause is twice as long, up to ten seconds.
    pub first_pause: Duration,
    /// The time without a sign of life, by the clock of the store, after which a sweep may remove what a writer left unfinished.
    /// A writer at work gives four signs in that time.
    pub abandoned_after: Duration,
    /// How the store checks the bodies of requests.
    pub checksum: S3Checksum,
    /// How strictly the store enforces object lock.
    pub retention_mode: S3RetentionMode,
}

impl S3Options {
    /// The defaults: AWS in `us-east-1`, parts of 8 MiB, up to 16 requests for block data at once, which nobody else shares, a link of
    /// at least 64 KiB/s, and SHA-256.
    pub fn new(location: S3Location, credentials: impl S3CredentialProvider + 'static) -> Self {
        Self {
            location,
            credentials: Arc::new(credentials),
            endpoint: None,
            region: "us-east-1".to_owned(),
            single_writer: false,
            part_bytes: PART_BYTES,
            streams: StreamShare::alone(StreamRange::up_to(STREAMS)),
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

    /// Sets [`S3Options::streams`], and [`S3Options::part_bytes`] so that more streams take no more memory: to 5 to 8 MiB.
    #[must_use]
    pub fn with_streams(mut self, streams: StreamShare) -> Self {
        let at_once = streams.range().most() as u64;
        self.part_bytes = (UPLOAD_BYTES / at_once.max(1)).clamp(PART_BYTES_MIN, PART_BYTES);
        self.streams = streams;
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

    /// The length of the largest object with parts of this length, in bytes.
    pub(super) fn object_bytes_max(&self) -> u64 {
        self.part_bytes.saturating_mul(PARTS_MAX).min(OBJECT_BYTES_MAX)
    }
}
