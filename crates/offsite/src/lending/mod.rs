//! Lending: frames at the side of the target whose bytes a copy wants, so that these need not cross the link.
//!
//! [`lenders`] finds them: in the chain that is copied to, and in the chains of other jobs of the same repository. [`search`] goes
//! through the indexes of one chain, and [`filter`] says which of their pages are worth a look. The mover reads what was found, compares
//! it with its digest, and falls back to the source. [`Populate`] fills a block cache from a repository.

pub(crate) mod filter;
pub(crate) mod lenders;
mod populate;
mod search;
#[cfg(test)]
mod search_tests;
mod segment;
mod settings;

pub use populate::Populate;
pub use settings::{Lend, Lending};
