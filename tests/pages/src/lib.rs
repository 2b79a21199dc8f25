//! The program of `docs/embed.md`. It is compiled, so that the page cannot tell what does not work; nothing calls it.

#![allow(dead_code, reason = "a page shows functions and calls none")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what a page shows may print")]
#![allow(unused_imports, reason = "each piece of the page imports what it needs")]

include!(concat!(env!("OUT_DIR"), "/embed.rs"));
