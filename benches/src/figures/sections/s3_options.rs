//! How the sections with a bucket reach it.

use offsite::repository::{StreamRange, StreamShare};
use offsite_backends::{S3Credentials, S3Location, S3Options};
use offsite_s3_server::{ACCESS_KEY_ID, BUCKET, SECRET_ACCESS_KEY};

use crate::jobs::Failure;

/// What the target keeps.
pub(super) const KEEP: u32 = 2;
pub(super) const IN_FLIGHT: [usize; 3] = [1, 4, 16];

/// The bounds of the number of requests at once, as an argument of a process: `4`, or `1-16` where the number follows the link.
pub(super) fn argument(streams: StreamRange) -> String {
    let most = streams.most();
    if streams == StreamRange::fixed(most) { most.to_string() } else { format!("1-{most}") }
}

/// The bounds that an argument says.
pub(super) fn range(argument: &str) -> Result<StreamRange, Failure> {
    Ok(match argument.split_once('-') {
        Some((_, most)) => StreamRange::up_to(most.parse()?),
        None => StreamRange::fixed(argument.parse()?),
    })
}

pub(super) fn options(endpoint: &str, streams: StreamRange) -> Result<S3Options, Failure> {
    let credentials = S3Credentials::new(ACCESS_KEY_ID, SECRET_ACCESS_KEY);
    let mut options = S3Options::new(S3Location::parse(&format!("s3://{BUCKET}/dr"))?, credentials);
    options.endpoint = Some(endpoint.to_owned());
    Ok(options.with_streams(StreamShare::alone(streams)))
}
