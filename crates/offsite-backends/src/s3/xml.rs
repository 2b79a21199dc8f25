//! What is known of S3's XML: the records of answers and of requests.

use object_store::multipart::PartId;
use offsite_repository::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

/// A part that the store has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UploadedPart {
    e_tag: String,
    checksum_sha256: Option<String>,
    checksum_crc64nvme: Option<String>,
}

/// Reads an answer.
pub(super) fn parse<T: for<'de> Deserialize<'de>>(action: &'static str, place: &str, body: &str) -> Result<T> {
    quick_xml::de::from_str(body).map_err(|error| {
        let detail = "the store's answer is not as S3 describes it";
        Error::new(ErrorKind::Unavailable, action).with_subject(place).with_detail(detail).with_source(error)
    })
}

/// The body of the request that joins an upload's parts, which are numbered from 1.
pub(super) fn completion(parts: &[UploadedPart]) -> std::result::Result<String, quick_xml::SeError> {
    let parts = parts.iter().zip(1..).map(|(part, number)| CompletePart::new(part, number));
    quick_xml::se::to_string(&Complete { part: parts.collect() })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Begun {
    pub(super) upload_id: String,
}

#[derive(Deserialize)]
pub(super) struct Copied {
    #[serde(rename = "ETag")]
    e_tag: String,
    #[serde(rename = "ChecksumSHA256")]
    checksum_sha256: Option<String>,
    #[serde(rename = "ChecksumCRC64NVME")]
    checksum_crc64nvme: Option<String>,
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
    #[serde(rename = "ChecksumCRC64NVME", skip_serializing_if = "Option::is_none")]
    checksum_crc64nvme: Option<String>,
}

/// What object_store keeps in the content id of a part with a checksum; without one the id is the bare `ETag`.
#[derive(Deserialize)]
struct PartMetadata {
    e_tag: String,
    checksum_sha256: Option<String>,
    checksum_crc64nvme: Option<String>,
}

impl CompletePart {
    fn new(part: &UploadedPart, part_number: usize) -> Self {
        let UploadedPart { e_tag, checksum_sha256, checksum_crc64nvme } = part.clone();
        Self { part_number, e_tag, checksum_sha256, checksum_crc64nvme }
    }
}

impl From<Copied> for UploadedPart {
    fn from(copied: Copied) -> Self {
        let Copied { e_tag, checksum_sha256, checksum_crc64nvme } = copied;
        Self { e_tag, checksum_sha256, checksum_crc64nvme }
    }
}

impl From<PartId> for UploadedPart {
    fn from(part: PartId) -> Self {
        match quick_xml::de::from_str::<PartMetadata>(&part.content_id) {
            Ok(PartMetadata { e_tag, checksum_sha256, checksum_crc64nvme }) => {
                Self { e_tag, checksum_sha256, checksum_crc64nvme }
            }
            Err(_) => Self { e_tag: part.content_id, checksum_sha256: None, checksum_crc64nvme: None },
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Uploads {
    #[serde(default)]
    pub(super) upload: Vec<ListedUpload>,
    #[serde(default)]
    pub(super) is_truncated: bool,
    pub(super) next_key_marker: Option<String>,
    pub(super) next_upload_id_marker: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListedUpload {
    pub(super) key: String,
    pub(super) upload_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Retention {
    pub(super) retain_until_date: Option<String>,
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
        let body = completion(&[part]).unwrap();
        assert!(body.starts_with("<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>"), "{body}");
        assert!(body.contains("<ChecksumSHA256>abc=</ChecksumSHA256>") && !body.contains("CRC64"), "{body}");
    }
}
