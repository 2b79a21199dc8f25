//! Letting a transfer through, making it wait, or ending it.

use async_trait::async_trait;

use crate::Activity;

/// What a [`Gate`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// Go on.
    Go,
    /// End here: what is valid is kept.
    Stop,
}

/// Stands before the block data of an operation, as a window or a stop signal does.
///
/// Each operation that moves or reads blocks takes one. What it keeps after [`Passage::Stop`]:
///
/// | operation | is kept |
/// |---|---|
/// | copy | all that has arrived; machines that miss some are incomplete, and the next copy goes on from there |
/// | backup | the machines that were read to their end |
/// | verification | what was found; the next one goes on from there |
/// | transforms | the operations that are done; the next run does the others |
/// | restore, export, import, map | nothing: [`Error::Stopped`](crate::Error::Stopped) |
#[async_trait]
pub trait Gate: Send + Sync {
    /// Returns when so many bytes may be read for `activity`, or when it is to end. An operation asks for one request after the other, at
    /// most 4 MiB or one block at a time. While it waits, the lease is renewed and what is read stays readable. What had passed before is
    /// still written.
    async fn pass(&self, activity: &Activity<'_>, bytes: u64) -> Passage;
}

/// A gate that is always open.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenGate;

#[async_trait]
impl Gate for OpenGate {
    async fn pass(&self, _activity: &Activity<'_>, _bytes: u64) -> Passage {
        Passage::Go
    }
}
