//! The `offsite` command, and the disk images that its demonstration and the benchmarks use.
//!
//! It is a thin user of the library: it parses the arguments, opens repositories, runs one operation, and prints the result.

mod advice;
mod args;
mod cache;
mod clock;
mod commands;
mod config;
mod daemon;
mod demo;
mod error_text;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod host;
mod json;
mod limits;
mod local_time;
mod log;
mod mail;
mod mailing;
mod media;
mod operation;
mod place;
mod policy;
mod post_job;
mod print;
mod progress;
mod recover;
mod render;
mod signals;
mod state;
mod status;
mod stop_signal;
mod stoppable;
mod totals;
mod when;
mod words;
pub mod workload;

use std::process::ExitCode;

use args::{Arguments, Command};
use clap::Parser;
use status::{Failure, Status};

/// The number of threads that the engine's pipeline and a writer keep busy. Each thread has its own buffers, and an arena of the
/// allocator. So more threads take memory and gain nothing.
const BLOCKING_THREADS_MAX: usize = 8;

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(answer) => return print::answer(&answer),
    };
    limits::raise_open_files();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = match builder.enable_all().max_blocking_threads(BLOCKING_THREADS_MAX).build() {
        Ok(runtime) => runtime,
        Err(error) => return print::failure(&Failure::from(format!("no runtime: {error}"))),
    };
    match runtime.block_on(run(arguments)) {
        Ok(status) => print::exit(status.code()),
        Err(failure) => print::failure(&failure),
    }
}

async fn run(arguments: Arguments) -> Result<Status, Failure> {
    signals::file_size_is_an_error()?;
    let config = arguments.config;
    match arguments.command {
        Command::Demo(demo) => demo::run(&demo).await,
        Command::Init(init) => commands::init::run(&init, &config).await,
        Command::Backup(backup) => commands::backup::run(&backup, &config).await,
        Command::Run(run) => commands::run::run(&run, &config).await,
        Command::Transform(transform) => commands::transform::run(&transform, &config).await,
        Command::Daemon(arguments) => daemon::run(&arguments, &config).await,
        Command::Status(status) => commands::status::run(&status, &config),
        Command::Media(media) => commands::media::run(&media, &config).await,
        Command::Cache(cache) => commands::cache::run(&cache, &config).await,
        Command::Mail(mail) => commands::mail::run(&mail, &config).await,
        Command::Points(points) => commands::points::run(&points, &config).await,
        Command::Chain(chain) => commands::chain::run(&chain, &config).await,
        Command::Restore(restore) => commands::restore::run(&restore, &config).await,
        Command::Export(export) => commands::export::run(&export, &config).await,
        Command::Import(import) => commands::import::run(&import, &config).await,
        Command::Map(map) => commands::map::run(&map, &config).await,
        Command::Simulate(simulate) => commands::simulate::run(&simulate),
        Command::CheckRepository(check) => commands::check_repository::run(&check, config).await,
        Command::Repair(repair) => commands::repair::run(&repair, &config).await,
        Command::Verify(verify) => commands::verify::run(&verify, &config).await,
    }
}
