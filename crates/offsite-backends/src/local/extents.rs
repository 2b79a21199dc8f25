//! Two calls of the kernel that no safe wrapper has: to share a range of a file, and to ask whether one is shared.
#![allow(unsafe_code, reason = "the arguments of an ioctl are laid out by whoever makes it; proofs stand at the calls")]

use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;
use rustix::ioctl::{Opcode, Setter, Updater, ioctl, opcode};

/// `struct file_clone_range` of linux/fs.h.
#[repr(C)]
#[derive(Debug)]
struct ShareRequest {
    source: i64,
    source_offset: u64,
    source_bytes: u64,
    target_offset: u64,
}

const FICLONERANGE: Opcode = opcode::write::<ShareRequest>(0x94, 13);

/// `struct fiemap` of linux/fiemap.h, without its open end.
#[repr(C)]
#[derive(Debug, Default)]
struct MapRequest {
    start: u64,
    bytes: u64,
    flags: u32,
    extents_mapped: u32,
    extents_max: u32,
    reserved: u32,
}

/// `struct fiemap_extent` of linux/fiemap.h.
#[repr(C)]
#[derive(Debug, Default)]
struct Extent {
    logical: u64,
    physical: u64,
    bytes: u64,
    reserved_large: [u64; 2],
    flags: u32,
    reserved: [u32; 3],
}

#[repr(C)]
#[derive(Debug, Default)]
struct Map {
    request: MapRequest,
    extent: Extent,
}

const FIEMAP: Opcode = opcode::read_write::<MapRequest>(b'f', 11);
const FIEMAP_FLAG_SYNC: u32 = 1;
const FIEMAP_EXTENT_SHARED: u32 = 0x2000;

/// Makes `target` hold from `offset` on what `source` holds in `range`, in the same blocks of the device. It shares or fails,
/// and never copies. A range of no bytes would be taken for all of the source; it must not be empty.
pub(super) fn share(source: impl AsFd, range: &Range<u64>, target: impl AsFd, offset: u64) -> Result<(), Errno> {
    let request = ShareRequest {
        source: source.as_fd().as_raw_fd().into(),
        source_offset: range.start,
        source_bytes: range.end - range.start,
        target_offset: offset,
    };
    // SAFETY: The kernel reads a `struct file_clone_range`, whose size is in the opcode and whose layout `ShareRequest` has,
    // and writes to no memory of this process. Both files stay open during the call.
    unsafe { ioctl(target, Setter::<FICLONERANGE, ShareRequest>::new(request)) }
}

/// Whether the device's blocks behind the start of `range` belong to another file, too. An error where the file system
/// does not tell.
pub(super) fn is_shared(file: impl AsFd, range: &Range<u64>) -> Result<bool, Errno> {
    let request = MapRequest {
        start: range.start,
        bytes: range.end - range.start,
        flags: FIEMAP_FLAG_SYNC,
        extents_max: 1,
        ..MapRequest::default()
    };
    let mut map = Map { request, extent: Extent::default() };
    // SAFETY: The kernel reads a `struct fiemap`, whose size is in the opcode and whose layout `MapRequest` has, writes it
    // back, and writes at most `extents_max` of `struct fiemap_extent` behind it; `Map` has room for that one.
    unsafe { ioctl(file, Updater::<FIEMAP, Map>::new(&mut map)) }?;
    Ok(map.request.extents_mapped == 1 && map.extent.flags & FIEMAP_EXTENT_SHARED != 0)
}
