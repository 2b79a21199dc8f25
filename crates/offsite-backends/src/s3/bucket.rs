//! The connection to a bucket: names of objects in it, and the requests that object_store has calls for.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder, Checksum};
use object_store::client::{HttpClient, HttpConnector, ReqwestConnector};
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::path::Path;
use object_store::{
    Attribute, AttributeValue, Attributes, BackoffConfig, ClientOptions, GetOptions, GetRange, ObjectMeta, ObjectStore,
    PutMode, PutOptions, PutPayload, RetryConfig,
};
use offsite_repository::{Error, ErrorKind, Result};
use std::ops::Range;
use std::time::Duration;

use super::credentials::ProviderAdapter;
use super::errors;
use super::options::{S3Checksum, S3Options};
use super::settings;
use super::wire::{Answer, Connected, Pace, Peer, Trace, Wire};

/// The folder of what is no object of the repository's: no key has a component that starts with a dot.
pub(super) const HIDDEN: &str = ".offsite";
/// The metadata that says who wrote an object: `x-amz-meta-offsite-writer`.
pub(super) const WRITER: &str = "offsite-writer";
/// The metadata with the CRC-64/NVME of an object that was stored by one request.
pub(super) const CHECKSUM: &str = "offsite-crc64nvme";

/// So much memory is taken before the bytes for it come.
const RESERVED_BYTES_MAX: u64 = 8 << 20;

/// A bucket and how to reach it. Names in it are those of the repository, without the prefix.
#[derive(Debug)]
pub(super) struct Bucket {
    pub(super) store: AmazonS3,
    pub(super) client: HttpClient,
    pub(super) options: S3Options,
    pub(super) peer: Peer,
}

/// An object's description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Description {
    pub(super) length: u64,
    /// Who wrote it, if the store remembers.
    pub(super) writer: Option<String>,
    pub(super) checksum: Option<String>,
    /// Its version, in a bucket that keeps versions.
    pub(super) version: Option<String>,
    pub(super) modified_unix_secs: i64,
}

/// A part of an object's content.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) bytes: Bytes,
    pub(super) object: Description,
}

impl Bucket {
    /// Prepares the connection; nothing is sent yet.
    pub(super) fn new(options: S3Options) -> Result<Self> {
        let unusable = |why: String| {
            Error::new(ErrorKind::Unsupported, "open").with_location(options.location.to_string()).with_detail(why)
        };
        if let Some(flaw) = settings::flaw(&options) {
            return Err(unusable(flaw));
        }
        // Fails if one is installed already, which is then used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let plain = options.endpoint.as_ref().is_some_and(|url| url.starts_with("http://"));
        // Time is bounded by size, below.
        let client_options = ClientOptions::new()
            .with_allow_http(plain)
            .with_timeout_disabled()
            .with_connect_timeout(Duration::from_secs(10));
        let client =
            ReqwestConnector::default().connect(&client_options).map_err(|error| unusable(error.to_string()))?;
        let pace = Pace {
            least_rate_bytes_per_sec: options.least_rate_bytes_per_sec,
            in_flight: options.streams.range().most() as u64,
        };
        let peer = Peer::default();
        let client = HttpClient::new(Wire { client, pace, peer: peer.clone(), streams: options.streams.clone() });
        let retry = RetryConfig {
            backoff: BackoffConfig {
                init_backoff: options.first_pause,
                max_backoff: Duration::from_secs(10),
                base: 2.0,
            },
            max_retries: options.retries as usize,
            retry_timeout: pace.of_bytes(options.part_bytes) * 2,
        };
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(options.location.bucket())
            .with_region(&options.region)
            .with_credentials(Arc::new(ProviderAdapter(Arc::clone(&options.credentials))))
            .with_allow_http(plain)
            .with_checksum_algorithm(match options.checksum {
                S3Checksum::Sha256 => Checksum::SHA256,
                S3Checksum::Crc64Nvme => Checksum::CRC64NVME,
            })
            .with_unsigned_payload(options.checksum == S3Checksum::Crc64Nvme)
            // Each store has the plain request; some lack the other, and it reports refusals in its body.
            .with_disable_bulk_delete(true)
            .with_retry(retry)
            .with_client_options(client_options)
            .with_http_connector(Connected(client.clone()));
        if let Some(endpoint) = &options.endpoint {
            builder = builder.with_endpoint(endpoint.trim_end_matches('/'));
        }
        let store = builder.build().map_err(|error| unusable(error.to_string()))?;
        Ok(Self { store, client, options, peer })
    }

    /// The full name of an object, or of a hidden one.
    pub(super) fn full_name(&self, name: &str) -> String {
        match self.options.location.prefix().as_str() {
            "" => name.to_owned(),
            prefix => format!("{prefix}/{name}"),
        }
    }

    /// As object_store takes it. Not `Path::from`, which writes some characters otherwise.
    pub(super) fn path(&self, name: &str) -> Result<Path> {
        Path::parse(self.full_name(name))
            .map_err(|error| Error::new(ErrorKind::Unsupported, "use the name").with_subject(name).with_source(error))
    }

    /// An object's description, if there is one.
    pub(super) async fn describe(&self, action: &'static str, name: &str) -> Result<Option<Description>> {
        let trace = Trace::default();
        let options = GetOptions { head: true, extensions: trace.extensions(), ..GetOptions::default() };
        match self.store.get_opts(&self.path(name)?, options).await {
            Ok(answer) => Ok(Some(Description::new(&answer.meta, &answer.attributes))),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(errors::of_store(action, name, &error, &trace)),
        }
    }

    /// Reads an object, or a range of it that is not empty. The store cuts a range off at the object's end; what comes is
    /// as long as it said, or an error.
    pub(super) async fn read(&self, name: &str, range: Option<Range<u64>>, bytes_max: u64) -> Result<Part> {
        let trace = Trace::default();
        let options =
            GetOptions { range: range.map(GetRange::Bounded), extensions: trace.extensions(), ..GetOptions::default() };
        let failed = |error: object_store::Error| match trace.status() {
            Some(416) => {
                Error::new(ErrorKind::Corrupt, "read").with_subject(name).with_detail("it ends before the range begins")
            }
            _ => errors::of_store("read", name, &error, &trace),
        };
        let answer = self.store.get_opts(&self.path(name)?, options).await.map_err(failed)?;
        let object = Description::new(&answer.meta, &answer.attributes);
        let wanted = answer.range.end - answer.range.start;
        if wanted > bytes_max {
            let detail = format!("it has {} bytes, at most {bytes_max} are expected", object.length);
            return Err(Error::new(ErrorKind::Corrupt, "read").with_subject(name).with_detail(detail));
        }
        let mut stream = answer.into_stream();
        // What a store announces is not yet there.
        let mut bytes = BytesMut::with_capacity(usize::try_from(wanted.min(RESERVED_BYTES_MAX)).unwrap_or(0));
        while let Some(chunk) = stream.next().await {
            bytes.extend_from_slice(&chunk.map_err(failed)?);
        }
        if bytes.len() as u64 != wanted {
            let detail = format!("{wanted} bytes were announced, and {} came", bytes.len());
            return Err(Error::new(ErrorKind::Unavailable, "read").with_subject(name).with_detail(detail));
        }
        Ok(Part { bytes: bytes.freeze(), object })
    }

    /// Stores an object by one request, if its name is free or in any case, and says what was answered to each try.
    pub(super) async fn put(
        &self,
        name: &str,
        payload: PutPayload,
        metadata: &[(&'static str, &str)],
        mode: PutMode,
    ) -> Result<(object_store::Result<Option<String>>, Vec<Answer>, Trace)> {
        let trace = Trace::default();
        let mut attributes = Attributes::new();
        for (key, value) in metadata {
            attributes.insert(Attribute::Metadata((*key).into()), AttributeValue::from((*value).to_owned()));
        }
        let options = PutOptions { mode, attributes, extensions: trace.extensions(), ..PutOptions::default() };
        let answer = self.store.put_opts(&self.path(name)?, payload, options).await;
        Ok((answer.map(|put| put.version), trace.answers(), trace))
    }

    /// One page of the objects whose full names start with `prefix`, from after a full name on.
    pub(super) async fn list(
        &self,
        prefix: &str,
        after: Option<String>,
        keys_max: usize,
    ) -> Result<(Vec<ObjectMeta>, bool)> {
        let trace = Trace::default();
        let options = PaginatedListOptions {
            offset: after,
            max_keys: Some(keys_max),
            extensions: trace.extensions(),
            ..PaginatedListOptions::default()
        };
        let prefix = Some(prefix).filter(|prefix| !prefix.is_empty());
        let page = self.store.list_paginated(prefix, options).await;
        let page = page.map_err(|error| errors::of_store("list", self.location(), &error, &trace))?;
        Ok((page.result.objects, page.page_token.is_some()))
    }

    pub(super) fn location(&self) -> String {
        self.options.location.to_string()
    }
}

impl Description {
    fn new(meta: &ObjectMeta, attributes: &Attributes) -> Self {
        let metadata =
            |key: &'static str| attributes.get(&Attribute::Metadata(key.into())).map(|value| value.to_string());
        Self {
            length: meta.size,
            writer: metadata(WRITER),
            checksum: metadata(CHECKSUM),
            version: meta.version.clone().filter(|version| version != "null"),
            modified_unix_secs: meta.last_modified.timestamp(),
        }
    }
}

/// 16 random bytes, as text.
pub(super) fn random_name() -> Result<String> {
    let mut random = [0; 16];
    getrandom::fill(&mut random)
        .map_err(|error| Error::new(ErrorKind::Unavailable, "draw a random name").with_source(error))?;
    Ok(format!("{:032x}", u128::from_le_bytes(random)))
}
