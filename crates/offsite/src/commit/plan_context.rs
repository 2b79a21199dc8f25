//! What operations are planned on: a folder as it is, or as it would be after planned operations.

use offsite_core::plan::{Files, Reclaiming};
use offsite_core::{Head, ObjectId};

use crate::commit::new_index::{NewIndex, PointIndex, encode_index};
use crate::reader::indexes::Indexes;
use crate::{OpenRepository, Result};

/// Makes ids for new objects: the ids of one epoch, in ascending order.
#[derive(Debug)]
pub(crate) struct Minter {
    epoch: u32,
    count: u32,
}

impl Minter {
    pub(crate) const fn new(epoch: u32) -> Self {
        Self { epoch, count: 0 }
    }

    /// Makes ids that no writer ever makes, for operations that are only planned.
    pub(crate) const fn imagined() -> Self {
        Self::new(u32::MAX)
    }

    pub(crate) fn mint(&mut self) -> ObjectId {
        self.count += 1;
        ObjectId::new(self.epoch, self.count)
    }

    /// Returns how many ids it has made.
    pub(crate) const fn count(&self) -> u32 {
        self.count
    }
}

/// A folder that operations are planned on.
pub(crate) struct PlanContext<'a> {
    pub(crate) repository: &'a OpenRepository,
    pub(crate) head: &'a Head,
    /// The files as they are stored. In a dry run, the head is ahead of them.
    pub(crate) stored: &'a Files,
    pub(crate) indexes: &'a mut Indexes,
    pub(crate) minter: &'a mut Minter,
}

impl<'a> PlanContext<'a> {
    /// Returns a new id.
    pub(crate) fn mint(&mut self) -> ObjectId {
        self.minter.mint()
    }

    /// Returns how the repository gives space back.
    pub(crate) fn reclaiming(&self) -> Reclaiming<'a> {
        Reclaiming {
            alignment: self.head.alignment_bytes.into(),
            files: &self.head.files,
            punches: self.repository.backend_granularity().is_some(),
        }
    }

    /// Encodes the index of `point`. From now on, `indexes` knows it as a reader reads it.
    pub(crate) fn index(&mut self, point: PointIndex, files: &Files) -> Result<NewIndex> {
        let index = encode_index(self.head, point, files)?;
        index.open(self.indexes)?;
        Ok(index)
    }
}
