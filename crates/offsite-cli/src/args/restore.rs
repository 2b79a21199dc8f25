//! The arguments of a restore.

use std::path::PathBuf;

use clap::Args;
use offsite::JobName;
use offsite::model::MachineName;

use super::{Format, job_name, machine_name, new_path, sequence};
use crate::when::When;

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The repository.
    pub(crate) repo: String,
    /// The job.
    #[arg(value_parser = job_name)]
    pub(crate) job: JobName,
    /// The machine.
    #[arg(value_parser = machine_name)]
    pub(crate) machine: MachineName,
    /// The state at or before this time (default: the newest): 2026-11-22T22:00:00Z or 2026-11-22T22:00:00+01:00; or,
    /// as the clocks show it in the time_zone that the config gives the job (else in the zone of this host),
    /// "2026-11-22 22:00", "yesterday 22:00" or 22:00, or 2026-11-22 or yesterday for the end of that day.
    #[arg(long, value_name = "TIME", conflicts_with = "point")]
    pub(crate) at: Option<When>,
    /// The state at the restore point of this number.
    #[arg(long, value_name = "SEQ", value_parser = sequence)]
    pub(crate) point: Option<u64>,
    /// Only this disk, by its name or its number, the first being 0 (default: all).
    #[arg(long, value_name = "N|NAME")]
    pub(crate) disk: Option<String>,
    /// A folder for one image a disk; a file or, with --overwrite, a block device for the only disk; or `-` for the only disk, raw,
    /// to standard output. A folder that is missing is made: PATH itself for several disks, or if it ends with /.
    #[arg(long, value_name = "PATH", value_parser = new_path)]
    pub(crate) to: PathBuf,
    /// Write over what is there, unless it is in use. A file is replaced when the new one is complete. A block device
    /// is written in place: its first bytes become the disk, zeros included, and the bytes beyond stay. An
    /// interrupted restore leaves a part of the disk on it.
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Restore what is left of damaged disks: zeros replace lost blocks, their ranges are listed, and the exit status
    /// is 3.
    #[arg(long)]
    pub(crate) salvage: bool,
    /// The format of the images.
    #[arg(long, value_name = "FORMAT", default_value = "raw")]
    pub(crate) format: Format,
    /// Print what would be read and written, and what is known to be damaged; write nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
