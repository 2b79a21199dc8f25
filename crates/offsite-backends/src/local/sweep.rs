//! Removing what dead writers have left.

use offsite_repository::{Key, Result};
use rustix::fs::{Dir, FileType};
use rustix::io::Errno;

use super::claim::{CLAIM, remove_orphan};
use super::errors::fault;
use super::list::kind_of;
use super::root::Root;
use super::staged::STAGED;

/// Removes the hidden files of writers that are gone, in all folders. A writer holds a lock on each, which ends with
/// the process however that ends, so no clock is asked.
pub(super) fn sweep(root: &Root) -> Result<()> {
    let mut folders = vec![String::new()];
    while let Some(path) = folders.pop() {
        let failed = |errno| fault("sweep", if path.is_empty() { "the root" } else { path.as_str() }, errno);
        let dir = match root.open_folder(&path) {
            Ok(dir) => dir,
            // Gone, or none that this user or this repository should look into: nothing of ours is in it.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV | Errno::ACCESS) => continue,
            Err(errno) => return Err(failed(errno)),
        };
        for entry in Dir::read_from(&dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            match kind_of(&dir, name, entry.file_type()).map_err(failed)? {
                FileType::Directory if Key::new(name).is_ok() => {
                    folders.push(if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") });
                }
                FileType::RegularFile if name.starts_with(STAGED) || name.starts_with(CLAIM) => {
                    remove_orphan(&dir, name).map_err(failed)?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}
