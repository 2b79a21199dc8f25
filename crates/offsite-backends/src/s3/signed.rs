//! Requests that object_store has no call for, through URLs that it signs: everything of multipart uploads but their parts,
//! object lock, and deleting by version. All that is known of S3's XML is here.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};
use md5::{Digest, Md5};
use object_store::client::HttpRequestBody;
use object_store::multipart::PartId;
use object_store::path::Path;
use object_store::signer::{SignedUrlOptions, Signer};
use offsite_repository::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::bucket::Bucket;
use super::errors::{self, Said};
use super::options::S3RetentionMode;

/// How long a URL is valid: for clocks that differ by some minutes, and a slow answer.
const VALID: Duration = Duration::from_secs(15 * 60);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// No answer of these is longer.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// A request to be signed.
#[derive(Debug, Clone)]
struct Request<'a> {
    method: Method,
    /// None: the bucket itself.
    name: Option<&'a str>,
    query: Vec<(&'static str, String)>,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

/// What was answered.
#[derive(Debug)]
pub(super) struct Answer {
    status: u16,
    headers: http::HeaderMap,
    body: String,
    /// Whether an earlier try of the request may have been carried out.
    pub(super) repeated: bool,
}

/// No answer, or one that blames the server, after all tries.
#[derive(Debug)]
pub(super) struct Unanswered(pub(super) Said);

/// A part that the store has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UploadedPart {
    e_tag: String,
    checksum_sha256: Option<String>,
}

/// An upload under way, as the store lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Upload {
    /// Without the repository's prefix.
    pub(super) name: String,
    pub(super) id: String,
}

/// How completing an upload ended.
#[derive(Debug)]
pub(super) enum Completion {
    /// It is done, and was not before.
    Done,
    /// The store refused it, since the name is taken; by this upload itself, if an earlier try was carried out.
    Taken { repeated: bool },
    /// There is no such upload any more. It is done, or was aborted.
    Gone,
    /// The store refused it because of others that write the name at this moment.
    Conflict,
    /// Refused for another reason.
    Refused(Said),
    /// It may be done, or may yet be.
    Unknown(Said),
}

impl Answer {
    fn said(&self) -> Said {
        Said::of_answer(self.status, &self.body)
    }

    /// Also a success may report a fault, in its body.
    fn is_success(&self) -> bool {
        (200..300).contains(&self.status) && !self.body.contains("<Error>")
    }

    /// Whether the server is to blame, and a repetition may help.
    fn is_passing(&self) -> bool {
        let in_success = (200..300).contains(&self.status)
            && ["InternalError", "SlowDown", "ServiceUnavailable"].contains(&self.said().code.as_str());
        in_success || self.status >= 500 && self.status != 501 && self.status != 507 || matches!(self.status, 408 | 429)
    }

    /// The store's time.
    fn date_unix_secs(&self) -> Option<i64> {
        let date = self.headers.get(http::header::DATE)?.to_str().ok()?;
        Some(jiff::fmt::rfc2822::parse(date).ok()?.timestamp().as_second())
    }
}

impl<'a> Request<'a> {
    fn new(method: Method, name: Option<&'a str>) -> Self {
        Self { method, name, query: Vec::new(), headers: Vec::new(), body: Bytes::new() }
    }

    fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn body(mut self, body: String) -> Self {
        self.body = body.into();
        self
    }
}

impl Bucket {
    /// Sends a request that may be repeated.
    async fn send(
        &self,
        action: &'static str,
        request: Request<'_>,
    ) -> Result<std::result::Result<Answer, Unanswered>> {
        let mut repeated = false;
        let mut pause = self.options.first_pause;
        let mut left = self.options.retries;
        loop {
            let said = match self.send_once(action, &request).await? {
                Ok(answer) if !answer.is_passing() => return Ok(Ok(Answer { repeated, ..answer })),
                Ok(answer) => answer.said(),
                Err(said) => said,
            };
            if left == 0 {
                return Ok(Err(Unanswered(said)));
            }
            left -= 1;
            repeated = true;
            sleep(jittered(pause)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Signs anew for each try: keys may change, and signatures expire.
    async fn send_once(
        &self,
        action: &'static str,
        request: &Request<'_>,
    ) -> Result<std::result::Result<Answer, Said>> {
        let place = || request.name.map_or_else(|| self.location(), str::to_owned);
        let path = request.name.map_or_else(|| Ok(Path::default()), |name| self.path(name))?;
        let malformed = |error: &dyn std::fmt::Display| {
            Error::new(ErrorKind::Unsupported, action).with_place(place()).with_detail(error.to_string())
        };
        let mut headers = http::HeaderMap::new();
        for (name, value) in &request.headers {
            headers.insert(
                HeaderName::from_static(name),
                HeaderValue::from_str(value).map_err(|error| malformed(&error))?,
            );
        }
        let query = request.query.iter().map(|(name, value)| (*name, value.as_str()));
        let mut options = SignedUrlOptions::new().with_query(query);
        options.signed_headers = headers.clone();
        let url = self.store.signed_url_opts(request.method.clone(), &path, VALID, &options).await;
        let url = url.map_err(|error| errors::of_store(action, place(), &error, &super::wire::Trace::default()))?;
        let mut wire = http::Request::builder()
            .method(request.method.clone())
            .uri(url.as_str())
            .body(HttpRequestBody::from(request.body.clone()))
            // The URL is not to be in the message.
            .map_err(|_| malformed(&"the store's name for it is no URL"))?;
        *wire.headers_mut() = headers;
        let length = HeaderValue::from(request.body.len());
        wire.headers_mut().insert(http::header::CONTENT_LENGTH, length);
        let answer = match self.client.execute(wire).await {
            Ok(answer) => answer,
            Err(error) => return Ok(Err(Said::of_loss(&error))),
        };
        let (head, body) = answer.into_parts();
        let body = match http_body_limited(body).await {
            Ok(body) => body,
            Err(error) => return Ok(Err(Said::of_loss(&error))),
        };
        let (status, headers) = (head.status.as_u16(), head.headers);
        Ok(Ok(Answer { status, headers, body, repeated: false }))
    }

    /// As [`Self::send`], where an answer that is no success is an error.
    async fn ask(&self, action: &'static str, request: Request<'_>) -> Result<Answer> {
        let place = request.name.map_or_else(|| self.location(), str::to_owned);
        match self.send(action, request).await? {
            Ok(answer) if answer.is_success() => Ok(answer),
            Ok(answer) => Err(errors::of_answer(action, place, answer.said())),
            Err(Unanswered(said)) => Err(errors::of_answer(action, place, said)),
        }
    }

    /// Begins an upload; its id.
    pub(super) async fn begin_upload(&self, name: &str, metadata: &[(&'static str, &str)]) -> Result<String> {
        let mut request = Request::new(Method::POST, Some(name)).query("uploads", "");
        // Each part has its own, which the store checks when it comes and again when the parts are joined.
        request = request.header("x-amz-checksum-algorithm", "SHA256");
        for (key, value) in metadata {
            request.headers.push((key, (*value).to_owned()));
        }
        let answer = self.ask("create", request).await?;
        let begun: Begun = parse("create", name, &answer.body)?;
        Ok(begun.upload_id)
    }

    /// Joins the parts; if the name is free, where the store knows that condition.
    pub(super) async fn complete_upload(
        &self,
        name: &str,
        id: &str,
        parts: &[UploadedPart],
        if_absent: bool,
    ) -> Result<Completion> {
        let parts = parts.iter().zip(1..).map(|(part, number)| CompletePart::new(part, number));
        let body = quick_xml::se::to_string(&Complete { part: parts.collect() });
        let body =
            body.map_err(|error| Error::new(ErrorKind::Unsupported, "finish").with_place(name).with_source(error))?;
        let mut request = Request::new(Method::POST, Some(name)).query("uploadId", id).body(body);
        if if_absent {
            request = request.header("if-none-match", "*");
        }
        Ok(match self.send("finish", request).await? {
            Err(Unanswered(said)) => Completion::Unknown(said),
            Ok(answer) if answer.is_success() => Completion::Done,
            Ok(answer) => match (answer.status, answer.said()) {
                (412 | 304, _) => Completion::Taken { repeated: answer.repeated },
                (_, Said { code, .. }) if code == "PreconditionFailed" => {
                    Completion::Taken { repeated: answer.repeated }
                }
                (404, Said { code, .. }) if code != "NoSuchBucket" => Completion::Gone,
                (409, _) => Completion::Conflict,
                (_, said) => Completion::Refused(said),
            },
        })
    }

    /// Aborts an upload, so that it can never be completed. One that is gone counts as aborted.
    pub(super) async fn abort_upload(&self, name: &str, id: &str) -> Result<()> {
        match self.ask("abort", Request::new(Method::DELETE, Some(name)).query("uploadId", id)).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// The uploads under way below the repository's prefix.
    pub(super) async fn uploads(&self) -> Result<Vec<Upload>> {
        let prefix = self.full_name("");
        let mut uploads = Vec::new();
        let mut after: Option<(String, String)> = None;
        loop {
            let mut request = Request::new(Method::GET, None).query("uploads", "");
            if !prefix.is_empty() {
                request = request.query("prefix", prefix.clone());
            }
            if let Some((name, id)) = &after {
                request = request.query("key-marker", name).query("upload-id-marker", id);
            }
            let answer = self.ask("list the uploads of", request).await?;
            let page: Uploads = parse("list the uploads of", &self.location(), &answer.body)?;
            uploads.extend(page.upload.into_iter().filter_map(|upload| {
                let name = upload.key.strip_prefix(&prefix)?.to_owned();
                Some(Upload { name, id: upload.upload_id })
            }));
            let next = page.next_key_marker.zip(page.next_upload_id_marker).filter(|next| after.as_ref() != Some(next));
            match next {
                Some(next) if page.is_truncated => after = Some(next),
                _ => return Ok(uploads),
            }
        }
    }

    /// Makes a range of an object a part of an upload, without its bytes passing here.
    pub(super) async fn copy_part(
        &self,
        name: &str,
        id: &str,
        number: usize,
        source: &str,
        range: std::ops::Range<u64>,
    ) -> Result<UploadedPart> {
        let source_name = format!("{}/{}", self.options.location.bucket(), self.full_name(source));
        let request = Request::new(Method::PUT, Some(name))
            .query("partNumber", number.to_string())
            .query("uploadId", id)
            .header("x-amz-copy-source", percent_encoded(&source_name))
            .header("x-amz-copy-source-range", format!("bytes={}-{}", range.start, range.end - 1));
        let answer = self.ask("clone", request).await?;
        let copied: Copied = parse("clone", name, &answer.body)?;
        Ok(UploadedPart { e_tag: copied.e_tag, checksum_sha256: copied.checksum_sha256 })
    }

    /// Deletes a version for good; the newest without a number.
    pub(super) async fn delete_version(&self, name: &str, version: Option<&str>) -> Result<()> {
        let mut request = Request::new(Method::DELETE, Some(name));
        if let Some(version) = version {
            request = request.query("versionId", version);
        }
        match self.ask("delete", request).await {
            Err(error) if error.kind() == ErrorKind::NotFound && !has_no_bucket(&error) => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// The store's time.
    pub(super) async fn date(&self) -> Result<Option<i64>> {
        let request = Request::new(Method::GET, None).query("list-type", "2").query("max-keys", "1");
        Ok(self.ask("open", request).await?.date_unix_secs())
    }

    /// Whether objects of the bucket can be locked.
    pub(super) async fn has_object_lock(&self) -> Result<bool> {
        let answer = self.ask("open", Request::new(Method::GET, None).query("object-lock", "")).await?;
        Ok(answer.body.contains("<ObjectLockEnabled>Enabled<"))
    }

    /// The date until which an object is locked.
    pub(super) async fn retention(&self, name: &str) -> Result<Option<i64>> {
        let request = Request::new(Method::GET, Some(name)).query("retention", "");
        let answer = match self.send("read the retention of", request).await? {
            Ok(answer) => answer,
            Err(Unanswered(said)) => return Err(errors::of_answer("read the retention of", name, said)),
        };
        let said = answer.said();
        if ["NoSuchObjectLockConfiguration", "ObjectLockConfigurationNotFoundError"].contains(&said.code.as_str()) {
            return Ok(None);
        }
        if !answer.is_success() {
            return Err(errors::of_answer("read the retention of", name, said));
        }
        let retention: Retention = parse("read the retention of", name, &answer.body)?;
        let Some(date) = retention.retain_until_date else { return Ok(None) };
        let date: jiff::Timestamp = date.parse().map_err(|error: jiff::Error| {
            Error::new(ErrorKind::Unavailable, "read the retention of").with_place(name).with_source(error)
        })?;
        Ok(Some(date.as_second()))
    }

    /// Locks an object until a date.
    pub(super) async fn set_retention(&self, name: &str, until_unix_secs: i64) -> Result<()> {
        let date = jiff::Timestamp::from_second(until_unix_secs)
            .map_err(|error| Error::new(ErrorKind::Unsupported, "retain").with_place(name).with_source(error))?;
        let mode = match self.options.retention_mode {
            S3RetentionMode::Governance => "GOVERNANCE",
            S3RetentionMode::Compliance => "COMPLIANCE",
        };
        let body = format!(
            "<Retention xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Mode>{mode}</Mode><RetainUntilDate>{date}\
             </RetainUntilDate></Retention>"
        );
        let checksum = BASE64_STANDARD.encode(Md5::digest(body.as_bytes()));
        let request =
            Request::new(Method::PUT, Some(name)).query("retention", "").header("content-md5", checksum).body(body);
        self.ask("retain", request).await.map(drop)
    }
}

/// Whether an error says that the bucket is not there, rather than what is in it.
fn has_no_bucket(error: &Error) -> bool {
    let said = std::error::Error::source(error).and_then(|source| source.downcast_ref::<Said>());
    said.is_some_and(|said| said.code == "NoSuchBucket")
}

async fn http_body_limited(
    body: object_store::client::HttpResponseBody,
) -> std::result::Result<String, object_store::client::HttpError> {
    use futures::StreamExt;
    let mut stream = body.bytes_stream();
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        bytes.extend_from_slice(&chunk?);
        if bytes.len() > ANSWER_BYTES_MAX {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Half to all of a pause, so that those who fail together do not come back together.
pub(super) fn jittered(pause: Duration) -> Duration {
    let mut random = [0];
    // Without a random number they come back together.
    let _ = getrandom::fill(&mut random);
    pause / 2 + pause / 2 * u32::from(random[0]) / 255
}

fn parse<T: for<'de> Deserialize<'de>>(action: &'static str, place: &str, body: &str) -> Result<T> {
    quick_xml::de::from_str(body).map_err(|error| {
        let detail = "the store's answer is not as S3 describes it";
        Error::new(ErrorKind::Unavailable, action).with_place(place).with_detail(detail).with_source(error)
    })
}

/// As S3 wants the source of a copy.
fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Begun {
    upload_id: String,
}

#[derive(Deserialize)]
struct Copied {
    #[serde(rename = "ETag")]
    e_tag: String,
    #[serde(rename = "ChecksumSHA256")]
    checksum_sha256: Option<String>,
}

#[derive(Serialize)]
#[serde(rename = "CompleteMultipartUpload", rename_all = "PascalCase")]
struct Complete {
    part: Vec<CompletePart>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct CompletePart {
    part_number: usize,
    #[serde(rename = "ETag")]
    e_tag: String,
    #[serde(rename = "ChecksumSHA256", skip_serializing_if = "Option::is_none")]
    checksum_sha256: Option<String>,
}

/// What object_store keeps in the content id of a part with a checksum; without one the id is the bare `ETag`.
#[derive(Deserialize)]
struct PartMetadata {
    e_tag: String,
    checksum_sha256: Option<String>,
}

impl CompletePart {
    fn new(part: &UploadedPart, part_number: usize) -> Self {
        let UploadedPart { e_tag, checksum_sha256 } = part.clone();
        Self { part_number, e_tag, checksum_sha256 }
    }
}

impl From<PartId> for UploadedPart {
    fn from(part: PartId) -> Self {
        match quick_xml::de::from_str::<PartMetadata>(&part.content_id) {
            Ok(PartMetadata { e_tag, checksum_sha256 }) => Self { e_tag, checksum_sha256 },
            Err(_) => Self { e_tag: part.content_id, checksum_sha256: None },
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Uploads {
    #[serde(default)]
    upload: Vec<ListedUpload>,
    #[serde(default)]
    is_truncated: bool,
    next_key_marker: Option<String>,
    next_upload_id_marker: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListedUpload {
    key: String,
    upload_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Retention {
    retain_until_date: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_keep_their_checksums() {
        let with = PartId {
            content_id:
                "<PartMetadata><e_tag>&quot;x&quot;</e_tag><checksum_sha256>abc=</checksum_sha256></PartMetadata>"
                    .to_owned(),
        };
        let part = UploadedPart::from(with);
        assert_eq!((part.e_tag.as_str(), part.checksum_sha256.as_deref()), ("\"x\"", Some("abc=")));
        let without = UploadedPart::from(PartId { content_id: "\"x\"".to_owned() });
        assert_eq!((without.e_tag.as_str(), without.checksum_sha256), ("\"x\"", None));
        let body = quick_xml::se::to_string(&Complete { part: vec![CompletePart::new(&part, 1)] }).unwrap();
        assert!(body.starts_with("<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>"), "{body}");
        assert!(body.contains("<ChecksumSHA256>abc=</ChecksumSHA256>"), "{body}");
    }

    #[test]
    fn sources_of_copies_are_encoded_but_for_their_slashes() {
        assert_eq!(percent_encoded("b/a b%2F+~"), "b/a%20b%252F%2B~");
    }

    #[test]
    fn a_success_may_report_a_fault() {
        let answer = |status, body: &str| Answer {
            status,
            headers: http::HeaderMap::new(),
            body: body.to_owned(),
            repeated: false,
        };
        let fault = answer(200, "<Error><Code>InternalError</Code></Error>");
        assert!(!fault.is_success() && fault.is_passing());
        let refusal = answer(200, "<Error><Code>InvalidPart</Code></Error>");
        assert!(!refusal.is_success() && !refusal.is_passing());
        assert!(answer(503, "").is_passing() && !answer(501, "").is_passing() && !answer(412, "").is_passing());
    }
}
