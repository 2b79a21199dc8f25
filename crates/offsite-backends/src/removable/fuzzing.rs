//! What the fuzz targets reach into.
//!
//! No part of the stable interface.

use offsite_repository::Result;

use super::catalogue::{entry_of, known_of};
use super::known::KnownMedium;
use super::marker::{Marked, Medium, MediumId};

/// What a medium's marker says, and the marker that is written for that.
///
/// # Errors
/// `Corrupt`, `Unsupported`.
pub fn marker(file: &[u8]) -> Result<(Medium, Vec<u8>)> {
    let marked = Marked::from_marker("/medium", file)?;
    let again = marked.to_marker()?;
    Ok((marked.medium, again))
}

/// What the entry of the medium `id` in a catalogue says, and the entry that is written for that.
///
/// # Errors
/// `Corrupt`, `Unsupported`.
pub fn entry(id: MediumId, file: &[u8]) -> Result<(KnownMedium, Vec<u8>)> {
    let known = known_of(id, "/catalogue", file)?;
    let again = entry_of(&known, "/catalogue")?;
    Ok((known, again))
}
