//! S3's calls, as s3s decodes them, on the store.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures::TryStreamExt;
use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};

use crate::store::{Content, Store};

/// What a page of a listing has at most.
const KEYS_MAX: usize = 1_000;

pub(crate) struct Protocol {
    pub(crate) store: Arc<Store>,
    pub(crate) forgets_content: bool,
}

type Answer<T> = S3Result<S3Response<T>>;

fn answer<T>(output: T) -> Answer<T> {
    Ok(S3Response::new(output))
}

fn length(bytes: u64) -> Option<i64> {
    i64::try_from(bytes).ok()
}

impl Protocol {
    /// The body of a request, if it has the length and the CRC-64/NVME that the request says. A hash is checked on the way.
    async fn received(
        &self,
        body: Option<StreamingBlob>,
        expected: Option<i64>,
        checksum: Option<&String>,
    ) -> S3Result<Content> {
        let mut content = Content::default();
        let mut digest = crc64fast_nvme::Digest::new();
        if let Some(mut body) = body {
            // Checks what the request says of its body, on the way.
            while let Some(piece) = body.try_next().await.map_err(|error| s3_error!(InvalidRequest, "{error}"))? {
                if checksum.is_some() {
                    digest.write(&piece);
                }
                if self.forgets_content { content.forget(&piece) } else { content.push(piece) }
            }
        }
        if expected.is_some_and(|expected| length(content.length) != Some(expected)) {
            return Err(s3_error!(IncompleteBody, "The body is not as long as it was said to be."));
        }
        if checksum.is_some_and(|checksum| *checksum != BASE64_STANDARD.encode(digest.sum64().to_be_bytes())) {
            return Err(s3_error!(BadDigest, "The body has not the CRC-64/NVME that it was said to have."));
        }
        Ok(content)
    }
}

fn streamed(pieces: Vec<Bytes>) -> StreamingBlob {
    StreamingBlob::wrap(futures::stream::iter(pieces.into_iter().map(Ok::<_, std::io::Error>)))
}

fn is_any(condition: Option<&IfNoneMatch>) -> bool {
    condition.is_some_and(ETagCondition::is_any)
}

/// `bytes=first-last`, as a copy names its source.
fn copied_range(text: Option<&str>, length: u64) -> S3Result<std::ops::Range<u64>> {
    let Some(text) = text else { return Ok(0..length) };
    let bounds = text.strip_prefix("bytes=").and_then(|text| text.split_once('-'));
    let bounds = bounds.and_then(|(first, last)| Some((first.parse::<u64>().ok()?, last.parse::<u64>().ok()?)));
    match bounds {
        Some((first, last)) if first <= last && last < length => Ok(first..last + 1),
        _ => Err(s3_error!(InvalidRange, "The source has no such range.")),
    }
}

fn system_time(timestamp: Timestamp) -> SystemTime {
    let mut text = Vec::new();
    let seconds = timestamp.format(TimestampFormat::EpochSeconds, &mut text).ok();
    let seconds = seconds.and_then(|()| String::from_utf8(text).ok()?.parse::<f64>().ok());
    UNIX_EPOCH + Duration::from_secs_f64(seconds.unwrap_or(0.0).max(0.0))
}

#[async_trait]
impl S3 for Protocol {
    async fn put_object(&self, request: S3Request<PutObjectInput>) -> Answer<PutObjectOutput> {
        let input = request.input;
        self.store.check_bucket(&input.bucket)?;
        let if_absent = is_any(input.if_none_match.as_ref());
        self.store.check_early(&input.key, if_absent)?;
        let content = self.received(input.body, input.content_length, input.checksum_crc64nvme.as_ref()).await?;
        tokio::task::yield_now().await;
        let object = self.store.put(&input.key, content, input.metadata, if_absent)?;
        answer(PutObjectOutput { e_tag: object.tag(), version_id: object.version, ..Default::default() })
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> Answer<GetObjectOutput> {
        let input = request.input;
        self.store.check_bucket(&input.bucket)?;
        let object = self.store.lock().get(&input.key)?.clone();
        let whole = object.content.length;
        let range = match input.range {
            Some(range) => Some(range.check(whole)?),
            None => None,
        };
        let content_range = range.as_ref().map(|range| format!("bytes {}-{}/{whole}", range.start, range.end - 1));
        let range = range.unwrap_or(0..whole);
        answer(GetObjectOutput {
            content_length: length(range.end - range.start),
            body: Some(streamed(object.content.slice(range))),
            content_range,
            e_tag: object.tag(),
            last_modified: object.last_modified(),
            metadata: object.metadata,
            version_id: object.version,
            ..Default::default()
        })
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> Answer<HeadObjectOutput> {
        let input = request.input;
        self.store.check_bucket(&input.bucket)?;
        let object = self.store.lock().get(&input.key)?.clone();
        answer(HeadObjectOutput {
            content_length: length(object.content.length),
            e_tag: object.tag(),
            last_modified: object.last_modified(),
            metadata: object.metadata,
            version_id: object.version,
            ..Default::default()
        })
    }

    async fn delete_object(&self, request: S3Request<DeleteObjectInput>) -> Answer<DeleteObjectOutput> {
        let input = request.input;
        self.store.check_bucket(&input.bucket)?;
        self.store.delete(&input.key, input.version_id.as_deref())?;
        answer(DeleteObjectOutput::default())
    }

    async fn list_objects_v2(&self, request: S3Request<ListObjectsV2Input>) -> Answer<ListObjectsV2Output> {
        let input = request.input;
        self.store.check_bucket(&input.bucket)?;
        let prefix = input.prefix.unwrap_or_default();
        let after = input.continuation_token.or(input.start_after);
        let limit = input.max_keys.and_then(|keys| usize::try_from(keys).ok()).unwrap_or(KEYS_MAX).min(KEYS_MAX);
        let state = self.store.lock();
        let mut found: Vec<Object> = state
            .names()
            .filter(|(key, _)| key.starts_with(&prefix) && after.as_ref().is_none_or(|after| *key > after))
            .take(limit + 1)
            .map(|(key, object)| Object {
                key: Some(key.clone()),
                size: length(object.content.length),
                e_tag: object.tag(),
                last_modified: object.last_modified(),
                ..Default::default()
            })
            .collect();
        let is_truncated = found.len() > limit;
        found.truncate(limit);
        let next = found.last().and_then(|object| object.key.clone()).filter(|_| is_truncated);
        answer(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(prefix),
            key_count: i32::try_from(found.len()).ok(),
            max_keys: i32::try_from(limit).ok(),
            is_truncated: Some(is_truncated),
            next_continuation_token: next,
            contents: Some(found),
            ..Default::default()
        })
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> Answer<CreateMultipartUploadOutput> {
        let input = request.input;
        self.store.check_bucket(&input.bucket)?;
        let upload_id = Some(self.store.begin(&input.key, input.metadata));
        let (bucket, key) = (Some(input.bucket), Some(input.key));
        answer(CreateMultipartUploadOutput { bucket, key, upload_id, ..Default::default() })
    }

    async fn upload_part(&self, request: S3Request<UploadPartInput>) -> Answer<UploadPartOutput> {
        let input = request.input;
        self.store.check_bucket(&input.bucket)?;
        let content = self.received(input.body, input.content_length, input.checksum_crc64nvme.as_ref()).await?;
        let e_tag = self.store.add_part(&input.key, &input.upload_id, input.part_number, content)?;
        let UploadPartInput { checksum_sha256, checksum_crc64nvme, .. } = input;
        let e_tag = Some(ETag::Strong(e_tag));
        answer(UploadPartOutput { e_tag, checksum_sha256, checksum_crc64nvme, ..Default::default() })
    }

    async fn upload_part_copy(&self, request: S3Request<UploadPartCopyInput>) -> Answer<UploadPartCopyOutput> {
        let input = request.input;
        let CopySource::Bucket { bucket, key, .. } = &input.copy_source else {
            return Err(s3_error!(NotImplemented, "Only buckets are sources."));
        };
        self.store.check_bucket(bucket)?;
        let source = self.store.lock().get(key)?.content.clone();
        let range = copied_range(input.copy_source_range.as_deref(), source.length)?;
        let mut content = Content::default();
        source.slice(range).into_iter().for_each(|piece| content.push(piece));
        let e_tag = self.store.add_part(&input.key, &input.upload_id, input.part_number, content)?;
        let result = CopyPartResult {
            e_tag: Some(ETag::Strong(e_tag)),
            last_modified: Some(Timestamp::from(self.store.now())),
            ..Default::default()
        };
        answer(UploadPartCopyOutput { copy_part_result: Some(result), ..Default::default() })
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> Answer<CompleteMultipartUploadOutput> {
        let input = request.input;
        self.store.check_bucket(&input.bucket)?;
        let parts = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
        let parts: Option<Vec<(i32, String)>> =
            parts.into_iter().map(|part| Some((part.part_number?, part.e_tag?.into_value()))).collect();
        let parts = parts.ok_or_else(|| s3_error!(MalformedXML, "A part has no number or tag."))?;
        let if_absent = is_any(input.if_none_match.as_ref());
        let object = self.store.complete(&input.key, &input.upload_id, &parts, if_absent)?;
        answer(CompleteMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: object.tag(),
            version_id: object.version,
            ..Default::default()
        })
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> Answer<AbortMultipartUploadOutput> {
        let input = request.input;
        self.store.check_bucket(&input.bucket)?;
        let mut state = self.store.lock();
        state.upload(&input.key, &input.upload_id)?;
        state.uploads.remove(&input.upload_id);
        answer(AbortMultipartUploadOutput::default())
    }

    async fn list_multipart_uploads(
        &self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> Answer<ListMultipartUploadsOutput> {
        let input = request.input;
        self.store.check_bucket(&input.bucket)?;
        let prefix = input.prefix.clone().unwrap_or_default();
        let marker = (input.key_marker.unwrap_or_default(), input.upload_id_marker.unwrap_or_default());
        let limit = input.max_uploads.and_then(|count| usize::try_from(count).ok()).unwrap_or(KEYS_MAX).min(KEYS_MAX);
        let state = self.store.lock();
        let mut found: Vec<(String, String, SystemTime)> = state
            .uploads
            .iter()
            .filter(|(_, upload)| upload.key.starts_with(&prefix))
            .map(|(id, upload)| (upload.key.clone(), id.clone(), upload.started))
            .filter(|(key, id, _)| (key, id) > (&marker.0, &marker.1))
            .collect();
        found.sort();
        let is_truncated = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| is_truncated).cloned();
        let uploads = found.into_iter().map(|(key, id, started)| MultipartUpload {
            key: Some(key),
            upload_id: Some(id),
            initiated: Some(Timestamp::from(started)),
            ..Default::default()
        });
        answer(ListMultipartUploadsOutput {
            bucket: Some(input.bucket),
            prefix: input.prefix,
            is_truncated: Some(is_truncated),
            uploads: Some(uploads.collect()),
            next_key_marker: next.as_ref().map(|(key, _, _)| key.clone()),
            next_upload_id_marker: next.map(|(_, id, _)| id),
            ..Default::default()
        })
    }

    async fn get_object_lock_configuration(
        &self,
        request: S3Request<GetObjectLockConfigurationInput>,
    ) -> Answer<GetObjectLockConfigurationOutput> {
        self.store.check_bucket(&request.input.bucket)?;
        if !self.store.locks {
            return Err(s3_error!(ObjectLockConfigurationNotFoundError, "Objects cannot be locked here."));
        }
        let enabled = Some(ObjectLockEnabled::from_static(ObjectLockEnabled::ENABLED));
        let configuration = ObjectLockConfiguration { object_lock_enabled: enabled, rule: None };
        answer(GetObjectLockConfigurationOutput { object_lock_configuration: Some(configuration) })
    }

    async fn get_object_retention(
        &self,
        request: S3Request<GetObjectRetentionInput>,
    ) -> Answer<GetObjectRetentionOutput> {
        self.store.check_bucket(&request.input.bucket)?;
        let state = self.store.lock();
        let until = state.get(&request.input.key)?.retained_until;
        let until = until.ok_or_else(|| s3_error!(NoSuchObjectLockConfiguration, "It is not locked."))?;
        let retention = ObjectLockRetention {
            mode: Some(ObjectLockRetentionMode::from_static(ObjectLockRetentionMode::GOVERNANCE)),
            retain_until_date: Some(Timestamp::from(until)),
        };
        answer(GetObjectRetentionOutput { retention: Some(retention) })
    }

    async fn put_object_retention(
        &self,
        request: S3Request<PutObjectRetentionInput>,
    ) -> Answer<PutObjectRetentionOutput> {
        let input = request.input;
        self.store.check_bucket(&input.bucket)?;
        if input.content_md5.is_none() {
            return Err(s3_error!(InvalidRequest, "The request has no checksum."));
        }
        let until = input.retention.and_then(|retention| retention.retain_until_date).map(system_time);
        let until = until.ok_or_else(|| s3_error!(MalformedXML, "There is no date."))?;
        if until <= self.store.now() {
            return Err(s3_error!(InvalidArgument, "The date is past."));
        }
        let mut state = self.store.lock();
        let object = state.newest_mut(&input.key).ok_or_else(|| s3_error!(NoSuchKey, "There is no such object."))?;
        // As for a user who may lift a lock: it is for the client to refuse.
        object.retained_until = Some(until);
        answer(PutObjectRetentionOutput::default())
    }
}
