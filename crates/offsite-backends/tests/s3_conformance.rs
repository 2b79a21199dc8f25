//! A bucket keeps the contract, on stores that keep their promises more or less.

mod support;

use offsite_backends::{S3, S3Options};
use offsite_repository::testing::conformance::{Factory, Options, factory};
use offsite_repository::{Repository, conformance_tests};
use offsite_s3_server::{Behaviour, Conditions, Effect, Fault, Operation, Server};

/// Opens a folder of the bucket anew each time, so that two handles of it are tried.
fn handles(options: S3Options) -> impl Factory {
    factory(move || S3::open(options.clone()))
}

async fn open(behaviour: Behaviour) -> (impl Factory, Options, Server) {
    let server = Server::start_with(behaviour).await;
    let handles = handles(support::options(&server, "site a"));
    // Larger than a part, so that objects are uploaded in several; at the least length that there is for a part.
    (handles, Options::default().with_large_object_bytes((5 << 20) + 321), server)
}

mod plain {
    use super::*;
    conformance_tests!(async || open(Behaviour::default()).await);
}

mod ignoring_conditions_on_uploads {
    use super::*;
    conformance_tests!(async || {
        open(Behaviour { conditions: Conditions::IgnoredOnComplete, ..Behaviour::default() }).await
    });
}

mod ignoring_conditions {
    use super::*;
    conformance_tests!(async || {
        let server = Server::start_with(Behaviour { conditions: Conditions::Ignored, ..Behaviour::default() }).await;
        let mut options = support::options(&server, "");
        options.single_writer = true;
        (handles(options), Options::default(), server)
    });
}

mod keeping_versions_and_locking {
    use super::*;
    conformance_tests!(async || {
        let (handles, options, server) = open(Behaviour { locks: true, ..Behaviour::default() }).await;
        (handles, options.with_retain_secs(3_600), server)
    });
}

/// Faults of each kind that the protocol leaves room for, again and again.
mod with_faults {
    use super::*;
    conformance_tests!(async || {
        let (handles, options, server) = open(Behaviour::default()).await;
        for (spare, operation, effect) in [
            (3, Operation::PutObject, Effect::StatusAfter(500)),
            (4, Operation::PutObject, Effect::StatusBefore(409)),
            (5, Operation::PutObject, Effect::DropAfter),
            (2, Operation::UploadPart, Effect::StatusAfter(503)),
            (2, Operation::UploadPart, Effect::DropBefore),
            (2, Operation::CreateUpload, Effect::StatusAfter(500)),
            (1, Operation::CompleteUpload, Effect::ErrorInSuccessAfter),
            (1, Operation::CompleteUpload, Effect::DropAfter),
            (3, Operation::GetObject, Effect::Truncate(100)),
            (4, Operation::GetObject, Effect::StatusBefore(503)),
            (3, Operation::ListObjects, Effect::StatusBefore(500)),
            (3, Operation::DeleteObject, Effect::DropAfter),
        ] {
            server.inject(Fault::once(operation, effect).always().after(spare));
        }
        (handles, options, server)
    });
}

#[tokio::test]
async fn what_is_tested_is_there() {
    let (server, s3) = support::open(Behaviour { locks: true, ..Behaviour::default() }).await;
    assert!(s3.clone_range().is_some() && s3.retain().is_some() && s3.keeps_writers_apart());
    assert_eq!(server.names(), [""; 0], "opening left something");
    assert_eq!(server.uploads(), [""; 0], "opening left an upload");
}
