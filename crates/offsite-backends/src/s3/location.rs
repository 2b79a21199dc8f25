//! The location of a repository in a store.

use std::fmt;

use offsite_repository::{Error, ErrorKind, Prefix, Result};

/// A bucket and a folder in it, written `s3://bucket/prefix`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Location {
    bucket: String,
    prefix: Prefix,
}

impl S3Location {
    /// Parses `s3://bucket` or `s3://bucket/prefix`.
    ///
    /// # Errors
    /// `Unsupported` for any other text, and for a prefix that is no folder of portable names ([`Key`](offsite_repository::Key)).
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |why: &str| {
            Error::new(ErrorKind::Unsupported, "use the location").with_subject(text).with_detail(why.to_owned())
        };
        let rest = text.strip_prefix("s3://").ok_or_else(|| wrong("it does not start with s3://"))?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        // The characters that any store has in names of buckets; what else it forbids, it says.
        let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "-._".contains(letter);
        // A name of dots would lead out of the bucket.
        let is_name = bucket.starts_with(|first: char| first.is_ascii_alphanumeric()) && !bucket.contains("..");
        if !(1..=255).contains(&bucket.len()) || !is_name || !bucket.chars().all(is_letter) {
            return Err(wrong("the name of a bucket has letters, digits and . - _; write s3://bucket/prefix"));
        }
        let prefix = match prefix.trim_end_matches('/') {
            "" => Prefix::root(),
            prefix => {
                Prefix::new(prefix).map_err(|error| wrong("its prefix is no portable path").with_source(error))?
            }
        };
        Ok(Self { bucket: bucket.to_owned(), prefix })
    }

    /// The name of the bucket.
    #[must_use]
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The folder in the bucket.
    ///
    /// It is the root if the text has no prefix.
    #[must_use]
    pub fn prefix(&self) -> &Prefix {
        &self.prefix
    }
}

impl fmt::Display for S3Location {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "s3://{}", self.bucket)?;
        if self.prefix.as_str().is_empty() { Ok(()) } else { write!(formatter, "/{}", self.prefix) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_read_as_people_write_them() {
        for (text, bucket, prefix) in [
            ("s3://dr", "dr", ""),
            ("s3://dr/", "dr", ""),
            ("s3://dr-backups.example/site a/b", "dr-backups.example", "site a/b"),
            ("s3://dr/site/", "dr", "site"),
        ] {
            let location = S3Location::parse(text).unwrap();
            assert_eq!((location.bucket(), location.prefix().as_str()), (bucket, prefix), "{text}");
            assert_eq!(location.to_string(), text.trim_end_matches('/'));
        }
        for text in
            ["", "dr", "s3:/dr", "s3://", "s3:///x", "s3://b?x", "s3://user:pass@b/x", "s3://b//x", "s3://b/../x"]
        {
            let error = S3Location::parse(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{text}: {error}");
        }
    }
}
