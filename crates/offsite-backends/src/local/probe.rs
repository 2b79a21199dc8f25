//! What a place can do, found out on opening it.
//!
//! A probe leaves nothing behind.

use std::os::unix::fs::FileExt;

use rustix::fs::{self, AtFlags, FallocateFlags, FlockOperation};
use rustix::io::Errno;

use super::errors::says_unsupported;
use super::extents::{is_shared, share};
use super::options::CreateMethod;
use super::options::LocalOptions;
use super::root::Root;
use super::spelling::folds_case;
use super::staged::{Staged, hidden_name};

/// FAT, whose files are of at most 4 GiB less one byte.
const FAT_MAGIC: u64 = 0x4d44;
/// A driver outside of the kernel, which does not tell what it drives.
const FUSE_MAGIC: u64 = 0x6573_5546;
const FAT_FILE_BYTES_MAX: u64 = u32::MAX as u64;
/// The pieces in which space may come back: those of nearly all file systems, of clusters, of shares.
const GRANULES: [u16; 2] = [4_096, 32_768];
const GRANULE_LARGE: u64 = 1 << 20;

#[derive(Debug)]
pub(super) struct Abilities {
    /// None if there is no way.
    pub(super) create_method: Option<CreateMethod>,
    pub(super) punch_granule: Option<u64>,
    pub(super) clone_granule: Option<u64>,
    pub(super) writable: bool,
    /// Whether names that differ in case are one.
    pub(super) folds_case: bool,
    pub(super) object_bytes_max: u64,
}

/// What trying to give names has shown.
#[derive(Debug, Clone, Copy, Default)]
struct Naming {
    /// The first step of the ladder that holds; none if none does.
    by: Option<CreateMethod>,
    folds_case: bool,
}

impl Abilities {
    pub(super) fn probe(root: &Root, options: &LocalOptions) -> Self {
        let found = find_way(root);
        let (create_method, writable) = match (options.create_method, &found) {
            (Some(by), found) => (Some(by), found.is_ok()),
            (None, Ok(naming)) => (naming.by, true),
            // The root may not be written to, or not now. Folders below it may be, so creating says for itself.
            (None, Err(_)) => (Some(CreateMethod::LinkingUnnamed), false),
        };
        let folds_case = found.map_or_else(
            // What is there already tells, if anything is.
            |_| root.open_folder("").and_then(folds_case).unwrap_or(false),
            |naming| naming.folds_case,
        );
        let punch_granule = create_method.filter(|_| writable).and_then(|by| find_punch_granule(root, by));
        let clone_granule = create_method.filter(|_| writable).and_then(|by| find_clone_granule(root, by));
        let object_bytes_max = object_bytes_max(root, create_method);
        Self { create_method, punch_granule, clone_granule, writable, folds_case, object_bytes_max }
    }
}

/// Goes down the ladder; an error if the place does not let itself be tried.
fn find_way(root: &Root) -> Result<Naming, Errno> {
    for by in CreateMethod::LADDER {
        match keeps_names(root, by) {
            Ok((true, folds_case)) => return Ok(Naming { by: Some(by), folds_case }),
            Ok((false, _)) => {}
            Err(errno) if says_unsupported(errno) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(Naming::default())
}

/// Whether of two files that are to get one name the second is refused; and whether the name is there in capitals, too.
fn keeps_names(root: &Root, by: CreateMethod) -> Result<(bool, bool), Errno> {
    let first = Staged::open(root.open_folder("")?, by)?;
    let second = Staged::open(root.open_folder("")?, by);
    // For an unnamed file too: it is about to get a hidden name, which another process may be sweeping. Where there are
    // no locks, nothing is swept.
    let _ = fs::flock(&first.file, FlockOperation::NonBlockingLockExclusive);
    // A hidden name that a sweep would remove, should this process die here.
    let name = hidden_name()?;
    let published = first.publish(&name);
    let refused = second.as_ref().map(|second| second.publish(&name));
    let mut folds = Ok(false);
    if published.is_ok() {
        folds = root.open_folder("").and_then(folds_case);
        fs::unlinkat(root.open_folder("")?, name.as_str(), AtFlags::empty())?;
    }
    first.discard()?;
    second.as_ref().map_or(Ok(()), Staged::discard)?;
    published?;
    Ok((refused == Ok(Err(Errno::EXIST)), folds?))
}

/// In which pieces space comes back, if it does.
fn find_punch_granule(root: &Root, by: CreateMethod) -> Option<u64> {
    granules().find(|granule| {
        let Ok(staged) = root.open_folder("").and_then(|folder| Staged::open(folder, by)) else { return false };
        let punched = punches(&staged, *granule);
        let discarded = staged.discard();
        punched == Ok(true) && discarded.is_ok()
    })
}

/// Whether punching the middle one of three granules gives it back, and leaves the other two as they were.
fn punches(staged: &Staged, granule: u64) -> Result<bool, Errno> {
    let length = usize::try_from(granule * 3).map_err(|_| Errno::OVERFLOW)?;
    let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    // Refused without a byte written, where it is unknown. On a full disk no more than this can be tried, and there
    // punching is what helps.
    fs::fallocate(&staged.file, hole, 0, granule)?;
    match staged.file.write_all_at(&vec![0xA5; length], 0).map_err(io_error) {
        Err(Errno::NOSPC | Errno::DQUOT) => return Ok(true),
        other => other?,
    }
    fs::fdatasync(&staged.file)?;
    let before = allocated_bytes(&fs::fstat(&staged.file)?);
    fs::fallocate(&staged.file, hole, granule, granule)?;
    fs::fdatasync(&staged.file)?;
    let after = allocated_bytes(&fs::fstat(&staged.file)?);
    let mut found = vec![0; length];
    staged.file.read_exact_at(&mut found, 0).map_err(io_error)?;
    let as_wanted = found.iter().enumerate().all(|(position, byte)| {
        let in_hole = (granule..granule * 2).contains(&(position as u64));
        *byte == if in_hole { 0 } else { 0xA5 }
    });
    Ok(as_wanted && after + granule <= before)
}

/// In which pieces files can share space, if they can.
fn find_clone_granule(root: &Root, by: CreateMethod) -> Option<u64> {
    let open = || root.open_folder("").and_then(|folder| Staged::open(folder, by));
    granules().find(|granule| {
        let (Ok(source), Ok(target)) = (open(), open()) else { return false };
        let shares = shares(&source, &target, *granule);
        let discarded = [source.discard(), target.discard()];
        shares == Ok(true) && discarded == [Ok(()), Ok(())]
    })
}

/// Whether the middle one of three granules can be shared, is stored once then, and stays with `target` when `source` is
/// written to.
fn shares(source: &Staged, target: &Staged, granule: u64) -> Result<bool, Errno> {
    let length = usize::try_from(granule).map_err(|_| Errno::OVERFLOW)?;
    // Refused without a byte written, where it is unknown.
    share(&source.file, &(0..granule), &target.file, 0).or_else(|errno| match errno {
        Errno::INVAL => Ok(()),
        errno => Err(errno),
    })?;
    source.file.write_all_at(&vec![0xA5; length * 3], 0).map_err(io_error)?;
    fs::fdatasync(&source.file)?;
    share(&source.file, &(granule..granule * 2), &target.file, 0)?;
    fs::fdatasync(&target.file)?;
    // Where that is not told, of a share say, the call itself promises it.
    let is_shared = is_shared(&target.file, &(0..granule)).unwrap_or(true);
    source.file.write_all_at(&vec![0x5A; length], granule).map_err(io_error)?;
    fs::fdatasync(&source.file)?;
    let mut found = vec![0; length];
    target.file.read_exact_at(&mut found, 0).map_err(io_error)?;
    Ok(is_shared && found.iter().all(|byte| *byte == 0xA5))
}

fn granules() -> impl Iterator<Item = u64> {
    GRANULES.into_iter().map(u64::from).chain([GRANULE_LARGE])
}

fn io_error(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

/// The bytes of storage behind a file.
pub(super) fn allocated_bytes(stat: &fs::Stat) -> u64 {
    // Always in units of 512, whatever the block size.
    u64::try_from(stat.st_blocks).unwrap_or(0) * 512
}

fn object_bytes_max(root: &Root, create_method: Option<CreateMethod>) -> u64 {
    let magic = root.open_folder("").and_then(fs::fstatfs).map(|stat| u64::try_from(stat.f_type));
    match (magic, create_method) {
        (Ok(Ok(FAT_MAGIC)), _) => FAT_FILE_BYTES_MAX,
        // It cannot link, so it may well be FAT.
        (Ok(Ok(FUSE_MAGIC)), Some(CreateMethod::RenamingStaged | CreateMethod::RenamingClaimed)) => FAT_FILE_BYTES_MAX,
        _ => i64::MAX.unsigned_abs(),
    }
}
