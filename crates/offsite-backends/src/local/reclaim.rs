//! Punching holes.

use std::ops::Range;

use async_trait::async_trait;
use offsite_repository::{Key, Reclaim, Result};
use rustix::fs::{self, FallocateFlags, OFlags};
use rustix::io::retry_on_intr;

use super::errors::doubt;
use super::errors::fault;
use super::links::refuse_linked;
use super::probe::allocated_bytes;
use super::repository::Local;
use super::root::{Root, past_end};

#[async_trait]
impl Reclaim for Local {
    fn punch_granularity_bytes(&self) -> u64 {
        self.shared.abilities.punch_granule.unwrap_or(1)
    }

    async fn punch(&self, key: &Key, ranges: &[Range<u64>]) -> Result<()> {
        let (ranges, granule) = (ranges.to_vec(), self.punch_granularity_bytes());
        self.run("punch", key, move |shared, key| punch(&shared.root, key, &ranges, granule)).await
    }

    async fn allocated_bytes(&self, key: &Key) -> Result<u64> {
        self.run("measure", key, |shared, key| {
            let opened = shared.root.open_file(key, OFlags::RDONLY);
            opened.map(|(_, stat)| allocated_bytes(&stat)).map_err(|errno| fault("measure", key, errno))
        })
        .await
    }
}

fn punch(root: &Root, key: &Key, ranges: &[Range<u64>], granule: u64) -> Result<()> {
    let (file, stat) = root.open_file(key, OFlags::RDWR).map_err(|errno| fault("punch", key, errno))?;
    let length = u64::try_from(stat.st_size).unwrap_or(0);
    if let Some(wrong) = ranges.iter().find(|range| range.start > range.end || range.end > length) {
        return Err(past_end("punch", key, wrong, length));
    }
    let holes = holes(ranges, length, granule);
    if !holes.is_empty() {
        refuse_linked("punch", key, &stat)?;
    }
    for hole in &holes {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        retry_on_intr(|| fs::fallocate(&file, flags, hole.start, hole.end - hole.start))
            .map_err(|errno| fault("punch", key, errno))?;
    }
    if holes.is_empty() {
        return Ok(());
    }
    retry_on_intr(|| fs::fdatasync(&file)).map_err(|errno| doubt("punch", key, errno, "punch it again"))
}

/// The whole granules inside the ranges.
///
/// The last granule of an object is whole even where the object ends inside it.
fn holes(ranges: &[Range<u64>], length: u64, granule: u64) -> Vec<Range<u64>> {
    let mut holes: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        let start = range.start.next_multiple_of(granule);
        let end = if range.end == length { length.next_multiple_of(granule) } else { range.end / granule * granule };
        match holes.last_mut() {
            _ if start >= end => {}
            // One call instead of two: a hole costs more than its length.
            Some(last) if last.end == start => last.end = end,
            _ => holes.push(start..end),
        }
    }
    holes
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "ranges of an object, not collections of numbers")]
mod tests {
    use super::*;

    #[test]
    fn holes_lie_inside_the_ranges() {
        assert_eq!(holes(&[0..8, 8..16, 17..31, 40..44, 50..50, 56..65], 100, 8), [0..16, 56..64]);
        assert_eq!(holes(&[1..25, 25..33], 100, 8), [8..24]);
        assert_eq!(holes(&[1..24, 24..33], 100, 8), [8..32]);
        assert_eq!(holes(&[90..100], 100, 8), [96..104]);
        assert_eq!(holes(&[97..100], 100, 8), []);
        assert_eq!(holes(&[100..100], 100, 8), []);
        assert_eq!(holes(&[3..7], 100, 8), []);
    }
}
