//! Recognises the format of a file from its bytes.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// What a file looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signature {
    /// A qcow2 image, version 2 or later.
    Qcow2,
    /// A disk image in a format that Offsite does not read.
    Image(&'static str),
    /// An archive or compressed file, which may contain a disk image.
    Packed(&'static str),
}

/// The first bytes of every qcow and qcow2 image. The version follows.
pub(super) const QFI: &[u8; 4] = b"QFI\xfb";

/// The number of bytes at the start that are looked at.
const START_BYTES: usize = 512;
/// The position of the footer of a fixed VHD or of a DMG, in bytes from the end.
const FOOTER_BYTES: u64 = 512;

/// Formats by the bytes at an offset of the start.
///
/// An ISO image is none of them, as its bytes are the disk.
const AT_START: [(usize, &[u8], Signature); 18] = [
    (0, b"KDMV", Signature::Image("VMDK")),
    (0, b"COWD", Signature::Image("VMDK")),
    (0, b"# Disk DescriptorFile", Signature::Image("VMDK")),
    (0, b"conectix", Signature::Image("VHD")),
    (0, b"vhdxfile", Signature::Image("VHDX")),
    (0, b"<<< ", Signature::Image("VDI")),
    (64, b"\x7f\x10\xda\xbe", Signature::Image("VDI")),
    (0, b"QED\0", Signature::Image("QED")),
    (0, b"WithoutFreeSpace", Signature::Image("Parallels")),
    (0, b"WithouFreSpacExt", Signature::Image("Parallels")),
    (0, b"\x1f\x8b\x08", Signature::Packed("gzip")),
    (0, b"\xfd7zXZ\0", Signature::Packed("xz")),
    (0, b"\x28\xb5\x2f\xfd", Signature::Packed("zstd")),
    (0, b"\x04\x22\x4d\x18", Signature::Packed("lz4")),
    (0, b"BZh", Signature::Packed("bzip2")),
    (0, b"PK\x03\x04", Signature::Packed("ZIP")),
    (0, b"7z\xbc\xaf\x27\x1c", Signature::Packed("7z")),
    (257, b"ustar", Signature::Packed("tar (OVA)")),
];

/// Formats by the bytes of their footer.
const AT_END: [(&[u8], Signature); 2] = [(b"conectix", Signature::Image("VHD")), (b"koly", Signature::Image("DMG"))];

/// Returns what the file looks like. `None` if its bytes may be those of a disk.
pub(super) fn signature(file: &File, length: u64) -> std::io::Result<Option<Signature>> {
    let mut start = [0; START_BYTES];
    let start = &mut start[..usize::try_from(length).unwrap_or(START_BYTES).min(START_BYTES)];
    file.read_exact_at(start, 0)?;
    if start.starts_with(QFI) {
        let is_first = start.get(4..8) == Some(&[0, 0, 0, 1]);
        return Ok(Some(if is_first { Signature::Image("qcow (version 1)") } else { Signature::Qcow2 }));
    }
    let is_at =
        |(at, magic, _): &&(usize, &[u8], Signature)| start.get(*at..).is_some_and(|rest| rest.starts_with(magic));
    if let Some((_, _, signature)) = AT_START.iter().find(is_at) {
        return Ok(Some(*signature));
    }
    let Some(footer_start) = length.checked_sub(FOOTER_BYTES) else { return Ok(None) };
    let mut footer = [0; 8];
    file.read_exact_at(&mut footer, footer_start)?;
    Ok(AT_END.iter().find(|(magic, _)| footer.starts_with(magic)).map(|(_, signature)| *signature))
}
