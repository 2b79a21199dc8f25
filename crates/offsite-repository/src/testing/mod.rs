//! Fakes to test users of a repository with, and the suite that tests implementations.
//!
//! - [`Memory`] keeps objects in memory, with every capability, and can be damaged.
//! - [`Faulty`] makes chosen calls of another repository fail.
//! - [`conformance`] tells whether a repository keeps the contract.

pub mod conformance;
mod faulty;
mod memory;
mod memory_capabilities;

pub use faulty::{Fault, Faulty, Moment};
pub use memory::{Memory, MemoryOptions};
