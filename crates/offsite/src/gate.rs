//! Letting a transfer through, making it wait, or ending it.

use async_trait::async_trait;

/// What a [`Gate`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// Go on.
    Go,
    /// End here: what has arrived is kept.
    Stop,
}

/// Stands before the block data of a copy, as a window or a stop signal does. Transforms do not pass through it.
#[async_trait]
pub trait Gate: Send + Sync {
    /// Returns when so many bytes may be read from the source, or when the transfer is to end. It is asked for one request after
    /// the other, at most 4 MiB or one block at a time. While it lets wait, the lease is renewed and what is read stays readable;
    /// what had passed before is still written.
    async fn pass(&self, bytes: u64) -> Passage;
}

/// A gate that is always open.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenGate;

#[async_trait]
impl Gate for OpenGate {
    async fn pass(&self, _bytes: u64) -> Passage {
        Passage::Go
    }
}
