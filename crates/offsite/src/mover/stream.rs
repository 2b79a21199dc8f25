//! Streams that leave or enter this process in one pass: exports and raw disks.

use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use offsite_core::format::{Checksum, FormatError};
use offsite_repository::{ErrorKind, ObjectWriter};
use tokio::io::AsyncWrite;
use tokio::sync::Mutex;

use super::blocking;
use crate::{Error, Result};

/// The number of bytes that are read at once. A claimed length takes no memory before the bytes are there.
const READ_BYTES: u64 = 4 << 20;

/// The zeros that are written at once.
static ZEROS: [u8; 1 << 20] = [0; 1 << 20];

/// What a stream is written to, with the count and the checksum of the written bytes.
pub(crate) struct Sink<'a> {
    while_doing: &'static str,
    /// `None` after a failed write.
    writer: Option<Writer<'a>>,
    checksum: Checksum,
    bytes: u64,
}

/// The receiver of the bytes.
enum Writer<'a> {
    /// It is called on threads that may block.
    Blocking(Box<dyn Write + Send>),
    Async(Pin<Box<dyn AsyncWrite + Send + 'a>>),
}

impl<'a> Sink<'a> {
    pub(crate) fn new(while_doing: &'static str, writer: impl Write + Send + 'static) -> Self {
        Self::of(while_doing, Writer::Blocking(Box::new(writer)))
    }

    pub(crate) fn asynchronous(while_doing: &'static str, writer: impl AsyncWrite + Send + 'a) -> Self {
        Self::of(while_doing, Writer::Async(Box::pin(writer)))
    }

    fn of(while_doing: &'static str, writer: Writer<'a>) -> Self {
        Self { while_doing, writer: Some(writer), checksum: Checksum::default(), bytes: 0 }
    }

    /// Returns the number of written bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the checksum of all written bytes.
    pub(crate) fn checksum(&self) -> u64 {
        self.checksum.value()
    }

    pub(crate) async fn write(&mut self, chunks: Vec<Bytes>) -> Result<()> {
        let Some(writer) = self.writer.take() else {
            return Err(Error::defect("a stream is written to after it failed".to_owned()));
        };
        let while_doing = self.while_doing;
        let mut checksum = self.checksum.clone();
        let bytes: u64 = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        let (writer, checksum) = match writer {
            Writer::Blocking(mut writer) => {
                blocking(move || {
                    for chunk in chunks {
                        writer.write_all(&chunk).map_err(|source| Error::io(while_doing, source))?;
                        checksum.update(&chunk);
                    }
                    Ok((Writer::Blocking(writer), checksum))
                })
                .await?
            }
            Writer::Async(mut writer) => {
                for chunk in chunks {
                    let written = write_all(writer.as_mut(), &chunk).await;
                    written.map_err(|source| Error::io(while_doing, source))?;
                    checksum.update(&chunk);
                }
                (Writer::Async(writer), checksum)
            }
        };
        self.writer = Some(writer);
        self.checksum = checksum;
        self.bytes += bytes;
        Ok(())
    }

    /// Writes zeros up to the next multiple of `alignment`.
    pub(crate) async fn pad(&mut self, alignment: u64) -> Result<()> {
        self.zeros(self.bytes.next_multiple_of(alignment) - self.bytes).await
    }

    /// Writes `length` zeros.
    pub(crate) async fn zeros(&mut self, mut length: u64) -> Result<()> {
        while length > 0 {
            let piece = length.min(ZEROS.len() as u64);
            self.write(vec![Bytes::from_static(&ZEROS[..usize::try_from(piece).unwrap_or_default()])]).await?;
            length -= piece;
        }
        Ok(())
    }

    pub(crate) async fn flush(&mut self) -> Result<()> {
        let while_doing = self.while_doing;
        let failed = move |source| Error::io(while_doing, source);
        match self.writer.take() {
            None => Ok(()),
            Some(Writer::Blocking(mut writer)) => blocking(move || writer.flush().map_err(failed)).await,
            Some(Writer::Async(mut writer)) => {
                poll_fn(|context| writer.as_mut().poll_flush(context)).await.map_err(failed)
            }
        }
    }
}

async fn write_all(mut writer: Pin<&mut (dyn AsyncWrite + Send + '_)>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = poll_fn(|context| writer.as_mut().poll_write(context, bytes)).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = bytes.get(written..).unwrap_or_default();
    }
    Ok(())
}

/// A sink that takes the one object that is written into it.
pub(super) struct SinkWriter(pub(super) Arc<Mutex<Sink<'static>>>);

#[async_trait]
impl ObjectWriter for SinkWriter {
    async fn write(&mut self, chunks: Vec<Bytes>) -> offsite_repository::Result<()> {
        let written = self.0.lock().await.write(chunks).await;
        written.map_err(|error| offsite_repository::Error::new(ErrorKind::Unavailable, "write").with_source(error))
    }

    async fn finish(self: Box<Self>) -> offsite_repository::Result<()> {
        Ok(())
    }

    async fn abort(self: Box<Self>) -> offsite_repository::Result<()> {
        Ok(())
    }
}

/// What an export is read from, with the count and the checksum of the bytes that were read.
pub(crate) struct Source {
    reader: Option<Box<dyn Read + Send>>,
    checksum: Checksum,
    bytes: u64,
}

impl Source {
    pub(crate) fn new(reader: impl Read + Send + 'static) -> Self {
        Self { reader: Some(Box::new(reader)), checksum: Checksum::default(), bytes: 0 }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn checksum(&self) -> u64 {
        self.checksum.value()
    }

    /// Returns exactly the next `length` bytes, which are a part of `what`.
    pub(crate) async fn read(&mut self, what: &'static str, length: u64) -> Result<Bytes> {
        let bytes = self.read_up_to(length).await?;
        if bytes.len() as u64 == length {
            return Ok(bytes);
        }
        Err(Error::bad_export(FormatError::Short { what, bytes: bytes.len() as u64, needed_bytes: length }))
    }

    /// Checks that nothing is left.
    pub(crate) async fn end(&mut self) -> Result<()> {
        let why = "bytes after its end".to_owned();
        match self.read_up_to(1).await?.is_empty() {
            true => Ok(()),
            false => Err(Error::bad_export(FormatError::Invalid { what: "export", why })),
        }
    }

    /// Reads past zeros up to the next multiple of `alignment`.
    pub(crate) async fn skip_padding(&mut self, alignment: u64) -> Result<()> {
        let missing = self.bytes.next_multiple_of(alignment) - self.bytes;
        match self.read("export", missing).await?.iter().all(|byte| *byte == 0) {
            true => Ok(()),
            false => Err(Error::bad_export(FormatError::Checksum("export"))),
        }
    }

    async fn read_up_to(&mut self, length: u64) -> Result<Bytes> {
        let Some(mut reader) = self.reader.take() else {
            return Err(Error::defect("a stream is read after it failed".to_owned()));
        };
        let mut checksum = self.checksum.clone();
        let (reader, checksum, bytes) = blocking(move || {
            let mut bytes = Vec::new();
            while (bytes.len() as u64) < length {
                let wanted = (length - bytes.len() as u64).min(READ_BYTES);
                let read = reader.by_ref().take(wanted).read_to_end(&mut bytes);
                let read = read.map_err(|source| Error::io("reading the export", source))?;
                if (read as u64) < wanted {
                    break;
                }
            }
            checksum.update(&bytes);
            Ok((reader, checksum, bytes))
        })
        .await?;
        self.reader = Some(reader);
        self.checksum = checksum;
        self.bytes += bytes.len() as u64;
        Ok(Bytes::from(bytes))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[tokio::test]
    async fn as_much_is_read_as_is_asked_for() {
        let length = usize::try_from(2 * READ_BYTES).unwrap() + 9;
        let content: Vec<u8> = (0..=250).cycle().take(length).collect();
        let mut source = Source::new(Cursor::new(content.clone()));
        let (mut read, mut pieces) = (Vec::new(), Vec::new());
        for wanted in [3, READ_BYTES, READ_BYTES + 4] {
            let bytes = source.read("test", wanted).await.unwrap();
            pieces.push(bytes.len() as u64);
            read.extend_from_slice(&bytes);
        }
        assert_eq!(pieces, [3, READ_BYTES, READ_BYTES + 4]);
        assert!(content.starts_with(&read));
        assert_eq!((source.bytes(), length as u64 - source.bytes()), (read.len() as u64, 2));
        assert!(source.read("test", 3).await.is_err(), "two bytes are left");
    }
}
