//! What a merge costs at least, done by hand: the least that a program must do that renames or overwrites.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::jobs::Failure;

/// A piece of a stored chain's file: about what a block of 1 MiB takes.
const PIECE_BYTES: usize = 512 << 10;

/// Folders `full` and `increment` with a file per piece of these files, as if each held a block.
pub(super) fn split(full: &Path, increment: &Path, folder: &Path) -> Result<(), Failure> {
    for (name, from) in [("full", full), ("increment", increment)] {
        let to = folder.join(name);
        std::fs::create_dir_all(&to)?;
        let mut file = File::open(from)?;
        let mut piece = vec![0; PIECE_BYTES];
        for number in 0_u32.. {
            let length = read_up_to(&mut file, &mut piece)?;
            if length == 0 {
                break;
            }
            std::fs::write(to.join(number.to_string()), &piece[..length])?;
        }
    }
    Ok(())
}

/// Moves every block of `increment` over that of `full`, then makes the names durable.
pub(super) fn rename_per_block(folder: &Path) -> Result<(), Failure> {
    let (full, increment) = (folder.join("full"), folder.join("increment"));
    let names =
        std::fs::read_dir(&increment)?.map(|entry| Ok(entry?.file_name())).collect::<std::io::Result<Vec<_>>>()?;
    for name in names {
        std::fs::rename(increment.join(&name), full.join(&name))?;
    }
    File::open(&full)?.sync_all()?;
    File::open(&increment)?.sync_all()?;
    Ok(())
}

/// Where the pieces of the increment go in the full's file.
#[derive(Debug, Clone, Copy)]
pub(super) enum Room {
    /// Over pieces that lie apart from each other, whose space is allocated.
    Allocated,
    /// Past the end, one after the other: the first fold has no other room.
    End,
}

/// Reads `increment` once and writes it once into the file of `full`, with one flush.
pub(super) fn in_place(full: &Path, increment: &Path, room: Room) -> Result<(), Failure> {
    let to = OpenOptions::new().write(true).open(full)?;
    let mut from = File::open(increment)?;
    let pieces = from.metadata()?.len().div_ceil(PIECE_BYTES as u64).max(1);
    let end = to.metadata()?.len().next_multiple_of(4096);
    let (start, stride) = match room {
        Room::Allocated => (0, (end / pieces) & !4095),
        Room::End => (end, PIECE_BYTES as u64),
    };
    let mut piece = vec![0; PIECE_BYTES];
    for number in 0..pieces {
        let length = read_up_to(&mut from, &mut piece)?;
        to.write_all_at(&piece[..length], start + number * stride)?;
    }
    to.sync_data()?;
    Ok(())
}

/// The first and the second backup file of the copy job in a repository, which are the full's and the increment's.
pub(super) fn oldest_files(repository: &Path) -> Result<(PathBuf, PathBuf), Failure> {
    let files = crate::jobs::copied_files(repository)?;
    match &files[..] {
        [full, increment, ..] => Ok((full.clone(), increment.clone())),
        _ => Err("a chain without an increment".into()),
    }
}

fn read_up_to(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..])? {
            0 => break,
            read => length += read,
        }
    }
    Ok(length)
}
