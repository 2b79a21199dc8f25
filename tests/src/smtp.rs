//! A server of mail in the test's own process. It is as unfriendly as it is told to be, and remembers all that it heard.

mod line;
mod received;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use line::Line;
pub use received::Received;

/// Whether a server speaks TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tls {
    /// It does not.
    #[default]
    None,
    /// It offers STARTTLS.
    Offered,
    /// From the first byte.
    FromTheStart,
}

/// A moment of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// Somebody has connected.
    Greeting,
    /// `EHLO`
    Hello,
    /// `STARTTLS`
    StartTls,
    /// `AUTH`
    Login,
    /// `MAIL FROM`
    Sender,
    /// `RCPT TO`
    Recipient,
    /// `DATA`
    Data,
    /// The mail is there.
    Message,
    /// `QUIT`
    Quit,
}

/// What a server does with those who connect.
#[derive(Debug, Clone, Default)]
pub struct Conduct {
    /// Whether it speaks TLS. Its certificate is for `localhost` and `127.0.0.1`, by [`SmtpServer::authority`].
    pub tls: Tls,
    /// The one user and password that it takes. With them, it takes no mail of those who have not logged in.
    pub login: Option<(&'static str, &'static str)>,
    /// Addresses that it takes no mail for.
    pub strangers: Vec<&'static str>,
    /// What it answers in place of the usual, such as `550 no such user`.
    pub answers: BTreeMap<Moment, &'static str>,
    /// When it stops answering. It stays connected until the other side leaves.
    pub silent_at: Option<Moment>,
}

impl Conduct {
    /// One that answers so at a moment, and is friendly else.
    #[must_use]
    pub fn answering(moment: Moment, answer: &'static str) -> Self {
        Self { answers: BTreeMap::from([(moment, answer)]), ..Self::default() }
    }

    /// One that falls silent at a moment, and is friendly until then.
    #[must_use]
    pub fn silent_at(moment: Moment) -> Self {
        Self { silent_at: Some(moment), ..Self::default() }
    }
}

#[derive(Debug, Default)]
struct State {
    conduct: Mutex<Conduct>,
    received: Mutex<Vec<Received>>,
    heard: Mutex<Vec<String>>,
    is_over: AtomicBool,
}

/// A server of mail on a port of the loopback interface; gone when the value is dropped.
#[derive(Debug)]
pub struct SmtpServer {
    address: SocketAddr,
    state: Arc<State>,
    listening: Option<JoinHandle<()>>,
}

impl SmtpServer {
    /// Starts one.
    ///
    /// # Panics
    /// If there is no port for it.
    #[track_caller]
    #[must_use]
    pub fn start(conduct: Conduct) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap_or_else(|error| panic!("no port: {error}"));
        let address = listener.local_addr().unwrap_or_else(|error| panic!("no address: {error}"));
        let state = Arc::new(State { conduct: Mutex::new(conduct), ..State::default() });
        let shared = state.clone();
        let listening = thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.is_over.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(stream), state) = (stream, shared.clone()) else { continue };
                // Whoever leaves in the middle ends it.
                thread::spawn(move || Conversation::new(&state).hold(stream));
            }
        });
        Self { address, state, listening: Some(listening) }
    }

    /// Where it listens, as the config has it: `smtp://` or, for TLS from the first byte, `smtps://`.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if locked(&self.state.conduct).tls == Tls::FromTheStart { "smtps" } else { "smtp" };
        format!("{scheme}://{}", self.address)
    }

    /// Changes how it treats those who connect from now on.
    pub fn behave(&self, conduct: Conduct) {
        *locked(&self.state.conduct) = conduct;
    }

    /// The mails that it has taken so far, in order.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        locked(&self.state.received).clone()
    }

    /// All lines that it was told but those of mails, in order.
    #[must_use]
    pub fn heard(&self) -> Vec<String> {
        locked(&self.state.heard).clone()
    }

    /// The certificate of the authority that vouches for it, a file of PEM.
    #[must_use]
    pub fn authority() -> PathBuf {
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src/smtp/authority.pem"))
    }
}

impl Drop for SmtpServer {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::SeqCst);
        // It waits for one to connect.
        if TcpStream::connect(self.address).is_ok()
            && let Some(listening) = self.listening.take()
        {
            // It does not panic.
            let _ = listening.join();
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// With one who has connected.
struct Conversation<'a> {
    state: &'a State,
    conduct: Conduct,
    user: Option<String>,
    from: String,
    to: Vec<String>,
}

impl<'a> Conversation<'a> {
    fn new(state: &'a State) -> Self {
        let conduct = locked(&state.conduct).clone();
        Self { state, conduct, user: None, from: String::new(), to: Vec::new() }
    }

    fn hold(mut self, stream: TcpStream) -> io::Result<()> {
        let mut line = Line::Plain(stream);
        if self.conduct.tls == Tls::FromTheStart {
            line = line.encrypted()?;
        }
        self.answer(&mut line, Moment::Greeting, "220 mail.test ready")?;
        loop {
            let told = line.read()?;
            locked(&self.state.heard).push(told.clone());
            let verb: String = told.chars().take_while(char::is_ascii_alphabetic).collect();
            match verb.to_ascii_uppercase().as_str() {
                "EHLO" => {
                    let offers = self.offers(&line);
                    self.answer(&mut line, Moment::Hello, &offers)?;
                }
                "STARTTLS" => {
                    if self.answer(&mut line, Moment::StartTls, "220 go ahead")? {
                        line = line.encrypted()?;
                    }
                }
                "AUTH" => self.log_in(&mut line, &told)?,
                "MAIL" if self.conduct.login.is_some() && self.user.is_none() => line.write("530 log in first")?,
                "MAIL" => {
                    self.from = address(&told);
                    self.answer(&mut line, Moment::Sender, "250 fine")?;
                }
                "RCPT" if self.conduct.strangers.contains(&address(&told).as_str()) => {
                    line.write("550 no such user")?
                }
                "RCPT" => {
                    if self.answer(&mut line, Moment::Recipient, "250 fine")? {
                        self.to.push(address(&told));
                    }
                }
                "DATA" => {
                    if self.answer(&mut line, Moment::Data, "354 go ahead")? {
                        self.take(&mut line)?;
                    }
                }
                "QUIT" => {
                    self.answer(&mut line, Moment::Quit, "221 bye")?;
                    return Ok(());
                }
                _ => line.write("500 what?")?,
            }
        }
    }

    /// Answers as it is told to, or with `usual`; whether that was a friendly answer.
    fn answer(&self, line: &mut Line, moment: Moment, usual: &str) -> io::Result<bool> {
        if self.conduct.silent_at == Some(moment) {
            // Until the other side leaves, which is an error here.
            loop {
                line.read()?;
            }
        }
        let answer = self.conduct.answers.get(&moment).copied().unwrap_or(usual);
        line.write(answer)?;
        Ok(answer.starts_with(['2', '3']))
    }

    fn offers(&self, line: &Line) -> String {
        let mut offers = vec!["mail.test", "8BITMIME"];
        if self.conduct.tls == Tls::Offered && !line.is_encrypted() {
            offers.push("STARTTLS");
        }
        if self.conduct.login.is_some() {
            offers.push("AUTH PLAIN LOGIN");
        }
        let last = offers.pop().unwrap_or_default();
        offers.iter().map(|offer| format!("250-{offer}\r\n")).collect::<String>() + "250 " + last
    }

    fn log_in(&mut self, line: &mut Line, told: &str) -> io::Result<()> {
        let is_right = self.conduct.login.is_some_and(|(user, password)| {
            told == format!("AUTH PLAIN {}", STANDARD.encode(format!("\0{user}\0{password}")))
        });
        let usual = if is_right { "235 welcome" } else { "535 wrong user or password" };
        if self.answer(line, Moment::Login, usual)? {
            self.user = self.conduct.login.map(|(user, _)| user.to_owned());
        }
        Ok(())
    }

    fn take(&mut self, line: &mut Line) -> io::Result<()> {
        let mut lines = Vec::new();
        loop {
            let told = line.read()?;
            if told == "." {
                break;
            }
            lines.push(told.strip_prefix('.').map(str::to_owned).unwrap_or(told));
        }
        if self.answer(line, Moment::Message, "250 taken")? {
            let (from, to) = (std::mem::take(&mut self.from), std::mem::take(&mut self.to));
            let (is_encrypted, user) = (line.is_encrypted(), self.user.clone());
            locked(&self.state.received).push(Received { from, to, is_encrypted, user, lines });
        }
        Ok(())
    }
}

/// What is between the angle brackets of a command.
fn address(told: &str) -> String {
    told.split(['<', '>']).nth(1).unwrap_or_default().to_owned()
}
