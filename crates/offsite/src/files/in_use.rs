//! Finds out from the kernel who uses a file or a block device.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, fcntl_lock, major, makedev, minor, open};
use rustix::io::Errno;

use crate::{Error, ErrorPlace, FileUser, Result};

/// Checks that nobody uses a file. `path` is its canonical path.
pub(crate) fn refuse_file(path: &Path, metadata: &Metadata) -> Result<()> {
    let mut holders: BTreeSet<FileUser> = loop_devices(|backing| backing == path).collect();
    holders.extend(writers(|open| (open.dev(), open.ino()) == (metadata.dev(), metadata.ino())));
    if holders.is_empty() && !is_locked(path)? {
        return Ok(());
    }
    Err(Error::InUse { path: path.to_owned(), holders: holders.into_iter().collect(), at: ErrorPlace::default() })
}

/// Returns whether a process has locked a part of the file, as QEMU does with the images of running machines.
fn is_locked(path: &Path) -> Result<bool> {
    let file: File = match open(path, OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty()) {
        Ok(file) => file.into(),
        Err(error) => return Err(Error::image(path, "it cannot be opened to write to it", Some(error.into()))),
    };
    // The lock ends with the file, at the end of this function.
    match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::AGAIN | Errno::ACCESS) => Ok(true),
        // If files cannot be locked here, nobody has locked it.
        Ok(()) | Err(_) => Ok(false),
    }
}

/// Returns who holds a block device. Its partitions, and the disk that it is a partition of, count as well.
pub(crate) fn device_holders(path: &Path) -> Vec<FileUser> {
    let devices = family(path);
    let mut holders = BTreeSet::new();
    for (folder, _) in &devices {
        holders.extend(names_in(&folder.join("holders")).into_iter().map(|name| FileUser::Device(with_alias(&name))));
    }
    let is_one = |device: u64| devices.iter().any(|(_, number)| *number == device);
    let is_one_at = |path: &Path| path.metadata().is_ok_and(|metadata| metadata.rdev() != 0 && is_one(metadata.rdev()));
    holders.extend(loop_devices(is_one_at));
    for line in lines("/proc/self/mountinfo") {
        let fields: Vec<&OsStr> = line.as_bytes().split(|byte| *byte == b' ').map(OsStr::from_bytes).collect();
        let source = fields.iter().position(|field| *field == "-").and_then(|dash| fields.get(dash + 2));
        let number = fields.get(2).and_then(|number| device_number(number));
        // A file system on several devices has a number of its own.
        if let Some(at) = fields.get(4)
            && (number.is_some_and(is_one) || source.is_some_and(|source| is_one_at(&unescaped(source))))
        {
            holders.insert(FileUser::Mount(unescaped(at)));
        }
    }
    for line in lines("/proc/swaps") {
        let end = line.as_bytes().iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
        if is_one_at(&unescaped(OsStr::from_bytes(&line.as_bytes()[..end]))) {
            holders.insert(FileUser::Swap);
        }
    }
    holders.extend(writers(|open| open.rdev() != 0 && is_one(open.rdev())));
    holders.into_iter().collect()
}

/// Returns the device with its partitions, or with the disk that it is a partition of: their folders in sysfs, and their numbers.
fn family(path: &Path) -> Vec<(PathBuf, u64)> {
    let Ok(metadata) = path.metadata() else { return Vec::new() };
    let number = metadata.rdev();
    let Ok(folder) = fs::canonicalize(format!("/sys/dev/block/{}:{}", major(number), minor(number))) else {
        return vec![(PathBuf::new(), number)];
    };
    let mut folders = vec![folder.clone()];
    if folder.join("partition").exists() {
        folders.extend(folder.parent().map(Path::to_owned));
    } else {
        let inner = names_in(&folder).into_iter().map(|name| folder.join(name));
        folders.extend(inner.filter(|inner| inner.join("partition").exists()));
    }
    let numbered = |folder: PathBuf| {
        let number = lines(folder.join("dev")).first().and_then(|line| device_number(line))?;
        Some((folder, number))
    };
    folders.into_iter().filter_map(numbered).collect()
}

/// Returns the loop devices whose backing file `is_it`.
fn loop_devices(is_it: impl Fn(&Path) -> bool) -> impl Iterator<Item = FileUser> {
    names_in(Path::new("/sys/block")).into_iter().filter_map(move |name| {
        let backing = lines(format!("/sys/block/{name}/loop/backing_file")).into_iter().next()?;
        is_it(Path::new(&backing)).then_some(FileUser::Device(name))
    })
}

/// Returns the processes that have a file open for writing, as far as this process may look.
fn writers(is_it: impl Fn(&Metadata) -> bool) -> Vec<FileUser> {
    let mut found = Vec::new();
    let numbers = names_in(Path::new("/proc")).into_iter().filter_map(|name| name.parse::<u32>().ok());
    for id in numbers.filter(|id| *id != std::process::id()) {
        let process = PathBuf::from(format!("/proc/{id}"));
        let writes = |number: &String| {
            let flags = lines(process.join("fdinfo").join(number)).into_iter().find_map(|line| {
                let flags = line.to_str()?.strip_prefix("flags:")?.trim().to_owned();
                u32::from_str_radix(&flags, 8).ok()
            });
            flags.is_some_and(|flags| flags & OFlags::ACCMODE.bits() != OFlags::RDONLY.bits())
        };
        let is_open = |number: &String| process.join("fd").join(number).metadata().is_ok_and(|open| is_it(&open));
        if names_in(&process.join("fd")).iter().any(|number| is_open(number) && writes(number)) {
            let name = lines(process.join("comm")).into_iter().next().unwrap_or_default();
            found.push(FileUser::Process { id, name: name.to_string_lossy().into_owned() });
        }
    }
    found
}

/// Returns a device with its alias: `dm-3 (vg0-web01)`.
fn with_alias(name: &str) -> String {
    match lines(format!("/sys/block/{name}/dm/name")).first() {
        Some(alias) => format!("{name} ({})", alias.to_string_lossy()),
        None => name.to_owned(),
    }
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Returns the lines of a file of the kernel. Returns none if there is no such file.
fn lines(path: impl AsRef<Path>) -> Vec<OsString> {
    let text = fs::read(path).unwrap_or_default();
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| OsString::from_vec(line.to_vec())).collect()
}

/// Returns the number of a device that is written as `8:1`.
fn device_number(text: &OsStr) -> Option<u64> {
    let (major, minor) = text.to_str()?.trim().split_once(':')?;
    Some(makedev(major.parse().ok()?, minor.parse().ok()?))
}

/// Returns a path with its white space, which is written as `\040`.
fn unescaped(text: &OsStr) -> PathBuf {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut position = 0;
    while let Some(byte) = bytes.get(position) {
        let code = bytes.get(position + 1..position + 4).filter(|_| *byte == b'\\');
        let code = code.and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 8).ok());
        plain.push(code.unwrap_or(*byte));
        position += if code.is_some() { 4 } else { 1 };
    }
    PathBuf::from(OsString::from_vec(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_paths_are_read() {
        for (text, plain) in [("/mnt/a", "/mnt/a"), ("/mnt/a\\040b", "/mnt/a b"), ("\\0", "\\0"), ("\\999", "\\999")] {
            assert_eq!(unescaped(OsStr::new(text)), Path::new(plain), "{text}");
        }
    }

    #[test]
    fn device_numbers_are_read() {
        assert_eq!(device_number(OsStr::new("8:1")), Some(makedev(8, 1)));
        assert_eq!(device_number(OsStr::new("0")), None);
    }
}
