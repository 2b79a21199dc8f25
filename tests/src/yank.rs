//! A drive that can be pulled out while it is mounted.
//!
//! `nbdkit` holds the disk in memory and fails every call while a file is there; `nbdfuse` shows it as a file, a loop device
//! makes a disk of that, and the kernel's own file system is on it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use tempfile::TempDir;

use crate::disk::{FileSystemKind, attach, attempt, tool, unmount};
use crate::folder;

const DISK_SIZE: &str = "400M";
/// A server that has not opened its door after so many looks, with a pause between, has failed.
const LOOKS: usize = 2_000;

/// A mounted file system on a drive that can be pulled out; unmounted and gone when the value is dropped.
#[derive(Debug)]
pub struct Yankable {
    folder: TempDir,
    server: Child,
    bridge: Child,
    device: Option<PathBuf>,
}

impl Yankable {
    /// Makes and mounts a new file system of 400 MiB.
    ///
    /// # Errors
    /// Why this user or machine cannot: a sentence that names the package or privilege that is missing.
    pub fn new(kind: FileSystemKind) -> Result<Self, String> {
        kind.check_tools()?;
        let folder = folder();
        let path = |name: &str| folder.path().join(name);
        for name in ["bridge", "mount"] {
            fs::create_dir(path(name)).map_err(|error| error.to_string())?;
        }
        let socket = path("socket");
        let mut server = tool(("nbdkit", "nbdkit"))?;
        server.args(["--foreground", "--unix"]).arg(&socket).args(["--filter=error", "memory", DISK_SIZE]);
        server.args(["error=EIO", "error-rate=100%"]).arg(format!("error-file={}", path("pulled").display()));
        let mut bridge = tool(("nbdfuse", "libnbd-bin"))?;
        bridge.arg(path("bridge/disk")).arg(format!("nbd+unix:///?socket={}", socket.display()));
        let server = start(&mut server)?;
        if let Err(reason) = await_path(&socket) {
            stop(server);
            return Err(format!("nbdkit: {reason}"));
        }
        let bridge = match start(&mut bridge) {
            Ok(bridge) => bridge,
            Err(reason) => {
                stop(server);
                return Err(reason);
            }
        };
        let mut drive = Self { folder, server, bridge, device: None };
        let disk = drive.folder.path().join("bridge/disk");
        await_path(&disk).map_err(|reason| format!("nbdfuse (is there /dev/fuse?): {reason}"))?;
        let device = attach(&disk)?;
        drive.device = Some(device.clone());
        kind.make(&device)?;
        attempt(Command::new("mount").arg(&device).arg(drive.path()))?;
        Ok(drive)
    }

    /// The folder that it is mounted at.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("mount")
    }

    /// Pulls the drive out: every call to it fails.
    ///
    /// # Panics
    /// If that cannot be told to it.
    #[track_caller]
    pub fn pull(&self) {
        File::create(self.folder.path().join("pulled")).unwrap_or_else(|error| panic!("the drive stays in: {error}"));
    }

    /// As [`Yankable::plug_in`], if it was pulled out.
    ///
    /// # Panics
    /// If something holds it, or if it cannot be mounted.
    #[track_caller]
    pub fn plug_in_if_out(&mut self) {
        if self.folder.path().join("pulled").exists() {
            self.plug_in();
        }
    }

    /// Puts it back in, with what was on it, and mounts it anew. Nothing may be open.
    ///
    /// # Panics
    /// If something holds it, or if it cannot be mounted.
    #[track_caller]
    pub fn plug_in(&mut self) {
        let unmounted = unmount(&self.path());
        fs::remove_file(self.folder.path().join("pulled")).unwrap_or_else(|error| panic!("it was not out: {error}"));
        unmounted.unwrap_or_else(|error| panic!("{error}"));
        let Some(device) = &self.device else { panic!("it has a device while it is mounted") };
        attempt(Command::new("mount").arg(device).arg(self.path())).unwrap_or_else(|error| panic!("{error}"));
    }
}

impl Drop for Yankable {
    fn drop(&mut self) {
        // Each lets go of the next.
        let _ = fs::remove_file(self.folder.path().join("pulled"));
        let _ = attempt(Command::new("umount").arg("--lazy").arg(self.path()));
        if let Some(device) = &self.device {
            let _ = attempt(Command::new("losetup").arg("--detach").arg(device));
        }
        let _ = attempt(Command::new("umount").arg("--lazy").arg(self.folder.path().join("bridge")));
        for child in [&mut self.bridge, &mut self.server] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn start(command: &mut Command) -> Result<Child, String> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().map_err(|error| format!("{command:?} did not start: {error}"))
}

fn stop(mut child: Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// Looks until another process has made `path`.
fn await_path(path: &Path) -> Result<(), String> {
    for _ in 0..LOOKS {
        if path.exists() {
            return Ok(());
        }
        thread::park_timeout(std::time::Duration::from_millis(5));
    }
    Err(format!("{} does not appear", path.display()))
}
