//! Texts of errors that need more than a line of format.

use std::path::Path;

use offsite_core::{MachineName, Role, Sequence, Timestamp};

use super::{DamagedPart, Error, ErrorPlace};
use crate::{Bytes, FileUser, Task};

/// The texts of an error and of its causes, on one line.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    text
}

/// The text for a damaged object, and what the damage means.
pub(super) fn damaged(part: &DamagedPart, object: &str, at: &ErrorPlace) -> String {
    let object = match part {
        DamagedPart::Block { machine, disk, block } => {
            format!("block {block} of disk {disk} of {machine}, in {object}")
        }
        _ => object.to_owned(),
    };
    let place = at.location().map(|location| format!(" in {location}")).unwrap_or_default();
    let meaning = match part {
        DamagedPart::Marker => "; the restore points are untouched".to_owned(),
        DamagedPart::Head => "; readers use the head before it, if that one is intact".to_owned(),
        DamagedPart::Heads => {
            "; backup files are there, but no head says which restore points they belong to".to_owned()
        }
        DamagedPart::Index { sequence } => {
            format!("; restore point {sequence} needs it, and so do the points that build on that one")
        }
        DamagedPart::Seed => "; nothing was taken over".to_owned(),
        DamagedPart::Export => ", is cut off, or is not an export; nothing of it was imported".to_owned(),
        DamagedPart::Folder => "; no object in it proves a restore point".to_owned(),
        DamagedPart::Point | DamagedPart::File | DamagedPart::Block { .. } => String::new(),
    };
    format!("{object}{place} is damaged{meaning}")
}

pub(super) fn held_by(holders: &[FileUser]) -> String {
    match holders {
        [] => "its user cannot be seen from here, such as a process of another user or of a container".to_owned(),
        holders => holders.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}

/// The text for what is left of a damaged machine.
pub(super) fn what_is_left(intact: &Option<(Sequence, Timestamp)>, is_salvageable: bool) -> String {
    let other = match intact {
        Some((sequence, time)) => {
            format!("restore point {sequence}, of {time}, is the newest that is known to have it intact")
        }
        None => "no restore point is known to have it intact".to_owned(),
    };
    let rest = match is_salvageable {
        true => "the rest can be salvaged from this one, with zeros in place of damaged blocks",
        false => "it cannot be salvaged, as the index that says where its blocks lie is lost",
    };
    format!("{other}; {rest}")
}

/// The text for what a restore would overwrite.
pub(super) fn taken(path: &Path, is_device: bool) -> String {
    let path = path.display();
    match is_device {
        true => format!(
            "disk image {path}: it is a block device, and was not changed; restore to a file, or overwrite the device"
        ),
        false => {
            format!(
                "disk image {path}: it exists already, and was not changed; restore to another path, or overwrite it"
            )
        }
    }
}

/// The name of a job's kind.
pub(super) fn kind_of(role: Role) -> &'static str {
    match role {
        Role::Backup => "backup",
        Role::Copy => "copy",
    }
}

/// The text for the older restore point that has a machine complete.
pub(super) fn whole_in(whole: &Option<(Sequence, Timestamp)>) -> String {
    match whole {
        Some((sequence, time)) => format!("restore point {sequence}, of {time}, has it complete"),
        None => "no older restore point has it complete; a later copy may".to_owned(),
    }
}

/// The number of names that an error lists at most.
const KNOWN_MAX: usize = 12;

/// The text for how much must stay free.
pub(super) fn staying(bytes: u64) -> String {
    if bytes == 0 { String::new() } else { format!(", of which {} must stay free", Bytes(bytes)) }
}

/// Names an operation that needs room.
pub(super) const fn the(task: Task) -> &'static str {
    match task {
        Task::Import => "the import",
        Task::Map => "the map",
        Task::Populate => "the filling of the cache",
        _ => "the copy",
    }
}

/// Says how an operation gets room.
pub(super) const fn way_to_room(task: Task) -> &'static str {
    match task {
        // They begin a chain, so no restore points of theirs can go.
        Task::Import | Task::Map => "free some space",
        _ => "free some space, or keep fewer restore points",
    }
}

/// One line for each machine.
pub(super) fn each(failed: &[(MachineName, Error)]) -> String {
    let lines = failed.iter().take(KNOWN_MAX).map(|(name, error)| format!("\n  {name}: {}", causes(error)));
    let more = failed.len().checked_sub(KNOWN_MAX).filter(|more| *more > 0);
    lines.chain(more.map(|more| format!("\n  and {more} more"))).collect()
}

pub(super) fn list(names: &[String]) -> String {
    match names {
        [] => String::new(),
        names if names.len() <= KNOWN_MAX => format!("; there are: {}", names.join(", ")),
        names => format!("; there are: {}, and {} more", names[..KNOWN_MAX].join(", "), names.len() - KNOWN_MAX),
    }
}
