//! The errors of the engine.

mod class;
mod context;
mod make;
mod part;
#[cfg(test)]
mod tests;
mod text;

use std::path::PathBuf;

use offsite_core::{FolderId, MachineName, Role, Sequence, Timestamp};
use offsite_repository::CreateIfAbsent;

use crate::{Bytes, FileUser, JobName, Task};

pub(crate) use context::{Context, Located, Within, within};
pub use context::{ErrorPlace, Side};
pub use offsite_repository::ErrorClass;
pub use part::DamagedPart;
pub(crate) use text::causes;

use text::{damaged, each, held_by, kind_of, list, staying, taken, the, way_to_room, what_is_left, whole_in};

/// The result of a call of the engine.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The error of a failed operation.
///
/// Act on its accessors, not on its text:
///
/// - [`class`](Self::class) says what the caller can do, [`is_retryable`](Self::is_retryable) whether the same call may succeed
///   later.
/// - [`side`](Self::side), [`location`](Self::location), [`job`](Self::job), [`machine`](Self::machine) and [`key`](Self::key)
///   say where it happened.
///
/// The text names the thing that failed. It does not repeat the text of its cause, which [`std::error::Error::source`] returns.
///
/// ```
/// use offsite::{Error, ErrorClass};
///
/// fn advice(error: &Error) -> &'static str {
///     match error.class() {
///         ErrorClass::RetryLater | ErrorClass::Busy => "run it again later",
///         ErrorClass::FreeSpace => "make room",
///         ErrorClass::Damaged => "repair, or restore from another point",
///         _ => "see the message",
///     }
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A call of a repository failed.
    #[error("{while_doing}")]
    #[non_exhaustive]
    Repository {
        /// What was being done, and to which job.
        while_doing: String,
        /// Where it happened.
        at: ErrorPlace,
        /// The error of the repository.
        #[source]
        source: Box<offsite_repository::Error>,
    },
    /// Something differs from what was stored or exported.
    #[error("{}", damaged(.part, .object, .at))]
    #[non_exhaustive]
    Damaged {
        /// The damaged part. It decides what can be done.
        part: DamagedPart,
        /// The key of the object, or words for what is no object.
        object: String,
        /// Where it happened.
        at: ErrorPlace,
        /// What is wrong with it: the error of a format or a repository, or words.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The place is not a repository.
    #[error(
        "{location} is not an Offsite repository: it has no marker of one. If a drive or a share belongs there, mount it"
    )]
    #[non_exhaustive]
    NotARepository {
        /// The place, in words.
        location: String,
    },
    /// The place is not a repository, but is not empty either.
    #[error("{location} is not empty and is not an Offsite repository (it has {found:?}); choose an empty place")]
    #[non_exhaustive]
    NotEmpty {
        /// The place, in words.
        location: String,
        /// Something that is there.
        found: String,
    },
    /// The place is a repository already, and should have been empty.
    #[error("{location} is a repository already")]
    #[non_exhaustive]
    AlreadyARepository {
        /// The place, in words.
        location: String,
    },
    /// The place does not keep *create if absent*, so two writers would destroy each other's work.
    #[error(
        "{location} cannot hold backups: {seen}, so two runs would destroy each other's work; choose another place. If its backend is \
         your own, let it answer AlreadyExists when an object is finished under a name that is taken"
    )]
    #[non_exhaustive]
    NamesNotExclusive {
        /// The place, in words.
        location: String,
        /// What the probe saw there.
        seen: CreateIfAbsent,
    },
    /// The source and the target of a copy are the same repository.
    #[error(
        "{source_location} and {target_location} are the same repository. A copy beside its original does not protect it: name another \
         target"
    )]
    #[non_exhaustive]
    SameRepository {
        /// The place to read from, in words.
        source_location: String,
        /// The place to write to, in words.
        target_location: String,
    },
    /// What is to be copied, imported or mapped does not fit into its target. The operation was not started.
    #[error(
        "{} was not started: it needs {} in {location}, and {} are free there{}; {}",
        the(*.task), Bytes(*.needed_bytes), Bytes(*.free_bytes), staying(*.min_free_bytes), way_to_room(*.task)
    )]
    #[non_exhaustive]
    NoRoom {
        /// What was not started.
        task: Task,
        /// The target, in words.
        location: String,
        /// The bytes that it needs at its peak.
        needed_bytes: u64,
        /// The bytes that are free.
        free_bytes: u64,
        /// The bytes that must stay free.
        min_free_bytes: u64,
        /// The job.
        at: ErrorPlace,
    },
    /// None of the sources of a copy job can be read now.
    #[error("no source can be read: {why}")]
    #[non_exhaustive]
    NoSource {
        /// The reasons, for each source.
        why: String,
        /// The job of the copy.
        at: ErrorPlace,
    },
    /// The repository has no job of that name with restore points.
    #[error("{location} has no job {job:?}{}", list(.known))]
    #[non_exhaustive]
    UnknownJob {
        /// The requested name.
        job: String,
        /// The repository, in words.
        location: String,
        /// The names of the jobs that exist.
        known: Vec<String>,
        /// Where it happened.
        at: ErrorPlace,
    },
    /// The job, or the restore point, does not have the machine.
    #[error("{place} has no machine {machine:?}{}", list(.known))]
    #[non_exhaustive]
    UnknownMachine {
        /// The requested name.
        machine: String,
        /// Where it was looked for, in words.
        place: String,
        /// The names of the machines that exist.
        known: Vec<String>,
        /// Where it happened.
        at: ErrorPlace,
    },
    /// The job does not have the restore point.
    #[error("job {job} has no restore point {wanted}{}", list(.known))]
    #[non_exhaustive]
    UnknownPoint {
        /// The name of the job.
        job: JobName,
        /// The request, in words.
        wanted: String,
        /// The restore points that exist, in words.
        known: Vec<String>,
        /// Where it happened.
        at: ErrorPlace,
    },
    /// The machine does not have the disk.
    #[error("machine {machine} has no disk {disk:?}{}", list(.known))]
    #[non_exhaustive]
    UnknownDisk {
        /// The name of the machine.
        machine: String,
        /// The request, in words.
        disk: String,
        /// The disks that exist, in words.
        known: Vec<String>,
        /// Where it happened.
        at: ErrorPlace,
    },
    /// There is nothing yet of which at least one is needed.
    #[error("there is no {what} yet in {place}")]
    #[non_exhaustive]
    NothingYet {
        /// What is missing, in words.
        what: &'static str,
        /// Where it was looked for, in words.
        place: String,
        /// Where it happened.
        at: ErrorPlace,
    },
    /// The restore point has only a part of the machine, as its copy was cut off.
    #[error("machine {machine} is incomplete in restore point {sequence}; {}", whole_in(.whole))]
    #[non_exhaustive]
    Incomplete {
        /// The name of the machine.
        machine: String,
        /// The number of the restore point.
        sequence: Sequence,
        /// The newest older restore point that has the machine complete, with its time. `None` if there is none.
        whole: Option<(Sequence, Timestamp)>,
        /// Where it happened.
        at: ErrorPlace,
    },
    /// A machine of the copy came from a job folder that is not a source of the job. [`CopyJob::adopt`](crate::CopyJob::adopt)
    /// takes the machine over.
    #[error(
        "machine {machine:?} of this copy came from a job folder with the id {known}, which is none of the job's sources; the machine of \
         that name in job {job} in {location} is in the folder {found} and may be another one. Copy it under another job name; or, if it \
         is the same machine, take it over once"
    )]
    #[non_exhaustive]
    OtherOrigin {
        /// The name of the machine.
        machine: String,
        /// The job that has the machine now.
        job: JobName,
        /// The repository of that job, in words.
        location: String,
        /// The id of the folder that the copy came from.
        known: FolderId,
        /// The id of that job's folder.
        found: FolderId,
    },
    /// Another run of the same job is at work.
    #[error("job {job} in {location} is being written by another run ({holder}); try again when it has ended")]
    #[non_exhaustive]
    Busy {
        /// The name of the job.
        job: JobName,
        /// The repository, in words.
        location: String,
        /// The holder of the job's lease.
        holder: String,
        /// Where it happened.
        at: ErrorPlace,
    },
    /// Another writer has taken the job over. What this run had not committed is void.
    #[error("another writer has taken over job {job}; the last step of this run was not committed")]
    #[non_exhaustive]
    Fenced {
        /// The name of the job.
        job: JobName,
        /// Where it happened.
        at: ErrorPlace,
    },
    /// A commit may have happened or not, and the engine could not find out.
    #[error(
        "it is unknown whether head {number} of job {job} was committed; run the job again: it goes on from what was committed"
    )]
    #[non_exhaustive]
    CommitUnknown {
        /// The name of the job.
        job: JobName,
        /// The number of the head.
        number: u64,
        /// Where it happened.
        at: ErrorPlace,
        /// The last error of the repository.
        #[source]
        source: Box<offsite_repository::Error>,
    },
    /// The caller's [`Gate`](crate::Gate) ended the operation. Nothing of it is visible.
    #[error("the {task} of job {job} was stopped")]
    #[non_exhaustive]
    Stopped {
        /// The operation.
        task: Task,
        /// The name of the job.
        job: JobName,
        /// Where it happened.
        at: ErrorPlace,
    },
    /// A reader lost its pin, and what it needed was released.
    #[error("job {job} has released what this run was reading; start again from a newer restore point")]
    #[non_exhaustive]
    SnapshotExpired {
        /// The name of the job.
        job: JobName,
        /// Where it happened.
        at: ErrorPlace,
    },
    /// A disk image cannot be used.
    #[error("disk image {}: {detail}", .path.display())]
    #[non_exhaustive]
    Image {
        /// The path of the image.
        path: PathBuf,
        /// What is wrong, and the way out, in words.
        detail: String,
        /// Where it happened.
        at: ErrorPlace,
        /// The cause. `None` if it is no error of the operating system.
        #[source]
        source: Option<std::io::Error>,
    },
    /// The file of an export cannot be created. No file with that name exists, unless it was there before.
    #[error("export {}: {detail}", .path.display())]
    #[non_exhaustive]
    ExportFile {
        /// The path of the file.
        path: PathBuf,
        /// What is wrong, and the way out, in words.
        detail: String,
        /// Where it happened.
        at: ErrorPlace,
        /// The cause. `None` if it is no error of the operating system.
        #[source]
        source: Option<std::io::Error>,
    },
    /// A restore would overwrite something, and [`Restore::overwrite`](crate::Restore::overwrite) does not allow it. Nothing was
    /// changed.
    #[error("{}", taken(.path, *.is_device))]
    #[non_exhaustive]
    PathTaken {
        /// The file or block device.
        path: PathBuf,
        /// `true` if it is a block device.
        is_device: bool,
        /// Where it happened.
        at: ErrorPlace,
    },
    /// A file to create or to overwrite lies inside a repository. Nothing was changed there.
    #[error(
        "{} lies in the Offsite repository {}, among the repository's own files, and was not written; choose another target",
        .path.display(), .repository.display()
    )]
    #[non_exhaustive]
    InRepository {
        /// The path of the file.
        path: PathBuf,
        /// The folder of the repository.
        repository: PathBuf,
        /// Where it happened.
        at: ErrorPlace,
    },
    /// Something to overwrite is in use. Nothing was changed.
    #[error(
        "{} is in use, and was not changed: {}; end that use, or restore to another path", .path.display(), held_by(.holders)
    )]
    #[non_exhaustive]
    InUse {
        /// The file or block device.
        path: PathBuf,
        /// The users of it. Empty if none of them can be seen from here.
        holders: Vec<FileUser>,
        /// Where it happened.
        at: ErrorPlace,
    },
    /// A block device is too small for the disk. Nothing was changed.
    #[error(
        "{} is too small: it has {device_bytes} bytes, and the disk has {disk_bytes}; name a larger device, or restore to a file",
        .path.display()
    )]
    #[non_exhaustive]
    DeviceTooSmall {
        /// The path of the device.
        path: PathBuf,
        /// The size of the device, in bytes.
        device_bytes: u64,
        /// The size of the disk to restore, in bytes.
        disk_bytes: u64,
        /// Where it happened.
        at: ErrorPlace,
    },
    /// The stored state of a machine is damaged, and was not restored.
    #[error("machine {machine} is damaged in restore point {sequence}; {}", what_is_left(.intact, *.is_salvageable))]
    #[non_exhaustive]
    MachineDamaged {
        /// The name of the machine.
        machine: String,
        /// The number of the restore point.
        sequence: Sequence,
        /// The newest restore point in which no damage of the machine is known, with its time. Its blocks were not read.
        intact: Option<(Sequence, Timestamp)>,
        /// `true` if [`Restore::salvage`](crate::Restore::salvage) would restore the rest. It cannot do so without the index.
        is_salvageable: bool,
        /// The damage.
        #[source]
        source: Box<Error>,
    },
    /// A restore to a block device ended before all of the disk was written. The device holds a part of it.
    #[error(
        "the restore to {} is incomplete: the device holds a part of the disk, and its old content elsewhere; restore to it again",
        .path.display()
    )]
    #[non_exhaustive]
    Torn {
        /// The path of the device.
        path: PathBuf,
        /// Why the restore ended.
        #[source]
        source: Box<Error>,
    },
    /// No machine of the run could be backed up, as images could not be read.
    #[error("no machine of job {job} could be backed up{}", each(.failed))]
    #[non_exhaustive]
    NoMachine {
        /// The name of the job.
        job: JobName,
        /// Its machines, each with the reason.
        failed: Vec<(MachineName, Error)>,
        /// Where it happened.
        at: ErrorPlace,
    },
    /// A call of the operating system failed, on a stream or for random numbers.
    #[error("{while_doing} failed")]
    #[non_exhaustive]
    Io {
        /// What was being done.
        while_doing: &'static str,
        /// Where it happened.
        at: ErrorPlace,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The job has restore points, and the operation needs a job without any.
    #[error("job {job} in {location} has restore points already; choose another name")]
    #[non_exhaustive]
    JobHasPoints {
        /// The name of the job.
        job: JobName,
        /// The repository, in words.
        location: String,
    },
    /// The existing job with that name is of the other kind.
    #[error("job {job} in {location} is a {} job; choose another name", kind_of(*.role))]
    #[non_exhaustive]
    WrongKindOfJob {
        /// The name of the job.
        job: JobName,
        /// The repository, in words.
        location: String,
        /// The kind of the existing job.
        role: Role,
    },
    /// The name of the job differs only in case from that of another job. Some file systems and buckets cannot tell the two
    /// apart.
    #[error("{location} has a job {other}, and {job} differs from it only in case; choose another name")]
    #[non_exhaustive]
    NameTaken {
        /// The name of the job.
        job: JobName,
        /// The repository, in words.
        location: String,
        /// The name of the existing job.
        other: JobName,
    },
    /// A setting contradicts another one, or the state of the job.
    #[error("{why}")]
    #[non_exhaustive]
    InvalidSetting {
        /// The name of the method that takes the setting.
        setting: &'static str,
        /// What is wrong with it, in words.
        why: String,
        /// Where it happened.
        at: ErrorPlace,
    },
    /// An invariant of this library does not hold. Nothing was changed.
    #[error("defect in Offsite: {what}. Nothing was changed. Please report it")]
    #[non_exhaustive]
    Defect {
        /// The invariant, in words.
        what: String,
        /// Where it happened.
        at: ErrorPlace,
    },
}
