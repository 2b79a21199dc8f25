//! How many requests for block data are under way at once.

mod controller;
mod pool;
mod streamed;
#[cfg(test)]
mod tests;

pub use self::controller::StreamRange;
pub use self::pool::{StreamDirection, StreamPermit, StreamShare, Streams};
pub use self::streamed::Streamed;
