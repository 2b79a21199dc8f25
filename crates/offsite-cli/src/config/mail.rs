//! Mail: `[mail]`, `after.mail` of jobs, and `[daemon.digest]`.

use std::ops::Range;
use std::path::{Path, PathBuf};

use lettre::message::Mailbox;
use offsite::retention::Zone;
use offsite::runner::RunStatus;
use offsite::schedule::{Interval, Period, TimeOfDay};
use serde::Deserialize;
use toml::Spanned;

use super::fault::{Fault, fault};
use crate::local_time::LocalTime;
use crate::mail::{Account, CredentialSource, Server, host_name, mailbox};

/// `[mail]`. It has what the other tables leave out.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct MailConfig {
    to: Option<Spanned<Recipients>>,
    from: Option<Spanned<String>>,
    server: Option<Spanned<String>>,
    credentials: Option<Spanned<CredentialsConfig>>,
}

/// `after.mail`: the mail after each interval of a job.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct AfterMailConfig {
    when: Option<When>,
    to: Option<Spanned<Recipients>>,
    from: Option<Spanned<String>>,
    server: Option<Spanned<String>>,
    credentials: Option<Spanned<CredentialsConfig>>,
}

/// `[daemon.digest]`: one mail a day about all jobs.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct DigestConfig {
    at: Spanned<String>,
    time_zone: Option<Spanned<String>>,
    to: Option<Spanned<Recipients>>,
    from: Option<Spanned<String>>,
    server: Option<Spanned<String>>,
    credentials: Option<Spanned<CredentialsConfig>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "an address like \"ops@example.org\", or an array of such")]
enum Recipients {
    One(String),
    Several(Vec<String>),
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "the path of a file, or a table like { credential = \"smtp\" }")]
enum CredentialsConfig {
    File(PathBuf),
    Named(NamedCredentials),
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
struct NamedCredentials {
    file: Option<PathBuf>,
    credential: Option<String>,
}

/// The runs after which mail is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum When {
    Always,
    Warning,
    Failed,
}

/// The mail of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JobMail {
    pub(crate) account: Account,
    when: When,
}

impl JobMail {
    /// Returns `true` if a run with this status gets a mail.
    pub(crate) fn is_wanted(&self, status: RunStatus) -> bool {
        match self.when {
            When::Always => true,
            When::Warning => status != RunStatus::Success,
            When::Failed => status == RunStatus::Failed,
        }
    }
}

/// The settings of the digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DigestSettings {
    pub(crate) account: Account,
    /// The daemon writes a digest when an interval begins.
    pub(crate) days: Interval,
    time_zone: Option<String>,
}

impl DigestSettings {
    /// Returns the time zone of the times in the mail.
    pub(crate) fn local(&self) -> LocalTime {
        LocalTime::of_zone(self.time_zone.as_deref())
    }
}

/// The keys that the tables share, with the name of their table.
#[derive(Clone, Copy)]
struct Keys<'a> {
    table: &'a str,
    to: Option<&'a Spanned<Recipients>>,
    from: Option<&'a Spanned<String>>,
    server: Option<&'a Spanned<String>>,
    credentials: Option<&'a Spanned<CredentialsConfig>>,
}

impl Keys<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.table)
    }

    fn to(&self) -> Result<Option<Vec<Mailbox>>, Fault> {
        let Some(to) = self.to else { return Ok(None) };
        let texts = match to.get_ref() {
            Recipients::One(text) => std::slice::from_ref(text),
            Recipients::Several(texts) => texts,
        };
        if texts.is_empty() {
            return Err(fault(&self.key("to"), to, "nobody is named: write \"ops@example.org\""));
        }
        let read = texts.iter().map(|text| mailbox(text)).collect::<Result<_, _>>();
        read.map(Some).map_err(|why| fault(&self.key("to"), to, why))
    }

    fn from(&self) -> Result<Option<Mailbox>, Fault> {
        let read = |from: &Spanned<String>| mailbox(from.get_ref()).map_err(|why| fault(&self.key("from"), from, why));
        self.from.map(read).transpose()
    }

    fn server(&self) -> Result<Option<Server>, Fault> {
        let read = |server: &Spanned<String>| {
            Server::parse(server.get_ref()).map_err(|why| fault(&self.key("server"), server, why))
        };
        self.server.map(read).transpose()
    }

    fn credentials(&self, folder: &Path) -> Result<Option<CredentialSource>, Fault> {
        let Some(credentials) = self.credentials else { return Ok(None) };
        let wrong = |why: String| fault(&self.key("credentials"), credentials, why);
        let file = |path: &PathBuf| match super::path::fault(path) {
            Some(why) => Err(wrong(why)),
            None if path.as_os_str().is_empty() => Err(wrong("it is empty: name a file".to_owned())),
            None => Ok(CredentialSource::File(folder.join(path))),
        };
        let source = match credentials.get_ref() {
            CredentialsConfig::File(path)
            | CredentialsConfig::Named(NamedCredentials { file: Some(path), credential: None }) => file(path)?,
            CredentialsConfig::Named(NamedCredentials { file: None, credential: Some(name) })
                if !name.is_empty() && !name.contains('/') =>
            {
                CredentialSource::Systemd(name.clone())
            }
            CredentialsConfig::Named(_) => {
                return Err(wrong(
                    "name one of file (a path) and credential (a name that LoadCredential of systemd gives)".to_owned(),
                ));
            }
        };
        Ok(Some(source))
    }

    /// Returns the account of these keys. What they leave out, `base` has. Credentials are for one server, so a table that names a server
    /// names its own.
    fn account(&self, base: &Self, span: Range<usize>, folder: &Path) -> Result<Account, Fault> {
        let missing = |name: &str, example: &str| Fault {
            why: format!("{}: it is missing, here and in [mail]: write {name} = {example}", self.key(name)),
            span: span.clone(),
        };
        let to = match self.to()? {
            Some(to) => to,
            None => base.to()?.ok_or_else(|| missing("to", "\"ops@example.org\""))?,
        };
        let (server, credentials) = match self.server()? {
            Some(server) => (server, self.credentials(folder)?),
            None => {
                let server = base.server()?.ok_or_else(|| missing("server", "\"smtp://mail.example.org\""))?;
                let own = self.credentials(folder)?;
                (server, if own.is_some() { own } else { base.credentials(folder)? })
            }
        };
        let from = match self.from()? {
            Some(from) => from,
            None => match base.from()? {
                Some(from) => from,
                None => mailbox(&format!("offsite@{}", host_name()))
                    .map_err(|_| missing("from", "\"offsite@example.org\""))?,
            },
        };
        Ok(Account { server, credentials, from, to })
    }
}

impl MailConfig {
    fn keys(&self) -> Keys<'_> {
        let Self { to, from, server, credentials } = self;
        Keys {
            table: "[mail] ",
            to: to.as_ref(),
            from: from.as_ref(),
            server: server.as_ref(),
            credentials: credentials.as_ref(),
        }
    }

    /// Checks the keys that are there.
    pub(super) fn check(&self, folder: &Path) -> Result<(), Fault> {
        let keys = self.keys();
        keys.to()?;
        keys.from()?;
        keys.credentials(folder)?;
        match (keys.server()?, &self.credentials) {
            (None, Some(credentials)) => {
                Err(fault("[mail] credentials", credentials, "they are for a server: name it beside them, with server"))
            }
            _ => Ok(()),
        }
    }

    /// Returns the account that a test mail uses if neither a job nor the digest sends mail.
    pub(super) fn account(&self, folder: &Path) -> Result<Account, Fault> {
        self.keys().account(&self.keys(), 0..0, folder)
    }
}

impl AfterMailConfig {
    /// Returns the mail of a job. `base` has what the table leaves out.
    pub(super) fn mail(&self, span: Range<usize>, base: &MailConfig, folder: &Path) -> Result<JobMail, Fault> {
        let Self { when, to, from, server, credentials } = self;
        let keys = Keys {
            table: "after.mail.",
            to: to.as_ref(),
            from: from.as_ref(),
            server: server.as_ref(),
            credentials: credentials.as_ref(),
        };
        Ok(JobMail { account: keys.account(&base.keys(), span, folder)?, when: when.unwrap_or(When::Always) })
    }
}

impl DigestConfig {
    /// Returns the settings of the digest. `base` has what the table leaves out.
    pub(super) fn settings(&self, base: &MailConfig, folder: &Path) -> Result<DigestSettings, Fault> {
        const TABLE: &str = "[daemon.digest] ";
        let Self { at, time_zone, to, from, server, credentials } = self;
        let keys = Keys {
            table: TABLE,
            to: to.as_ref(),
            from: from.as_ref(),
            server: server.as_ref(),
            credentials: credentials.as_ref(),
        };
        let account = keys.account(&base.keys(), at.span(), folder)?;
        let hour = TimeOfDay::parse(at.get_ref()).map_err(|error| fault(&format!("{TABLE}at"), at, error))?;
        let zone = match time_zone {
            None => Zone::utc(),
            Some(name) => {
                Zone::named(name.get_ref()).map_err(|error| fault(&format!("{TABLE}time_zone"), name, error))?
            }
        };
        let day = Period::days(1).map_err(|error| fault(&format!("{TABLE}at"), at, error))?;
        let time_zone = time_zone.as_ref().map(|name| name.get_ref().clone());
        Ok(DigestSettings { account, days: Interval::new(day, hour, zone), time_zone })
    }
}
