//! Disk images as QEMU sees them: `qemu-img` and `qemu-io`.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::tools::{describe, find, output_of, plain, run};

const PACKAGE: &str = "qemu-utils";

/// The format of an image, always said and never guessed: a guest can make a raw disk look like anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The bytes of the disk.
    Raw,
    /// QEMU's own.
    Qcow2,
}

impl Format {
    /// The name that QEMU has for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

/// What `qemu-img info` says of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// The size of the disk.
    pub virtual_bytes: u64,
    /// The space that the file takes.
    pub allocated_bytes: u64,
    /// The image below this one.
    pub backing_file: Option<PathBuf>,
}

/// Makes an empty image of `bytes`.
#[track_caller]
pub fn create(image: &Path, format: Format, bytes: u64) {
    run(qemu_img().args(["create", "-q", "-f", format.name()]).arg(image).arg(bytes.to_string()));
}

/// Makes an image that holds only what differs from `backing`.
#[track_caller]
pub fn create_overlay(image: &Path, backing: &Path, backing_format: Format) {
    run(qemu_img().args(["create", "-q", "-f", "qcow2", "-F", backing_format.name(), "-b"]).args([backing, image]));
}

/// Copies the disk in `source` to a new image.
#[track_caller]
pub fn convert(source: &Path, source_format: Format, target: &Path, target_format: Format) {
    convert_with(source, source_format, target, target_format, &[]);
}

/// As [`convert`], with more options: `-c` compresses, `-o cluster_size=2M` sets an option of the format.
#[track_caller]
pub fn convert_with(source: &Path, source_format: Format, target: &Path, target_format: Format, options: &[&str]) {
    run(qemu_img()
        .args(["convert", "-q", "-f", source_format.name(), "-O", target_format.name()])
        .args(options)
        .args([source, target]));
}

/// Whether the disks in two images are the same, byte by byte. A disk that is longer by zeros is another disk.
///
/// # Panics
/// If one cannot be read.
#[track_caller]
#[must_use]
pub fn is_same(one: &Path, one_format: Format, other: &Path, other_format: Format) -> bool {
    difference(one, one_format, other, other_format).is_none()
}

/// Holds that the disks in two images are the same.
///
/// # Panics
/// If they are not; the message says where they differ first.
#[track_caller]
pub fn assert_same(one: &Path, one_format: Format, other: &Path, other_format: Format) {
    if let Some(difference) = difference(one, one_format, other, other_format) {
        panic!("{} and {}: {difference}", one.display(), other.display());
    }
}

#[track_caller]
fn difference(one: &Path, one_format: Format, other: &Path, other_format: Format) -> Option<String> {
    // qemu-img takes the shorter disk as if zeros followed; its strict mode compares what is allocated, too.
    let (one_bytes, other_bytes) = (info(one, one_format).virtual_bytes, info(other, other_format).virtual_bytes);
    if one_bytes != other_bytes {
        return Some(format!("{one_bytes} and {other_bytes} bytes"));
    }
    let mut command = qemu_img();
    command.args(["compare", "-f", one_format.name(), "-F", other_format.name()]).args([one, other]);
    let output = output_of(&mut command);
    match output.status.code() {
        Some(0) => None,
        Some(1) => Some(String::from_utf8_lossy(&output.stdout).trim_end().to_owned()),
        _ => panic!("{}", describe(&command, &output)),
    }
}

/// What is known of an image.
///
/// # Panics
/// If it is no image of that format.
#[track_caller]
#[must_use]
pub fn info(image: &Path, format: Format) -> Info {
    let output = run(qemu_img().args(["info", "--output=json", "-f", format.name()]).arg(image));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{image:?}: {error}"));
    let number = |key: &str| told[key].as_u64().unwrap_or_else(|| panic!("no number {key:?} in {told}"));
    Info {
        virtual_bytes: number("virtual-size"),
        allocated_bytes: number("actual-size"),
        backing_file: told["backing-filename"].as_str().map(PathBuf::from),
    }
}

/// Lets `qemu-img` look at the structures of a qcow2 image.
///
/// # Panics
/// If it finds anything wrong, or clusters that nothing refers to.
#[track_caller]
pub fn check(image: &Path) {
    run(qemu_img().args(["check", "-q", "-f", "qcow2"]).arg(image));
}

/// Fills a range of the disk with one byte, through QEMU's block layer.
#[track_caller]
pub fn write_pattern(image: &Path, format: Format, offset: u64, bytes: u64, pattern: u8) {
    let command = format!("write -q -P {pattern} {offset} {bytes}");
    let output = run(Command::new(find("qemu-io", PACKAGE)).args(["-f", format.name(), "-c", &command, plain(image)]));
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[track_caller]
fn qemu_img() -> Command {
    Command::new(find("qemu-img", PACKAGE))
}
