#![doc = include_str!(concat!("../", env!("CARGO_PKG_README")))]
//!
//! ## Where to start in these pages
//!
//! | you want to | use |
//! |---|---|
//! | open a place, and list its jobs | [`OpenRepository`], [`JobFolder`] |
//! | write a chain from disk images | [`BackupJob`] |
//! | copy a chain to another repository | [`CopyJob`] |
//! | restore disks, or read them without a restore | [`Restore`], [`Snapshot`] |
//! | check what is stored, and repair it | [`Verify`], [`Repair`] |
//! | carry a chain by other ways | [`Export`], [`Import`], [`MapSeed`] |
//! | run jobs on their schedules | [`runner`] |
//! | limit what crosses the network | [`Traffic`], [`TrafficRule`] |
//! | know what a run did | [`report`] |
//! | act on an error | [`Error`] |
//! | name machines, restore points and times | [`model`] |
//! | set retention, schedules and selections | [`mod@retention`], [`mod@schedule`], [`mod@selection`] |
//! | store elsewhere than in `offsite-backends` | [`repository`] |
//!
//! To cancel an operation, drop its future. What was committed stays, nothing else becomes visible, and the next run cleans up.

mod bytes;
mod cache;
mod claims;
mod commit;
mod error;
mod exchange;
mod file_user;
mod files;
mod folder;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod gate;
mod image;
mod job_name;
mod jobs;
mod lending;
mod mover;
mod now;
mod progress;
mod reader;
mod recovery;
pub mod report;
pub mod runner;
#[cfg(test)]
mod sample;
mod seams;
#[cfg(test)]
#[cfg(feature = "serde")]
mod serialized;
#[cfg(offsite_simulation)]
#[doc(hidden)]
pub mod simulation;
mod teller;
mod traffic;

pub use bytes::Bytes;
pub use cache::{BlockCache, BlockCacheError};
pub use commit::remove_job::RemovedJob;
pub use commit::room::Room;
pub use error::{DamagedPart, Error, ErrorClass, ErrorPlace, Result, Side};
pub use exchange::export::{Export, ExportPlan};
pub use exchange::import::{Import, ImportPlan};
pub use exchange::map::{MapPlan, MapSeed};
pub use file_user::FileUser;
pub use folder::disks::DiskSummary;
pub use folder::job_folders::{ClosedFolder, JobFolders};
pub use folder::open_repository::OpenRepository;
pub use gate::{Gate, OpenGate, Passage};
#[cfg(feature = "testing")]
pub use image::testing;
pub use image::{DiskImage, DiskSink, ImageSource};
pub use ipnet::IpNet;
pub use job_name::{JobName, JobNameError};
pub use jobs::backup::{BackupJob, BackupMethod, BackupPlan, FullKind, PlannedBackup};
pub use jobs::copy::{
    Checkpoints, CopyJob, History, Look, PlannedPast, PlannedSync, RunPlan, Selection, Source, SyncRequest,
};
pub use jobs::transform::{Budget, Compact, LiveShare, LiveShareError, PlannedOperation, Transforms};
pub use jobs::transform_job::{TransformJob, TransformPlan};
pub use lending::{Lend, Lending, Populate};
pub use now::Now;
pub use offsite_core::retention::Policy;
pub use offsite_core::retry::RetryPolicy;
pub use offsite_core::schedule::Schedule;
pub use offsite_core::{DiskName, ImageFormat, MachineName, Sequence, Timestamp};
pub use offsite_repository as repository;
pub use progress::{Activity, Progress, Silent, Step, Task, Wait};
pub use reader::disk_reader::{DiskExtent, DiskReader};
pub use reader::disk_selector::DiskSelector;
pub use reader::disk_stream::DiskStream;
pub use reader::job_folder::{JobFolder, PointSelector};
pub use reader::restore::{DiskTarget, PlannedDisk, Restore, RestorePlan};
pub use reader::snapshot::{MachineSnapshot, Snapshot};
pub use recovery::repair::{Basis, LeftOut, Repair, RepairReport, Unneeded};
pub use recovery::verify::Verify;
pub use report::{Damage, KnownDamage, MergeMethod, Released, Touched, VerifyReport};
pub use traffic::{Direction, Flow, FlowName, Traffic, TrafficRule, TrafficRuleError};

/// What a backup chain is: machines, disks, blocks, restore points, and the folder that they lie in.
pub mod model {
    pub use offsite_core::{
        BlockMap, BlockSize, BlockSizeError, Chain, ChainError, ClaimId, CommitId, Digest, DiskIdentity, DiskMap,
        DiskMapError, DiskName, DiskNameError, DiskNumber, FileState, FolderId, Head, IdentityError, ImageFormat,
        IndexReference, Labels, LabelsError, Lease, MachineMap, MachineName, MachineNameError, MachineNumber,
        MachineState, ObjectId, Origin, PointKind, RepositoryId, RestorePoint, RetiredObject, Retirement, Role, Run,
        Sequence, Status, Stored, StoredBlock, Timestamp, TimestampError, Transferred,
    };
}

/// Which restore points are kept, why, and until when.
pub mod retention {
    pub use offsite_core::retention::{
        Ageing, AnchorError, Anchors, ArchiveMethod, BlockLife, BlockLives, Conditions, Days, DaysError,
        DeletedMachines, Departure, Expiry, Flags, Gfs, GfsError, Marking, MonthDay, Outlook, Policy, PolicyChange,
        QuarterMonth, Reason, Regular, Simple, SimpleError, SimulatedArchive, SimulatedPoint, Simulation,
        SimulationError, Subject, Tier, Until, Verdict, Weekday, Zone, ZoneError, forecast, judge,
    };
}

/// When a job runs: intervals, windows, and how far it looks back.
pub mod schedule {
    pub use offsite_core::schedule::{
        ClockReading, Every, EveryError, Interval, Lookup, LookupError, Period, PointRange, Schedule, Span, TimeOfDay,
        TimeOfDayError, Window, WindowError,
    };
}

/// Which machines a job takes, and which of their states.
pub mod selection {
    pub use offsite_core::selection::{Decision, MachineFilter, Pattern, Take};
}

/// What an operation will cost and do, before it runs.
pub mod plan {
    pub use offsite_core::plan::Cost;

    pub use crate::{
        BackupPlan, ExportPlan, ImportPlan, MapPlan, PlannedBackup, PlannedDisk, PlannedOperation, PlannedPast,
        PlannedSync, RestorePlan, RunPlan, TransformPlan,
    };
}

/// How long another host waits for a sign of life of a writer.
const DEFAULT_LEASE: std::time::Duration = std::time::Duration::from_secs(60);
