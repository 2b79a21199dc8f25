//! Indexes: where the blocks of a restore point lie.

use std::collections::BTreeMap;

use crate::{
    BlockMap, BlockSize, FolderId, IndexReference, MachineNumber, MachineState, ObjectId, PointKind, Sequence,
    Timestamp,
};

/// The content of an index object.
// Exhaustive: it is read and written as a whole, so who makes one must not forget a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// The job folder that the index belongs to.
    pub folder: FolderId,
    /// The id of the index object.
    pub id: ObjectId,
    /// The number of the restore point.
    pub sequence: Sequence,
    /// The time of the restore point.
    pub time: Timestamp,
    /// What the restore point needs besides its own indexes.
    pub kind: PointKind,
    /// `true` if the restore point is an archive that was made later, from an older point of the source.
    pub is_back_filled: bool,
    /// The point whose state this one changes.
    ///
    /// For an increment it is the point before it, for a rollback the point after it. A full has none.
    pub base: Option<Sequence>,
    /// The size of a block.
    pub block_size: BlockSize,
    /// The indexes below this one, lowest first. A merge writes only what it changes on top of them. So its cost depends on the
    /// increment, not on the full.
    pub below: Vec<IndexReference>,
    /// The backup files that hold this index's own blocks, with their lengths in bytes.
    pub files: BTreeMap<ObjectId, u64>,
    /// The states of the machines, each with the machine's number in the job folder.
    pub machines: Vec<(MachineState, MachineNumber)>,
    /// Where the blocks of complete and carried machines lie, as far as this index knows. It overrides the indexes below.
    pub map: BlockMap,
    /// Where the spare blocks of incomplete machines lie. No restore uses them.
    pub spare: BlockMap,
}
