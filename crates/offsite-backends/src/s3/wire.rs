//! What every request passes through: how long it may take, and what was answered to each of its tries.

use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper_util::client::legacy::connect::HttpInfo;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
};
use offsite_repository::{StreamDirection, StreamShare};
use tokio::time::{Instant, Sleep, sleep, timeout};

/// What a request may take beside the time that its bytes need.
const BASE: Duration = Duration::from_secs(30);
/// No request takes longer than this, whatever its answer says of its length.
const LONGEST: Duration = Duration::from_secs(24 * 3_600);
/// An answer that does not say its length is taken for this long.
const UNKNOWN_BYTES: u64 = 1 << 20;

/// How long requests may take: as long as their bytes need at the least rate, with all others in flight beside them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub(super) least_rate_bytes_per_sec: u64,
    pub(super) in_flight: u64,
}

impl Pace {
    pub(super) fn of_bytes(self, bytes: u64) -> Duration {
        let shared = bytes.saturating_mul(self.in_flight.max(1));
        BASE.saturating_add(Duration::from_secs(shared / self.least_rate_bytes_per_sec.max(1))).min(LONGEST)
    }
}

/// What came of one try of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// This status.
    Status(u16),
    /// Nothing: it may have been carried out or not, and may be still.
    None,
}

/// What came of each try of a request, in order: object_store repeats some by itself, and reports the last only.
#[derive(Debug, Clone, Default)]
pub(super) struct Trace(Arc<Mutex<Vec<Answer>>>);

impl Trace {
    pub(super) fn answers(&self) -> Vec<Answer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The last status that was answered.
    pub(super) fn status(&self) -> Option<u16> {
        self.answers().iter().rev().find_map(|answer| match answer {
            Answer::Status(status) => Some(*status),
            Answer::None => None,
        })
    }

    /// As the extensions of a request.
    pub(super) fn extensions(&self) -> http::Extensions {
        let mut extensions = http::Extensions::new();
        extensions.insert(self.clone());
        extensions
    }

    fn note(&self, answer: Answer) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
    }
}

/// The address that the newest answer came from.
#[derive(Debug, Clone, Default)]
pub(super) struct Peer(Arc<Mutex<Option<IpAddr>>>);

impl Peer {
    pub(super) fn address(&self) -> Option<IpAddr> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, answer: &HttpResponse) {
        // Clients of other kinds do not tell.
        if let Some(info) = answer.extensions().get::<HttpInfo>() {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(info.remote_addr().ip().to_canonical());
        }
    }
}

/// The client under object_store and under the requests of our own.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) client: HttpClient,
    pub(super) pace: Pace,
    pub(super) peer: Peer,
    pub(super) streams: StreamShare,
}

/// The statuses by which a store says that there are too many requests.
const TOO_MANY: [u16; 2] = [429, 503];

#[async_trait]
impl HttpService for Wire {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let trace = request.extensions().get::<Trace>().cloned();
        let within = self.pace.of_bytes(request.body().content_length() as u64);
        let direction = match *request.method() {
            http::Method::GET | http::Method::HEAD => StreamDirection::Reading,
            _ => StreamDirection::Writing,
        };
        let answer = match timeout(within, self.client.execute(request)).await {
            Ok(answer) => answer,
            Err(_) => {
                self.streams.overloaded(direction);
                Err(late(within))
            }
        };
        if let Ok(answer) = &answer {
            self.peer.note(answer);
            if TOO_MANY.contains(&answer.status().as_u16()) {
                self.streams.overloaded(direction);
            }
        }
        if let Some(trace) = trace {
            trace.note(answer.as_ref().map_or(Answer::None, |answer| Answer::Status(answer.status().as_u16())));
        }
        Ok(answer?.map(|body| {
            let within = self.pace.of_bytes(body.size_hint().exact().unwrap_or(UNKNOWN_BYTES));
            HttpResponseBody::new(TimedBody { body, within, end: Box::pin(sleep(within)), started: Instant::now() })
        }))
    }
}

/// Gives object_store the client that is there already.
#[derive(Debug)]
pub(super) struct Connected(pub(super) HttpClient);

impl HttpConnector for Connected {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(self.0.clone())
    }
}

/// A body that fails if it does not end in time.
struct TimedBody {
    body: HttpResponseBody,
    within: Duration,
    started: Instant,
    end: Pin<Box<Sleep>>,
}

impl Body for TimedBody {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            // Also where bytes keep trickling.
            return Poll::Ready(if self.started.elapsed() > self.within {
                Some(Err(late(self.within)))
            } else {
                frame
            });
        }
        match self.end.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Some(Err(late(self.within)))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[derive(Debug)]
struct Late(Duration);

impl fmt::Display for Late {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "no answer within {} s", self.0.as_secs())
    }
}

impl std::error::Error for Late {}

fn late(within: Duration) -> HttpError {
    HttpError::new(HttpErrorKind::Timeout, Late(within))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_link_is_given_its_time() {
        let pace = Pace { least_rate_bytes_per_sec: 64 << 10, in_flight: 16 };
        assert_eq!(pace.of_bytes(0), Duration::from_secs(30));
        assert_eq!(pace.of_bytes(8 << 20), Duration::from_secs(30 + 16 * 128));
        let broken = Pace { least_rate_bytes_per_sec: 0, in_flight: 0 };
        assert_eq!(broken.of_bytes(u64::MAX), LONGEST);
    }
}
