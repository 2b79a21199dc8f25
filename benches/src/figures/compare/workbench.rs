//! What all comparisons start from.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use offsite::model::BlockSize;
use offsite::model::MachineName;
use offsite::report::TransformReport;
use offsite::retention::Policy;
use offsite::retention::Simple;
use offsite::{JobName, MergeMethod, PointSelector, Restore, TransformJob, Transforms};
use offsite_cli::workload::{BLOCK_BYTES, Disk};
use tokio::runtime::Runtime;

use crate::figures::sample::{Caches, tool};
use crate::figures::sections::remove;
use crate::jobs::{self, Failure};

/// qcow2's usual cluster, the smallest piece that an overlay of it stores.
const CLUSTER_BYTES: usize = 64 << 10;
/// The points of the chain in which the oldest increment is merged.
pub(super) const VERSIONS: u32 = 3;
const KEPT: u32 = 2;

/// What `borg` keeps for itself. It refuses a repository that is older than this.
pub(super) const BORG_BASE: &str = "borg-base";
pub(super) const BORG_BASE_OF_CHAIN: &str = "borg-base-of-chain";

/// A folder with the disk's images and chains of its first versions.
pub(super) struct Workbench {
    pub(super) folder: PathBuf,
    pub(super) disk: Disk,
    pub(super) caches: Caches,
    pub(super) runtime: Runtime,
    /// Bytes that the first version changed in the disk, to the page.
    pub(super) changed_bytes: u64,
    /// What Offsite stored of them.
    pub(super) increment_bytes: u64,
}

impl Workbench {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a disk has fewer megabytes")]
    pub(super) fn new(folder: &Path, gib: f64) -> Result<Self, Failure> {
        let disk = jobs::disk((gib * 1024.0).round().max(16.0) as u64);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build()?;
        let changed_bytes = disk.changed_bytes(1);
        let caches = Caches::of_this_process();
        let mut bench = Self { folder: folder.to_owned(), disk, caches, runtime, changed_bytes, increment_bytes: 0 };
        bench.make_chains()?;
        bench.make_qcow2()?;
        Ok(bench)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The image is at version 0 again afterwards.
    fn make_chains(&mut self) -> Result<(), Failure> {
        let image = self.path("disk.img");
        self.disk.write_full(&image, 0)?;
        let source = self.runtime.block_on(jobs::make_local(&self.path("source")))?;
        let first = self.runtime.block_on(jobs::make_local(&self.path("first")))?;
        let chain = self.runtime.block_on(jobs::make_local(&self.path("chain")))?;
        let restic = self.path("restic");
        self.restic(&restic, ["init", "-q"])?;
        let borg = self.path("borg");
        self.borg(["init", "--encryption", "none"], &borg, "", &[])?;
        for version in 0..VERSIONS {
            if version > 0 {
                self.disk.apply(&image, version)?;
            }
            self.runtime.block_on(jobs::backup(&source, &image, version, BlockSize::default()))?;
            let report = self.runtime.block_on(jobs::copy(&source, &chain, version, VERSIONS))?;
            if version == 0 {
                self.runtime.block_on(jobs::copy(&source, &first, version, VERSIONS))?;
                tool("cp", ["-r".into(), self.path("source"), self.path("source-of-first")])?;
            }
            if version == 1 {
                self.increment_bytes = report.sync.map_or(0, |sync| sync.tally.target.bytes_written);
            }
            self.restic(&restic, ["backup", "-q", "disk.img"])?;
            self.borg(["create", "--compression", "zstd,1"], &borg, &format!("p{version}"), &["disk.img"])?;
            if version == 0 {
                tool("cp", ["-r".into(), restic.clone(), self.path("restic-of-first")])?;
            }
        }
        tool("cp", ["-r".into(), self.path(BORG_BASE), self.path(BORG_BASE_OF_CHAIN)])?;
        self.disk.write_full(&image, 0)?;
        Ok(())
    }

    /// The first version as a qcow2 image, and the second as an overlay of it with the clusters that differ.
    fn make_qcow2(&self) -> Result<(), Failure> {
        std::fs::create_dir(self.path("qcow2"))?;
        let full = self.path("qcow2/p0.qcow2");
        let overlay = self.path("qcow2/p1.qcow2");
        tool(
            "qemu-img",
            [OsStr::new("convert"), "-O".as_ref(), "qcow2".as_ref(), self.path("disk.img").as_ref(), full.as_ref()],
        )?;
        let create: [&OsStr; 8] = [
            "create".as_ref(),
            "-q".as_ref(),
            "-f".as_ref(),
            "qcow2".as_ref(),
            "-F".as_ref(),
            "qcow2".as_ref(),
            "-b".as_ref(),
            "p0.qcow2".as_ref(),
        ];
        tool("qemu-img", create.into_iter().chain([overlay.as_os_str()]))?;
        let pieces = self.path("pieces");
        std::fs::create_dir(&pieces)?;
        let mut commands = String::new();
        let (mut old, mut new) = (vec![0; BLOCK_BYTES], vec![0; BLOCK_BYTES]);
        for change in self.disk.changes(1) {
            self.disk.at(0).read_block(change.block, &mut old);
            self.disk.at(1).read_block(change.block, &mut new);
            for (number, (before, after)) in old.chunks(CLUSTER_BYTES).zip(new.chunks(CLUSTER_BYTES)).enumerate() {
                if before != after {
                    let offset = change.block * BLOCK_BYTES as u64 + (number * CLUSTER_BYTES) as u64;
                    let piece = pieces.join(offset.to_string());
                    std::fs::write(&piece, after)?;
                    commands += &format!("write -q -s {} {offset} {CLUSTER_BYTES}\n", piece.display());
                }
            }
        }
        let mut writer = Command::new("qemu-io")
            .args(["-f", "qcow2"])
            .arg(&overlay)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()?;
        writer.stdin.take().ok_or("qemu-io takes no commands")?.write_all(commands.as_bytes())?;
        if !writer.wait()?.success() {
            return Err("qemu-io failed".into());
        }
        remove(&pieces)
    }

    /// A fresh copy of what lies at `from`.
    pub(super) fn fresh(&self, from: &str, to: &str) -> Result<(), Failure> {
        remove(&self.path(to))?;
        tool("cp", ["-r".into(), "--reflink=never".into(), self.path(from), self.path(to)])
    }

    /// The transform phase on the chain at `name`.
    pub(super) fn transform(&self, name: &str, merge: MergeMethod) -> Result<TransformReport, Failure> {
        let policy = Policy::new(Simple::new(KEPT)?);
        let transforms = Transforms::keeping(policy).merge(merge).apply_changes_at_once(true);
        let work = async {
            let repository = jobs::open_local(&self.path(name)).await?;
            let job = TransformJob::new(&repository, JobName::new(jobs::COPY_JOB)?).transforms(transforms);
            Ok::<_, Failure>(job.run(jobs::evening(VERSIONS)?).await?)
        };
        self.runtime.block_on(work)
    }

    pub(super) fn restic(
        &self,
        repository: &Path,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Result<(), Failure> {
        let mut command = Command::new("restic");
        command
            .env("RESTIC_PASSWORD", "measured")
            .env("RESTIC_PASSWORD2", "measured")
            .env("RESTIC_CACHE_DIR", self.path("restic-cache"));
        command.arg("-r").arg(repository).args(arguments);
        self.quiet(command, &self.folder)
    }

    /// `borg` with these arguments on an archive (or, without a name, on the repository), then `rest`.
    pub(super) fn borg(
        &self,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
        repository: &Path,
        archive: &str,
        rest: &[&str],
    ) -> Result<(), Failure> {
        let place = if archive.is_empty() {
            repository.display().to_string()
        } else {
            format!("{}::{archive}", repository.display())
        };
        let mut command = Command::new("borg");
        command
            .env("BORG_BASE_DIR", self.path(BORG_BASE))
            .env("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes")
            .env("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes");
        command.args(arguments).arg(place).args(rest);
        // What is extracted comes to the folder where `borg` is, and must not replace the image.
        let is_extraction = command.get_args().next() == Some("extract".as_ref());
        self.quiet(command, &if is_extraction { self.empty("checked")? } else { self.folder.clone() })
    }

    /// An empty folder.
    fn empty(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = self.path(name);
        remove(&path)?;
        std::fs::create_dir(&path)?;
        Ok(path)
    }

    /// Fails if the image at `path` is not the disk at `version`.
    pub(super) fn check_image(&self, path: &Path, version: u32) -> Result<(), Failure> {
        match self.disk.is_same(path, version).map_err(|error| format!("{}: {error}", path.display()))? {
            true => Ok(()),
            false => Err(format!("{} is not the disk at version {version}", path.display()).into()),
        }
    }

    /// Fails if the point of that evening, in the folder of `job` in the repository at `repository`, is not the disk at `version`.
    pub(super) fn check_offsite(&self, repository: &Path, job: &str, version: u32) -> Result<(), Failure> {
        let to = self.empty("checked")?.join("disk.img");
        self.runtime.block_on(async {
            let repository = jobs::open_local(repository).await?;
            let restore = Restore::new(&repository, JobName::new(job)?, MachineName::new(jobs::MACHINE)?);
            Ok::<_, Failure>(restore.point(PointSelector::At(jobs::evening(version)?)).run(&to).await?)
        })?;
        self.check_image(&to, version)
    }

    /// Fails if the qcow2 image is not the disk at `version`.
    pub(super) fn check_qcow2(&self, image: &Path, version: u32) -> Result<(), Failure> {
        let to = self.empty("checked")?.join("disk.img");
        tool("qemu-img", ["convert".as_ref(), "-O".as_ref(), "raw".as_ref(), image.as_os_str(), to.as_os_str()])?;
        self.check_image(&to, version)
    }

    /// Fails if restic's newest snapshot is not the disk at `version`.
    pub(super) fn check_restic(&self, repository: &Path, version: u32) -> Result<(), Failure> {
        let to = self.empty("checked")?;
        self.restic(
            repository,
            ["restore".as_ref(), "-q".as_ref(), "latest".as_ref(), "--target".as_ref(), to.as_os_str()],
        )?;
        self.check_image(&to.join("disk.img"), version)
    }

    /// Fails if the archive `p` and the version is not the disk at `version`.
    pub(super) fn check_borg(&self, repository: &Path, version: u32) -> Result<(), Failure> {
        self.borg(["extract"], repository, &format!("p{version}"), &[])?;
        self.check_image(&self.path("checked/disk.img"), version)
    }

    /// Runs a tool in a folder; what it prints is shown if it fails.
    fn quiet(&self, mut command: Command, folder: &Path) -> Result<(), Failure> {
        let output = command.current_dir(folder).stdin(Stdio::null()).output();
        let output = output.map_err(|error| format!("{}: {error}", command.get_program().display()))?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!(
            "{} ended with {}: {}",
            command.get_program().display(),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )
        .into())
    }

    /// Makes all durable that was written to the folder's file system.
    pub(super) fn durable(&self) -> Result<(), Failure> {
        Ok(rustix::fs::syncfs(File::open(&self.folder)?)?)
    }
}
