//! Sends mail as the config says.

use crate::config::Config;
use crate::mail::{Account, Limits, Origin, Outbox, Post, host_name};

/// Returns the sender of the mails of this config, whose state folder keeps them.
pub(crate) fn post(config: &Config) -> Post<'_> {
    Post {
        outbox: Outbox::new(config.state_dir().outbox()),
        account: Box::new(move |origin| account(config, origin)),
        host: host_name(),
        limits: Limits::default(),
    }
}

/// Returns the addresses of a mail by the config of now. `None` if the config no longer names any.
fn account(config: &Config, origin: &Origin) -> Option<Account> {
    match origin {
        Origin::Job(job) => config.job_mail(job).map(|mail| mail.account),
        Origin::Digest => config.digest().ok().flatten().map(|digest| digest.account),
    }
}
