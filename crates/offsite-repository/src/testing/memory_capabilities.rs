//! What a repository in memory can do beyond the verbs.

use std::ops::Range;

use async_trait::async_trait;
use bytes::BytesMut;

use super::memory::{Memory, Object, failed};
use crate::{CloneRange, ErrorKind, Extent, Key, Links, Patch, Piece, Reclaim, Result, Retain};

#[async_trait]
impl Links for Memory {
    async fn is_linked(&self, key: &Key) -> Result<bool> {
        self.turn().await;
        Ok(self.lock().object(key, "look for links of")?.is_linked)
    }
}

#[async_trait]
impl Reclaim for Memory {
    fn punch_granularity_bytes(&self) -> u64 {
        self.granule()
    }

    async fn punch(&self, key: &Key, ranges: &[Range<u64>]) -> Result<()> {
        self.turn().await;
        let granule = self.granule();
        let mut state = self.lock();
        let object = state.object(key, "punch")?;
        for range in ranges {
            object.slice(key, "punch", range)?;
        }
        object.refuse_linked(key, "punch")?;
        let length = object.bytes.len() as u64;
        for range in ranges {
            for hole in granules(range, length, granule) {
                object.holes.insert(hole);
                let bounds = index(hole * granule)..index((hole + 1) * granule).min(index(length));
                object.change(|bytes| bytes[bounds].fill(0));
            }
        }
        Ok(())
    }

    async fn allocated_bytes(&self, key: &Key) -> Result<u64> {
        self.turn().await;
        let granule = self.granule();
        Ok(self.lock().object(key, "measure")?.allocated_bytes(granule))
    }
}

#[async_trait]
impl CloneRange for Memory {
    fn clone_granularity_bytes(&self) -> u64 {
        self.granule()
    }

    async fn create_from(&self, key: &Key, pieces: &[Piece]) -> Result<()> {
        self.turn().await;
        let granule = self.granule();
        let mut state = self.lock();
        if state.objects.contains_key(key.as_str()) {
            return Err(failed(ErrorKind::AlreadyExists, "clone into", key));
        }
        let mut bytes = BytesMut::new();
        for (number, piece) in pieces.iter().enumerate() {
            let last = number + 1 == pieces.len();
            if piece.range.start % granule != 0 || (!last && piece.range.end % granule != 0) {
                let detail = format!("a piece's ends are not multiples of {granule}");
                return Err(failed(ErrorKind::Unsupported, "clone into", key).with_detail(detail));
            }
            let source = state.object(&piece.key, "clone")?;
            bytes.extend_from_slice(&source.slice(&piece.key, "clone", &piece.range)?);
        }
        if bytes.len() as u64 > self.shared.options.object_bytes_max {
            return Err(failed(ErrorKind::Unsupported, "clone into", key).with_detail("it would be too large"));
        }
        if !state.room_for(bytes.len() as u64, &self.shared.options) {
            return Err(failed(ErrorKind::NoSpace, "clone into", key));
        }
        state.objects.insert(key.as_str().to_owned(), Object { bytes: bytes.freeze(), ..Object::default() });
        Ok(())
    }
}

#[async_trait]
impl Patch for Memory {
    async fn write_extents(&self, key: &Key, extents: Vec<Extent>) -> Result<()> {
        self.turn().await;
        let granule = self.granule();
        let mut state = self.lock();
        state.object(key, "patch")?.refuse_linked(key, "patch")?;
        let length = state.object(key, "patch")?.bytes.len() as u64;
        let mut new_length = length;
        let mut filled = 0;
        for extent in &extents {
            let (offset, end) = (extent.offset, extent.end());
            if offset > new_length {
                let detail = format!("it has {new_length} bytes, and was to be written from {offset} on");
                return Err(failed(ErrorKind::Corrupt, "patch", key).with_detail(detail));
            }
            if end > self.shared.options.object_bytes_max {
                let error = failed(ErrorKind::Unsupported, "patch", key);
                return Err(error.with_detail("it would be too large"));
            }
            new_length = new_length.max(end);
            let touched = offset / granule..end.div_ceil(granule);
            filled += state.object(key, "patch")?.holes.range(touched).count() as u64 * granule;
        }
        if !state.room_for(new_length - length + filled, &self.shared.options) {
            return Err(failed(ErrorKind::NoSpace, "patch", key));
        }
        let object = state.object(key, "patch")?;
        for extent in &extents {
            let touched = extent.offset / granule..extent.end().div_ceil(granule);
            object.holes.retain(|hole| !touched.contains(hole));
        }
        object.change(|bytes| {
            bytes.resize(index(new_length), 0);
            for extent in &extents {
                let mut at = index(extent.offset);
                for chunk in &extent.chunks {
                    bytes[at..at + chunk.len()].copy_from_slice(chunk);
                    at += chunk.len();
                }
            }
        });
        Ok(())
    }
}

#[async_trait]
impl Retain for Memory {
    async fn retain_until(&self, key: &Key, until_unix_secs: i64) -> Result<()> {
        self.turn().await;
        let mut state = self.lock();
        let now = state.now();
        let object = state.object(key, "retain")?;
        if until_unix_secs <= now || object.retained_until.is_some_and(|until| until_unix_secs < until) {
            let detail = "a date of retention only moves forward";
            return Err(failed(ErrorKind::PermissionDenied, "retain", key).with_detail(detail));
        }
        object.retained_until = Some(until_unix_secs);
        Ok(())
    }

    async fn retained_until(&self, key: &Key) -> Result<Option<i64>> {
        self.turn().await;
        Ok(self.lock().object(key, "read the retention of")?.retained_until)
    }
}

/// An offset into memory; it was compared with a length in memory before.
fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

/// The whole granules inside a range. The last granule of an object is whole even where the object ends inside it.
pub(super) fn granules(range: &Range<u64>, length: u64, granule: u64) -> Range<u64> {
    let end = if range.end == length { length.div_ceil(granule) } else { range.end / granule };
    range.start.div_ceil(granule)..end
}
