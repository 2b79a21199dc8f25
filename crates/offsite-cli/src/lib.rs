//! The `offsite` command, and the disk images that its demonstration and the benchmarks are run on.

pub mod workload;
