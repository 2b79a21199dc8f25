//! S3's calls that object_store has none for: everything of multipart uploads but their parts, object lock, and deleting
//! by version.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::Method;
use md5::{Digest, Md5};
use offsite_repository::{Error, ErrorKind, Result};

use super::bucket::Bucket;
use super::errors::{self, ErrorReply};
use super::options::S3RetentionMode;
use super::signed::{Request, Unanswered};
use super::xml::{self, Begun, Copied, Retention, UploadedPart, Uploads};

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
    Refused(ErrorReply),
    /// It may be done, or may yet be.
    Unknown(ErrorReply),
}

impl Bucket {
    /// Begins an upload; its id.
    pub(super) async fn begin_upload(&self, name: &str, metadata: &[(&'static str, &str)]) -> Result<String> {
        let mut request = Request::new(Method::POST, Some(name)).query("uploads", "");
        // Each part has its own, which the store checks when it comes and again when the parts are joined.
        request = request.header("x-amz-checksum-algorithm", self.options.checksum.algorithm());
        for (key, value) in metadata {
            request = request.header(key, *value);
        }
        let answer = self.ask("create", request).await?;
        let begun: Begun = xml::parse("create", name, &answer.body)?;
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
        let body = xml::completion(parts)
            .map_err(|error| Error::new(ErrorKind::Unsupported, "finish").with_subject(name).with_source(error))?;
        let mut request = Request::new(Method::POST, Some(name)).query("uploadId", id).body(body);
        if if_absent {
            request = request.header("if-none-match", "*");
        }
        Ok(match self.send("finish", request).await? {
            Err(Unanswered(reply)) => Completion::Unknown(reply),
            Ok(answer) if answer.is_success() => Completion::Done,
            Ok(answer) => match (answer.status, answer.error_reply()) {
                (412 | 304, _) => Completion::Taken { repeated: answer.repeated },
                (_, ErrorReply { code, .. }) if code == "PreconditionFailed" => {
                    Completion::Taken { repeated: answer.repeated }
                }
                (404, ErrorReply { code, .. }) if code != "NoSuchBucket" => Completion::Gone,
                (409, _) => Completion::Conflict,
                (_, reply) => Completion::Refused(reply),
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
            let page: Uploads = xml::parse("list the uploads of", &self.location(), &answer.body)?;
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
        let copied: Copied = xml::parse("clone", name, &answer.body)?;
        Ok(copied.into())
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

    /// Whether the store refuses content that is not what its CRC-64/NVME says. If it does not, the object is there.
    pub(super) async fn checks_crc64nvme(&self, name: &str) -> Result<bool> {
        let wrong = BASE64_STANDARD.encode([0; 8]);
        let request = Request::new(Method::PUT, Some(name)).header("x-amz-checksum-crc64nvme", wrong);
        match self.send("try", request.body("checked?".to_owned())).await? {
            Ok(answer) => Ok(!answer.is_success()),
            Err(Unanswered(reply)) => Err(errors::of_answer("try", name, reply)),
        }
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
            Err(Unanswered(reply)) => return Err(errors::of_answer("read the retention of", name, reply)),
        };
        let reply = answer.error_reply();
        if ["NoSuchObjectLockConfiguration", "ObjectLockConfigurationNotFoundError"].contains(&reply.code.as_str()) {
            return Ok(None);
        }
        if !answer.is_success() {
            return Err(errors::of_answer("read the retention of", name, reply));
        }
        let retention: Retention = xml::parse("read the retention of", name, &answer.body)?;
        let Some(date) = retention.retain_until_date else { return Ok(None) };
        let date: jiff::Timestamp = date.parse().map_err(|error: jiff::Error| {
            Error::new(ErrorKind::Unavailable, "read the retention of").with_subject(name).with_source(error)
        })?;
        Ok(Some(date.as_second()))
    }

    /// Locks an object until a date.
    pub(super) async fn set_retention(&self, name: &str, until_unix_secs: i64) -> Result<()> {
        let date = jiff::Timestamp::from_second(until_unix_secs)
            .map_err(|error| Error::new(ErrorKind::Unsupported, "retain").with_subject(name).with_source(error))?;
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
    let reply = std::error::Error::source(error).and_then(|source| source.downcast_ref::<ErrorReply>());
    reply.is_some_and(|reply| reply.code == "NoSuchBucket")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_of_copies_are_encoded_but_for_their_slashes() {
        assert_eq!(percent_encoded("b/a b%2F+~"), "b/a%20b%252F%2B~");
    }
}
