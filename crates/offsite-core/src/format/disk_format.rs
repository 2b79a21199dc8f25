//! What a disk is known by, as indexes and backup files store it.

use super::error::{FormatError, Result};
use crate::{DiskIdentity, DiskName, ImageFormat};

/// The number of a format.
pub(super) const fn encode_format(format: ImageFormat) -> u8 {
    match format {
        ImageFormat::Raw => 0,
        ImageFormat::Qcow2 => 1,
    }
}

/// A disk's identity out of its stored name and the number of its format.
pub(super) fn decode_identity(what: &'static str, name: &str, format: u8) -> Result<DiskIdentity> {
    let name = DiskName::new(name).map_err(|error| FormatError::invalid(what, error))?;
    let format = match format {
        0 => ImageFormat::Raw,
        1 => ImageFormat::Qcow2,
        other => return Err(FormatError::invalid(what, format!("disk format {other} is not known"))),
    };
    Ok(DiskIdentity { name, format })
}
