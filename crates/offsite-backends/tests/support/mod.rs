//! A bucket to test in: of the server in this process, or of the one that the environment names.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "what goes wrong fails the test")]

use std::time::Duration;

use offsite_backends::{S3, S3Credentials, S3Location, S3Options};
use offsite_repository::{StreamRange, StreamShare};
use offsite_s3_server::{ACCESS_KEY_ID, BUCKET, Behaviour, SECRET_ACCESS_KEY, Server};

/// The key of the server in this process.
pub fn credentials() -> S3Credentials {
    S3Credentials::new(ACCESS_KEY_ID, SECRET_ACCESS_KEY)
}

/// Options for a folder of the server's bucket, with small parts and without pauses.
pub fn options(server: &Server, prefix: &str) -> S3Options {
    let location = S3Location::parse(&format!("s3://{BUCKET}/{prefix}")).unwrap();
    let mut options = S3Options::new(location, credentials());
    options.endpoint = Some(server.endpoint());
    options.part_bytes = 5 << 20;
    options.streams = StreamShare::alone(StreamRange::fixed(4));
    options.first_pause = Duration::from_millis(1);
    options
}

/// A server that behaves like that, and a repository in it.
pub async fn open(behaviour: Behaviour) -> (Server, S3) {
    let server = Server::start_with(behaviour).await;
    let s3 = S3::open(options(&server, "site a")).await.unwrap();
    (server, s3)
}
