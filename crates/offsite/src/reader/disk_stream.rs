//! A disk as a stream of tokio.

use std::fmt;
use std::io::{self, ErrorKind, SeekFrom};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncSeek, ReadBuf};

use crate::Result;
use crate::reader::disk_reader::DiskReader;

/// A disk of a [`Snapshot`](crate::Snapshot) as a stream of tokio, with its own position.
///
/// It implements [`AsyncRead`] and [`AsyncSeek`]. It ends at the end of the disk. A position past the end is no error, and a read
/// there returns nothing. If a read fails, the [`io::Error`] contains the engine's [`Error`](crate::Error)
/// ([`downcast`](io::Error::downcast)). The position stays, and the next read tries again.
///
/// ```
/// use std::io::SeekFrom;
///
/// use offsite::DiskReader;
/// use tokio::io::{AsyncReadExt, AsyncSeekExt};
///
/// async fn partition_table(disk: &DiskReader) -> std::io::Result<[u8; 66]> {
///     let mut stream = disk.stream();
///     stream.seek(SeekFrom::Start(446)).await?;
///     let mut table = [0; 66];
///     stream.read_exact(&mut table).await?;
///     Ok(table)
/// }
/// ```
pub struct DiskStream {
    reader: DiskReader,
    position: u64,
    /// Bytes that were read at the position and not returned yet.
    chunk: Bytes,
    reading: Option<BoxFuture<'static, Result<Bytes>>>,
}

impl DiskReader {
    /// Opens the disk as a stream.
    ///
    /// It starts at the first byte.
    #[must_use]
    pub fn stream(&self) -> DiskStream {
        DiskStream { reader: self.clone(), position: 0, chunk: Bytes::new(), reading: None }
    }
}

impl AsyncRead for DiskStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = &mut *self;
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if stream.chunk.is_empty() {
            let (reader, position) = (&stream.reader, stream.position);
            let reading = stream.reading.get_or_insert_with(|| reader.bytes_at(position));
            let read = ready!(reading.as_mut().poll(context));
            stream.reading = None;
            stream.chunk = read?;
        }
        let length = stream.chunk.len().min(buffer.remaining());
        buffer.put_slice(&stream.chunk[..length]);
        stream.chunk.advance(length);
        stream.position += length as u64;
        Poll::Ready(Ok(()))
    }
}

impl AsyncSeek for DiskStream {
    fn start_seek(mut self: Pin<&mut Self>, to: SeekFrom) -> io::Result<()> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.reader.size_bytes().checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        let position = position.ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "a seek to before the disk"))?;
        if position != self.position {
            self.chunk = Bytes::new();
            self.reading = None;
            self.position = position;
        }
        Ok(())
    }

    fn poll_complete(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Poll::Ready(Ok(self.position))
    }
}

impl fmt::Debug for DiskStream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("DiskStream")
            .field("reader", &self.reader)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}
