//! Mail: what is told of a run or of a day, how it is kept until a server has taken it, and how it gets there.
//!
//! Laws:
//! - A letter is made of facts alone, and text and HTML of a letter alone: no clock, no file, no network.
//! - A mail is in the outbox before a server is asked, and leaves it only when a server has taken it, or when the outbox is full.
//! - A mail goes to each recipient whom the server takes. The others are named in a warning. If the server takes nobody, it is kept.
//! - Sending ends in bounded time, and no failure of it fails anything else.

mod account;
mod credentials;
mod digest;
mod host_name;
mod html;
mod letter;
mod outbox;
mod post;
mod run;
mod smtp;
mod text;

pub(crate) use account::{Account, Server, mailbox};
pub(crate) use credentials::CredentialSource;
pub(crate) use digest::{Digest, JobFacts, Last, PlaceFacts, digest};
pub(crate) use host_name::host_name;
pub(crate) use outbox::{Mail, Origin, Outbox, Unsent};
pub(crate) use post::{Limits, Post, trial, try_account};
pub(crate) use run::{RunFacts, run};
