//! The arguments of `mail`.

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub(crate) struct Mail {
    #[command(subcommand)]
    pub(crate) command: MailCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MailCommand {
    /// Send a test mail by each server, to each address that the config names. It is not kept if it cannot be sent.
    Test {
        /// Only the mail of these jobs (default: the mail of all jobs, and the digest).
        jobs: Vec<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}
