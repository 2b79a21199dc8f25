//! A first backup, its copy to another repository, and a restore.

use std::path::{Path, PathBuf};

use offsite::model::BlockSize;

use super::workbench::Workbench;
use super::{Check, Contender, Group};
use crate::figures::sample::{cp, tool};
use crate::figures::sections::remove;
use crate::jobs::{self, Failure};

type Work<'a> = Box<dyn Fn() -> Result<(), Failure> + 'a>;

/// A contender that starts with nothing at `work`.
fn from_nothing<'a>(bench: &'a Workbench, name: &str, work: Work<'a>, check: Check<'a>) -> Contender<'a> {
    Contender {
        name: name.to_owned(),
        prepare: Box::new(|| {
            remove(&bench.path("work"))?;
            Ok(std::fs::create_dir(bench.path("work"))?)
        }),
        work: Box::new(move || {
            work()?;
            bench.durable().map(|()| Vec::new())
        }),
        check,
    }
}

pub(super) fn groups(bench: &Workbench, rounds: u32) -> Result<Vec<Group>, Failure> {
    let image = bench.path("disk.img");
    let work = bench.path("work");
    let full = bench.path("qcow2/p0.qcow2");
    let size = format!("{} MiB of disk.", bench.disk.size_mib);
    let backups = vec![
        from_nothing(
            bench,
            "offsite backup",
            Box::new(|| {
                bench.runtime.block_on(async {
                    let to = jobs::make_local(&work).await?;
                    jobs::backup(&to, &image, 0, BlockSize::default()).await.map(drop)
                })
            }),
            Box::new(|| bench.check_offsite(&work, jobs::BACKUP_JOB, 0)),
        ),
        from_nothing(
            bench,
            "cp, as it is",
            Box::new(|| cp("auto", &[&image], &work)),
            Box::new(|| bench.check_image(&work.join("disk.img"), 0)),
        ),
        from_nothing(
            bench,
            "qemu-img convert, as it is",
            Box::new(|| {
                tool("qemu-img", ["convert".into(), "-O".into(), "qcow2".into(), image.clone(), work.join("a.qcow2")])
            }),
            Box::new(|| bench.check_qcow2(&work.join("a.qcow2"), 0)),
        ),
        from_nothing(
            bench,
            "restic backup",
            Box::new(|| {
                bench.restic(&work, ["init", "-q"])?;
                bench.restic(&work, ["backup", "-q", "disk.img"])
            }),
            Box::new(|| bench.check_restic(&work, 0)),
        ),
        from_nothing(
            bench,
            "borg create, zstd 1",
            Box::new(|| {
                bench.borg(["init", "--encryption", "none"], &work.join("r"), "", &[])?;
                bench.borg(["create", "--compression", "zstd,1"], &work.join("r"), "p0", &["disk.img"])
            }),
            Box::new(|| bench.check_borg(&work.join("r"), 0)),
        ),
    ];
    let copies = vec![
        from_nothing(
            bench,
            "offsite copy",
            Box::new(|| {
                bench.runtime.block_on(async {
                    let from = jobs::open_local(&bench.path("source-of-first")).await?;
                    let to = jobs::make_local(&work).await?;
                    jobs::copy(&from, &to, 0, 2).await.map(drop)
                })
            }),
            Box::new(|| bench.check_offsite(&work, jobs::COPY_JOB, 0)),
        ),
        from_nothing(
            bench,
            "cp of Offsite's backup file",
            Box::new(|| cp("never", &jobs::backup_files(&bench.path("source-of-first"))?, &work)),
            Box::new(|| same_files(&jobs::backup_files(&bench.path("source-of-first"))?, &work)),
        ),
        from_nothing(
            bench,
            "restic copy",
            Box::new(|| {
                let to = work.display().to_string();
                bench.restic(&work, ["init", "-q"])?;
                bench.restic(&bench.path("restic-of-first"), ["copy", "-q", "--repo2", &to])
            }),
            Box::new(|| bench.check_restic(&work, 0)),
        ),
    ];
    let restores = vec![
        from_nothing(
            bench,
            "offsite restore",
            Box::new(|| {
                bench.runtime.block_on(async {
                    let from = jobs::open_local(&bench.path("first")).await?;
                    jobs::restore(&from, &work.join("restored.img")).await.map(drop)
                })
            }),
            Box::new(|| bench.check_image(&work.join("restored.img"), 0)),
        ),
        from_nothing(
            bench,
            "cp of the image",
            Box::new(|| cp("auto", &[&image], &work)),
            Box::new(|| bench.check_image(&work.join("disk.img"), 0)),
        ),
        from_nothing(
            bench,
            "qemu-img convert to raw",
            Box::new(|| {
                tool("qemu-img", ["convert".into(), "-O".into(), "raw".into(), full.clone(), work.join("a.img")])
            }),
            Box::new(|| bench.check_image(&work.join("a.img"), 0)),
        ),
        from_nothing(
            bench,
            "restic restore",
            Box::new(|| {
                let to = work.display().to_string();
                bench.restic(&bench.path("restic-of-first"), ["restore", "-q", "latest", "--target", &to])
            }),
            Box::new(|| bench.check_image(&work.join("disk.img"), 0)),
        ),
    ];
    let groups = [
        ("First backup of an image", backups),
        ("Copy of a first backup to another repository", copies),
        ("Restore to a raw image", restores),
    ];
    let measured = groups
        .into_iter()
        .map(|(title, contenders)| Group::measure(title, size.clone(), bench.caches, rounds, contenders));
    let measured = measured.collect::<Result<Vec<_>, _>>()?;
    remove(&work)?;
    Ok(measured)
}

/// Fails if one of these files is not the same in `folder`.
fn same_files(files: &[PathBuf], folder: &Path) -> Result<(), Failure> {
    for file in files {
        let copy = folder.join(file.file_name().ok_or("a file without a name")?);
        tool("cmp", [file, &copy])?;
    }
    Ok(())
}
