//! Making things durable: the calls that report what went wrong long before, and the one place where tests let them.

use std::fs::File;
use std::os::fd::AsFd;

use rustix::fs;
use rustix::io::{Errno, retry_on_intr};

/// Makes a file's content durable. A failure is told once: the file is not to be trusted, nor flushed again.
pub(super) fn flush_file(file: &File) -> Result<(), Errno> {
    #[cfg(test)]
    injected::fail("file")?;
    retry_on_intr(|| fs::fsync(file))
}

/// Makes the names in a folder durable.
pub(super) fn flush_folder(dir: impl AsFd) -> Result<(), Errno> {
    #[cfg(test)]
    injected::fail("folder")?;
    match retry_on_intr(|| fs::fsync(&dir)) {
        // Some file systems know no such call for folders, and then nothing better either.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(()),
        other => other,
    }
}

/// Gives a file its name, by `call`.
pub(super) fn give_name(call: impl FnOnce() -> Result<(), Errno>) -> Result<(), Errno> {
    #[cfg(test)]
    injected::fail("name")?;
    call()
}

/// Failures that a share or a drive would have to be broken for. Only a test build of this crate has them.
#[cfg(test)]
pub(super) mod injected {
    use std::cell::Cell;

    use rustix::io::Errno;

    thread_local! {
        static NEXT: Cell<Option<(&'static str, Errno, u32)>> = const { Cell::new(None) };
    }

    /// Lets the next such call of this thread fail.
    pub(in crate::local) fn inject(call: &'static str, errno: Errno) {
        inject_times(call, errno, 1);
    }

    /// Lets so many such calls of this thread fail.
    pub(in crate::local) fn inject_times(call: &'static str, errno: Errno, times: u32) {
        NEXT.set(Some((call, errno, times)));
    }

    pub(in crate::local) fn fail(call: &str) -> Result<(), Errno> {
        match NEXT.get() {
            Some((wanted, errno, times)) if wanted == call => {
                NEXT.set((times > 1).then_some((wanted, errno, times - 1)));
                Err(errno)
            }
            _ => Ok(()),
        }
    }
}
