//! The command `figures`: Offsite beside its yardsticks.
//!
//! Every operation is measured several times, in turn with what it is compared with (A B A B), from dropped caches if that
//! is permitted, until everything is durable. No sample is left out: medians stand beside the smallest and the largest.

pub mod compare;
mod machine;
mod pages;
mod proc;
mod s3_server;
mod sample;
mod sections;
mod table;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, ValueEnum};

use crate::jobs::{Failure, disk};
use pages::Pages;
use sections::Bench;

/// Measures Offsite beside plain file copies, on a generated disk image.
#[derive(Debug, Parser)]
#[command(name = "figures")]
struct Arguments {
    /// Where the measurements make their own folder; it is removed afterwards.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// The size of the disk image.
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u64).range(16..))]
    size_mib: u64,
    /// Samples of each operation.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// What is measured; all, unless said otherwise.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Section>,
    /// Writes the result to this file too.
    #[arg(long)]
    markdown: Option<PathBuf>,
}

/// A set of measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Section {
    Backup,
    Copy,
    Merge,
    ReadBack,
    Flat,
    Restore,
    BlockSize,
    S3,
    Streams,
}

/// Runs the command of this process.
#[must_use]
pub fn main() -> ExitCode {
    // What has a process of its own, so that its memory and its CPU time are told apart.
    let alone = match std::env::args().nth(1).as_deref() {
        Some(s3_server::ARGUMENT) => Some(s3_server::serve()),
        Some(sections::flat::ARGUMENT) => Some(sections::flat::merge_once()),
        Some(sections::s3_once::ARGUMENT) => Some(sections::s3_once::once()),
        _ => None,
    };
    match alone.map_or_else(|| run(&Arguments::parse()), |ended| ended.map(|()| true)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("figures: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Measures, and says whether all bars were held.
fn run(arguments: &Arguments) -> Result<bool, Failure> {
    let start = Instant::now();
    std::fs::create_dir_all(&arguments.dir)?;
    let folder = tempfile::Builder::new().prefix("offsite-figures-").tempdir_in(&arguments.dir)?;
    let sections = if arguments.only.is_empty() { Section::value_variants() } else { &arguments.only };
    let mut bench = Bench::new(folder.path(), disk(arguments.size_mib), arguments.runs)?;
    let mut pages = Pages::default();
    machine::describe(&mut pages, folder.path(), &bench);
    for section in sections {
        match section {
            Section::Backup => sections::backup::measure(&mut bench, &mut pages)?,
            Section::Copy => sections::copy::measure(&mut bench, &mut pages)?,
            Section::Merge => sections::merge::measure(&mut bench, &mut pages)?,
            Section::ReadBack => sections::read_back::measure(&mut bench, &mut pages)?,
            Section::Flat => sections::flat::measure(&mut bench, &mut pages)?,
            Section::Restore => sections::restore::measure(&mut bench, &mut pages)?,
            Section::BlockSize => sections::block_size::measure(&mut bench, &mut pages)?,
            Section::S3 => sections::s3::measure(&mut bench, &mut pages)?,
            Section::Streams => sections::streams::measure(&mut bench, &mut pages)?,
        }
    }
    let held = pages.end(start.elapsed());
    if let Some(path) = &arguments.markdown {
        write(path, pages.text())?;
    }
    folder.close()?;
    Ok(held)
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()).into())
}
