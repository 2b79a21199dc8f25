//! Private: what the benchmarks and the command `figures` share.

pub mod figures;
pub mod jobs;
