//! Requests as they come over the wire: delayed, counted, and failed on purpose.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Body as _, Frame, Incoming};
use s3s::service::S3Service;

use crate::Inner;
use crate::faults::{Effect, Operation};

pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Answers one request; an error closes the connection.
pub(crate) async fn answer(inner: Arc<Inner>, s3: S3Service, request: Request<Incoming>) -> io::Result<Response<Body>> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let is_copy = request.headers().contains_key("x-amz-copy-source");
    let operation = Operation::of(request.method(), &query, is_copy);
    let name = request.uri().path().to_owned();
    let mut counted = inner.ledger.begin(operation, request.body().size_hint().exact().unwrap_or(0));
    let answer = answer_counted(&inner, s3, request, operation, &query, &name).await;
    counted.bytes_out = answer.as_ref().map_or(0, announced_bytes);
    let wait = inner.time_of(counted.bytes_out);
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
    answer
}

impl Inner {
    /// How long bytes take at the rate that was set.
    fn time_of(&self, bytes: u64) -> Duration {
        match self.rate_bytes_per_sec.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            rate => Duration::from_secs_f64(bytes as f64 / rate as f64),
        }
    }
}

async fn answer_counted(
    inner: &Inner,
    s3: S3Service,
    request: Request<Incoming>,
    operation: Operation,
    query: &str,
    name: &str,
) -> io::Result<Response<Body>> {
    let latency = Duration::from_millis(inner.latency_millis.load(Ordering::Relaxed));
    let wait = latency + inner.time_of(request.body().size_hint().exact().unwrap_or(0));
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
    let head = request.headers().get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let by_reader = [head.unwrap_or_default(), query].iter().any(|text| text.contains(&inner.reader_key_id));
    if by_reader && operation.writes() {
        drain(request).await?;
        return Ok(refusal(403, "AccessDenied"));
    }
    let effect = inner.script.strike(operation, name);
    match effect {
        Some(Effect::StatusBefore(status)) => {
            drain(request).await?;
            return Ok(refusal(status, code_of(status)));
        }
        Some(Effect::ErrorInSuccessBefore) => {
            drain(request).await?;
            return Ok(refusal(200, "InternalError"));
        }
        Some(Effect::DropBefore) => {
            drain(request).await?;
            return Err(io::Error::other("dropped on purpose, before"));
        }
        _ => {}
    }
    let answer = s3.call(request.map(s3s::Body::from)).await.map_err(|error| io::Error::other(format!("{error:?}")))?;
    let mut answer = match effect {
        Some(Effect::StatusAfter(status)) => refusal(status, code_of(status)),
        Some(Effect::ErrorInSuccessAfter) => refusal(200, "InternalError"),
        Some(Effect::DropAfter) => return Err(io::Error::other("dropped on purpose, after")),
        effect => {
            let (head, body) = answer.into_parts();
            let body = match effect {
                Some(Effect::Truncate(bytes)) => truncated(collected(body).await?, bytes),
                Some(Effect::Pieces(bytes)) => in_pieces(collected(body).await?, bytes),
                Some(Effect::Shorten(bytes)) => {
                    let whole = collected(body).await?;
                    let mut answer =
                        Response::from_parts(head, in_pieces(whole.slice(..bytes.min(whole.len())), 1 << 16));
                    answer.headers_mut().remove(http::header::CONTENT_LENGTH);
                    return Ok(answer);
                }
                _ => body.map_err(io::Error::other).boxed_unsync(),
            };
            Response::from_parts(head, body)
        }
    };
    if let Ok(date) = HeaderValue::from_str(&http_date(inner.store.now())) {
        answer.headers_mut().insert(http::header::DATE, date);
    }
    Ok(answer)
}

fn announced_bytes(answer: &Response<Body>) -> u64 {
    let length =
        answer.headers().get(http::header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    length.unwrap_or_else(|| answer.body().size_hint().lower())
}

/// A client that still sends when the answer comes may miss the answer.
async fn drain(request: Request<Incoming>) -> io::Result<()> {
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        frame.map_err(io::Error::other)?;
    }
    Ok(())
}

async fn collected(body: s3s::Body) -> io::Result<Bytes> {
    Ok(body.collect().await.map_err(io::Error::other)?.to_bytes())
}

fn refusal(status: u16, code: &str) -> Response<Body> {
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>On purpose.</Message></Error>");
    let mut answer = Response::new(Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync());
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer
}

fn code_of(status: u16) -> &'static str {
    match status {
        403 => "AccessDenied",
        404 => "NoSuchKey",
        409 => "ConditionalRequestConflict",
        501 => "NotImplemented",
        503 => "SlowDown",
        507 => "QuotaExceeded",
        _ => "InternalError",
    }
}

/// The announced length stands; the connection breaks before.
fn truncated(whole: Bytes, bytes: usize) -> Body {
    let part = whole.slice(..bytes.min(whole.len()));
    let frames = [Ok(Frame::data(part)), Err(io::Error::other("truncated on purpose"))];
    StreamBody::new(stream::iter(frames)).boxed_unsync()
}

fn in_pieces(whole: Bytes, bytes: usize) -> Body {
    let pieces: Vec<io::Result<Frame<Bytes>>> =
        whole.chunks(bytes.max(1)).map(|piece| Ok(Frame::data(whole.slice_ref(piece)))).collect();
    StreamBody::new(stream::iter(pieces)).boxed_unsync()
}

/// As HTTP writes dates.
fn http_date(time: std::time::SystemTime) -> String {
    let mut text = Vec::new();
    let written = s3s::dto::Timestamp::from(time).format(s3s::dto::TimestampFormat::HttpDate, &mut text);
    written.ok().and_then(|()| String::from_utf8(text).ok()).unwrap_or_default()
}
