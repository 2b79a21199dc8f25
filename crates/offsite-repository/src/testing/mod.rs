//! Test support: the conformance suite for implementations, and fakes for users of a repository.
//!
//! - [`conformance`] checks whether a repository keeps the contract.
//! - [`Memory`] keeps objects in memory. It has every capability, and tests can damage its objects.
//! - [`Faulty`] makes chosen calls of another repository fail or come late. A [`Gate`] holds calls until the test releases them.
//! - [`CrashImage`] simulates power cuts, and shows what they may leave.
//!
//! ```
//! use offsite_repository::testing::{Fault, Faulty, Memory};
//! use offsite_repository::{ErrorKind, Key, RepositoryExt};
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let repository = Faulty::new(Memory::new());
//! repository.inject(Fault::after_calls(0, ErrorKind::NoSpace));
//! let error = repository.put(&Key::new("object").unwrap(), "content".into()).await.unwrap_err();
//! assert_eq!(error.kind(), ErrorKind::NoSpace);
//! # });
//! ```

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
