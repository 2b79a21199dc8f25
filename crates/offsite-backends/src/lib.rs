//! Repositories for Offsite.
//!
//! [`Local`] keeps objects as files in a folder of this machine or of a mounted share. What makes it safe is described
//! with it. A backend knows [`Repository`](offsite_repository::Repository) and nothing of backups.

#[cfg(target_os = "linux")]
mod local;

#[cfg(target_os = "linux")]
pub use local::{CreateBy, Local, LocalOptions};
