//! What was asked of the server.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::faults::Operation;

/// Numbers of requests and bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests by what they asked for, failed ones included.
    pub requests: BTreeMap<Operation, u64>,
    /// Bytes of the bodies of requests.
    pub bytes_in: u64,
    /// Bytes of the bodies of answers.
    pub bytes_out: u64,
    /// The most parts that were being uploaded at one time.
    pub parts_in_flight_max: u64,
    /// The most objects or ranges that were being read at one time.
    pub reads_in_flight_max: u64,
}

impl Counts {
    /// The requests of an operation.
    #[must_use]
    pub fn of(&self, operation: Operation) -> u64 {
        self.requests.get(&operation).copied().unwrap_or(0)
    }

    /// All requests.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.requests.values().sum()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<(Counts, u64, u64)>);

impl Ledger {
    pub(crate) fn begin(&self, operation: Operation, bytes: u64) -> InFlight<'_> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (counts, parts, reads) = &mut *inner;
        *counts.requests.entry(operation).or_default() += 1;
        counts.bytes_in += bytes;
        *parts += u64::from(operation == Operation::UploadPart);
        *reads += u64::from(operation == Operation::GetObject);
        counts.parts_in_flight_max = counts.parts_in_flight_max.max(*parts);
        counts.reads_in_flight_max = counts.reads_in_flight_max.max(*reads);
        InFlight { ledger: self, operation, bytes_out: 0 }
    }

    pub(crate) fn snapshot(&self) -> Counts {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    pub(crate) fn reset(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0 = Counts::default();
    }
}

/// A request that is being answered, until it is dropped: also where the client goes away meanwhile.
pub(crate) struct InFlight<'a> {
    ledger: &'a Ledger,
    operation: Operation,
    pub(crate) bytes_out: u64,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let mut inner = self.ledger.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (counts, parts, reads) = &mut *inner;
        counts.bytes_out += self.bytes_out;
        *parts -= u64::from(self.operation == Operation::UploadPart);
        *reads -= u64::from(self.operation == Operation::GetObject);
    }
}
