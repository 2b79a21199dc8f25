//! What black-box tests stand on: real file systems, real disk images, and the tools that everybody else judges them by.
//!
//! - [`ext4`]: an ext4 file system in a raw image, made, changed, checked and read without root.
//! - [`Disk`]: a file system of many kinds, mounted, where this user may.
//! - [`LoopDevice`]: a block device, where this user may have one.
//! - [`Yankable`]: a drive that can be pulled out while it is mounted.
//! - [`qemu`]: disk images as QEMU sees them.
//! - [`smtp`]: a server of mail, which refuses and falls silent when told to.
//! - [`Tree`]: files that are the same in every run.
//!
//! All of it is for tests: what goes wrong panics, with what the tool said.

mod cut;
mod disk;
pub mod ext4;
mod loop_device;
pub mod qemu;
pub mod smtp;
mod tools;
mod tree;
mod yank;

pub use disk::{Disk, FileSystemKind, unmount};
pub use loop_device::{LoopDevice, MappedDevice};
pub use tempfile::TempDir;
pub use tools::{find, look_up, run};
pub use tree::{Change, Tree};
pub use yank::Yankable;

/// A new folder, gone when the value is dropped.
///
/// # Panics
/// If there is no place for it.
#[track_caller]
#[must_use]
pub fn folder() -> TempDir {
    TempDir::new().unwrap_or_else(|error| panic!("no temporary folder: {error}"))
}
