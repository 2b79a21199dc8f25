//! How a folder is opened.

/// How to open a folder. The defaults are right but for tests and odd places.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LocalOptions {
    /// Whether to make the folder itself (not its parents) if it is missing.
    pub make_folder: bool,
    /// How objects come into being; none for the best way that the place turns out to have.
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
    /// An unnamed file is linked in. A power cut or a killed process leaves nothing behind. ext4, XFS, Btrfs, tmpfs.
    LinkingUnnamed,
    /// A hidden file is renamed, on condition that the name is free. NTFS, FAT, exFAT, many shares.
    RenamingStaged,
    /// A hidden file is linked under its name, and its hidden name removed. NFS and others without that condition.
    LinkingStaged,
    /// A second hidden file, which one writer at a time can make and lock, claims the name; whoever has it looks whether
    /// the name is free, and renames. FAT and exFAT through FUSE drivers. All writers of a folder must do it this way, on
    /// machines that see each other's locks: a drive has one machine at a time.
    RenamingClaimed,
}

impl CreateMethod {
    /// From best to last.
    pub(super) const LADDER: [Self; 4] =
        [Self::LinkingUnnamed, Self::RenamingStaged, Self::LinkingStaged, Self::RenamingClaimed];
}
