//! Frames: stored blocks that say themselves what they are.

use super::checksum;
use super::envelope::{read_u32, read_u64};
use super::error::{FormatError, Result};
use crate::{BlockSize, Digest, DiskNumber, MachineNumber, ObjectId, Sequence};

/// The length of a frame's header; the payload follows it.
pub const HEADER_BYTES: usize = 96;
/// The same as a length on disk.
const HEADER_LENGTH: u32 = 96;
/// What the header's own checksum covers.
const CHECKED_BYTES: usize = 88;
/// What each frame starts with.
const MAGIC: [u8; 4] = *b"OFr\x1a";
/// The version that is written.
const VERSION: u8 = 1;

/// How a payload is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Codec {
    /// The plain bytes, for blocks that do not shrink.
    Plain = 0,
    /// One Zstandard frame (RFC 8878).
    Zstd = 1,
}

/// Which block a frame holds and where it was first written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The file that the frame was first written to.
    pub origin: ObjectId,
    /// Its position among the frames of that file, from 0.
    pub ordinal: u32,
    /// The machine, by its number in the job folder.
    pub machine: MachineNumber,
    /// The machine's disk.
    pub disk: DiskNumber,
    /// The block on the disk.
    pub block: u32,
    /// The restore point that it was first written for.
    pub sequence: Sequence,
}

/// The first 96 bytes of a frame.
///
/// ```text
///  0  magic "OFr" 0x1a     24  disk u16                40  payload length u32
///  4  version u8           26  reserved u16, zero      44  plain length u32
///  5  codec u8             28  block u32               48  payload checksum u64
///  6  suite u8, zero       32  sequence u64            56  digest of the block
///  7  reserved u8, zero                                88  checksum of bytes 0..88 u64
///  8  origin u64
/// 16  ordinal u32
/// 20  machine u32
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Which block it is.
    pub identity: Identity,
    /// How the payload is encoded.
    pub codec: Codec,
    /// The length of the payload.
    pub payload_bytes: u32,
    /// The length of the block.
    pub plain_bytes: u32,
    /// The checksum of the payload as stored.
    pub payload_checksum: u64,
    /// The digest of the block. It ties the payload to the index without decompressing it: a frame of the right block
    /// from another time has another digest.
    pub digest: Digest,
}

impl Header {
    /// The header for `payload`.
    ///
    /// # Errors
    /// `Long` for a payload over 4 MiB: one that does not shrink is stored plain. `Invalid` for an empty one, and for a
    /// plain one that is not as long as the block.
    pub fn of(identity: Identity, codec: Codec, plain_bytes: u32, digest: Digest, payload: &[u8]) -> Result<Self> {
        let payload_bytes = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        check_lengths(codec, payload_bytes.into(), plain_bytes.into())?;
        Ok(Self { identity, codec, payload_bytes, plain_bytes, payload_checksum: checksum(payload), digest })
    }

    /// The length of the frame: header and payload.
    #[must_use]
    pub const fn frame_bytes(&self) -> u32 {
        HEADER_LENGTH + self.payload_bytes
    }

    /// The 96 bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..4].copy_from_slice(&MAGIC);
        bytes[4] = VERSION;
        bytes[5] = self.codec as u8;
        bytes[8..16].copy_from_slice(&self.identity.origin.stored().to_le_bytes());
        bytes[16..20].copy_from_slice(&self.identity.ordinal.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.identity.machine.0.to_le_bytes());
        bytes[24..26].copy_from_slice(&self.identity.disk.0.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.identity.block.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.identity.sequence.0.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.payload_bytes.to_le_bytes());
        bytes[44..48].copy_from_slice(&self.plain_bytes.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.payload_checksum.to_le_bytes());
        bytes[56..88].copy_from_slice(&self.digest.0);
        let sum = checksum(&bytes[..CHECKED_BYTES]);
        bytes[88..96].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Decodes a header, and checks nothing of the payload.
    ///
    /// # Errors
    /// [`FormatError`]: too short, no frame, damaged, a newer version, or lengths that no frame has.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        const WHAT: &str = "frame";
        if bytes.len() >= MAGIC.len() && !bytes.starts_with(&MAGIC) {
            return Err(FormatError::Magic(WHAT));
        }
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else {
            let needed_bytes = HEADER_BYTES as u64;
            return Err(FormatError::Short { what: WHAT, bytes: bytes.len() as u64, needed_bytes });
        };
        if read_u64(bytes, CHECKED_BYTES) != checksum(&bytes[..CHECKED_BYTES]) {
            return Err(FormatError::Checksum(WHAT));
        }
        if bytes[4] != VERSION {
            return Err(FormatError::Version { what: WHAT, version: bytes[4].into(), known: VERSION.into() });
        }
        let codec = match bytes[5] {
            0 => Codec::Plain,
            1 => Codec::Zstd,
            other => return Err(FormatError::invalid(WHAT, format!("codec {other} is not known"))),
        };
        if bytes[6] != 0 {
            return Err(FormatError::Suite(bytes[6].into()));
        }
        if bytes[7] != 0 || bytes[26..28] != [0, 0] {
            return Err(FormatError::invalid(WHAT, "reserved bytes are not zero"));
        }
        let header = Self {
            identity: Identity {
                origin: ObjectId::from_stored(read_u64(bytes, 8)),
                ordinal: read_u32(bytes, 16),
                machine: MachineNumber(read_u32(bytes, 20)),
                disk: DiskNumber(u16::from_le_bytes([bytes[24], bytes[25]])),
                block: read_u32(bytes, 28),
                sequence: Sequence(read_u64(bytes, 32)),
            },
            codec,
            payload_bytes: read_u32(bytes, 40),
            plain_bytes: read_u32(bytes, 44),
            payload_checksum: read_u64(bytes, 48),
            digest: Digest(std::array::from_fn(|position| bytes[56 + position])),
        };
        check_lengths(codec, header.payload_bytes.into(), header.plain_bytes.into())?;
        Ok(header)
    }

    /// Decodes the frame that `bytes` are, and returns its header and its payload, whose checksum has been compared.
    ///
    /// # Errors
    /// As for [`Header::decode`]; `Short` or `Long` if the frame has another length; `Checksum` if the payload changed.
    pub fn decode_frame(bytes: &[u8]) -> Result<(Self, &[u8])> {
        const WHAT: &str = "frame";
        let header = Self::decode(bytes)?;
        let (length, expected) = (bytes.len() as u64, u64::from(header.frame_bytes()));
        if length < expected {
            return Err(FormatError::Short { what: WHAT, bytes: length, needed_bytes: expected });
        }
        if length > expected {
            return Err(FormatError::Long { what: WHAT, bytes: length, limit_bytes: expected });
        }
        let payload = &bytes[HEADER_BYTES..];
        if checksum(payload) != header.payload_checksum {
            return Err(FormatError::Checksum(WHAT));
        }
        Ok((header, payload))
    }
}

fn check_lengths(codec: Codec, payload_bytes: u64, plain_bytes: u64) -> Result<()> {
    let limit_bytes = u64::from(BlockSize::MiB4.bytes());
    let bytes = payload_bytes.max(plain_bytes);
    if payload_bytes == 0 || plain_bytes == 0 {
        return Err(FormatError::invalid("frame", "it is empty"));
    }
    if bytes > limit_bytes {
        return Err(FormatError::Long { what: "frame", bytes, limit_bytes });
    }
    if codec == Codec::Plain && payload_bytes != plain_bytes {
        return Err(FormatError::invalid("frame", "a plain payload has the block's length"));
    }
    Ok(())
}
