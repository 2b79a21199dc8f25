//! When a long copy commits what has arrived.

use std::time::Duration;

use offsite_repository::{Endpoint, Repository};

use crate::OpenRepository;
use crate::mover::Pace;

/// When a long copy commits what has arrived, so that it is not sent again if the copy is killed.
///
/// A *checkpoint* commits the restore point as it would be if the copy ended there. The copy goes on meanwhile, and its end commits
/// the point as a whole.
///
/// ```
/// use offsite::Checkpoints;
///
/// // A kill costs one in two hundred of the bytes of a copy, and no less than 16 MiB.
/// let checkpoints = Checkpoints::default().with_parts(200).with_bytes_min(16 << 20);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checkpoints {
    /// Of so many parts of a copy, a kill costs about one.
    pub parts: u32,
    /// The smallest number of bytes between two checkpoints. A copy may also have so many bytes on their way.
    pub bytes_min: u64,
    /// The shortest time between two checkpoints of a copy over a network.
    pub pause: Duration,
    /// The shortest time between two checkpoints of a copy between folders of this host.
    pub local_pause: Duration,
}

impl Default for Checkpoints {
    /// A kill costs less than one in a hundred of the bytes of a copy of a GiB or more, and what the link carries while a commit is under
    /// way.
    fn default() -> Self {
        Self { parts: 112, bytes_min: 4 << 20, pause: Duration::ZERO, local_pause: Duration::from_millis(500) }
    }
}

impl Checkpoints {
    /// Sets [`Checkpoints::parts`]. Zero counts as one.
    #[must_use]
    pub fn with_parts(mut self, parts: u32) -> Self {
        self.parts = parts;
        self
    }

    /// Sets [`Checkpoints::bytes_min`].
    #[must_use]
    pub fn with_bytes_min(mut self, bytes: u64) -> Self {
        self.bytes_min = bytes;
        self
    }

    /// Sets [`Checkpoints::pause`] and [`Checkpoints::local_pause`].
    #[must_use]
    pub fn with_pauses(mut self, pause: Duration, local_pause: Duration) -> Self {
        (self.pause, self.local_pause) = (pause, local_pause);
        self
    }

    /// The pace of a copy of so many bytes between these places.
    pub(super) fn pace<'a>(&self, bytes: u64, mut places: impl Iterator<Item = &'a OpenRepository>) -> Pace {
        let part = bytes / u64::from(self.parts.max(1));
        let ahead_bytes = (part / 8 * 3).max(self.bytes_min);
        let leg_bytes = part.saturating_sub(ahead_bytes).max(self.bytes_min);
        let is_local = places.all(|place| place.backend().endpoint() == Endpoint::ThisHost);
        let pause = if is_local { self.local_pause } else { self.pause };
        Pace { leg_bytes, ahead_bytes, pause }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK_BYTES: u64 = 1 << 20;

    /// What a kill finds on its way, read and not committed, with a block more than a leg is to have.
    #[test]
    fn a_kill_costs_less_than_one_in_a_hundred() {
        let gib = 1 << 30;
        for bytes in (1..64).map(|step| gib + step * gib / 8).chain([1 << 40, 1 << 50]) {
            let Pace { leg_bytes, ahead_bytes, .. } = Checkpoints::default().pace(bytes, std::iter::empty());
            let lost = leg_bytes + BLOCK_BYTES + ahead_bytes.min(24 << 20);
            assert!(lost * 100 < bytes, "{bytes}: {lost}");
            assert!(leg_bytes >= bytes / 256, "{bytes}: {leg_bytes}");
        }
        let small = Checkpoints::default().pace(100, std::iter::empty());
        assert_eq!((small.leg_bytes, small.ahead_bytes), (4 << 20, 4 << 20));
        assert_eq!(Checkpoints::default().with_parts(0).pace(gib, std::iter::empty()).leg_bytes, gib / 8 * 5);
    }
}
