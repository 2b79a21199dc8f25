//! The addresses of a mail, and the server that takes it.

use std::fmt;

use lettre::message::Mailbox;

use super::credentials::CredentialSource;

/// The port at which servers take mail from other servers and from hosts that they know.
const PORT: u16 = 25;
/// The port of TLS from the first byte.
const TLS_PORT: u16 = 465;

/// The sender, the recipients and the server of mails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) server: Server,
    /// User and password. `None` if nobody logs in.
    pub(crate) credentials: Option<CredentialSource>,
    pub(crate) from: Mailbox,
    /// At least one.
    pub(crate) to: Vec<Mailbox>,
}

impl Account {
    /// Returns the recipients as a person reads them.
    pub(crate) fn recipients(&self) -> String {
        self.to.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }
}

/// A server of mail.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Server {
    /// `true` if the server speaks TLS from the first byte. Otherwise, it may offer STARTTLS.
    pub(crate) is_tls: bool,
    /// The name or the address. An IPv6 address has no brackets here.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Server {
    /// Reads `smtp://host:port` or `smtps://host:port`. The port is optional.
    ///
    /// # Errors
    /// What is wrong, and the way out. It does not repeat a text that may hold a password.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        const SHAPE: &str = "write \"smtp://mail.example.org:25\", or \"smtps://mail.example.org:465\"";
        if text.contains('@') {
            return Err(format!(
                "user and password stand in a file that credentials names, and never in the config: {SHAPE}"
            ));
        }
        let wrong = || format!("{text:?} is no server of mail: {SHAPE}");
        let (is_tls, rest) = match (text.strip_prefix("smtp://"), text.strip_prefix("smtps://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => return Err(wrong()),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.strip_prefix('[').map(|rest| rest.split_once(']')) {
            Some(Some((address, port))) if address.parse::<std::net::Ipv6Addr>().is_ok() => (
                address,
                port.strip_prefix(':').ok_or(()).or_else(|()| if port.is_empty() { Ok("") } else { Err(wrong()) })?,
            ),
            Some(_) => return Err(wrong()),
            None => rest.split_once(':').unwrap_or((rest, "")),
        };
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || ".-_:".contains(letter);
        if host.is_empty() || !host.chars().all(is_name) || (rest.ends_with(':')) {
            return Err(wrong());
        }
        let port = match port {
            "" => {
                if is_tls {
                    TLS_PORT
                } else {
                    PORT
                }
            }
            port => port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?,
        };
        Ok(Self { is_tls, host: host.to_owned(), port })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "smtps" } else { "smtp" };
        match self.host.contains(':') {
            true => write!(formatter, "{scheme}://[{}]:{}", self.host, self.port),
            false => write!(formatter, "{scheme}://{}:{}", self.host, self.port),
        }
    }
}

/// Reads an address. A name may stand before it.
///
/// # Errors
/// What is wrong, and the way out.
pub(crate) fn mailbox(text: &str) -> Result<Mailbox, String> {
    text.trim()
        .parse()
        .map_err(|_| format!("{text:?} is no mail address: write \"ops@example.org\", or \"Ops <ops@example.org>\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_and_told_alike() {
        for (text, told) in [
            ("smtp://mail.example.org", "smtp://mail.example.org:25"),
            ("smtps://mail.example.org/", "smtps://mail.example.org:465"),
            ("smtp://127.0.0.1:2525", "smtp://127.0.0.1:2525"),
            ("smtps://[::1]:10465", "smtps://[::1]:10465"),
            ("smtp://[::1]", "smtp://[::1]:25"),
        ] {
            let server = Server::parse(text).unwrap();
            assert_eq!(server.to_string(), told);
            assert_eq!(Server::parse(told), Ok(server));
        }
    }

    #[test]
    fn what_is_no_server_is_refused_with_the_way_out() {
        for text in [
            "",
            "mail.example.org",
            "http://mail.example.org",
            "smtp://",
            "smtp://:25",
            "smtp://host:",
            "smtp://host:0",
            "smtp://host:65536",
            "smtp://host:25/path",
            "smtp://host?tls=required",
            "smtp://ho st",
            "smtp://[::1",
            "smtp://[::1]25",
            "smtp://[host]:25",
            "smtp://a:b:c",
        ] {
            assert!(Server::parse(text).unwrap_err().contains("smtps://mail.example.org:465"), "{text}");
        }
        let secret = Server::parse("smtp://ops:hunter2@host").unwrap_err();
        assert!(secret.contains("credentials") && !secret.contains("hunter2"), "{secret}");
    }

    #[test]
    fn addresses_are_read_with_their_names() {
        assert_eq!(mailbox("Ops Team <ops@example.org>").unwrap().to_string(), "Ops Team <ops@example.org>");
        assert_eq!(mailbox("offsite@vm").unwrap().to_string(), "offsite@vm");
        for text in ["", "ops", "@example.org", "ops@", "a@b@c", "ops@example.org\r\nBcc: x@y"] {
            assert!(mailbox(text).unwrap_err().contains("ops@example.org"), "{text}");
        }
    }
}
