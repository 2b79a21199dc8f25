//! Real file systems, in image files, mounted.
//!
//! What the kernel knows is mounted through a loop device; FAT32 and exFAT through FUSE drivers, which have the formats'
//! own limits: no links, no holes, names without case. Mounting takes root, and making a file system takes its tools:
//! where one of them is missing, [`Disk::new`] says what, and the test that wanted it prints that and passes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::cut::cut;
use crate::tools::{describe, look_up, output_of};

/// A kind of file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystemKind {
    /// Punches holes.
    Ext4,
    /// Punches holes and shares blocks.
    Xfs,
    /// Punches holes and shares blocks.
    Btrfs,
    /// Can neither link nor punch, nor tell `A` from `a`.
    Exfat,
    /// As exFAT, and holds no file of 4 GiB.
    Fat32,
}

impl FileSystemKind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Ext4, Self::Xfs, Self::Btrfs, Self::Exfat, Self::Fat32];

    /// The tools that make and mount it, each with its package.
    fn tools(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Ext4 => &[("mkfs.ext4", "e2fsprogs")],
            Self::Xfs => &[("mkfs.xfs", "xfsprogs")],
            Self::Btrfs => &[("mkfs.btrfs", "btrfs-progs")],
            Self::Exfat => &[("mkfs.exfat", "exfatprogs"), ("mount.exfat-fuse", "exfat-fuse")],
            Self::Fat32 => &[("mkfs.fat", "dosfstools"), ("fusefat", "fusefat")],
        }
    }

    pub(crate) fn check_tools(self) -> Result<(), String> {
        self.tools().iter().try_for_each(|named| tool(*named).map(drop))
    }

    pub(crate) fn make(self, image: &Path) -> Result<(), String> {
        let arguments: &[&str] = match self {
            Self::Ext4 | Self::Xfs | Self::Btrfs => &["-q"],
            Self::Exfat => &[],
            Self::Fat32 => &["-F", "32"],
        };
        attempt(tool(self.tools()[0])?.args(arguments).arg(image))
    }
}

/// The smallest that all kinds can be made in; the image is sparse.
const DISK_BYTES: u64 = 320 << 20;

/// A mounted file system; unmounted and gone when the value is dropped.
#[derive(Debug)]
pub struct Disk {
    kind: FileSystemKind,
    folder: TempDir,
    /// The device that the image is attached to, where that is not the mount's own business.
    device: Option<PathBuf>,
}

impl Disk {
    /// Makes and mounts a new file system of 320 MiB.
    ///
    /// # Errors
    /// Why this user or machine cannot: a sentence that names the package or privilege that is missing.
    pub fn new(kind: FileSystemKind) -> Result<Self, String> {
        kind.check_tools()?;
        let mut disk = Self { kind, folder: memory_folder(), device: None };
        fs::create_dir(disk.path()).map_err(|error| error.to_string())?;
        let image = File::create(disk.image()).map_err(|error| error.to_string())?;
        image.set_len(DISK_BYTES).map_err(|error| error.to_string())?;
        drop(image);
        kind.make(&disk.image())?;
        disk.mount().map_err(|error| format!("this user or machine cannot mount {kind:?}: {error}"))?;
        Ok(disk)
    }

    /// As [`Disk::new`]; where there is none, the reason is printed.
    #[must_use]
    pub fn new_or_say(kind: FileSystemKind) -> Option<Self> {
        Self::new(kind).inspect_err(|reason| println!("skipped, {kind:?}: {reason}")).ok()
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> FileSystemKind {
        self.kind
    }

    /// The folder that it is mounted at.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("mount")
    }

    /// The device that it is mounted from, where that is not the mount's own business.
    #[must_use]
    pub fn device(&self) -> Option<&Path> {
        self.device.as_deref()
    }

    /// Whether the device stays attached between mounts, which is quicker than a new one each time.
    fn keeps_device(&self) -> bool {
        matches!(self.kind, FileSystemKind::Ext4 | FileSystemKind::Xfs | FileSystemKind::Btrfs)
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    /// Mounts it again, after [`Disk::unmount`].
    ///
    /// # Errors
    /// What the tool said.
    pub fn mount(&mut self) -> Result<(), String> {
        let (image, path) = (self.image(), self.path());
        match self.kind {
            FileSystemKind::Ext4 | FileSystemKind::Xfs | FileSystemKind::Btrfs => {
                let device = match &self.device {
                    Some(device) => device.clone(),
                    None => attach(&image)?,
                };
                let mounted = attempt(Command::new("mount").arg(&device).arg(path));
                self.device = Some(device);
                mounted
            }
            FileSystemKind::Fat32 => {
                // On one thread: on several, this driver now and then does not find a file that is there.
                attempt(tool(("fusefat", "fusefat"))?.args(["-s", "-o", "rw+"]).arg(&image).arg(path))
            }
            FileSystemKind::Exfat => {
                let device = attach(&image)?;
                let mounted = attempt(tool(("mount.exfat-fuse", "exfat-fuse"))?.arg(&device).arg(path));
                self.device = Some(device);
                mounted
            }
        }
    }

    /// Mounts it anew with other options (`ro`).
    ///
    /// # Errors
    /// What the tool said.
    pub fn remount(&self, options: &str) -> Result<(), String> {
        attempt(Command::new("mount").arg("-o").arg(format!("remount,{options}")).arg(self.path()))
    }

    /// Shows it at `place`, too, over what is there; [`Disk::unmount`] of that uncovers it.
    ///
    /// # Errors
    /// What the tool said.
    pub fn bind_to(&self, place: &Path) -> Result<(), String> {
        attempt(Command::new("mount").arg("--bind").args([self.path().as_path(), place]))
    }

    /// Unmounts it.
    ///
    /// # Errors
    /// What the tool said: that something holds a file of it open, say.
    pub fn unmount(&mut self) -> Result<(), String> {
        unmount(&self.path())?;
        if !self.keeps_device() {
            self.detach();
        }
        Ok(())
    }

    /// Takes it from its place, though something may hold files of it open.
    ///
    /// # Errors
    /// What the tool said.
    pub fn unmount_lazily(&mut self) -> Result<(), String> {
        attempt(Command::new("umount").arg("--lazy").arg(self.path()))?;
        self.detach();
        Ok(())
    }

    /// Cuts the power: what has not reached the device never will. [`Disk::unmount`] and [`Disk::mount`] show what it has.
    /// Of these kinds, ext4 and XFS know the call.
    ///
    /// # Errors
    /// That there is no python3, for the one call that cannot be made from safe Rust.
    pub fn cut(&self) -> Result<(), String> {
        cut(&self.path())
    }

    fn detach(&mut self) {
        if let Some(device) = self.device.take() {
            // The device goes when its last user has; a loop device says so when it is left over.
            let _ = attempt(Command::new("losetup").arg("--detach").arg(device));
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.unmount_lazily();
        self.detach();
    }
}

/// Attaches an image to a free loop device.
///
/// # Errors
/// What the tool said.
pub(crate) fn attach(image: &Path) -> Result<PathBuf, String> {
    // Two that look for a free device at once may find the same one. The second then claims for a moment what the first has.
    let turn =
        File::create(std::env::temp_dir().join("offsite-tests-loop-devices")).map_err(|error| error.to_string())?;
    turn.lock().map_err(|error| error.to_string())?;
    let mut command = tool(("losetup", "mount"))?;
    let output = output_of(command.args(["--find", "--show"]).arg(image));
    if !output.status.success() {
        return Err(describe(&command, &output));
    }
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim_end()))
}

/// How often a busy file system is asked again.
const BUSY_ATTEMPTS: usize = 100;

/// Unmounts what is at `path`.
///
/// A process that another test starts has the files of this process open until it has become its program. So a file system that
/// is busy may be free the next time.
///
/// # Errors
/// What the tool said last.
pub fn unmount(path: &Path) -> Result<(), String> {
    let mut ended = attempt(Command::new("umount").arg(path));
    for _ in 1..BUSY_ATTEMPTS {
        if !ended.as_ref().is_err_and(|why| why.contains("busy")) {
            break;
        }
        ended = attempt(Command::new("umount").arg(path));
    }
    ended
}

pub(crate) fn tool((name, package): (&str, &str)) -> Result<Command, String> {
    look_up(name).map(Command::new).ok_or_else(|| format!("there is no `{name}`: apt-get install {package}"))
}

/// Runs a command that may fail.
///
/// # Errors
/// What it printed.
pub(crate) fn attempt(command: &mut Command) -> Result<(), String> {
    let output = output_of(command);
    if output.status.success() { Ok(()) } else { Err(describe(command, &output)) }
}

/// A new folder in memory where there is such a place: a device in memory flushes at once, and has all the same states.
pub(crate) fn memory_folder() -> TempDir {
    TempDir::new_in("/dev/shm").unwrap_or_else(|_| crate::folder())
}
