//! The arguments of commands that carry restore points.

use std::path::PathBuf;

use clap::Args;
use offsite::JobName;
use offsite::model::MachineName;

use super::{job_name, machine_name, new_path, sequence};
use crate::when::When;

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The repository.
    pub(crate) repo: String,
    /// The job.
    #[arg(value_parser = job_name)]
    pub(crate) job: JobName,
    /// Only these machines (default: all that the job has, or that the restore point of --point has).
    #[arg(value_name = "MACHINE", value_parser = machine_name)]
    pub(crate) machines: Vec<MachineName>,
    /// The newest state of each machine at or before this time, as `restore` takes it (default: the newest).
    #[arg(long, value_name = "TIME", conflicts_with = "point")]
    pub(crate) at: Option<When>,
    /// The states at the restore point of this number.
    #[arg(long, value_name = "SEQ", value_parser = sequence)]
    pub(crate) point: Option<u64>,
    /// A file that does not exist yet, or `-` for standard output. With `-`, messages go to standard error.
    #[arg(long, value_name = "FILE", value_parser = new_path)]
    pub(crate) to: PathBuf,
    /// Print what would be done and what it costs; write nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Give a job's folder back the head and the indexes that it lost, as far as what else is stored proves them.
#[derive(Debug, Args)]
pub(crate) struct Repair {
    /// The repository. One whose marker is lost gets a new one.
    pub(crate) repo: String,
    /// The job.
    #[arg(value_parser = job_name)]
    pub(crate) job: JobName,
    /// Let go of the backup files that hold only what a repair left out. What they hold is lost then.
    #[arg(long)]
    pub(crate) discard: bool,
    /// Print what would be done; write nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The repository.
    pub(crate) repo: String,
    /// The copy job that continues the chain; it must not have a restore point yet.
    #[arg(value_parser = job_name)]
    pub(crate) job: JobName,
    /// An exported restore point, or `-` for standard input.
    #[arg(long, value_name = "FILE")]
    pub(crate) from: PathBuf,
    /// Print what would be done and what it costs; write nothing. Needs a file: standard input cannot be read twice.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Map {
    /// The repository.
    pub(crate) repo: String,
    /// The copy job that continues the chain; it must not have a restore point yet.
    #[arg(value_parser = job_name)]
    pub(crate) job: JobName,
    /// The seed: a repository with one job, or the folder of a job in a repository.
    #[arg(value_name = "FOLDER")]
    pub(crate) seed: PathBuf,
    /// Print what would be done and what it costs; write nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
