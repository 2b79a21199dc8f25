//! The options for opening a folder.

/// How to open a folder.
///
/// The defaults suit almost every place. Other values are for tests and unusual file systems.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LocalOptions {
    /// `true` to create the folder itself if it is missing. Its parents must exist.
    pub make_folder: bool,
    /// How objects are created. `None` takes the best method that works at the place.
    pub create_method: Option<CreateMethod>,
    /// `true` to resolve paths folder by folder, even if the kernel can resolve them safely at once (openat2(2)).
    pub walk_folders: bool,
}

impl LocalOptions {
    /// Sets [`LocalOptions::make_folder`].
    #[must_use]
    pub fn with_make_folder(mut self, make_folder: bool) -> Self {
        self.make_folder = make_folder;
        self
    }

    /// Sets [`LocalOptions::create_method`].
    #[must_use]
    pub fn with_create_method(mut self, create_method: impl Into<Option<CreateMethod>>) -> Self {
        self.create_method = create_method.into();
        self
    }

    /// Sets [`LocalOptions::walk_folders`].
    #[must_use]
    pub fn with_walk_folders(mut self, walk_folders: bool) -> Self {
        self.walk_folders = walk_folders;
        self
    }
}

/// How a finished file gets its name without replacing another.
///
/// [`Local::create_method`](super::Local::create_method) says which one a place uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CreateMethod {
    /// Links an unnamed file under its name. A power cut or a killed process leaves nothing behind. For ext4, XFS, Btrfs and
    /// tmpfs.
    LinkingUnnamed,
    /// Renames a hidden file, on the condition that the name is free. For NTFS, FAT, exFAT and many shares.
    RenamingStaged,
    /// Links a hidden file under its name, then removes the hidden name. For NFS and others that cannot rename on a condition.
    LinkingStaged,
    /// Claims the name with a second hidden file, which one writer at a time can create and lock. The holder of the claim checks
    /// that the name is free, and renames. For FAT and exFAT with FUSE drivers. All writers of a folder must use this method, on
    /// machines that see each other's locks. A drive fulfils that, as it is attached to one machine at a time.
    RenamingClaimed,
}

impl CreateMethod {
    /// From best to last.
    pub(super) const LADDER: [Self; 4] =
        [Self::LinkingUnnamed, Self::RenamingStaged, Self::LinkingStaged, Self::RenamingClaimed];
}
