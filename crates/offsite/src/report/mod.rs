//! What a run did.

mod backup;
mod copy;
mod damage;
mod exchange;
mod operation;
mod restore;
mod traffic;
mod transform;

pub use backup::{BackupReport, MachineBackup, MachineFailure};
pub(crate) use copy::absent;
pub use copy::{CopyReport, MachineCopy, MachineOutcome, MachineReport, SyncOutcome, SyncReport};
pub use damage::{Damage, KnownDamage, Touched, VerifyReport};
pub use exchange::{ExportReport, ExportedMachine, ImportReport, MapReport};
pub use operation::{Carriage, FullFrom, HealedFrom, MergeMethod, Operation};
pub use restore::{RestoreReport, RestoredDisk};
pub use traffic::{BlockTraffic, Tally};
pub use transform::{OperationReport, Released, TransformReport};
