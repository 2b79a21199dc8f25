//! The arguments of `cache`.

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub(crate) struct Cache {
    #[command(subcommand)]
    pub(crate) command: CacheCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// Fill a block cache from a repository that is near this host, before the first copy. What it has need not cross the link.
    Populate {
        /// The repository to read: that of backups on the target's side, say.
        repo: String,
        /// The repository of the config whose cache is filled (default: the one that has a cache).
        #[arg(long, value_name = "NAME")]
        cache: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}
