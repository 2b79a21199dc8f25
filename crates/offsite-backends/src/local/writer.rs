//! Writing an object.

use std::io::IoSlice;
use std::os::fd::AsFd;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use offsite_repository::{Error, ErrorKind, Key, ObjectWriter, Result};
use rustix::fs;
use rustix::io::{Errno, pwritev, retry_on_intr};
use tokio::task::{JoinHandle, spawn_blocking};

use super::blocking::blocking;
use super::errors::fault;
use super::errors::{doubt, is_in_doubt};
use super::flush::flush_file;
use super::root::Root;
use super::shared::Shared;
use super::staged::Staged;

/// So much is gathered before it is worth a thread: small chunks cost more in hand-over than in writing.
const GATHER_BYTES: u64 = 1 << 20;
/// The most chunks that the kernel takes at a time.
const CHUNKS_MAX: usize = 1_024;
/// After so much the device is set to work, so that it does not have all of it left to do at the end.
const WRITE_BACK_BYTES: u64 = 32 << 20;

/// Writes chunks in sequence. Once a call has failed or was dropped half-way, the file's content is unknown, and the
/// writer refuses to go on.
pub(super) struct LocalWriter {
    shared: Arc<Shared>,
    staged: Arc<Staged>,
    key: Key,
    /// Chunks not yet handed to the kernel, and their length.
    pending: Vec<Bytes>,
    pending_bytes: u64,
    written_bytes: u64,
    /// How much was written when the device was last set to work.
    write_back_from: u64,
    write_back: Option<JoinHandle<Result<(), Errno>>>,
    dead: bool,
}

impl LocalWriter {
    pub(super) fn new(shared: Arc<Shared>, staged: Staged, key: Key) -> Self {
        Self {
            shared,
            staged: Arc::new(staged),
            key,
            pending: Vec::new(),
            pending_bytes: 0,
            written_bytes: 0,
            write_back_from: 0,
            write_back: None,
            dead: false,
        }
    }

    /// Marks the writer dead for the time of a call, so that it stays so if the call fails or is dropped.
    fn enter(&mut self, action: &'static str) -> Result<()> {
        if std::mem::replace(&mut self.dead, true) {
            let detail = "an earlier call failed or was given up, so its content is unknown; write it anew";
            return Err(Error::new(ErrorKind::Unavailable, action).with_detail(detail));
        }
        Ok(())
    }

    /// Names the object and the place in an error.
    fn told<T>(&self, answer: Result<T>) -> Result<T> {
        answer.map_err(|error| error.with_key(&self.key).with_location(self.shared.location()))
    }

    async fn append(&mut self, chunks: Vec<Bytes>) -> Result<()> {
        self.enter("write")?;
        self.pending_bytes += chunks.iter().map(|chunk| chunk.len() as u64).sum::<u64>();
        if self.written_bytes + self.pending_bytes > self.shared.abilities.object_bytes_max {
            return Err(fault("write", &self.key, Errno::FBIG));
        }
        self.pending.extend(chunks.into_iter().filter(|chunk| !chunk.is_empty()));
        if self.pending_bytes >= GATHER_BYTES || self.pending.len() >= CHUNKS_MAX {
            self.flush().await?;
            self.start_write_back().await?;
        }
        self.dead = false;
        Ok(())
    }

    async fn complete(&mut self) -> Result<()> {
        self.enter("finish")?;
        self.flush().await?;
        self.await_write_back().await?;
        let (shared, staged, key) = (Arc::clone(&self.shared), Arc::clone(&self.staged), self.key.clone());
        let ended = spawn_blocking(move || publish(&shared.root, &staged, &key)).await;
        ended.unwrap_or_else(|error| Err(Error::new(ErrorKind::Indeterminate, "finish").with_source(error)))
    }

    async fn flush(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let (chunks, offset) = (std::mem::take(&mut self.pending), self.written_bytes);
        let (staged, key) = (Arc::clone(&self.staged), self.key.clone());
        blocking("write", move || {
            write_all_at(&staged.file, &chunks, offset).map_err(|errno| fault("write", &key, errno))
        })
        .await?;
        self.written_bytes += std::mem::take(&mut self.pending_bytes);
        Ok(())
    }

    /// Sets the device to work on what was written so far, without waiting for it.
    ///
    /// One such task at a time: if the device is slower than the writer, the next one gets more to do.
    async fn start_write_back(&mut self) -> Result<()> {
        if self.written_bytes - self.write_back_from < WRITE_BACK_BYTES {
            return Ok(());
        }
        if self.write_back.as_ref().is_some_and(|task| !task.is_finished()) {
            return Ok(());
        }
        self.await_write_back().await?;
        self.write_back_from = self.written_bytes;
        let staged = Arc::clone(&self.staged);
        self.write_back = Some(spawn_blocking(move || retry_on_intr(|| fs::fdatasync(&staged.file))));
        Ok(())
    }

    /// Learns how the task ended.
    ///
    /// The kernel reports a lost page once, and here is who was told.
    async fn await_write_back(&mut self) -> Result<()> {
        let Some(task) = self.write_back.take() else { return Ok(()) };
        match task.await {
            Ok(answer) => answer.map_err(|errno| fault("write", &self.key, errno)),
            Err(error) => Err(Error::new(ErrorKind::Unavailable, "write").with_source(error)),
        }
    }
}

#[async_trait]
impl ObjectWriter for LocalWriter {
    async fn write(&mut self, chunks: Vec<Bytes>) -> Result<()> {
        let answer = self.append(chunks).await;
        self.told(answer)
    }

    async fn finish(mut self: Box<Self>) -> Result<()> {
        let answer = self.complete().await;
        self.told(answer)
    }

    async fn abort(mut self: Box<Self>) -> Result<()> {
        // It holds the file open; its outcome no longer matters.
        if let Some(task) = self.write_back.take() {
            let _ = task.await;
        }
        let (staged, key) = (Arc::clone(&self.staged), self.key.clone());
        let answer = blocking("abort", move || staged.discard().map_err(|errno| fault("abort", &key, errno))).await;
        self.told(answer)
    }
}

/// Writes all of the chunks, from `offset` on.
pub(super) fn write_all_at(file: impl AsFd, chunks: &[Bytes], mut offset: u64) -> Result<(), Errno> {
    let filled = chunks.iter().filter(|chunk| !chunk.is_empty());
    let mut slices: Vec<IoSlice<'_>> = filled.map(|chunk| IoSlice::new(chunk)).collect();
    let mut rest = &mut slices[..];
    while !rest.is_empty() {
        let written = retry_on_intr(|| pwritev(&file, &rest[..rest.len().min(CHUNKS_MAX)], offset))?;
        if written == 0 {
            return Err(Errno::IO);
        }
        IoSlice::advance_slices(&mut rest, written);
        offset += written as u64;
    }
    Ok(())
}

/// The end of a create: content durable, then the name, then the name durable.
pub(super) fn publish(root: &Root, staged: &Staged, key: &Key) -> Result<()> {
    let flushed = flush_file(&staged.file).map_err(|errno| fault("finish", key, errno));
    let named = flushed.and_then(|()| {
        staged.publish(key.name()).map_err(|errno| match errno {
            // A share that lost the answer may have done it; the hidden file is left for a sweep.
            errno if is_in_doubt(errno) => doubt("finish", key, errno, "it may be there or not"),
            Errno::NOENT => fault("finish", key, Errno::STALE).with_detail("its folder was removed; write it anew"),
            Errno::EXIST => fault("finish", key, root.taken(&staged.folder, key)),
            errno => fault("finish", key, errno),
        })
    });
    if let Err(error) = named {
        if error.kind() != ErrorKind::Indeterminate {
            // The first error is the one to report; a sweep removes what this leaves.
            let _ = staged.discard();
        }
        return Err(error);
    }
    staged.sync_name().map_err(|errno| doubt("finish", key, errno, "its name may vanish in a power cut"))
}

#[cfg(test)]
mod tests {
    use super::super::flush::injected::inject;
    use super::super::options::{CreateMethod, LocalOptions};
    use super::*;

    /// What a share or a drive says at the worst moments, and what a caller is told.
    #[test]
    fn failures_of_each_step_of_the_end_are_told_apart() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = Root::open(folder.path().to_owned(), &LocalOptions::default()).expect("its root");
        let hidden = || std::fs::read_dir(folder.path()).expect("the folder").count();
        let key = Key::new("object").expect("a key");
        let cases = [
            // Nothing has a name yet, so nothing is in doubt.
            ("file", Errno::IO, ErrorKind::Unavailable, "kernel's log"),
            ("file", Errno::DQUOT, ErrorKind::NoSpace, "quota"),
            ("file", Errno::NOSPC, ErrorKind::NoSpace, ""),
            ("file", Errno::STALE, ErrorKind::Unavailable, "share"),
            ("file", Errno::ROFS, ErrorKind::PermissionDenied, "read-only"),
            ("file", Errno::NOTCONN, ErrorKind::MediaAbsent, "driver"),
            ("name", Errno::IO, ErrorKind::Indeterminate, "may be there"),
            ("name", Errno::STALE, ErrorKind::Indeterminate, "may be there"),
            ("name", Errno::TIMEDOUT, ErrorKind::Indeterminate, "may be there"),
            ("name", Errno::NODEV, ErrorKind::Indeterminate, "may be there"),
            ("name", Errno::DQUOT, ErrorKind::NoSpace, "quota"),
            ("name", Errno::NOENT, ErrorKind::Unavailable, "folder was removed"),
            ("name", Errno::ACCESS, ErrorKind::PermissionDenied, "permission"),
            ("folder", Errno::IO, ErrorKind::Indeterminate, "may vanish"),
            ("folder", Errno::NOSPC, ErrorKind::Indeterminate, "may vanish"),
        ];
        for (call, errno, kind, detail) in cases {
            let by = CreateMethod::RenamingStaged;
            let staged = Staged::open(root.open_folder("").expect("the root"), by).expect("a staged file");
            inject(call, errno);
            let error = publish(&root, &staged, &key).expect_err("the call that fails");
            assert_eq!(error.kind(), kind, "{call} {errno}: {error}");
            assert!(error.to_string().contains(detail), "{call} {errno}: {error}");
            assert!(std::error::Error::source(&error).is_some(), "{error}");
            // What is in doubt stays for a sweep; what is not is gone at once.
            assert_eq!(hidden(), usize::from(kind == ErrorKind::Indeterminate), "{call} {errno}");
            let _ = (staged.discard(), std::fs::remove_file(folder.path().join("object")));
        }
    }

    #[test]
    fn a_removal_that_may_come_back_is_in_doubt() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = Root::open(folder.path().to_owned(), &LocalOptions::default()).expect("its root");
        let key = Key::new("object").expect("a key");
        inject("folder", Errno::IO);
        let error = root.remove(&key).expect_err("the call that fails");
        assert_eq!(error.kind(), ErrorKind::Indeterminate, "{error}");
        root.remove(&key).expect("a second try");
    }
}
