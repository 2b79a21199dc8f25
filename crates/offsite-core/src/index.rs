//! Indexes: where the blocks of a restore point lie.

use std::collections::BTreeMap;

use crate::{
    BlockMap, BlockSize, FolderId, IndexReference, MachineNumber, MachineState, ObjectId, PointKind, Sequence,
    Timestamp,
};

/// What an index says.
// Exhaustive: it is read and written as a whole, so who makes one must not forget a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// The job folder.
    pub folder: FolderId,
    /// The index's own id.
    pub id: ObjectId,
    /// The number of the restore point.
    pub sequence: Sequence,
    /// The time of the restore point.
    pub time: Timestamp,
    /// What the point needs beside its indexes.
    pub kind: PointKind,
    /// The point whose state this one changes: the one before an increment, the one after a rollback. A full has none.
    pub base: Option<Sequence>,
    /// The size of a block.
    pub block_size: BlockSize,
    /// The indexes that this one stands on, lowest first. A merge writes only what changed on top of them, so its cost follows the
    /// increment and not the full.
    pub below: Vec<IndexReference>,
    /// The backup files that hold this index's own blocks, with their lengths.
    pub files: BTreeMap<ObjectId, u64>,
    /// The machines, with their numbers in the job folder.
    pub machines: Vec<(MachineState, MachineNumber)>,
    /// Where the blocks of complete and carried machines lie, as far as this index says. It overrides those below.
    pub map: BlockMap,
    /// Where the spare blocks of incomplete machines lie. No restore uses them.
    pub spare: BlockMap,
}
