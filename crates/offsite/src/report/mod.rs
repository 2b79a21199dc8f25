//! Reports: what a run did, planned and counted.
//!
//! Each kind of run returns a report of its own:
//!
//! | run | report |
//! |---|---|
//! | [`BackupJob`](crate::BackupJob) | [`BackupReport`] |
//! | [`CopyJob`](crate::CopyJob) | [`CopyReport`], or [`SyncOutcome`] for the sync alone |
//! | transforms of either job | [`TransformReport`] with an [`OperationReport`] for each [`Operation`] |
//! | [`Restore`](crate::Restore) | [`RestoreReport`] |
//! | [`Verify`](crate::Verify) | [`VerifyReport`] |
//! | [`Export`](crate::Export), [`Import`](crate::Import), [`MapSeed`](crate::MapSeed) | [`ExportReport`], [`ImportReport`], [`MapReport`] |
//!
//! A [`Tally`] has the planned cost beside the counted one. A [`Note`], a [`Doubt`] or a [`Reason`] is data; its `Display` is the
//! sentence that users read.

mod backup;
mod copy;
mod damage;
mod doubt;
mod exchange;
mod image_warning;
mod look_up;
mod loss;
mod note;
mod operation;
mod populate;
mod reason;
mod restore;
mod traffic;
mod transform;
mod verify;

pub use backup::{BackupReport, MachineBackup, MachineFailure};
pub(crate) use copy::absent;
pub use copy::{CopyReport, HistoryReport, MachineCopy, MachineOutcome, MachineReport, SyncOutcome, SyncReport};
pub use damage::{Damage, DamageKind, DamagedHead, Fault, KnownDamage, Touched};
pub use doubt::{Doubt, PatternKind, PatternPlace};
pub use exchange::{ExportReport, ExportedMachine, ImportReport, MapReport};
pub use image_warning::ImageWarning;
pub use look_up::LookUp;
pub use loss::{IndexLoss, Loss};
pub use note::{HealingSearch, Note, Unseen};
pub use offsite_core::plan::{Amount, Savings};
pub use operation::{Carriage, FullFrom, HealedFrom, MergeMethod, MergeReason, MoveReason, Operation};
pub use populate::{PopulateReport, Unfilled};
pub use reason::{ErrorSummary, Reason};
pub use restore::{RestoreReport, RestoredDisk};
pub use traffic::{BlockTraffic, Tally};
pub use transform::{OperationReport, Released, TransformReport};
pub use verify::VerifyReport;
