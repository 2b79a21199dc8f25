//! Which request fails, and how.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use http::Method;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "S3's own names")]
pub enum Operation {
    PutObject,
    GetObject,
    HeadObject,
    DeleteObject,
    ListObjects,
    CreateUpload,
    UploadPart,
    CopyPart,
    CompleteUpload,
    AbortUpload,
    ListUploads,
    Retention,
    Other,
}

impl Operation {
    /// From a request's line and headers.
    pub(crate) fn of(method: &Method, query: &str, is_copy: bool) -> Self {
        let has = |name: &str| query.split('&').any(|pair| pair.split('=').next() == Some(name));
        match *method {
            _ if has("retention") || has("object-lock") => Self::Retention,
            Method::PUT if has("partNumber") && is_copy => Self::CopyPart,
            Method::PUT if has("partNumber") => Self::UploadPart,
            Method::PUT => Self::PutObject,
            Method::POST if has("uploads") => Self::CreateUpload,
            Method::POST if has("uploadId") => Self::CompleteUpload,
            Method::GET if has("uploads") => Self::ListUploads,
            Method::GET if has("list-type") => Self::ListObjects,
            Method::GET => Self::GetObject,
            Method::HEAD => Self::HeadObject,
            Method::DELETE if has("uploadId") => Self::AbortUpload,
            Method::DELETE => Self::DeleteObject,
            _ => Self::Other,
        }
    }

    /// Whether it changes something.
    pub(crate) fn writes(self) -> bool {
        !matches!(self, Self::GetObject | Self::HeadObject | Self::ListObjects | Self::ListUploads | Self::Other)
    }
}

/// How a request fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing is done, and this status is answered.
    StatusBefore(u16),
    /// It is done, and this status is answered.
    StatusAfter(u16),
    /// Nothing is done, and the connection is closed without an answer.
    DropBefore,
    /// It is done, and the connection is closed without an answer.
    DropAfter,
    /// Nothing is done, and the answer is 200 with an error in its body.
    ErrorInSuccessBefore,
    /// It is done, and the answer is 200 with an error in its body.
    ErrorInSuccessAfter,
    /// So many bytes of the answer's body come, then the connection is closed.
    Truncate(usize),
    /// The answer's body comes in pieces of so many bytes.
    Pieces(usize),
    /// The answer says nothing of the length of its body, and ends it after so many bytes.
    Shorten(usize),
}

/// A failure to come.
#[derive(Debug, Clone)]
pub struct Fault {
    operation: Operation,
    name: String,
    spare: u64,
    times: u64,
    effect: Effect,
}

impl Fault {
    /// The next request of that operation fails once.
    #[must_use]
    pub fn once(operation: Operation, effect: Effect) -> Self {
        Self { operation, name: String::new(), spare: 0, times: 1, effect }
    }

    /// It fails so many times in a row.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    /// It fails for ever.
    #[must_use]
    pub fn always(self) -> Self {
        self.times(u64::MAX)
    }

    /// So many requests succeed before, and as many between any two failures, if it fails more than once. The request that
    /// repeats a failed one succeeds, too, so that no number of requests at once has one of them fail for ever.
    #[must_use]
    pub fn after(mut self, spare: u64) -> Self {
        self.spare = spare;
        self
    }

    /// Only requests for names that end like this fail.
    #[must_use]
    pub fn of(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }
}

/// The failures to come.
#[derive(Debug, Default)]
pub(crate) struct Script(Mutex<Vec<Planned>>);

/// A failure to come.
#[derive(Debug)]
struct Planned {
    fault: Fault,
    /// Requests that succeed before it.
    spare: u64,
    /// Names whose last request failed.
    failed: HashSet<String>,
}

impl Script {
    pub(crate) fn add(&self, fault: Fault) {
        let planned = Planned { spare: fault.spare, failed: HashSet::new(), fault };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(planned);
    }

    pub(crate) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// How this request fails, if it does.
    pub(crate) fn strike(&self, operation: Operation, name: &str) -> Option<Effect> {
        let mut plans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let matching = |fault: &Fault| fault.operation == operation && name.ends_with(&fault.name);
        if plans.iter_mut().any(|planned| matching(&planned.fault) && planned.failed.remove(name)) {
            return None;
        }
        let Some(position) = plans.iter().position(|planned| matching(&planned.fault) && planned.spare == 0) else {
            plans.iter_mut().filter(|planned| matching(&planned.fault)).for_each(|planned| planned.spare -= 1);
            return None;
        };
        let Planned { fault, spare, failed } = &mut plans[position];
        *spare = fault.spare;
        if fault.spare > 0 {
            failed.insert(name.to_owned());
        }
        fault.times = fault.times.saturating_sub(u64::from(fault.times != u64::MAX));
        let effect = fault.effect;
        if fault.times == 0 {
            plans.remove(position);
        }
        Some(effect)
    }
}
