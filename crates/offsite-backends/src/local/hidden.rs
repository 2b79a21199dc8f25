//! Files beside the objects, and the folder as such: what a medium is known by.

use std::os::unix::fs::FileExt;

use offsite_repository::Result;
use rustix::fs::{self, Advice, AtFlags, Mode, OFlags};
use rustix::io::{Errno, pread, retry_on_intr};

use super::errors::fault;
use super::flush::flush_file;
use super::repository::Local;
use super::shared::Shared;
use super::staged::Staged;

/// A folder, whatever its path may lead to by now: the numbers of its device and of itself.
pub(crate) type FolderIdentity = (u64, u64);

impl Local {
    /// The folder that is held.
    pub(crate) fn identity(&self) -> Result<FolderIdentity, Errno> {
        let stat = fs::fstat(self.shared.root.open_folder("")?)?;
        Ok((stat.st_dev, stat.st_ino))
    }

    /// A file at the root, of at most `limit_bytes` (what it has more is left out); none if it is not there.
    pub(crate) fn read_hidden(&self, name: &str, limit_bytes: usize, fresh: bool) -> Result<Option<Vec<u8>>, Errno> {
        let folder = self.shared.root.open_folder("")?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match retry_on_intr(|| fs::openat(&folder, name, flags, Mode::empty())) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno),
        };
        if fresh {
            // So that the device is asked, and not memory. Advice: a kernel that does not take it reads from memory.
            let _ = fs::fadvise(&file, 0, None, Advice::DontNeed);
        }
        let mut bytes = vec![0; limit_bytes];
        let mut length = 0;
        while length < limit_bytes {
            match retry_on_intr(|| pread(&file, &mut bytes[length..], length as u64))? {
                0 => break,
                read => length += read,
            }
        }
        bytes.truncate(length);
        Ok(Some(bytes))
    }

    /// Makes a file at the root, atomic, durable and only if it is not there, as an object is made.
    pub(crate) fn put_hidden(&self, name: &str, content: &[u8]) -> Result<()> {
        let Shared { root, abilities, .. } = &*self.shared;
        let failed = |errno| fault("make", name, errno);
        let by = abilities.create_method.ok_or_else(|| failed(Errno::OPNOTSUPP))?;
        let folder = root.open_folder("").map_err(failed)?;
        if fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            return Err(failed(Errno::EXIST));
        }
        let staged = Staged::open(folder, by).map_err(failed)?;
        let written = staged.file.write_all_at(content, 0);
        let made = written
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
            .and_then(|()| flush_file(&staged.file))
            .and_then(|()| staged.publish(name));
        if let Err(errno) = made {
            // The first error is the one to report; a sweep removes what this leaves.
            let _ = staged.discard();
            return Err(failed(errno));
        }
        staged.sync_name().map_err(failed)
    }

    /// Makes everything on the file system durable.
    pub(crate) fn flush_all(&self) -> Result<(), Errno> {
        fs::syncfs(self.shared.root.open_folder("")?)
    }
}
