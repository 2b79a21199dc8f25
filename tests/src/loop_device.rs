//! Block devices, which are files behind loop devices.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::disk::{attach, attempt, memory_folder, tool};

/// A block device; gone when the value is dropped.
#[derive(Debug)]
pub struct LoopDevice {
    /// Where the file behind it is, if this value owns that.
    folder: Option<TempDir>,
    file: PathBuf,
    device: PathBuf,
}

impl LoopDevice {
    /// A device of so many bytes, all of which are `fill`.
    ///
    /// # Errors
    /// Why this user or machine cannot have one.
    pub fn new(bytes: usize, fill: u8) -> Result<Self, String> {
        let folder = memory_folder();
        let file = folder.path().join("image");
        fs::write(&file, vec![fill; bytes]).map_err(|error| error.to_string())?;
        let device = attach(&file)?;
        Ok(Self { folder: Some(folder), file, device })
    }

    /// A device over a file, or over another device.
    ///
    /// # Errors
    /// Why this user or machine cannot have one.
    pub fn over(file: &Path) -> Result<Self, String> {
        Ok(Self { folder: None, file: file.to_owned(), device: attach(file)? })
    }

    /// As [`LoopDevice::new`]; where there is none, the reason is printed.
    #[must_use]
    pub fn new_or_say(bytes: usize, fill: u8) -> Option<Self> {
        Self::new(bytes, fill).inspect_err(|reason| println!("skipped, a block device: {reason}")).ok()
    }

    /// The device's file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.device
    }

    /// What has reached the file behind the device.
    ///
    /// # Panics
    /// If it cannot be read.
    #[must_use]
    #[track_caller]
    pub fn content(&self) -> Vec<u8> {
        fs::read(&self.file).unwrap_or_else(|error| panic!("{error}"))
    }

    /// A device of the device mapper that stands on this one, as LVM's do.
    ///
    /// # Errors
    /// Why this user or machine cannot have one.
    pub fn mapped(&self, name: &str) -> Result<MappedDevice, String> {
        let sectors = self.content().len() / 512;
        let table = format!("0 {sectors} linear {} 0", self.device.display());
        attempt(tool(("dmsetup", "dmsetup"))?.args(["create", name, "--table", &table]))?;
        Ok(MappedDevice { name: name.to_owned() })
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = attempt(Command::new("losetup").arg("--detach").arg(&self.device));
        drop(self.folder.take());
    }
}

/// A device of the device mapper; gone when the value is dropped.
#[derive(Debug)]
pub struct MappedDevice {
    name: String,
}

impl Drop for MappedDevice {
    fn drop(&mut self) {
        let _ = attempt(Command::new("dmsetup").args(["remove", "--retry", &self.name]));
    }
}
