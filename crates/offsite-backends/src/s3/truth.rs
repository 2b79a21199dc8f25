//! Who wrote an object: what a create call answers is not always true.
//!
//! A request whose answer is lost may have been carried out, and its repetition then finds the name taken, by itself. A
//! conflict with others is answered like a taken name although nothing was stored. So each writer marks what it writes with
//! a random word, and where an answer leaves a doubt, the object that is there tells whose it is.

use object_store::{PutMode, PutPayload};
use offsite_repository::{Error, ErrorKind, Result};
use tokio::time::sleep;

use super::bucket::{CHECKSUM, WRITER};
use super::errors;
use super::shared::Shared;
use super::signed::jittered;
use super::wire::Answer;

/// How often a create is tried again that met a conflict, or that may or may not have been carried out.
const TRIES: u32 = 4;

/// Whose an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// The writer's that asks.
    Own,
    /// Another's.
    Other,
    /// There is no object.
    Nobody,
    /// The store does not remember.
    Unknown,
}

/// Whether the try that was answered like this may have been, or may yet be, carried out.
fn leaves_doubt(answer: &Answer) -> bool {
    match answer {
        Answer::None => true,
        Answer::Status(status) => *status >= 500 || *status == 408 || (200..300).contains(status),
    }
}

impl Shared {
    /// Whose the object `name` is.
    pub(super) async fn owner(&self, name: &str, writer: &str) -> Result<Owner> {
        Ok(match self.bucket.describe("finish", name).await? {
            None => Owner::Nobody,
            Some(object) => match object.writer {
                Some(found) if found == writer => Owner::Own,
                Some(_) => Owner::Other,
                None if self.abilities.keeps_metadata => Owner::Other,
                None => Owner::Unknown,
            },
        })
    }

    /// Stores `payload` as the new object `name`, and tells truly what came of it.
    pub(super) async fn put_new(&self, name: &str, payload: PutPayload, writer: &str, mode: PutMode) -> Result<()> {
        let checksum = checksum(&payload);
        let metadata = [(WRITER, writer), (CHECKSUM, checksum.as_str())];
        let mut doubt = false;
        let mut pause = self.bucket.options.first_pause;
        let mut last = None;
        for attempt in 0..TRIES {
            if attempt > 0 {
                sleep(jittered(pause)).await;
                pause *= 2;
            }
            let (answer, answers, trace) = self.bucket.put(name, payload.clone(), &metadata, mode.clone()).await?;
            let error = match answer {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            // The last answer is what the error says; those before it were repeated.
            let (before, latest) = answers.split_at(answers.len().saturating_sub(1));
            doubt |= before.iter().any(leaves_doubt);
            let error = errors::of_store("finish", name, &error, &trace);
            match latest {
                [Answer::Status(412 | 304)] if !doubt => return Err(taken(name)),
                [Answer::Status(412 | 304)] => {
                    last = Some(error);
                    break;
                }
                // Another's request for the name was under way; nothing was stored.
                [Answer::Status(409)] => {}
                // Nothing was sent, or it was refused.
                latest if !doubt && !latest.iter().any(leaves_doubt) => return Err(error),
                latest => doubt |= latest.iter().any(leaves_doubt),
            }
            last = Some(error);
        }
        let last = last.unwrap_or_else(|| Error::new(ErrorKind::Unavailable, "finish").with_subject(name));
        match self.owner(name, writer).await {
            Ok(Owner::Own) => Ok(()),
            Ok(Owner::Other) => Err(taken(name)),
            Ok(Owner::Nobody) if !doubt => {
                let detail = "others kept writing the name, and nothing was stored";
                Err(Error::new(ErrorKind::Unavailable, "finish")
                    .with_subject(name)
                    .with_detail(detail)
                    .with_source(last))
            }
            Ok(Owner::Nobody | Owner::Unknown) | Err(_) => Err(doubtful(name, last)),
        }
    }
}

/// The name is another's.
pub(super) fn taken(name: &str) -> Error {
    Error::new(ErrorKind::AlreadyExists, "finish").with_subject(name)
}

/// It may be there or not, or may yet come.
pub(super) fn doubtful(name: &str, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(ErrorKind::Indeterminate, "finish").with_subject(name).with_source(cause)
}

/// CRC-64/NVME, in hexadecimal digits.
pub(super) fn checksum_of<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut digest = crc64fast_nvme::Digest::new();
    chunks.into_iter().for_each(|chunk| digest.write(chunk));
    format!("{:016x}", digest.sum64())
}

fn checksum(payload: &PutPayload) -> String {
    checksum_of(payload.iter().map(|chunk| chunk.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_refusals_leave_no_doubt() {
        for status in [400, 403, 404, 409, 412, 429] {
            assert!(!leaves_doubt(&Answer::Status(status)), "{status}");
        }
        for answer in [Answer::None, Answer::Status(500), Answer::Status(503), Answer::Status(408), Answer::Status(200)]
        {
            assert!(leaves_doubt(&answer), "{answer:?}");
        }
    }

    #[test]
    fn a_checksum_is_of_all_chunks() {
        assert_eq!(checksum_of([b"123456789".as_slice()]), "ae8b14860a799888");
        assert_eq!(checksum_of([b"1234".as_slice(), b"", b"56789"]), "ae8b14860a799888");
    }
}
