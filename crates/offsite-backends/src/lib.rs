//! Repositories for Offsite.
//!
//! [`Local`] keeps objects as files in a folder of this machine or of a mounted share. What makes it safe is described
//! with it. [`Removable`] keeps them on media that come and go. A backend knows [`Repository`](offsite_repository::Repository) and nothing of backups.

#[cfg(target_os = "linux")]
mod local;

#[cfg(target_os = "linux")]
mod removable;

#[cfg(target_os = "linux")]
pub use local::{CreateBy, Local, LocalOptions};
#[cfg(target_os = "linux")]
pub use removable::{
    Absent, Catalogue, Ejected, KnownMedium, Medium, MediumId, MediumIdError, Remember, Removable, RemovableOptions,
};
