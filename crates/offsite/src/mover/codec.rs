//! Turns plain blocks into payloads, and back.

use std::cell::RefCell;

use bytes::Bytes;
use offsite_core::format::frame::{Codec, HEADER_BYTES, Header, Identity};
use offsite_core::format::{FormatError, checksum};
use offsite_core::{Digest, MachineNumber};

use super::Wanted;

/// The level of Zstandard. On disk images, level 1 stores 3 % more than level 3 at 1.6 times its speed.
pub(crate) const DEFAULT_LEVEL: i32 = 1;

/// A block that is ready to be stored. Its header lacks only its place.
#[derive(Debug, Clone)]
pub(super) struct Sealed {
    pub(super) codec: Codec,
    pub(super) plain_bytes: u32,
    pub(super) payload: Bytes,
    pub(super) payload_checksum: u64,
    pub(super) digest: Digest,
}

impl Sealed {
    /// Returns the block of a frame with this header and payload.
    pub(super) fn of_frame(header: &Header, payload: Bytes) -> Self {
        let Header { codec, plain_bytes, payload_checksum, digest, .. } = *header;
        Self { codec, plain_bytes, payload, payload_checksum, digest }
    }

    /// Returns the header of this block under `identity`.
    pub(super) fn header(&self, identity: Identity) -> Header {
        Header {
            identity,
            codec: self.codec,
            payload_bytes: u32::try_from(self.payload.len()).unwrap_or(u32::MAX),
            plain_bytes: self.plain_bytes,
            payload_checksum: self.payload_checksum,
            digest: self.digest,
        }
    }

    /// Returns the length of its frame in bytes.
    pub(super) fn frame_bytes(&self) -> u32 {
        u32::try_from(HEADER_BYTES + self.payload.len()).unwrap_or(u32::MAX)
    }
}

thread_local! {
    // Making a context takes longer than compressing a block. So each blocking thread keeps its own.
    static COMPRESSOR: RefCell<Option<(i32, zstd::bulk::Compressor<'static>)>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Returns the digest of a block.
pub(super) fn digest(plain: &[u8]) -> Digest {
    Digest::of(plain)
}

/// Whether a block contains only zeros.
pub(super) fn is_zero(plain: &[u8]) -> bool {
    let (lines, rest) = plain.as_chunks::<64>();
    lines.iter().all(|line| line.iter().fold(0, |sum, byte| sum | byte) == 0) && rest.iter().all(|byte| *byte == 0)
}

/// Compresses a block. Keeps it plain if it would not become shorter by a sixteenth.
pub(super) fn seal(plain: &[u8], digest: Digest, level: i32) -> Sealed {
    let worth = plain.len() - plain.len() / 16;
    let compressed = COMPRESSOR.with_borrow_mut(|slot| {
        if slot.as_ref().is_none_or(|(made_for, _)| *made_for != level) {
            *slot = zstd::bulk::Compressor::new(level).ok().map(|compressor| (level, compressor));
        }
        let (_, compressor) = slot.as_mut()?;
        let mut payload = Vec::with_capacity(zstd::zstd_safe::compress_bound(plain.len()));
        // A failed compression costs space and loses nothing.
        compressor.compress_to_buffer(plain, &mut payload).ok().filter(|length| *length < worth)?;
        Some(payload)
    });
    let (codec, payload) = match compressed {
        Some(payload) => (Codec::Zstd, Bytes::from(payload)),
        None => (Codec::Plain, Bytes::copy_from_slice(plain)),
    };
    let plain_bytes = u32::try_from(plain.len()).unwrap_or(u32::MAX);
    Sealed { codec, plain_bytes, payload_checksum: checksum(&payload), payload, digest }
}

/// Whether there is an intact header of another block's frame, or of a frame that was written at another time.
pub(super) fn is_another(frame: &[u8], wanted: &Wanted, number: MachineNumber) -> bool {
    Header::decode(frame).is_ok_and(|header| {
        let Identity { machine, disk, block, .. } = header.identity;
        (machine, disk, block) != (number, wanted.address.disk, wanted.address.block)
            || header.digest != wanted.at.digest
    })
}

/// Returns the header of a frame and the position of its payload. Fails if it is another frame, or its payload is not as it was
/// stored.
pub(super) fn open_frame(frame: &[u8], wanted: &Wanted, number: MachineNumber) -> Result<(Header, usize), FormatError> {
    let (header, payload) = Header::decode_frame(frame)?;
    let identity = header.identity;
    if (identity.machine, identity.disk, identity.block) != (number, wanted.address.disk, wanted.address.block) {
        return Err(FormatError::Invalid { what: "frame", why: "it holds another block".to_owned() });
    }
    if header.digest != wanted.at.digest {
        let why = "it holds the block as it was at another time".to_owned();
        return Err(FormatError::Invalid { what: "frame", why });
    }
    Ok((header, frame.len() - payload.len()))
}

/// Writes the plain bytes of a frame to `plain`. Fails if they differ from the wanted block.
pub(super) fn unseal(
    frame: &[u8],
    wanted: &Wanted,
    number: MachineNumber,
    plain: &mut Vec<u8>,
) -> Result<(), FormatError> {
    let (header, start) = open_frame(frame, wanted, number)?;
    let payload = &frame[start..];
    plain.clear();
    match header.codec {
        Codec::Plain => plain.extend_from_slice(payload),
        Codec::Zstd => {
            plain.reserve(header.plain_bytes as usize);
            let decompressed = DECOMPRESSOR.with_borrow_mut(|slot| {
                if slot.is_none() {
                    *slot = zstd::bulk::Decompressor::new().ok();
                }
                slot.as_mut().and_then(|decompressor| decompressor.decompress_to_buffer(payload, plain).ok())
            });
            if decompressed.is_none() {
                return Err(FormatError::Invalid { what: "frame", why: "its payload does not decompress".to_owned() });
            }
        }
    }
    if plain.len() != header.plain_bytes as usize || digest(plain) != header.digest {
        return Err(FormatError::Invalid { what: "frame", why: "its block has another digest".to_owned() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use offsite_core::plan::Address;
    use offsite_core::{DiskNumber, MachineName, ObjectId, Sequence, StoredBlock};

    use super::*;

    #[test]
    fn a_frame_of_another_block_or_of_another_time_is_another() {
        let plain = [7; 1_000];
        let sealed = seal(&plain, digest(&plain), DEFAULT_LEVEL);
        let (file, machine, disk) = (ObjectId::new(1, 1), MachineNumber(0), DiskNumber(0));
        let identity = Identity { origin: file, ordinal: 0, machine, disk, block: 3, sequence: Sequence(1) };
        let frame = [&sealed.header(identity).encode()[..], &sealed.payload].concat();
        let is_another = |block, digest| {
            let at = StoredBlock { file, offset: 0, length: sealed.frame_bytes(), digest };
            let address = Address { machine: MachineName::new("web01").unwrap(), disk, block };
            super::is_another(&frame, &Wanted { address, at }, machine)
        };
        assert!(!is_another(3, sealed.digest));
        assert!(is_another(4, sealed.digest) && is_another(3, Digest([9; 32])));
    }

    #[test]
    fn zero_blocks_are_told_from_others_at_every_position() {
        for length in [1, 63, 64, 65, 1000] {
            let mut block = vec![0; length];
            assert!(is_zero(&block));
            for position in [0, length / 2, length - 1] {
                block[position] = 1;
                assert!(!is_zero(&block), "{length} {position}");
                block[position] = 0;
            }
        }
    }

    #[test]
    fn blocks_that_do_not_shrink_stay_plain() {
        let noise: Vec<u8> =
            (0..100_000u64).map(|index| (index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
        let mut state = 1u64;
        let random: Vec<u8> = noise
            .iter()
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()[3]
            })
            .collect();
        assert_eq!(seal(&random, digest(&random), DEFAULT_LEVEL).codec, Codec::Plain);
        let same = [7; 100_000];
        assert_eq!(seal(&same, digest(&same), DEFAULT_LEVEL).codec, Codec::Zstd);
    }
}
