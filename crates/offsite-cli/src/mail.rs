//! Mail: the letters about a run and about a day, the outbox that keeps them until a server has taken them, and the delivery.
//!
//! Laws:
//! - The facts alone make a letter. The letter alone makes text and HTML. There is no clock, no file and no network there.
//! - A mail is in the outbox before a server is asked. It leaves the outbox when a server has taken it, when the outbox is full, or when
//!   the config no longer says where it goes.
//! - Each recipient whom the server accepts gets the mail. A warning names the others. If the server accepts nobody, the mail stays.
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
