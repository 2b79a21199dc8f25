//! What the fuzz targets share: objects whose checksums are right, so that a fuzzer gets past them, and a world for the engine.

pub mod export;

use offsite_core::Timestamp;
use offsite_core::format::{ENVELOPE_BYTES, Envelope, Kind, checksum};

/// The kinds of objects, by a number.
pub fn kind(number: u8) -> Kind {
    Kind::ALL[usize::from(number) % Kind::ALL.len()]
}

/// `record` in a valid envelope, and what follows it.
pub fn object(kind: Kind, record: &[u8], rest: &[u8]) -> Vec<u8> {
    [&Envelope::of(kind, record).encode()[..], record, rest].concat()
}

/// The object that `bytes` would be, had it the right checksums and a record that reaches to its end at most.
///
/// This lets the corpus be whole objects: the raw and the mended reading of one input explore the same file.
pub fn mended(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = bytes.to_vec();
    let room = bytes.len().checked_sub(ENVELOPE_BYTES)? as u64;
    let length = u64::from_le_bytes(bytes[24..32].try_into().ok()?).min(room);
    let end = ENVELOPE_BYTES + usize::try_from(length).ok()?;
    bytes[24..32].copy_from_slice(&length.to_le_bytes());
    let sum = checksum(&bytes[ENVELOPE_BYTES..end]);
    bytes[32..40].copy_from_slice(&sum.to_le_bytes());
    let sum = checksum(&bytes[..56]);
    bytes[56..64].copy_from_slice(&sum.to_le_bytes());
    Some(bytes)
}

/// A small file that tells what it is, as media and catalogues have them: a line with kind and checksum, then the body.
pub fn sealed(kind: &str, body: &str) -> Vec<u8> {
    format!("{kind} 1 {:016x}\n{body}", checksum(body.as_bytes())).into_bytes()
}

/// A time by which all that is made here is in the past.
pub fn now() -> Timestamp {
    Timestamp::from_unix_secs(1_800_000_000).expect("a time in range")
}

/// Runs the engine to its end: in this thread, by a clock that never waits, with the same random numbers each time.
pub fn run<T>(work: impl Future<Output = T>) -> T {
    run_with(1, work)
}

/// The same with the random numbers of a seed. What goes on in one run where another ended needs others, as ids are never used twice.
pub fn run_with<T>(seed: u64, work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let _world = offsite::simulation::enter(seed);
    runtime.expect("a runtime").block_on(work)
}
