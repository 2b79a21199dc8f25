//! How the sections with a bucket reach it.

use offsite_backends::{S3Credentials, S3Location, S3Options};
use offsite::repository::{StreamRange, StreamShare};
use offsite_s3_server::{ACCESS_KEY_ID, BUCKET, SECRET_ACCESS_KEY};

use crate::jobs::Failure;

/// What the target keeps.
pub(super) const KEEP: u32 = 2;
pub(super) const IN_FLIGHT: [usize; 3] = [1, 4, 16];

pub(super) fn options(endpoint: &str, in_flight: usize) -> Result<S3Options, Failure> {
    let credentials = S3Credentials::new(ACCESS_KEY_ID, SECRET_ACCESS_KEY);
    let mut options = S3Options::new(S3Location::parse(&format!("s3://{BUCKET}/dr"))?, credentials);
    options.endpoint = Some(endpoint.to_owned());
    options.streams = StreamShare::alone(StreamRange::fixed(in_flight));
    Ok(options)
}
