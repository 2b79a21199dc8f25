//! A mail as a server has taken it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A mail as a server has taken it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The address of the sender.
    pub from: String,
    /// The addresses of the recipients.
    pub to: Vec<String>,
    /// Whether it came over TLS.
    pub is_encrypted: bool,
    /// Who had logged in.
    pub user: Option<String>,
    /// The mail, line by line.
    pub lines: Vec<String>,
}

impl Received {
    /// The value of a header, unfolded. It is not decoded.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        header(&self.lines, name)
    }

    /// The part of this type, `text/plain` or `text/html`, decoded.
    ///
    /// # Panics
    /// If there is no such part, or it is encoded in no way that this knows.
    #[track_caller]
    #[must_use]
    pub fn part(&self, kind: &str) -> String {
        let boundary = self.header("Content-Type").unwrap_or_default();
        let boundary = boundary.split("boundary=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
        let separator = format!("--{boundary}");
        let parts = self.lines.split(|line| line.starts_with(&separator)).skip(1);
        let is_kind = |part: &&[String]| header(part, "Content-Type").is_some_and(|value| value.starts_with(kind));
        let part = parts.into_iter().find(is_kind).unwrap_or_else(|| panic!("no {kind} in {:#?}", self.lines));
        let body: Vec<&str> = part.iter().skip_while(|line| !line.is_empty()).skip(1).map(String::as_str).collect();
        match header(part, "Content-Transfer-Encoding").as_deref() {
            Some("7bit" | "8bit") => body.join("\n"),
            Some("quoted-printable") => unquoted(&body.join("\n")),
            Some("base64") => {
                let bytes = STANDARD.decode(body.concat()).unwrap_or_else(|error| panic!("{error}: {body:?}"));
                String::from_utf8_lossy(&bytes).replace("\r\n", "\n")
            }
            encoding => panic!("{encoding:?} is no encoding"),
        }
    }
}

fn header(lines: &[String], name: &str) -> Option<String> {
    let head: Vec<&String> =
        lines.iter().skip_while(|line| line.is_empty()).take_while(|line| !line.is_empty()).collect();
    let is_named = |line: &&String| line.split_once(':').is_some_and(|(found, _)| found.eq_ignore_ascii_case(name));
    let at = head.iter().position(is_named)?;
    let more = head.iter().skip(at + 1).take_while(|line| line.starts_with([' ', '\t']));
    let first = head.get(at)?.split_once(':')?.1.trim().to_owned();
    Some(more.fold(first, |value, line| value + " " + line.trim()))
}

/// Quoted-printable text.
fn unquoted(text: &str) -> String {
    let text = text.replace("=\n", "");
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok());
        match (first, code) {
            (b'=', Some(byte)) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
