//! Sends a mail, and with it those that wait in the outbox.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::timeout;

use super::account::Account;
use super::letter::{Letter, Tone};
use super::outbox::{Claim, Mail, MailName, Origin, Outbox, Put};
use super::smtp::{Session, message};
use crate::render;

/// How long sending may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The limit of each step: the connection, TLS, the login, a mail.
    pub(crate) step: Duration,
    /// The limit of all steps together.
    pub(crate) all: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { step: Duration::from_secs(30), all: Duration::from_secs(60) }
    }
}

/// Returns the addresses of a mail by the config of now. `None` if the config no longer names any.
pub(crate) type AccountOf<'a> = Box<dyn Fn(&Origin) -> Option<Account> + Send + Sync + 'a>;

/// The sender of mails.
pub(crate) struct Post<'a> {
    pub(crate) outbox: Outbox,
    pub(crate) account: AccountOf<'a>,
    /// The name of this host.
    pub(crate) host: String,
    pub(crate) limits: Limits,
}

/// A mail that was put into the outbox, or could not be.
pub(crate) struct Kept {
    name: Option<MailName>,
    /// What went wrong with that.
    note: Option<String>,
}

/// What has come of one round of sending so far.
#[derive(Default)]
struct Round {
    /// The servers that take no mail now, and why. A round asks each of them once.
    closed: BTreeMap<String, String>,
    sessions: Vec<(Account, Session)>,
    /// The reasons why mails were not sent, and the number of mails for each.
    faults: BTreeMap<String, usize>,
    /// Other warnings.
    notes: Vec<String>,
}

impl Post<'_> {
    /// Puts a mail into the outbox. Sends it, and then the mails that wait. Returns the warnings. There are none if all mails were sent.
    pub(crate) async fn send(&self, mail: &Mail) -> Vec<String> {
        self.send_kept(self.keep(mail), mail).await
    }

    /// Puts a mail into the outbox.
    pub(crate) fn keep(&self, mail: &Mail) -> Kept {
        match self.outbox.put(mail) {
            Ok(Put { name, dropped: 0 }) => Kept { name: Some(name), note: None },
            Ok(Put { name, dropped }) => {
                let mails = render::count(dropped, "mail that was", "mails that were");
                Kept {
                    name: Some(name),
                    note: Some(format!("mail: {mails} never sent had to make room, and will not come")),
                }
            }
            Err(why) => {
                let note = format!("mail: it {why}; choose another folder with state_dir in the config");
                Kept { name: None, note: Some(note) }
            }
        }
    }

    /// Sends a mail that was put into the outbox, and then the mails that wait. Returns the warnings. There are none if all mails were
    /// sent.
    pub(crate) async fn send_kept(&self, Kept { name: first, note }: Kept, mail: &Mail) -> Vec<String> {
        let mut round = Round { notes: note.into_iter().collect(), ..Round::default() };
        let sending = async {
            if first.is_none() {
                // It cannot be kept, so this is the only try.
                if let Some(account) = (self.account)(&mail.origin) {
                    let sent = self.hand_over(&mut round, mail, &account).await;
                    sent.unwrap_or_else(|why| *round.faults.entry(why).or_default() += 1);
                }
            }
            let kept = self.outbox.names().into_iter().filter(|name| first.as_ref() != Some(name));
            for name in first.clone().into_iter().chain(kept) {
                match self.outbox.claim(&name) {
                    Ok(Some(claim)) => self.send_claimed(&mut round, claim).await,
                    // Another run sends it.
                    Ok(None) => {}
                    Err(why) => round.notes.push(format!("mail: {why}")),
                }
            }
            for (_, session) in std::mem::take(&mut round.sessions) {
                session.close().await;
            }
        };
        if timeout(self.limits.all, sending).await.is_err() {
            let why = format!("mail: not all could be sent within {} s", self.limits.all.as_secs());
            round.notes.push(why);
        }
        let mut warnings: Vec<String> = round
            .faults
            .into_iter()
            .map(|(why, count)| match count {
                1 => format!("mail was not sent: {why}"),
                count => format!("{count} mails were not sent: {why}"),
            })
            .collect();
        let kept = self.outbox.names().len();
        if kept > 0 && !warnings.is_empty() {
            let mails = render::count(kept, "mail is", "mails are");
            let folder = self.outbox.path().display();
            warnings.push(format!("{mails} kept in {folder} until the next is sent"));
        }
        warnings.extend(round.notes);
        warnings
    }

    async fn send_claimed(&self, round: &mut Round, claim: Claim) {
        let Some(account) = (self.account)(&claim.mail.origin) else {
            let about = match &claim.mail.origin {
                Origin::Job(job) => format!("of job {job}"),
                Origin::Digest => "with a digest".to_owned(),
            };
            round
                .notes
                .push(format!("mail: a kept mail {about} was dropped, as the config no longer says where it goes"));
            round.notes.extend(claim.remove().err());
            return;
        };
        match self.hand_over(round, &claim.mail, &account).await {
            Ok(()) => {
                round.notes.extend(claim.remove().err().map(|why| format!("mail: sent, and may come again: {why}")))
            }
            Err(why) => {
                claim.keep(&why);
                *round.faults.entry(why).or_default() += 1;
            }
        }
    }

    /// Hands a mail to the server of an account.
    async fn hand_over(&self, round: &mut Round, mail: &Mail, account: &Account) -> Result<(), String> {
        let told = |why: String| format!("to {} by {}: {why}", account.recipients(), account.server);
        let message = message(mail, account).map_err(told)?;
        let door = |account: &Account| (account.server.clone(), account.credentials.clone());
        round.sessions.retain(|(_, session)| session.is_usable());
        let open = round.sessions.iter().position(|(other, _)| door(other) == door(account));
        let session = match open {
            Some(at) => &mut round.sessions[at].1,
            None => {
                let key = format!("{:?}", door(account));
                if let Some(why) = round.closed.get(&key) {
                    return Err(told(why.clone()));
                }
                match Session::open(account, &self.host, self.limits.step).await {
                    Ok(session) => {
                        round.sessions.push((account.clone(), session));
                        let last = round.sessions.len() - 1;
                        &mut round.sessions[last].1
                    }
                    Err(why) => {
                        round.closed.insert(key, why.clone());
                        return Err(told(why));
                    }
                }
            }
        };
        let refused = session.send(&message).await.map_err(told)?;
        round.notes.extend(refused.iter().map(|why| format!("mail: {} has refused {why}", account.server)));
        Ok(())
    }
}

/// Sends a test mail. It is not kept if it cannot be sent.
///
/// # Errors
/// Why it was not sent to all recipients, and the way out.
pub(crate) async fn try_account(account: &Account, mail: &Mail, host: &str, limits: Limits) -> Result<(), String> {
    let message = message(mail, account)?;
    let sending = async {
        let mut session = Session::open(account, host, limits.step).await?;
        let refused = session.send(&message).await?;
        session.close().await;
        match refused.is_empty() {
            true => Ok(()),
            false => Err(format!("the server took it for the others, and refused {}", refused.join("; "))),
        }
    };
    let sent = timeout(limits.all, sending).await;
    sent.unwrap_or_else(|_| Err(format!("it could not be sent within {} s", limits.all.as_secs())))
}

/// Returns the letter of a test mail.
pub(crate) fn trial(about: &str, host: &str) -> Letter {
    use super::letter::{Part, Section};
    Letter {
        subject: format!("[offsite] TEST: {about} ({host})"),
        tone: Tone::Well,
        title: format!("TEST: {about}"),
        sections: vec![Section {
            heading: String::new(),
            parts: vec![Part::Line("Somebody typed `offsite mail test`. Mail of Offsite arrives here.".to_owned())],
        }],
    }
}

#[cfg(test)]
mod tests;
