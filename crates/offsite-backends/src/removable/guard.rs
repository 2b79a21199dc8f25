//! Whether the medium that was opened is still the one that is there.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use offsite_repository::{Error, ErrorKind, Result};
use rustix::io::Errno;

use super::marker::{MARKER, MARKER_BYTES_MAX, Marked, Medium};
use super::search::medium_at;
use crate::Local;
use crate::local::{FolderIdentity, fault};

/// A marker that does not read back is read so often again: a driver may fail now and then (one for FAT, fusefat, reads
/// zeros while other files are written), and a medium is not given up for that.
const MARKER_TRIES: u32 = 16;

/// Holds the folder of a medium, and lets go of it for ever when the medium is seen to have gone.
#[derive(Debug)]
pub(super) struct Guard {
    pub(super) medium: Medium,
    pub(super) path: PathBuf,
    identity: FolderIdentity,
    /// The bytes of its marker.
    marker: Vec<u8>,
    state: Mutex<State>,
    writers: AtomicUsize,
}

#[derive(Debug)]
enum State {
    Present(Local),
    Lost(Loss),
}

/// Why nothing can be done here any more.
#[derive(Debug, Clone)]
struct Loss {
    kind: ErrorKind,
    advice: String,
}

/// How carefully to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// At what the kernel remembers.
    Cheap,
    /// At what the device has.
    Fresh,
}

impl Guard {
    pub(super) fn new(local: Local, medium: Medium) -> Result<Self> {
        let place = local.path().display().to_string();
        let failed = |errno| fault("open", local.path().display(), errno);
        let identity = local.identity().map_err(failed)?;
        let marker = local.read_hidden(MARKER, MARKER_BYTES_MAX, true).map_err(failed)?.unwrap_or_default();
        // Between finding the place and holding its folder it may have become another's.
        if Marked::from_marker(&place, &marker)?.medium != medium {
            let error = Error::new(ErrorKind::WrongMedia, "open").with_location(place);
            return Err(error.with_detail(format!("medium {medium} was there a moment ago; try again")));
        }
        let (path, state) = (local.path().to_owned(), Mutex::new(State::Present(local)));
        Ok(Self { medium, path, identity, marker, state, writers: AtomicUsize::new(0) })
    }

    /// The medium and its place, in words.
    pub(super) fn location(&self) -> String {
        format!("medium {} at {}", self.medium, self.path.display())
    }

    /// The folder, if the medium is still there.
    pub(super) fn enter(&self, action: &'static str, look: Look) -> Result<Local> {
        let local = self.held(action)?;
        match self.look(action, &local, look) {
            Ok(None) => Ok(local),
            Ok(Some(loss)) => Err(self.lose(action, loss)),
            Err(error) => Err(self.explain(action, error)),
        }
    }

    /// The folder, if nothing has been seen yet.
    pub(super) fn held(&self, action: &'static str) -> Result<Local> {
        match &*self.lock() {
            State::Present(local) => Ok(local.clone()),
            State::Lost(loss) => Err(self.error(action, loss)),
        }
    }

    /// What became of the medium, if it is not as it was.
    ///
    /// An error, if it cannot be told: that is no reason to give it up.
    fn look(&self, action: &'static str, local: &Local, mut look: Look) -> Result<Option<Loss>> {
        let failed = |errno| fault(action, self.path.display(), errno);
        let there = match rustix::fs::stat(&self.path) {
            Ok(stat) => Some((stat.st_dev, stat.st_ino)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::NOTCONN | Errno::NODEV | Errno::NXIO) => None,
            Err(errno) => return Err(failed(errno)),
        };
        if there != Some(self.identity) {
            return Ok(Some(self.replaced_by()));
        }
        let mut tries = MARKER_TRIES;
        loop {
            let marker = local.read_hidden(MARKER, MARKER_BYTES_MAX, look == Look::Fresh).map_err(failed)?;
            let Some(marker) = marker else { return Ok(Some(self.replaced_by())) };
            if marker == self.marker {
                return Ok(None);
            }
            match Marked::from_marker(&self.path.display().to_string(), &marker) {
                Ok(_) => return Ok(Some(self.replaced_by())),
                Err(error) if tries == 0 => return Err(error),
                Err(_) => {}
            }
            (tries, look) = (tries - 1, Look::Fresh);
        }
    }

    /// What is at the place of the medium now.
    fn replaced_by(&self) -> Loss {
        let (medium, place) = (&self.medium, self.path.display());
        match medium_at(&self.path) {
            Ok(Some(Marked { medium: other, .. })) if other.id == medium.id => Loss {
                kind: ErrorKind::MediaAbsent,
                advice: format!("it was taken out, and is back at {place}: start anew, what was half done is given up"),
            },
            Ok(Some(Marked { medium: other, .. })) => Loss {
                kind: ErrorKind::WrongMedia,
                advice: format!("medium {other} took its place at {place}: insert medium {medium}, and start anew"),
            },
            Ok(None) => Loss {
                kind: ErrorKind::MediaAbsent,
                advice: format!("it was taken out, there is no medium at {place}: insert it, and start anew"),
            },
            Err(error) => Loss {
                kind: ErrorKind::WrongMedia,
                advice: format!(
                    "what is at {place} cannot be identified ({error}): insert medium {medium}, and start anew"
                ),
            },
        }
    }

    /// Gives up for ever.
    ///
    /// What was seen first counts.
    fn lose(&self, action: &'static str, loss: Loss) -> Error {
        let mut state = self.lock();
        if matches!(&*state, State::Present(_)) {
            *state = State::Lost(loss);
        }
        match &*state {
            State::Lost(loss) => self.error(action, loss),
            State::Present(_) => Error::new(ErrorKind::MediaAbsent, action),
        }
    }

    fn error(&self, action: &'static str, loss: &Loss) -> Error {
        Error::new(loss.kind, action).with_subject(format!("medium {}", self.medium)).with_detail(&loss.advice)
    }

    /// Tells what an error means on a medium, and looks whether it is still there if that may be why.
    /// Which object it is about stays; the place is for the caller to name.
    pub(super) fn explain(&self, action: &'static str, error: Error) -> Error {
        let medium = &self.medium;
        let key = error.key().cloned();
        let told = |kind, advice: String| {
            let told = Error::new(kind, action).with_detail(advice);
            match &key {
                Some(key) => told.with_key(key),
                None => told,
            }
        };
        match error.kind() {
            ErrorKind::NoSpace => {
                let advice =
                    format!("medium {medium} is full: remove what else is on it, keep less, or use a larger one");
                told(ErrorKind::NoSpace, advice).with_source(error)
            }
            kind @ (ErrorKind::PermissionDenied
            | ErrorKind::Unavailable
            | ErrorKind::MediaAbsent
            | ErrorKind::Indeterminate) => {
                // A medium that goes away turns read-only for some file systems.
                let loss = self.is_device_gone().then(|| self.replaced_by());
                let loss = loss.or_else(|| {
                    self.held(action).ok().and_then(|local| self.look(action, &local, Look::Cheap).ok().flatten())
                });
                match (kind, loss) {
                    // Whether it was done stays the question; the next call tells that the medium is away.
                    (ErrorKind::Indeterminate, Some(loss)) => {
                        let advice = format!("medium {medium} went away meanwhile: {}", loss.advice);
                        self.lose(action, loss);
                        told(ErrorKind::Indeterminate, advice).with_source(error)
                    }
                    (_, Some(loss)) => self.lose(action, loss).with_source(error),
                    (ErrorKind::PermissionDenied, None) if errno_of(&error) == Some(Errno::ROFS) => {
                        let advice = format!(
                            "medium {medium} is write-protected: release its switch, or mount it writable \
                             (a file system that met an error may be so until it is checked and mounted again)"
                        );
                        told(kind, advice).with_source(error)
                    }
                    (ErrorKind::Indeterminate, None) => {
                        let advice = format!("medium {medium} failed while it was being done: check cable and drive");
                        told(kind, advice).with_source(error)
                    }
                    (ErrorKind::Unavailable, None) if errno_of(&error).is_some() => {
                        let advice = format!(
                            "medium {medium} does not answer as it should: check cable and drive, then try again"
                        );
                        told(kind, advice).with_source(error)
                    }
                    _ => error,
                }
            }
            _ => error,
        }
    }

    /// Whether the kernel has no such device any more.
    ///
    /// Not told of file systems that have no device of their own.
    fn is_device_gone(&self) -> bool {
        let (device, _) = self.identity;
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let devices = Path::new("/sys/dev/block");
        major != 0 && devices.is_dir() && !devices.join(format!("{major}:{minor}")).exists()
    }

    /// Lets go of the folder, if no object is being written.
    pub(super) fn release(&self) -> Result<()> {
        let writers = self.writers.load(Ordering::Acquire);
        if writers > 0 {
            let error = Error::new(ErrorKind::Unavailable, "eject").with_subject(format!("medium {}", self.medium));
            return Err(
                error.with_detail(format!("{writers} objects are being written to it: wait for them, or stop them"))
            );
        }
        let advice = "it was ejected: insert it, and start anew".to_owned();
        self.lose("eject", Loss { kind: ErrorKind::MediaAbsent, advice });
        Ok(())
    }

    pub(super) fn count_writer(&self) {
        self.writers.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn discount_writer(&self) {
        self.writers.fetch_sub(1, Ordering::AcqRel);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the kernel said, if it was the kernel.
fn errno_of(error: &Error) -> Option<Errno> {
    let source = std::error::Error::source(error)?.downcast_ref::<std::io::Error>()?;
    Errno::from_io_error(source)
}
