#![doc = include_str!(concat!("../", env!("CARGO_PKG_README")))]
//!
//! ## Where to start in these pages
//!
//! [`OpenRepository`] opens a place; [`BackupJob`] fills a first chain from disk images; [`CopyJob`] copies it to a second one;
//! [`Restore`] and [`Verify`] read either; [`runner`] runs a copy job on its schedule. What a run did is told by the types in [`report`]. The model (machines, restore points,
//! block maps, plans, retention, the stored format) is the crate [`core`]; what a storage must do is the crate [`repository`].
//!
//! Operations are cancelled by dropping their futures: what was committed stays, nothing else becomes visible, and the next
//! run cleans up.

mod backup;
mod bytes;
mod cleanup;
mod clock_rule;
mod copy;
mod error;
mod export;
mod findings;
mod folder;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod gate;
mod heads;
mod holder;
mod image;
mod import;
mod indexes;
mod job_folders;
mod job_name;
mod known_damage;
mod layout;
mod lease;
mod links;
mod map;
mod mover;
mod open_repository;
mod partial;
mod pin;
mod point;
mod progress;
mod read_back;
mod release;
mod repair;
pub mod report;
mod restore;
mod rules;
pub mod runner;
#[cfg(test)]
mod sample;
mod seams;
mod selected;
mod signs;
#[cfg(offsite_simulation)]
#[doc(hidden)]
pub mod simulation;
mod stack;
mod transform;
mod transform_job;
mod verify;
mod writer;

pub use backup::{BackupJob, BackupMethod, FullKind};
pub use bytes::Bytes;
pub use copy::{CopyJob, Look, PlannedSync, Room, RunPlan, Selection, Source, SyncRequest};
pub use error::{Error, Result};
pub use export::Export;
pub use folder::{DiskSummary, JobFolder, PointSelector};
pub use gate::{Gate, OpenGate, Passage};
pub use image::{Holder, ImageSource};
pub use import::Import;
pub use job_folders::{ClosedFolder, JobFolders};
pub use job_name::{JobName, JobNameError};
pub use known_damage::KnownDamage;
pub use map::MapSeed;
pub use offsite_core as core;
pub use offsite_core::{DiskName, ImageFormat};
pub use offsite_repository as repository;
pub use open_repository::OpenRepository;
pub use progress::{Progress, Silent};
pub use release::Released;
pub use repair::{Basis, LeftOut, Repair, RepairReport, Unneeded};
pub use restore::Restore;
pub use transform::{Budget, Compact, LiveShare, LiveShareError, MergeMethod, PlannedOperation, Transforms};
pub use transform_job::TransformJob;
pub use verify::{Damage, Touched, Verify, VerifyReport};

/// How long another host waits for a sign of life of a writer.
const DEFAULT_LEASE: std::time::Duration = std::time::Duration::from_secs(60);
