//! Completing an upload, and what came of it.

use offsite_repository::{Error, ErrorKind, Result};
use tokio::time::sleep;

use super::calls::Completion;
use super::errors;
use super::shared::Shared;
use super::signed::jittered;
use super::truth::{Owner, doubtful, taken};
use super::xml::UploadedPart;

/// How often a completion is tried that met a conflict.
const CONFLICTS_MAX: u32 = 4;

/// What completing an upload needs.
#[derive(Debug, Clone)]
pub(super) struct Finishing {
    pub(super) name: String,
    pub(super) id: String,
    pub(super) writer: String,
    pub(super) parts: Vec<UploadedPart>,
}

impl Finishing {
    /// Joins the parts, and tells truly what came of it.
    pub(super) async fn complete(&self, shared: &Shared, if_absent: bool) -> Result<()> {
        let Self { name, id, writer, parts } = self;
        let mut pause = shared.bucket.options.first_pause;
        for _ in 0..CONFLICTS_MAX {
            match shared.bucket.complete_upload(name, id, parts, if_absent).await? {
                Completion::Done => return Ok(()),
                Completion::Taken { repeated: false } => return Err(taken(name)),
                Completion::Refused(reply) => return Err(errors::of_answer("finish", name, reply)),
                Completion::Conflict => {
                    sleep(jittered(pause)).await;
                    pause *= 2;
                }
                Completion::Taken { repeated: true } | Completion::Gone => return self.look(shared, None).await,
                Completion::Unknown(reply) => {
                    let unknown = errors::of_answer("finish", name, reply);
                    // What is aborted cannot be completed any more, by no request that is still on its way.
                    return match shared.bucket.abort_upload(name, id).await {
                        Ok(()) => self.look(shared, Some(unknown)).await,
                        Err(_) => match shared.owner(name, writer).await {
                            Ok(Owner::Own) => Ok(()),
                            _ => Err(doubtful(name, unknown)),
                        },
                    };
                }
            }
        }
        self.look(shared, None).await
    }

    /// What became of an upload that can no longer be completed.
    async fn look(&self, shared: &Shared, cause: Option<Error>) -> Result<()> {
        let name = self.name.as_str();
        match shared.owner(name, &self.writer).await {
            Ok(Owner::Own) => Ok(()),
            Ok(Owner::Other) => Err(taken(name)),
            Ok(Owner::Nobody) => {
                let error = Error::new(ErrorKind::Unavailable, "finish").with_subject(name).with_detail(GONE);
                Err(match cause {
                    Some(cause) => error.with_source(cause),
                    None => error,
                })
            }
            Ok(Owner::Unknown) => Err(Error::new(ErrorKind::Indeterminate, "finish").with_subject(name)),
            Err(error) => Err(doubtful(name, error)),
        }
    }
}

const GONE: &str = "its upload is gone, perhaps removed as abandoned; write it anew";

/// An upload that is not there is no missing object.
pub(super) fn gone(error: Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound => Error::new(ErrorKind::Unavailable, "write").with_detail(GONE).with_source(error),
        _ => error,
    }
}
