//! What all handles of a folder have in common.

use offsite_repository::Endpoint;

use super::probe::Abilities;
use super::root::Root;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) root: Root,
    pub(super) abilities: Abilities,
    pub(super) endpoint: Endpoint,
}

impl Shared {
    pub(super) fn location(&self) -> String {
        self.root.path.display().to_string()
    }
}
