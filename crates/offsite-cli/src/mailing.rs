//! Sends mail as the config says.

use crate::config::Config;
use crate::mail::{Account, Limits, Origin, Outbox, Post, host_name};

/// Sends mails of this config, and keeps them in its state folder.
pub(crate) fn post(config: &Config) -> Post<'_> {
    Post {
        outbox: Outbox::new(config.state_dir().outbox()),
        account: Box::new(move |origin| account(config, origin)),
        host: host_name(),
        limits: Limits::default(),
    }
}

/// The addresses of a mail, by the config of now; none, if it names none any more.
fn account(config: &Config, origin: &Origin) -> Option<Account> {
    match origin {
        Origin::Job(job) => config.job_mail(job).map(|mail| mail.account),
        Origin::Digest => config.digest().ok().flatten().map(|digest| digest.account),
    }
}
