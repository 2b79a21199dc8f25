//! The hidden objects that name an upload: records and claims.

/// The folder of the records.
pub(super) const UPLOADS: &str = "uploads";
/// The folder of the claims.
pub(super) const CLAIMS: &str = "claims";
/// How the names of probes' folders begin.
pub(super) const PROBE: &str = "probe-";
/// No record or claim is longer.
pub(super) const RECORD_BYTES_MAX: u64 = 8 << 10;

/// The content of a record or a claim.
pub(super) fn record_of(id: &str, name: &str) -> String {
    format!("{id}\n{name}\n")
}

/// The upload id and the name in a record or a claim.
pub(super) fn parse_record(bytes: &[u8]) -> Option<(String, String)> {
    let mut lines = std::str::from_utf8(bytes).ok()?.lines();
    Some((lines.next()?.to_owned(), lines.next()?.to_owned()))
}
