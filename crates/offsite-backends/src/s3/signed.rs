//! Requests that object_store has no call for, through URLs that it signs: how they are sent, and repeated.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderName, HeaderValue, Method};
use object_store::client::{HttpError, HttpRequestBody, HttpResponseBody};
use object_store::path::Path;
use object_store::signer::{SignedUrlOptions, Signer};
use offsite_repository::{Error, ErrorKind, Result};
use tokio::time::sleep;

use super::bucket::Bucket;
use super::errors::{self, ErrorReply};

/// How long a URL is valid: for clocks that differ by some minutes, and a slow answer.
const VALID: Duration = Duration::from_secs(15 * 60);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// No answer of these is longer.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// A request to be signed.
#[derive(Debug, Clone)]
pub(super) struct Request<'a> {
    method: Method,
    /// `None` stands for the bucket itself.
    name: Option<&'a str>,
    query: Vec<(&'static str, String)>,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

/// What was answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    headers: http::HeaderMap,
    pub(super) body: String,
    /// Whether an earlier try of the request may have been carried out.
    pub(super) repeated: bool,
}

/// No answer, or one that blames the server, after all tries.
#[derive(Debug)]
pub(super) struct Unanswered(pub(super) ErrorReply);

impl Answer {
    pub(super) fn error_reply(&self) -> ErrorReply {
        ErrorReply::of_answer(self.status, &self.body)
    }

    /// Also a success may report a fault, in its body.
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status) && !self.body.contains("<Error>")
    }

    /// Whether the server is to blame, and a repetition may help.
    fn is_passing(&self) -> bool {
        let in_success = (200..300).contains(&self.status)
            && ["InternalError", "SlowDown", "ServiceUnavailable"].contains(&self.error_reply().code.as_str());
        in_success || self.status >= 500 && self.status != 501 && self.status != 507 || matches!(self.status, 408 | 429)
    }

    /// The store's time.
    pub(super) fn date_unix_secs(&self) -> Option<i64> {
        let date = self.headers.get(http::header::DATE)?.to_str().ok()?;
        Some(jiff::fmt::rfc2822::parse(date).ok()?.timestamp().as_second())
    }
}

impl<'a> Request<'a> {
    pub(super) fn new(method: Method, name: Option<&'a str>) -> Self {
        Self { method, name, query: Vec::new(), headers: Vec::new(), body: Bytes::new() }
    }

    pub(super) fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn body(mut self, body: String) -> Self {
        self.body = body.into();
        self
    }
}

impl Bucket {
    /// Sends a request that may be repeated.
    pub(super) async fn send(
        &self,
        action: &'static str,
        request: Request<'_>,
    ) -> Result<std::result::Result<Answer, Unanswered>> {
        let mut repeated = false;
        let mut pause = self.options.first_pause;
        let mut left = self.options.retries;
        loop {
            let reply = match self.send_once(action, &request).await? {
                Ok(answer) if !answer.is_passing() => return Ok(Ok(Answer { repeated, ..answer })),
                Ok(answer) => answer.error_reply(),
                Err(reply) => reply,
            };
            if left == 0 {
                return Ok(Err(Unanswered(reply)));
            }
            left -= 1;
            repeated = true;
            sleep(jittered(pause)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Signs anew for each try: keys may change, and signatures expire.
    async fn send_once(
        &self,
        action: &'static str,
        request: &Request<'_>,
    ) -> Result<std::result::Result<Answer, ErrorReply>> {
        let place = || request.name.map_or_else(|| self.location(), str::to_owned);
        let path = request.name.map_or_else(|| Ok(Path::default()), |name| self.path(name))?;
        let malformed = |error: &dyn std::fmt::Display| {
            Error::new(ErrorKind::Unsupported, action).with_subject(place()).with_detail(error.to_string())
        };
        let mut headers = http::HeaderMap::new();
        for (name, value) in &request.headers {
            headers.insert(
                HeaderName::from_static(name),
                HeaderValue::from_str(value).map_err(|error| malformed(&error))?,
            );
        }
        let query = request.query.iter().map(|(name, value)| (*name, value.as_str()));
        let mut options = SignedUrlOptions::new().with_query(query);
        options.signed_headers = headers.clone();
        let url = self.store.signed_url_opts(request.method.clone(), &path, VALID, &options).await;
        let url = url.map_err(|error| errors::of_store(action, place(), &error, &super::wire::Trace::default()))?;
        let mut wire = http::Request::builder()
            .method(request.method.clone())
            .uri(url.as_str())
            .body(HttpRequestBody::from(request.body.clone()))
            // The URL is not to be in the message.
            .map_err(|_| malformed(&"the store's name for it is no URL"))?;
        *wire.headers_mut() = headers;
        let length = HeaderValue::from(request.body.len());
        wire.headers_mut().insert(http::header::CONTENT_LENGTH, length);
        let answer = match self.client.execute(wire).await {
            Ok(answer) => answer,
            Err(error) => return Ok(Err(ErrorReply::of_loss(&error))),
        };
        let (head, body) = answer.into_parts();
        let body = match text_of(body).await {
            Ok(body) => body,
            Err(error) => return Ok(Err(ErrorReply::of_loss(&error))),
        };
        let (status, headers) = (head.status.as_u16(), head.headers);
        Ok(Ok(Answer { status, headers, body, repeated: false }))
    }

    /// As [`Self::send`], where an answer that is no success is an error.
    pub(super) async fn ask(&self, action: &'static str, request: Request<'_>) -> Result<Answer> {
        let place = request.name.map_or_else(|| self.location(), str::to_owned);
        match self.send(action, request).await? {
            Ok(answer) if answer.is_success() => Ok(answer),
            Ok(answer) => Err(errors::of_answer(action, place, answer.error_reply())),
            Err(Unanswered(reply)) => Err(errors::of_answer(action, place, reply)),
        }
    }
}

async fn text_of(body: HttpResponseBody) -> std::result::Result<String, HttpError> {
    let mut stream = body.bytes_stream();
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        bytes.extend_from_slice(&chunk?);
        if bytes.len() > ANSWER_BYTES_MAX {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Half to all of a pause, so that those who fail together do not come back together.
pub(super) fn jittered(pause: Duration) -> Duration {
    let mut random = [0];
    // Without a random number they come back together.
    let _ = getrandom::fill(&mut random);
    pause / 2 + pause / 2 * u32::from(random[0]) / 255
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_success_may_report_a_fault() {
        let answer = |status, body: &str| Answer {
            status,
            headers: http::HeaderMap::new(),
            body: body.to_owned(),
            repeated: false,
        };
        let fault = answer(200, "<Error><Code>InternalError</Code></Error>");
        assert!(!fault.is_success() && fault.is_passing());
        let refusal = answer(200, "<Error><Code>InvalidPart</Code></Error>");
        assert!(!refusal.is_success() && !refusal.is_passing());
        assert!(answer(503, "").is_passing() && !answer(501, "").is_passing() && !answer(412, "").is_passing());
    }
}
