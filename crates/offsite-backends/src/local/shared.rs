//! What all handles of a folder have in common.

use super::probe::Abilities;
use super::root::Root;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) root: Root,
    pub(super) abilities: Abilities,
}

impl Shared {
    pub(super) fn location(&self) -> String {
        self.root.path.display().to_string()
    }
}
