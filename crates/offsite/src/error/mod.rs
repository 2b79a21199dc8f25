//! What can go wrong in a job.

mod class;
mod context;
mod make;
mod part;
#[cfg(test)]
mod tests;
mod text;

use std::path::PathBuf;

use offsite_core::{MachineName, Role, Sequence, Timestamp};
use offsite_repository::CreateIfAbsent;

use crate::{Bytes, FileUser, JobName, Task};

pub(crate) use context::{Context, Located, Within, within};
pub use context::{ErrorPlace, Side};
pub use offsite_repository::ErrorClass;
pub use part::DamagedPart;
pub(crate) use text::causes;

use text::{damaged, each, held_by, kind_of, list, staying, taken, what_is_left, whole_in};

/// The result of an engine's call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation failed. The text names the thing; what can be done is told by [`Error::class`], and where it happened by
/// [`Error::side`] and the other accessors.
///
/// An error that has a cause does not repeat its text: [`std::error::Error::source`] leads to it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A repository's call failed.
    #[error("{while_doing}")]
    #[non_exhaustive]
    Repository {
        /// What was being done, to which job.
        while_doing: String,
        /// Where.
        at: ErrorPlace,
        /// The repository's error.
        #[source]
        source: Box<offsite_repository::Error>,
    },
    /// Something is not what was stored, or not what was exported.
    #[error("{}", damaged(.part, .object, .at))]
    #[non_exhaustive]
    Damaged {
        /// What of it is damaged, which decides what can be done.
        part: DamagedPart,
        /// The object's key; words for what is no object.
        object: String,
        /// Where.
        at: ErrorPlace,
        /// What is wrong with it: a format's error, a repository's error, or words.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// A place that is no repository.
    #[error(
        "{location} is no Offsite repository: nothing of one is there. If a drive or share belongs there, it is not mounted"
    )]
    #[non_exhaustive]
    NotARepository {
        /// The place.
        location: String,
    },
    /// A place with something in it that is no repository.
    #[error("{location} is not empty and no Offsite repository (it has {found:?}); choose an empty place")]
    #[non_exhaustive]
    NotEmpty {
        /// The place.
        location: String,
        /// Something that is there.
        found: String,
    },
    /// A repository where an empty place was expected.
    #[error("{location} is a repository already")]
    #[non_exhaustive]
    AlreadyARepository {
        /// The place.
        location: String,
    },
    /// A place on which two writers would destroy each other's work.
    #[error(
        "{location} must not hold backups: {seen}, so that two runs would destroy each other's work; choose another place, or, if its \
         backend is your own, let finishing an object fail with AlreadyExists where its name is taken"
    )]
    #[non_exhaustive]
    NamesNotExclusive {
        /// The place.
        location: String,
        /// What a probe saw there.
        seen: CreateIfAbsent,
    },
    /// A copy needs two repositories.
    #[error(
        "{source_location} and {target_location} are the same repository; a copy beside its original is no copy: name another target"
    )]
    #[non_exhaustive]
    SameRepository {
        /// The place read from.
        source_location: String,
        /// The place written to.
        target_location: String,
    },
    /// A copy that would not fit into its target.
    #[error(
        "the copy was not begun: it would take {} of {location}, and {} are free there{}; make room, or keep fewer restore points",
        Bytes(*.needed_bytes), Bytes(*.free_bytes), staying(*.min_free_bytes)
    )]
    #[non_exhaustive]
    NoRoom {
        /// The target.
        location: String,
        /// What the copy would take at its peak.
        needed_bytes: u64,
        /// What is free.
        free_bytes: u64,
        /// What is to stay free.
        min_free_bytes: u64,
        /// In which job.
        at: ErrorPlace,
    },
    /// None of a copy job's sources can be looked at now.
    #[error("no source can be looked at: {why}")]
    #[non_exhaustive]
    NoSource {
        /// Why, for each of them.
        why: String,
        /// In which job.
        at: ErrorPlace,
    },
    /// No job of that name has restore points there.
    #[error("{location} has no job {job:?}{}", list(.known))]
    #[non_exhaustive]
    UnknownJob {
        /// The name asked for.
        job: String,
        /// The repository.
        location: String,
        /// The jobs that are there.
        known: Vec<String>,
        /// On which side.
        at: ErrorPlace,
    },
    /// No such machine in the job, or in that restore point.
    #[error("{place} has no machine {machine:?}{}", list(.known))]
    #[non_exhaustive]
    UnknownMachine {
        /// The name asked for.
        machine: String,
        /// Where it was looked for.
        place: String,
        /// The machines that are there.
        known: Vec<String>,
        /// Where.
        at: ErrorPlace,
    },
    /// No such restore point.
    #[error("job {job} has no restore point {wanted}{}", list(.known))]
    #[non_exhaustive]
    UnknownPoint {
        /// The job.
        job: JobName,
        /// What was asked for.
        wanted: String,
        /// The restore points that are there.
        known: Vec<String>,
        /// Where.
        at: ErrorPlace,
    },
    /// The machine has no such disk.
    #[error("machine {machine} has no disk {disk:?}{}", list(.known))]
    #[non_exhaustive]
    UnknownDisk {
        /// The machine.
        machine: String,
        /// What was asked for.
        disk: String,
        /// The disks that it has.
        known: Vec<String>,
        /// Where.
        at: ErrorPlace,
    },
    /// Nothing is there yet of which there is to be at least one.
    #[error("there is no {what} yet in {place}")]
    #[non_exhaustive]
    NothingYet {
        /// What is missing.
        what: &'static str,
        /// Where it was looked for.
        place: String,
        /// Where.
        at: ErrorPlace,
    },
    /// The restore point has only a part of the machine, as a copy was ended before all of it had come.
    #[error("machine {machine} is incomplete in restore point {sequence}; {}", whole_in(.whole))]
    #[non_exhaustive]
    Incomplete {
        /// The machine.
        machine: String,
        /// The restore point.
        sequence: Sequence,
        /// The newest older restore point that has it whole, with its time.
        whole: Option<(Sequence, Timestamp)>,
        /// Where.
        at: ErrorPlace,
    },
    /// A machine of the copy came from a job folder that is none of the job's sources. [`CopyJob::adopt`](crate::CopyJob::adopt) takes
    /// it over.
    #[error(
        "machine {machine:?} of this copy came from a job folder with the id {known}, which is none of the job's sources; the machine of \
         that name in job {job} in {location} is in the folder {found} and may be another one. Copy it under another job name; or, if it \
         is the same machine, take it over once"
    )]
    #[non_exhaustive]
    Stranger {
        /// The machine.
        machine: String,
        /// The job that has it now.
        job: JobName,
        /// The repository of that job.
        location: String,
        /// The id of the folder that the copy came from.
        known: String,
        /// The id of that job's folder.
        found: String,
    },
    /// Another run of the same job is at work.
    #[error("job {job} in {location} is being written by another run ({holder}); try again when it has ended")]
    #[non_exhaustive]
    Busy {
        /// The job.
        job: JobName,
        /// The repository.
        location: String,
        /// Who works on it.
        holder: String,
        /// On which side.
        at: ErrorPlace,
    },
    /// Another writer took the job over; what this run had not committed is void.
    #[error("job {job} was taken over by another writer; nothing of this run's last step was committed")]
    #[non_exhaustive]
    Fenced {
        /// The job.
        job: JobName,
        /// Where.
        at: ErrorPlace,
    },
    /// Whether a commit happened could not be found out.
    #[error("whether job {job} committed head {number} is unknown; run it again: it goes on from what was committed")]
    #[non_exhaustive]
    CommitUnknown {
        /// The job.
        job: JobName,
        /// The head's number.
        number: u64,
        /// Where.
        at: ErrorPlace,
        /// The last error.
        #[source]
        source: Box<offsite_repository::Error>,
    },
    /// The caller's gate has ended the operation. Nothing of it is visible.
    #[error("the {task} of job {job} was stopped")]
    #[non_exhaustive]
    Stopped {
        /// The operation.
        task: Task,
        /// The job.
        job: JobName,
        /// Where.
        at: ErrorPlace,
    },
    /// What a reader needed was released while it read; its pin had been lost.
    #[error("job {job} has released what this run was reading; start again from a newer restore point")]
    #[non_exhaustive]
    SnapshotExpired {
        /// The job.
        job: JobName,
        /// Where.
        at: ErrorPlace,
    },
    /// A disk image cannot be used.
    #[error("disk image {}: {detail}", .path.display())]
    #[non_exhaustive]
    Image {
        /// The image.
        path: PathBuf,
        /// What is wrong, and the way out.
        detail: String,
        /// Of which machine, in which job.
        at: ErrorPlace,
        /// The cause.
        #[source]
        source: Option<std::io::Error>,
    },
    /// The file of an export cannot be made. There is none of that name, unless it was there before.
    #[error("export {}: {detail}", .path.display())]
    #[non_exhaustive]
    ExportFile {
        /// The file.
        path: PathBuf,
        /// What is wrong, and the way out.
        detail: String,
        /// Of which job.
        at: ErrorPlace,
        /// The cause.
        #[source]
        source: Option<std::io::Error>,
    },
    /// A restore would write over what is there, which was not asked for: [`Restore::overwrite`](crate::Restore::overwrite). Nothing of it
    /// was changed.
    #[error("{}", taken(.path, *.is_device))]
    #[non_exhaustive]
    PathTaken {
        /// The file or block device.
        path: PathBuf,
        /// Whether it is a block device.
        is_device: bool,
        /// Of which machine, in which job.
        at: ErrorPlace,
    },
    /// A file that is to be made, or written over, lies among a repository's own. Nothing was changed there.
    #[error(
        "{} lies in the Offsite repository {}, among its own files, and is not written; choose another target",
        .path.display(), .repository.display()
    )]
    #[non_exhaustive]
    InRepository {
        /// The file.
        path: PathBuf,
        /// The folder of the repository.
        repository: PathBuf,
        /// Of which machine, in which job.
        at: ErrorPlace,
    },
    /// What is to be written over is in use. Nothing of it was changed.
    #[error(
        "{} is in use, and is left as it is: {}; end that, or restore to another path", .path.display(), held_by(.holders)
    )]
    #[non_exhaustive]
    InUse {
        /// The file or block device.
        path: PathBuf,
        /// Who uses it; nobody who could be seen from here, if it is empty.
        holders: Vec<FileUser>,
        /// Of which machine, in which job.
        at: ErrorPlace,
    },
    /// A block device cannot hold the disk. Nothing of it was changed.
    #[error(
        "{} has {device_bytes} bytes, and the disk has {disk_bytes}: name a device that is as large, or restore to a file",
        .path.display()
    )]
    #[non_exhaustive]
    DeviceTooSmall {
        /// The device.
        path: PathBuf,
        /// Its size.
        device_bytes: u64,
        /// The size of the disk that was to be restored to it.
        disk_bytes: u64,
        /// Of which machine, in which job.
        at: ErrorPlace,
    },
    /// A machine's state is damaged where it is stored, and was not restored.
    #[error("machine {machine} is damaged in restore point {sequence}; {}", what_is_left(.intact, *.is_salvageable))]
    #[non_exhaustive]
    MachineDamaged {
        /// The machine.
        machine: String,
        /// The restore point.
        sequence: Sequence,
        /// The newest restore point in which nothing of it is known to be damaged, with its time. Its blocks were not read.
        intact: Option<(Sequence, Timestamp)>,
        /// Whether [`Restore::salvage`](crate::Restore::salvage) would restore the rest of it: not without its index.
        is_salvageable: bool,
        /// What is damaged.
        #[source]
        source: Box<Error>,
    },
    /// A restore to a block device ended before the device held the disk.
    #[error(
        "{} is not restored: it holds a part of the disk now, and elsewhere what was on it before; restore to it again", .path.display()
    )]
    #[non_exhaustive]
    Torn {
        /// The device.
        path: PathBuf,
        /// Why the restore ended.
        #[source]
        source: Box<Error>,
    },
    /// Of none of a run's machines could all images be read.
    #[error("no machine of job {job} could be backed up{}", each(.failed))]
    #[non_exhaustive]
    NoMachine {
        /// The job.
        job: JobName,
        /// Its machines, and why each could not.
        failed: Vec<(MachineName, Error)>,
        /// Where.
        at: ErrorPlace,
    },
    /// A call of the operating system failed: on a stream that an export or a disk goes through, or for random numbers.
    #[error("{while_doing} failed")]
    #[non_exhaustive]
    Io {
        /// What was being done.
        while_doing: &'static str,
        /// In which job.
        at: ErrorPlace,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A job has restore points, where only one without can be filled.
    #[error("job {job} in {location} has restore points already; choose another name")]
    #[non_exhaustive]
    JobHasPoints {
        /// The job.
        job: JobName,
        /// The repository.
        location: String,
    },
    /// A job of that name is of the other kind.
    #[error("job {job} in {location} is a {} job's folder; choose another name", kind_of(*.role))]
    #[non_exhaustive]
    WrongKindOfJob {
        /// The job.
        job: JobName,
        /// The repository.
        location: String,
        /// What the job there is.
        role: Role,
    },
    /// A job's name differs only in case from that of another one, which some file systems and buckets do not tell apart.
    #[error("{location} has a job {other}, and {job} differs from it only in case; choose another name")]
    #[non_exhaustive]
    NameTaken {
        /// The job.
        job: JobName,
        /// The repository.
        location: String,
        /// The job that is there.
        other: JobName,
    },
    /// A setting that contradicts another one, or the state of the job.
    #[error("{why}")]
    #[non_exhaustive]
    InvalidSetting {
        /// Which setting, by the name of the method that takes it.
        setting: &'static str,
        /// What is wrong with it.
        why: String,
        /// Where.
        at: ErrorPlace,
    },
    /// An invariant of this library does not hold. Nothing was changed.
    #[error("defect in Offsite, nothing was changed: {what}; please report it")]
    #[non_exhaustive]
    Defect {
        /// What does not hold.
        what: String,
        /// Where.
        at: ErrorPlace,
    },
}
