//! What a store's answer means to a caller.
//!
//! No answer is passed on as it came: a store that refuses a signature sends back what was signed, a session's token
//! included. Its code and its message are.

use std::fmt;

use offsite_repository::{Error, ErrorKind};

use super::wire::Trace;

/// The longest text of a store that is repeated.
const TEXT_CHARS_MAX: usize = 300;

/// What a store, or the way to it, answered in place of what was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ErrorReply {
    pub(super) status: Option<u16>,
    /// S3's name of the fault, such as `NoSuchUpload`.
    pub(super) code: String,
    message: String,
}

impl ErrorReply {
    /// From an answer's status and body.
    pub(super) fn of_answer(status: u16, body: &str) -> Self {
        Self { status: Some(status), code: element(body, "Code"), message: element(body, "Message") }
    }

    /// From an error on the way.
    pub(super) fn of_loss(error: &dyn std::error::Error) -> Self {
        // The causes say more than the error, and none of them has the URL.
        let mut cause = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        Self { status: None, code: String::new(), message: short(&cause.to_string()) }
    }

    fn of_store(error: &object_store::Error, trace: &Trace) -> Self {
        let text = error.to_string();
        // Not each call can be traced; then the text says it.
        let told = text.split_once("status code: ").and_then(|(_, rest)| rest.get(..3)?.parse().ok());
        match trace.status().or(told) {
            Some(status) if !(200..300).contains(&status) => Self::of_answer(status, &text),
            status => Self { status, ..Self::of_loss(error) },
        }
    }
}

impl fmt::Display for ErrorReply {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, code, message } = self;
        match status {
            Some(status) => write!(formatter, "the store answered {status}")?,
            None => formatter.write_str("the store gave no answer")?,
        }
        for part in [code, message] {
            if !part.is_empty() {
                write!(formatter, ", {part}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ErrorReply {}

/// The text of the first element of that name, if it is text and no more.
fn element(xml: &str, name: &str) -> String {
    let inner = xml.split_once(&format!("<{name}>")).map(|(_, rest)| rest.split('<').next().unwrap_or_default());
    short(inner.unwrap_or_default())
}

fn short(text: &str) -> String {
    // What is left after a cut could be the beginning of a tag.
    let text = text.split('<').next().unwrap_or_default();
    text.chars().filter(|letter| !letter.is_control()).take(TEXT_CHARS_MAX).collect()
}

/// The error of a call of object_store's.
pub(super) fn of_store(
    action: &'static str,
    place: impl fmt::Display,
    error: &object_store::Error,
    trace: &Trace,
) -> Error {
    if let object_store::Error::Unauthenticated { source, .. } = error
        && let Some(own) = source.downcast_ref::<Error>()
    {
        // There is no key to ask with: nothing was sent.
        return Error::new(own.kind(), action).with_subject(place.to_string()).with_detail(own.to_string());
    }
    let reply = ErrorReply::of_store(error, trace);
    match error {
        object_store::Error::NotFound { .. } if reply.code != "NoSuchBucket" => {
            Error::new(ErrorKind::NotFound, action).with_subject(place.to_string())
        }
        _ => of_answer(action, place, reply),
    }
}

/// The error for an answer that is not the wanted one.
pub(super) fn of_answer(action: &'static str, place: impl fmt::Display, reply: ErrorReply) -> Error {
    let (kind, detail) = meaning(&reply);
    let error = Error::new(kind, action).with_subject(place.to_string());
    let error = if detail.is_empty() { error } else { error.with_detail(detail) };
    error.with_source(reply)
}

fn meaning(reply: &ErrorReply) -> (ErrorKind, &'static str) {
    match (reply.code.as_str(), reply.status) {
        ("NoSuchBucket", _) => (ErrorKind::NotFound, "there is no such bucket; make it with the store's own tools"),
        ("RequestTimeTooSkewed", _) => (ErrorKind::PermissionDenied, "this machine's clock is wrong; set it"),
        ("InvalidAccessKeyId", _) => (ErrorKind::PermissionDenied, "the store does not know this access key"),
        ("SignatureDoesNotMatch", _) => (ErrorKind::PermissionDenied, "the secret key does not fit the access key"),
        ("ExpiredToken" | "TokenRefreshRequired", _) => {
            (ErrorKind::PermissionDenied, "the session's token has expired")
        }
        ("QuotaExceeded" | "ServiceQuotaExceededException" | "XMinioStorageFull", _) | (_, Some(507)) => {
            (ErrorKind::NoSpace, "the store's quota is used up")
        }
        ("EntityTooLarge", _) => (ErrorKind::Unsupported, "the store takes no object or part of that size"),
        ("InvalidObjectState", _) => {
            (ErrorKind::Unavailable, "the object is archived; restore it with the store's own tools")
        }
        ("AuthorizationHeaderMalformed" | "PermanentRedirect" | "TemporaryRedirect", _) | (_, Some(301 | 307)) => {
            (ErrorKind::Unsupported, "the bucket lies in another region; name that one")
        }
        (_, Some(401 | 403)) => (ErrorKind::PermissionDenied, ""),
        (_, Some(404)) => (ErrorKind::NotFound, ""),
        (_, Some(405 | 501)) => (ErrorKind::Unsupported, "the store cannot do this"),
        // Faults of the server, of the way to it, and requests that it takes for wrong.
        _ => (ErrorKind::Unavailable, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_signature_tells_nothing_of_what_was_signed() {
        let body = "<Error><Code>SignatureDoesNotMatch</Code><Message>It does not match.</Message>\
                    <CanonicalRequest>x-amz-security-token:CANARY</CanonicalRequest></Error>";
        let error = of_answer("read", "key", ErrorReply::of_answer(403, body));
        let text = format!("{error} {error:?}");
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert!(text.contains("It does not match.") && !text.contains("CANARY"), "{text}");
    }

    #[test]
    fn answers_are_told_apart_by_what_to_do() {
        let kind = |status, code: &str| {
            of_answer("read", "key", ErrorReply::of_answer(status, &format!("<Error><Code>{code}</Code></Error>")))
                .kind()
        };
        assert_eq!(kind(404, "NoSuchKey"), ErrorKind::NotFound);
        assert_eq!(kind(404, "NoSuchBucket"), ErrorKind::NotFound);
        assert_eq!(kind(403, "AccessDenied"), ErrorKind::PermissionDenied);
        assert_eq!(kind(403, "QuotaExceeded"), ErrorKind::NoSpace);
        assert_eq!(kind(501, "NotImplemented"), ErrorKind::Unsupported);
        assert_eq!(kind(500, "InternalError"), ErrorKind::Unavailable);
        assert_eq!(of_answer("read", "key", ErrorReply::default()).kind(), ErrorKind::Unavailable);
    }
}
