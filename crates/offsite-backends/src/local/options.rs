//! How to open a folder.

/// How to open a folder. Only tests and odd places need other values than the defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LocalOptions {
    /// Whether to make the folder itself (not its parents) if it is missing.
    pub make_folder: bool,
    /// How objects come into being. `None` takes the best way that the place turns out to have.
    pub create_method: Option<CreateMethod>,
    /// Whether to go through folders one by one even where the kernel can resolve a path safely at once.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CreateMethod {
    /// It links an unnamed file in. A power cut or a killed process leaves nothing behind. For ext4, XFS, Btrfs, tmpfs.
    LinkingUnnamed,
    /// It renames a hidden file, on condition that the name is free. For NTFS, FAT, exFAT, many shares.
    RenamingStaged,
    /// It links a hidden file under its name, and removes the hidden name. For NFS and others without that condition.
    LinkingStaged,
    /// It claims the name by a second hidden file, which one writer at a time can make and lock. The writer that has the claim
    /// looks whether the name is free, and renames. For FAT and exFAT through FUSE drivers. All writers of a folder must do it
    /// this way, on machines that see each other's locks: a drive has one machine at a time.
    RenamingClaimed,
}

impl CreateMethod {
    /// From best to last.
    pub(super) const LADDER: [Self; 4] =
        [Self::LinkingUnnamed, Self::RenamingStaged, Self::LinkingStaged, Self::RenamingClaimed];
}
