//! Finding a medium where media appear.

use std::fs;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use offsite_repository::{Error, ErrorKind, Result};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::catalogue::MediaCatalogue;
use super::marker::{MARKER, MARKER_BYTES_MAX, Marked, Medium, MediumId};
use super::options::RemovableOptions;
use crate::local::fault;

/// The medium at `path`; none if there is no prepared one, or nothing at all.
pub(super) fn medium_at(path: &Path) -> Result<Option<Marked>> {
    let place = path.display().to_string();
    let failed = |error: std::io::Error| {
        let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        fault("identify the medium at", path.display(), errno)
    };
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or(0);
    let file = match fs::OpenOptions::new().read(true).custom_flags(flags).open(path.join(MARKER)) {
        Ok(file) => file,
        Err(error) => {
            return match Errno::from_io_error(&error) {
                // No folder, no marker; or a driver that died when its drive went away.
                Some(Errno::NOENT | Errno::NOTDIR | Errno::NOTCONN | Errno::NODEV | Errno::NXIO) => Ok(None),
                _ => Err(failed(error)),
            };
        }
    };
    let mut marker = Vec::new();
    file.take(MARKER_BYTES_MAX as u64).read_to_end(&mut marker).map_err(failed)?;
    Marked::from_marker(&place, &marker).map(Some)
}

/// Whether something is mounted at `path`: it is on another device than the folder above it, or is the root.
pub(super) fn is_mounted(path: &Path) -> bool {
    let device = |path: &Path| rustix::fs::stat(path).map(|stat| stat.st_dev).ok();
    path.canonicalize().is_ok_and(|path| path.parent().is_none_or(|parent| device(parent) != device(&path)))
}

/// The place where an expected medium is, and which it is.
pub(super) fn find(options: &RemovableOptions) -> Result<(PathBuf, Medium)> {
    let mut found: Vec<(PathBuf, Medium)> = Vec::new();
    let (mut others, mut unmounted) = (Vec::new(), Vec::new());
    let mut failed = None;
    for place in places(options) {
        match medium_at(&place) {
            // A copy of its marker in the folder that it is mounted at must not fill the disk under it.
            Ok(Some(Marked { medium, is_folder: false })) if !is_mounted(&place) => unmounted.push((place, medium)),
            Ok(Some(Marked { medium, .. })) if options.expected.is_empty() || options.expected.contains(&medium.id) => {
                found.push((place, medium));
            }
            Ok(Some(Marked { medium, .. })) => others.push(format!("medium {medium} is at {}", place.display())),
            Ok(None) => {}
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    let Some((place, medium)) = found.first().cloned() else {
        let wanted = wanted(options);
        return Err(match (failed, unmounted.first()) {
            (Some(error), _) => error,
            (None, Some((place, medium))) if others.is_empty() => {
                Error::new(ErrorKind::MediaAbsent, "open").with_subject(wanted).with_detail(format!(
                    "{} has the marker of medium {medium}, and nothing is mounted there: mount the drive",
                    place.display()
                ))
            }
            (None, _) if others.is_empty() => Error::new(ErrorKind::MediaAbsent, "open")
                .with_subject(wanted)
                .with_detail(format!("insert and mount it; looked for at {}", looked_at(options))),
            (None, _) => Error::new(ErrorKind::WrongMedia, "open")
                .with_subject(&wanted)
                .with_detail(format!("{}; insert {wanted} instead", others.join(", "))),
        });
    };
    if let Some((other, _)) = found.iter().find(|(other, twin)| twin.id == medium.id && !is_same(other, &place)) {
        let detail = format!(
            "it is at {} and at {}: one is a copy of the other; take one out",
            place.display(),
            other.display()
        );
        return Err(Error::new(ErrorKind::WrongMedia, "open")
            .with_subject(format!("medium {medium}"))
            .with_detail(detail));
    }
    Ok((place, medium))
}

/// Every folder that may be a medium's, in the order in which they were given.
fn places(options: &RemovableOptions) -> Vec<PathBuf> {
    let mut places = options.places.clone();
    for parent in &options.parents {
        // A parent that is not there has no media.
        let entries = fs::read_dir(parent).into_iter().flatten().flatten();
        let mut children: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        children.sort_unstable();
        places.extend(children);
    }
    places
}

fn is_same(one: &Path, other: &Path) -> bool {
    match (rustix::fs::stat(one), rustix::fs::stat(other)) {
        (Ok(one), Ok(other)) => (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino),
        _ => false,
    }
}

fn looked_at(options: &RemovableOptions) -> String {
    let places = options.places.iter().map(|path| path.display().to_string());
    let below = options.parents.iter().map(|path| format!("{} and the folders in it", path.display()));
    let all: Vec<String> = places.chain(below).collect();
    if all.is_empty() { "no place, as none was given".to_owned() } else { all.join(", ") }
}

/// What to insert, in words.
fn wanted(options: &RemovableOptions) -> String {
    if options.expected.is_empty() {
        return "a prepared medium".to_owned();
    }
    let names = options.expected.iter().map(|id| name(options.catalogue.as_ref(), *id));
    format!("medium {}", names.collect::<Vec<_>>().join(" or "))
}

fn name(catalogue: Option<&MediaCatalogue>, id: MediumId) -> String {
    // What the catalogue cannot say is no reason to say nothing.
    let known = catalogue.and_then(|catalogue| catalogue.load(id).ok().flatten());
    known.map_or_else(|| id.to_string(), |known| known.medium.to_string())
}
