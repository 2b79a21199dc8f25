//! What is known of the engine, and not as it ought to be yet: lives go on past it. Each entry is to be removed with what it names.

/// Something that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Where the newest head is told by its second copy, a repair gives up a point of which a backup file is lost, with the machines that
    /// lost nothing.
    RepairGivesUpPoints,
}

/// What is still so.
pub const KNOWN: &[Known] = &[Known::RepairGivesUpPoints];

/// Whether something is still so.
#[must_use]
pub fn is_known(known: Known) -> bool {
    KNOWN.contains(&known)
}
