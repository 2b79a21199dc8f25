//! The arguments of the command line.

mod cache;
mod carry;
mod images;
mod mail;
mod restore;

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use offsite::model::BlockSize;
use offsite::model::MachineName;
use offsite::model::Timestamp;
use offsite::{BackupMethod, ImageFormat, JobName};

pub(crate) use cache::{Cache, CacheCommand};
pub(crate) use carry::{Export, Import, Map, Repair};
pub(crate) use images::{Disk, FormatOf};
pub(crate) use mail::{Mail, MailCommand};
pub(crate) use restore::Restore;

/// Backup copy jobs for virtual machine images.
///
/// REPO is a name from the config file, a folder, or s3://bucket/prefix. Drives that are used in turn need a name.
///
/// Exit status: 0 done, 1 failed (or the result could not be printed), 2 wrong use, 3 done with warnings, 130 or 143 stopped by
/// Ctrl-C or SIGTERM. The first of these signals ends the command in order, the second at once.
#[derive(Debug, Parser)]
#[command(name = "offsite", version, max_term_width = 100)]
pub(crate) struct Arguments {
    /// The config file.
    #[arg(long, global = true, value_name = "FILE", default_value = "offsite.toml")]
    pub(crate) config: PathBuf,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show backup, copies, retention and restore on generated disks, in under a minute.
    Demo(Demo),
    /// Make a repository.
    Init(Init),
    /// Make one restore point of machines from their disk images.
    Backup(Backup),
    /// Run one interval of the copy jobs now: sync, transforms, release, post-job activities.
    Run(Run),
    /// Run only the transforms of the copy jobs: retention, merges, release. Needs no source.
    Transform(Transform),
    /// Run the copy jobs on their schedules until stopped; SIGHUP reads the config again.
    Daemon(Daemon),
    /// Show what the daemon is doing, and the result of each job's last interval.
    Status(Status),
    /// List or forget the drives of a repository whose drives are used in turn.
    Media(Media),
    /// Fill the block cache of a repository before the first copy.
    Cache(Cache),
    /// Send a test mail, to see whether the mail of the config arrives.
    Mail(Mail),
    /// List restore points.
    Points(Points),
    /// Draw a job's chain, with the reason why each restore point is kept, and until when.
    Chain(Chain),
    /// Restore a machine's disks to images, block devices or standard output.
    Restore(Restore),
    /// Check that everything restores.
    Verify(Verify),
    /// Restore lost or damaged heads and indexes of a job.
    Repair(Repair),
    /// Write the newest state of machines to one self-contained file.
    Export(Export),
    /// Start a copy job's chain with an exported restore point.
    Import(Import),
    /// Start a copy job's chain with a copy that was carried there.
    Map(Map),
    /// Show how a chain develops under a retention policy, run by run, without data.
    Simulate(Simulate),
    /// Test whether a place can hold a repository.
    CheckRepository(CheckRepository),
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// The folder to make; it stays for you to try commands on (default: offsite-demo, or the next free name).
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Keep the copies in a bucket, at AWS_ENDPOINT_URL if that is set, with the key of the environment.
    #[arg(long, value_name = "URL")]
    pub(crate) s3: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The repository: a folder or a prefix of a bucket that is empty or does not exist yet, or a set of drives of which an empty
    /// one is mounted.
    pub(crate) repo: String,
    /// The label on the drive's sticker (default: the repository's name and a number).
    #[arg(long, value_name = "TEXT")]
    pub(crate) label: Option<String>,
    /// Accept a folder at which nothing is mounted as a drive, for tests. It fills the disk that it is on.
    #[arg(long)]
    pub(crate) allow_unmounted: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// The repository to write to.
    #[arg(long, value_name = "REPO")]
    pub(crate) repo: String,
    /// The backup job's name.
    #[arg(long, value_name = "NAME", value_parser = job_name)]
    pub(crate) job: JobName,
    /// The restore point's time (default: now).
    #[arg(long, value_name = "TIME", value_parser = timestamp)]
    pub(crate) at: Option<Timestamp>,
    /// Trust the clock, even if the job knows a later time: prune by the clock's time.
    #[arg(long)]
    pub(crate) trust_clock: bool,
    /// Keep this many restore points, at least 2 (default: all).
    #[arg(long, value_name = "N")]
    pub(crate) keep: Option<u32>,
    /// How the chain grows and ages.
    #[arg(long, value_name = "METHOD", default_value = "forever-forward")]
    pub(crate) method: Method,
    /// Read and store every block: an active full.
    #[arg(long, conflicts_with = "synthetic_full")]
    pub(crate) full: bool,
    /// Store what changed, and make the point a full by its index: it refers to blocks of the points before it. No
    /// other block moves.
    #[arg(long)]
    pub(crate) synthetic_full: bool,
    /// The size of a new job's blocks: 256KiB, 512KiB, 1MiB or 4MiB.
    #[arg(long, value_name = "SIZE", value_parser = block_size)]
    pub(crate) block_size: Option<BlockSize>,
    /// Read the images in this format (raw or qcow2) from now on: all images, those of a machine, or one disk. By
    /// default a disk keeps the format of its first backup, and the first bytes of a new disk tell its format.
    #[arg(long = "format", value_name = "[MACHINE:[DISK:]]FORMAT", value_parser = images::format_of)]
    pub(crate) formats: Vec<FormatOf>,
    /// Read images even if a process such as QEMU has them open for writing. Use it for snapshots.
    #[arg(long)]
    pub(crate) force_share: bool,
    /// Follow the names of backing files. Use it only for images from a trusted place.
    #[arg(long)]
    pub(crate) allow_backing_files: bool,
    /// Give a machine of this run a tag. Copy jobs select machines by tags. The options of one run replace all tags
    /// and containers of a machine; `MACHINE:` removes them.
    #[arg(long = "tag", value_name = "MACHINE:TAG")]
    pub(crate) tags: Vec<String>,
    /// Name the folder or host of a machine of this run, or a path of them. Copy jobs select machines by containers.
    #[arg(long = "container", value_name = "MACHINE:PATH")]
    pub(crate) containers: Vec<String>,
    /// Print what would be done and what it costs; write nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Machines and their disk images, raw or qcow2. The name identifies a disk from one run to the next (default:
    /// the file name of its image).
    #[arg(required = true, value_name = "MACHINE=[NAME=]IMAGE[,...]", value_parser = images::machine_images)]
    pub(crate) machines: Vec<(MachineName, Vec<Disk>)>,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The copy jobs to run (default: all of the config).
    #[arg(value_name = "JOB")]
    pub(crate) jobs: Vec<String>,
    /// Print what would be done and what it costs; write nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Run as if it were this time.
    #[arg(long, value_name = "TIME", value_parser = timestamp)]
    pub(crate) now: Option<Timestamp>,
    /// Remove at once everything that a changed retention policy no longer keeps, instead of one generation a run.
    #[arg(long)]
    pub(crate) apply_policy: bool,
    /// Trust the clock, even if the job knows a later time: prune by the clock's time.
    #[arg(long)]
    pub(crate) trust_clock: bool,
    /// Take over machines whose copy came from a job folder that is none of the sources. Use it only if they are the
    /// same machines.
    #[arg(long)]
    pub(crate) adopt: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Transform {
    /// The copy jobs whose chains to transform (default: all of the config).
    #[arg(value_name = "JOB")]
    pub(crate) jobs: Vec<String>,
    /// Print what would be done and what it costs; write nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do it as if it were this time.
    #[arg(long, value_name = "TIME", value_parser = timestamp)]
    pub(crate) now: Option<Timestamp>,
    /// Remove at once everything that a changed retention policy no longer keeps, instead of one generation a run.
    #[arg(long)]
    pub(crate) apply_policy: bool,
    /// Trust the clock, even if the job knows a later time: prune by the clock's time.
    #[arg(long)]
    pub(crate) trust_clock: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Daemon {
    /// Log from this level on: error, warn, info, debug, trace or off (default: OFFSITE_LOG, or info).
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log: Option<String>,
}

/// Tell what the daemon is doing, what came of each job's last interval, and how old the copies are.
///
/// It reads what the daemon and `offsite run` have left in the state folder, also while the config is wrong or no daemon is alive.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Answer as a monitoring plugin: one line, and exit status 0 OK, 1 WARNING, 2 CRITICAL (a machine is OVERDUE, a
    /// job has failed, the daemon died), or 3 UNKNOWN. These differ from the exit statuses of the other commands.
    #[arg(long)]
    pub(crate) check: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Media {
    #[command(subcommand)]
    pub(crate) command: MediaCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MediaCommand {
    /// List the known drives: when each was last seen, and what it holds.
    List {
        /// Only those of this repository (default: all of the config).
        repo: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Forget a lost drive: the restore points on it no longer count for retention.
    Forget {
        /// The repository.
        repo: String,
        /// The drive, by its label or its id.
        #[arg(value_name = "DRIVE")]
        medium: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Points {
    /// The repository.
    pub(crate) repo: String,
    /// Only this job's.
    pub(crate) job: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Chain {
    /// The repository.
    pub(crate) repo: String,
    /// The job.
    #[arg(value_parser = job_name)]
    pub(crate) job: JobName,
    /// Show when each restore point will be removed and what that frees, if the job continues as before.
    #[arg(long)]
    pub(crate) forecast: bool,
    /// Show the chain as if it were this time.
    #[arg(long, value_name = "TIME", value_parser = timestamp)]
    pub(crate) now: Option<Timestamp>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The repository.
    pub(crate) repo: String,
    /// Only this job's chain.
    pub(crate) job: Option<String>,
    /// Read every block and compare it with its digest.
    #[arg(long)]
    pub(crate) read_data: bool,
    /// Read about so many MiB of each chain's blocks. It goes on where the last such verification ended.
    #[arg(long, value_name = "MIB")]
    pub(crate) budget_mib: Option<NonZeroU64>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Simulate {
    /// The policy: the keys of a job's `retention` table, and `time_zone` (default: UTC).
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: PathBuf,
    /// The restore points' times, oldest first, one RFC 3339 time a line.
    #[arg(long, value_name = "FILE")]
    pub(crate) points: PathBuf,
    /// Print JSON: a line with the chain and the archive after each point.
    #[arg(long, conflicts_with = "draw")]
    pub(crate) json: bool,
    /// Draw the life of each restore point, instead of a line after each.
    #[arg(long)]
    pub(crate) draw: bool,
    /// Draw it into this file as a picture, too.
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
}

/// How a backup job's chain grows and ages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Method {
    /// Increments; merges move the oldest into the full.
    ForeverForward,
    /// Increments and periodic fulls; an old full is removed with its increments.
    Forward,
    /// The newest point is the full; older points are steps back from it.
    Reverse,
}

impl From<Method> for BackupMethod {
    fn from(method: Method) -> Self {
        match method {
            Method::ForeverForward => Self::ForeverForward,
            Method::Forward => Self::Forward,
            Method::Reverse => Self::Reverse,
        }
    }
}

/// Test whether a place can hold a repository.
///
/// All is done below a folder of its own, conformance-..., which is gone afterwards: what is there already is neither read nor
/// changed. A check that is cut off leaves that folder; delete it.
#[derive(Debug, Args)]
pub(crate) struct CheckRepository {
    /// The place: an Offsite repository, or a place for one.
    pub(crate) repo: String,
    /// Write small objects and race fewer times, for a slow link.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Be one of the processes that the check starts.
    #[arg(long, hide = true)]
    pub(crate) racer: bool,
}

/// The format of a disk image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Raw,
    Qcow2,
}

impl From<Format> for ImageFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Raw => Self::Raw,
            Format::Qcow2 => Self::Qcow2,
        }
    }
}

fn job_name(text: &str) -> Result<JobName, String> {
    JobName::new(text).map_err(|error| error.to_string())
}

/// Parses the path of a file to write. Refuses a path with `~` or variables that a shell should have replaced.
fn new_path(text: &str) -> Result<PathBuf, String> {
    match crate::config::path::fault(Path::new(text)) {
        Some(why) => Err(why),
        None => Ok(text.into()),
    }
}

fn machine_name(text: &str) -> Result<MachineName, String> {
    MachineName::new(text).map_err(|error| error.to_string())
}

/// Reads the number of a restore point, with or without the `#` that it is shown with.
fn sequence(text: &str) -> Result<u64, String> {
    text.strip_prefix('#').unwrap_or(text).parse().map_err(|error: std::num::ParseIntError| error.to_string())
}

fn timestamp(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).map_err(|error| error.to_string())
}

fn block_size(text: &str) -> Result<BlockSize, String> {
    let folded = text.to_ascii_lowercase().replace([' ', 'i', 'b'], "");
    let parse = |digits: &str, factor: u64| digits.parse::<u64>().ok().and_then(|count| count.checked_mul(factor));
    let bytes = match folded.strip_suffix('k') {
        Some(digits) => parse(digits, 1 << 10),
        None => folded.strip_suffix('m').and_then(|digits| parse(digits, 1 << 20)),
    };
    let bytes = bytes.ok_or_else(|| format!("{text:?} is no size: use 256KiB, 512KiB, 1MiB or 4MiB"))?;
    BlockSize::from_bytes(bytes).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_well_formed() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn block_sizes_are_read_as_people_write_them() {
        for text in ["256KiB", "256 KiB", "256k", "256K"] {
            assert_eq!(block_size(text), Ok(BlockSize::KiB256), "{text}");
        }
        assert_eq!(block_size("4MiB"), Ok(BlockSize::MiB4));
        for text in ["", "1", "2MiB", "1GiB", "18446744073709551615k"] {
            assert!(block_size(text).is_err(), "{text}");
        }
    }
}
