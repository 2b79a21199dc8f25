//! Fakes to test users of a repository with, and the suite that tests implementations.
//!
//! - [`Memory`] keeps objects in memory, with every capability, and can be damaged.
//! - [`Faulty`] makes chosen calls of another repository fail, or late; a [`Gate`] holds them until the test lets them go.
//! - [`CrashImage`] has its power cut, and shows what may be left.
//! - [`conformance`] tells whether a repository keeps the contract.

pub mod conformance;
mod crash;
mod faulty;
mod gate;
mod memory;
mod memory_capabilities;

pub use crash::{CrashImage, CrashMoment, CrashOptions};
pub use faulty::{Fault, Faulty};
pub use gate::Gate;
pub use memory::{Memory, MemoryOptions};
