//! The target of one restored disk.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::io::AsyncWrite;

use crate::image::DiskSink;
use crate::mover::Sink;

const WRITING: &str = "writing the disk";

/// Where [`Restore::disk_to`](crate::Restore::disk_to) writes one disk.
pub struct DiskTarget<'a>(pub(super) Place<'a>);

pub(super) enum Place<'a> {
    Path(PathBuf),
    Stream(Sink<'a>),
    Sink(Arc<dyn DiskSink>),
}

impl<'a> DiskTarget<'a> {
    /// A file or a block device.
    ///
    /// It is created or overwritten as by [`Restore::run`](crate::Restore::run).
    #[must_use]
    pub fn path(to: impl Into<PathBuf>) -> Self {
        Self(Place::Path(to.into()))
    }

    /// A stream that gets the raw disk from its first byte to its last.
    ///
    /// The restore writes on threads that may block, in pieces of at most 4 MiB. It flushes the stream at the end.
    #[must_use]
    pub fn writer(to: impl Write + Send + 'static) -> Self {
        Self(Place::Stream(Sink::new(WRITING, to)))
    }

    /// A stream of tokio that gets the raw disk from its first byte to its last.
    ///
    /// The restore flushes it at the end, and does not shut it down. So the owner of a `&mut` can continue to write.
    #[must_use]
    pub fn async_writer(to: impl AsyncWrite + Send + 'a) -> Self {
        Self(Place::Stream(Sink::asynchronous(WRITING, to)))
    }

    /// A sink of the caller.
    ///
    /// The restore calls [`DiskSink::finish`] when all of the disk is written.
    #[must_use]
    pub fn sink(to: impl DiskSink + 'static) -> Self {
        Self(Place::Sink(Arc::new(to)))
    }
}

impl std::fmt::Debug for DiskTarget<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Place::Path(path) => formatter.debug_tuple("Path").field(path).finish(),
            Place::Stream(_) => formatter.write_str("Stream"),
            Place::Sink(sink) => formatter.debug_tuple("Sink").field(sink).finish(),
        }
    }
}
