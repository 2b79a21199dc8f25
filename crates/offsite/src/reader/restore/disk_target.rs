//! What one disk is restored to.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::io::AsyncWrite;

use crate::image::DiskSink;
use crate::mover::Sink;

const WRITING: &str = "writing the disk";

/// What one disk is restored to, for [`Restore::disk_to`](crate::Restore::disk_to).
pub struct DiskTarget<'a>(pub(super) Place<'a>);

pub(super) enum Place<'a> {
    Path(PathBuf),
    Stream(Sink<'a>),
    Sink(Arc<dyn DiskSink>),
}

impl<'a> DiskTarget<'a> {
    /// A file or a block device, as [`Restore::run`](crate::Restore::run) makes or writes over it.
    #[must_use]
    pub fn path(to: impl Into<PathBuf>) -> Self {
        Self(Place::Path(to.into()))
    }

    /// A stream that gets the raw disk, front to back. It is called on threads that may block; pieces have at most 4 MiB. It is
    /// flushed at the end.
    #[must_use]
    pub fn writer(to: impl Write + Send + 'static) -> Self {
        Self(Place::Stream(Sink::new(WRITING, to)))
    }

    /// A stream of tokio that gets the raw disk, front to back. It is flushed at the end and not shut down, so that whoever hands over
    /// a `&mut` of it can go on writing.
    #[must_use]
    pub fn async_writer(to: impl AsyncWrite + Send + 'a) -> Self {
        Self(Place::Stream(Sink::asynchronous(WRITING, to)))
    }

    /// A sink of your own. The restore calls [`DiskSink::finish`] once all of the disk is written.
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
