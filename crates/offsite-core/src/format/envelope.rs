//! The first 64 bytes of every object.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{FormatError, Result};
use super::{checksum, codec};

/// The length of an envelope.
pub const ENVELOPE_BYTES: usize = 64;
/// What every object starts with.
const MAGIC: [u8; 8] = *b"OFFSITE\x1a";

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Kind {
    /// The marker of a repository.
    Repository = 1,
    /// A numbered root of a job folder.
    Head = 2,
    /// Where the blocks of a restore point lie.
    Index = 3,
    /// The blocks of a restore point.
    BackupFile = 4,
    /// Ranges that nothing refers to any more.
    ReleaseList = 5,
    /// A reader's claim.
    Pin = 6,
    /// A sign of life of a writer.
    LeaseRenewal = 7,
    /// The start of an exported restore point.
    Export = 8,
    /// The end of an exported restore point.
    ExportEnd = 9,
    /// How far verification has come, and what it has found.
    VerificationNotes = 10,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 10] = [
        Self::Repository,
        Self::Head,
        Self::Index,
        Self::BackupFile,
        Self::ReleaseList,
        Self::Pin,
        Self::LeaseRenewal,
        Self::Export,
        Self::ExportEnd,
        Self::VerificationNotes,
    ];

    /// The version that is written, which is also the newest that is read.
    const fn version(self) -> u16 {
        match self {
            Self::Repository
            | Self::Head
            | Self::Index
            | Self::BackupFile
            | Self::ReleaseList
            | Self::Pin
            | Self::LeaseRenewal
            | Self::Export
            | Self::ExportEnd
            | Self::VerificationNotes => 1,
        }
    }

    /// The kind in words.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Repository => "repository marker",
            Self::Head => "head",
            Self::Index => "index",
            Self::BackupFile => "backup file",
            Self::ReleaseList => "release list",
            Self::Pin => "pin",
            Self::LeaseRenewal => "lease renewal",
            Self::Export => "export",
            Self::ExportEnd => "end of the export",
            Self::VerificationNotes => "verification notes",
        }
    }

    /// The longest record of this kind.
    pub(super) const fn record_bytes_max(self) -> u64 {
        match self {
            Self::Repository | Self::Pin | Self::LeaseRenewal | Self::Export | Self::ExportEnd => 4 << 10,
            Self::VerificationNotes => 4 << 20,
            Self::Head | Self::Index | Self::BackupFile => 16 << 20,
            Self::ReleaseList => 64 << 20,
        }
    }
}

/// How an object's content is protected. Version 1 stores in clear text; the fields are there for suites to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Protection {
    /// The encryption suite; 0 is none.
    pub suite: u16,
    /// Which wrapped key of the referring index or head opens the object; 0 is none.
    pub key_reference: u32,
}

/// The start of an object: what it is, and the length and checksum of the record that follows.
///
/// ```text
///  0  magic "OFFSITE" 0x1a      24  record length u64
///  8  kind u16                  32  record checksum u64
/// 10  version u16               40  critical features u32
/// 12  suite u16                 44  reserved, zero
/// 14  reserved u16, zero        56  checksum of bytes 0..56 u64
/// 16  key reference u32
/// 20  reserved u32, zero
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope {
    /// What the object is.
    pub kind: Kind,
    /// How it is protected.
    pub protection: Protection,
    /// The length of the record after the envelope.
    pub record_bytes: u64,
    /// The checksum of that record.
    pub record_checksum: u64,
}

impl Envelope {
    /// The envelope of `record`.
    #[must_use]
    pub fn of(kind: Kind, record: &[u8]) -> Self {
        Self {
            kind,
            protection: Protection::default(),
            record_bytes: record.len() as u64,
            record_checksum: checksum(record),
        }
    }

    /// The 64 bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; ENVELOPE_BYTES] {
        let mut bytes = [0; ENVELOPE_BYTES];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&(self.kind as u16).to_le_bytes());
        bytes[10..12].copy_from_slice(&self.kind.version().to_le_bytes());
        bytes[12..14].copy_from_slice(&self.protection.suite.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.protection.key_reference.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.record_bytes.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.record_checksum.to_le_bytes());
        let sum = checksum(&bytes[..56]);
        bytes[56..64].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Decodes the envelope at the start of `bytes`, which must be one of `kind`.
    ///
    /// # Errors
    /// [`FormatError`]: too short, not Offsite's, damaged, another kind, a newer version, an unknown feature or suite,
    /// reserved bytes in use, or a record longer than any valid one.
    pub fn decode(kind: Kind, bytes: &[u8]) -> Result<Self> {
        let what = kind.name();
        let Some(bytes) = bytes.first_chunk::<ENVELOPE_BYTES>() else {
            return Err(FormatError::Short { what, bytes: bytes.len() as u64, needed_bytes: ENVELOPE_BYTES as u64 });
        };
        if bytes[..8] != MAGIC {
            return Err(FormatError::Magic(what));
        }
        if read_u64(bytes, 56) != checksum(&bytes[..56]) {
            return Err(FormatError::Checksum(what));
        }
        let found = read_u16(bytes, 8);
        if found != kind as u16 {
            return Err(FormatError::Kind { found, expected: kind as u16 });
        }
        let version = read_u16(bytes, 10);
        if version == 0 || version > kind.version() {
            return Err(FormatError::Version { what, version, known: kind.version() });
        }
        let features = read_u32(bytes, 40);
        if features != 0 {
            return Err(FormatError::Feature(features));
        }
        let protection = Protection { suite: read_u16(bytes, 12), key_reference: read_u32(bytes, 16) };
        if protection.suite != 0 {
            return Err(FormatError::Suite(protection.suite));
        }
        // What is not used is zero, so that an envelope is written in one way only, and a use to come needs a new version.
        let reserved = [&bytes[14..16], &bytes[20..24], &bytes[44..56]].concat();
        if protection.key_reference != 0 || reserved.iter().any(|byte| *byte != 0) {
            return Err(FormatError::invalid(what, "reserved bytes are not zero"));
        }
        let record_bytes = read_u64(bytes, 24);
        if record_bytes > kind.record_bytes_max() {
            return Err(FormatError::Long { what, bytes: record_bytes, limit_bytes: kind.record_bytes_max() });
        }
        Ok(Self { kind, protection, record_bytes, record_checksum: read_u64(bytes, 32) })
    }

    /// The record that follows this envelope in `bytes`, the object from its start.
    ///
    /// # Errors
    /// `Short` if the object ends before the record does, `Checksum` if the record changed.
    pub fn record<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8]> {
        let what = self.kind.name();
        let end = ENVELOPE_BYTES as u64 + self.record_bytes;
        let record = usize::try_from(end).ok().and_then(|end| bytes.get(ENVELOPE_BYTES..end));
        let record = record.ok_or(FormatError::Short { what, bytes: bytes.len() as u64, needed_bytes: end })?;
        if checksum(record) != self.record_checksum {
            return Err(FormatError::Checksum(what));
        }
        Ok(record)
    }
}

/// An object that is one record in an envelope.
///
/// # Errors
/// `Long` if the record is longer than its kind allows.
pub fn encode_record<T: Serialize>(kind: Kind, record: &T) -> Result<Vec<u8>> {
    let record = codec::encode(kind.name(), record)?;
    if record.len() as u64 > kind.record_bytes_max() {
        return Err(FormatError::Long {
            what: kind.name(),
            bytes: record.len() as u64,
            limit_bytes: kind.record_bytes_max(),
        });
    }
    let mut bytes = Vec::with_capacity(ENVELOPE_BYTES + record.len());
    bytes.extend_from_slice(&Envelope::of(kind, &record).encode());
    bytes.extend_from_slice(&record);
    Ok(bytes)
}

/// The record of an object that is nothing else.
///
/// # Errors
/// [`FormatError`]; also for bytes after the record.
pub fn decode_record<T: Serialize + DeserializeOwned>(kind: Kind, bytes: &[u8]) -> Result<T> {
    let envelope = Envelope::decode(kind, bytes)?;
    let record = envelope.record(bytes)?;
    if bytes.len() != ENVELOPE_BYTES + record.len() {
        return Err(FormatError::invalid(kind.name(), "bytes after its end"));
    }
    codec::decode(kind.name(), record)
}

pub(super) fn read_u16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array(bytes, at))
}

pub(super) fn read_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

pub(super) fn read_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

/// `N` bytes from `at` on; callers have checked the length, and zeros would fail the checksum that follows.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..at + N).and_then(|slice| slice.try_into().ok()).unwrap_or([0; N])
}
