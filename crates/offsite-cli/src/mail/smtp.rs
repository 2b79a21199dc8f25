//! The delivery of mails to a server. Each step ends in bounded time.

use std::time::{Duration, SystemTime};

use lettre::message::MultiPart;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::extension::{ClientId, MailBodyParameter, MailParameter};
use lettre::transport::smtp::{Error, commands};
use lettre::{Address, Message};
use offsite::model::Timestamp;
use tokio::time::timeout;

use super::account::Account;
use super::credentials::Login;
use super::letter::clean;
use super::outbox::Mail;

/// How long to wait for the answer to `QUIT`. Nothing depends on the answer.
const LEAVE: Duration = Duration::from_secs(5);
/// The greatest number of characters of a server's answer. A longer answer is cut off.
const ANSWER_CHARS_MAX: usize = 300;

/// An open connection to a server.
pub(super) struct Session {
    connection: AsyncSmtpConnection,
    step: Duration,
    /// `true` if a command may still lack its answer. The next command would then get the answer of that one.
    is_broken: bool,
}

impl Session {
    /// Connects and logs in. Each step may take as long as `step`.
    ///
    /// By `smtps://`, and before a login, the server must prove its name with its certificate. Otherwise, the connection is encrypted if
    /// the server offers that, with any certificate. That is no worse than plain text.
    ///
    /// # Errors
    /// What went wrong, and the way out.
    pub(super) async fn open(account: &Account, host: &str, step: Duration) -> Result<Self, String> {
        let server = &account.server;
        let login = account.credentials.as_ref().map(|source| source.read()).transpose()?;
        let hello = hello(host);
        let tls = |is_proven: bool| {
            let parameters = TlsParameters::builder(server.host.clone());
            let parameters =
                parameters.dangerous_accept_invalid_certs(!is_proven).dangerous_accept_invalid_hostnames(!is_proven);
            parameters.build().map_err(|error| format!("no TLS: {}", words(&error)))
        };
        let wrapper = if server.is_tls { Some(tls(true)?) } else { None };
        let address = (server.host.as_str(), server.port);
        let connecting = AsyncSmtpConnection::connect_tokio1(address, Some(step), &hello, wrapper, None);
        let connection = bounded(step, "the connection", connecting).await?;
        let mut session = Self { connection, step, is_broken: false };
        if !server.is_tls && session.connection.can_starttls() {
            let parameters = tls(login.is_some())?;
            bounded(step, "STARTTLS", session.connection.starttls(parameters, &hello)).await?;
        }
        if let Some(login) = login
            && let Err(why) = session.log_in(login).await
        {
            session.close().await;
            return Err(why);
        }
        Ok(session)
    }

    async fn log_in(&mut self, Login { user, password }: Login) -> Result<(), String> {
        const MECHANISMS: [Mechanism; 2] = [Mechanism::Plain, Mechanism::Login];
        if !self.connection.is_encrypted() {
            return Err("credentials are sent over TLS only, and the server offers no STARTTLS: write smtps:// in server, have the \
                        server offer STARTTLS, or leave credentials out"
                .to_owned());
        }
        if self.connection.server_info().get_auth_mechanism(&MECHANISMS).is_none() {
            return Err(
                "the server takes no user and password (no AUTH PLAIN or LOGIN): leave credentials out".to_owned()
            );
        }
        let credentials = Credentials::new(user, password);
        self.is_broken = true;
        match timeout(self.step, self.connection.auth(&MECHANISMS, &credentials)).await {
            Ok(Ok(_)) => {
                self.is_broken = false;
                Ok(())
            }
            // The answer is left out, because it may repeat what was sent.
            Ok(Err(error)) => Err(match error.status() {
                Some(code) => format!("the server refused user and password of credentials ({code})"),
                None => "the connection broke while logging in".to_owned(),
            }),
            Err(_) => Err(silence("the login", self.step)),
        }
    }

    /// Hands over a message. The server has then taken it for at least one recipient. Returns the recipients that the server has refused,
    /// with the reasons.
    ///
    /// # Errors
    /// What went wrong. The server has not said that it has taken the message.
    pub(super) async fn send(&mut self, message: &Message) -> Result<Vec<String>, String> {
        self.is_broken = true;
        let refused = bounded(self.step, "the mail", hand_over(&mut self.connection, message)).await?;
        self.is_broken = false;
        Ok(refused)
    }

    /// Returns `true` if the connection can take another message.
    pub(super) fn is_usable(&self) -> bool {
        !self.is_broken && !self.connection.has_broken()
    }

    /// Says `QUIT`. The answer does not matter.
    pub(super) async fn close(mut self) {
        if self.is_usable() {
            let _ = timeout(self.step.min(LEAVE), self.connection.quit()).await;
        }
    }
}

/// Hands a message over as lettre does. But a recipient that the server refuses does not keep the message from the others.
async fn hand_over(connection: &mut AsyncSmtpConnection, message: &Message) -> Result<Vec<String>, Error> {
    let envelope = message.envelope();
    let bytes = message.formatted();
    let mut parameters = Vec::new();
    let is_ascii = |address: &Address| AsRef::<str>::as_ref(address).is_ascii();
    if !envelope.to().iter().chain(envelope.from()).all(is_ascii) {
        parameters.push(MailParameter::SmtpUtfEight);
    }
    if !bytes.is_ascii() {
        parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
    }
    connection.command(commands::Mail::new(envelope.from().cloned(), parameters)).await?;
    let mut refused = Vec::new();
    let mut last = None;
    for to in envelope.to() {
        if let Err(error) = connection.command(commands::Rcpt::new(to.clone(), Vec::new())).await {
            // There was no answer, so the connection is broken.
            if error.status().is_none() {
                return Err(error);
            }
            refused.push(format!("{to}: {}", words(&error)));
            last = Some(error);
        }
    }
    match last {
        Some(error) if refused.len() == envelope.to().len() => return Err(error),
        _ => {}
    }
    connection.command(commands::Data).await?;
    connection.message(&bytes).await?;
    Ok(refused)
}

async fn bounded<T>(step: Duration, what: &str, doing: impl Future<Output = Result<T, Error>>) -> Result<T, String> {
    match timeout(step, doing).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) if error.is_timeout() => Err(silence(what, step)),
        Ok(Err(error)) => Err(format!("{what} failed: {}", words(&error))),
        Err(_) => Err(silence(what, step)),
    }
}

fn silence(what: &str, step: Duration) -> String {
    format!("{what} had no answer within {} s", step.as_secs())
}

fn words(error: &Error) -> String {
    let text = clean(&error.to_string());
    match text.char_indices().nth(ANSWER_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// Returns how this host greets: by its name, if that is a name of DNS.
fn hello(host: &str) -> ClientId {
    let is_name =
        !host.is_empty() && host.chars().all(|letter| letter.is_ascii_alphanumeric() || ".-".contains(letter));
    if is_name { ClientId::Domain(host.to_owned()) } else { ClientId::default() }
}

/// Returns the message of a mail, with the addresses of an account.
///
/// # Errors
/// Why there is no such message.
pub(super) fn message(mail: &Mail, account: &Account) -> Result<Message, String> {
    let written = Timestamp::parse(&mail.written).map_or(0, |time| time.unix_secs());
    let date = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(written).unwrap_or(0));
    let mut builder = Message::builder().from(account.from.clone()).date(date).subject(mail.subject.as_str());
    for to in &account.to {
        builder = builder.to(to.clone());
    }
    // This keeps other machines from replying.
    let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
    builder
        .message_id(Some(mail.message_id.clone()))
        .raw_header(HeaderValue::new(automatic, "auto-generated".to_owned()))
        .multipart(MultiPart::alternative_plain_html(mail.text.clone(), mail.html.clone()))
        .map_err(|error| format!("it makes no message: {error}"))
}
