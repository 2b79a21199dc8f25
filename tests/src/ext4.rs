//! An ext4 file system in a raw image: what a guest would have written.
//!
//! `mke2fs` fills it, `debugfs` changes and reads it, `e2fsck` judges it. None of them mounts anything or needs root.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::folder;
use crate::tools::{describe, find, output_of, plain, run};
use crate::tree::{Change, Tree};

const PACKAGE: &str = "e2fsprogs";

/// Fixed, so that images of one tree differ in times only.
const UUID: &str = "6f666673-6974-4065-8874-340000000001";
const HASH_SEED: &str = "6f666673-6974-4065-8874-340000000002";

/// The folder that every ext4 file system has from its birth.
const LOST_AND_FOUND: &str = "lost+found";

/// A file system in an image file.
#[derive(Debug, Clone)]
pub struct FileSystem {
    image: PathBuf,
}

/// A name in a folder of a [`FileSystem`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The name, without its folder.
    pub name: String,
    /// Whether it is a folder.
    pub is_folder: bool,
    /// A file's length; 0 for a folder.
    pub bytes: u64,
}

impl FileSystem {
    /// Makes a file system of `size_mib` that holds the files of `tree`, in a new (sparse) image file.
    ///
    /// # Panics
    /// If `mke2fs` is missing or fails, for want of space, say.
    #[track_caller]
    #[must_use]
    pub fn create(image: &Path, tree: &Tree, size_mib: u64) -> Self {
        let folder = folder();
        tree.write_to(folder.path());
        let options = format!("hash_seed={HASH_SEED},root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0");
        run(Command::new(find("mke2fs", PACKAGE))
            .args(["-q", "-F", "-t", "ext4", "-b", "4096", "-U", UUID, "-E", &options, "-d"])
            .args([folder.path(), image])
            .arg(format!("{size_mib}M")));
        Self::open(image)
    }

    /// The file system in an image that is there already: a restored disk.
    #[must_use]
    pub fn open(image: &Path) -> Self {
        Self { image: image.to_owned() }
    }

    /// The image file.
    #[must_use]
    pub fn image(&self) -> &Path {
        &self.image
    }

    /// Writes and removes files in place, as a guest would between two backups. Folders are made where they are missing.
    ///
    /// # Panics
    /// If `debugfs` is missing or complains.
    #[track_caller]
    pub fn change(&self, changes: &[Change]) {
        let folder = folder();
        let mut known = Known::default();
        let mut script = String::new();
        for (number, change) in changes.iter().enumerate() {
            match change {
                Change::Remove { path } => {
                    known.forget_file(self, path);
                    script += &command_in_folder("rm", path);
                }
                Change::Write { path, content } => {
                    let source = folder.path().join(number.to_string());
                    fs::write(&source, content).unwrap_or_else(|error| panic!("{source:?}: {error}"));
                    for missing in known.add_folders(self, path) {
                        script += &command_in_folder("mkdir", &missing);
                    }
                    if known.add_file(self, path) {
                        script += &command_in_folder("rm", path);
                    }
                    script += &command_in_folder(&format!("write \"{}\"", plain(&source)), path);
                }
            }
        }
        let commands = folder.path().join("commands");
        fs::write(&commands, &script).unwrap_or_else(|error| panic!("{commands:?}: {error}"));
        self.debugfs(&["-w", "-f", plain(&commands)]);
    }

    /// Lets `e2fsck` look at every structure of the file system, and change nothing.
    ///
    /// # Panics
    /// If it finds anything wrong.
    #[track_caller]
    pub fn check(&self) {
        run(Command::new(find("e2fsck", PACKAGE)).arg("-fn").arg(&self.image));
    }

    /// What the file at `path` holds.
    ///
    /// # Panics
    /// If there is no such file.
    #[track_caller]
    #[must_use]
    pub fn read(&self, path: &str) -> Vec<u8> {
        self.debugfs(&["-R", &format!("cat \"/{path}\"")])
    }

    /// The names in a folder (`""` is the root), sorted.
    ///
    /// # Panics
    /// If there is no such folder.
    #[track_caller]
    #[must_use]
    pub fn list(&self, folder: &str) -> Vec<Entry> {
        let listing = self.debugfs(&["-R", &format!("ls -p \"/{folder}\"")]);
        let listing = String::from_utf8_lossy(&listing);
        let mut entries: Vec<Entry> = listing.lines().filter(|line| !line.is_empty()).map(parse_entry).collect();
        entries.retain(|entry| entry.name != "." && entry.name != "..");
        entries.sort();
        entries
    }

    /// All files, to be compared with what was written.
    ///
    /// # Panics
    /// If a folder or file cannot be read.
    #[track_caller]
    #[must_use]
    pub fn tree(&self) -> Tree {
        let mut tree = Tree::default();
        let mut folders = vec![String::new()];
        while let Some(folder) = folders.pop() {
            for entry in self.list(&folder) {
                let path = if folder.is_empty() { entry.name } else { format!("{folder}/{}", entry.name) };
                if !entry.is_folder {
                    tree.files.insert(path.clone(), self.read(&path));
                } else if path != LOST_AND_FOUND {
                    folders.push(path);
                }
            }
        }
        tree
    }

    /// Runs `debugfs` and returns what it printed. Its status says nothing, so any complaint counts.
    #[track_caller]
    fn debugfs(&self, arguments: &[&str]) -> Vec<u8> {
        let mut command = Command::new(find("debugfs", PACKAGE));
        command.args(arguments).arg(&self.image);
        let output = output_of(&mut command);
        let complaints = String::from_utf8_lossy(&output.stderr);
        let complaint = complaints.lines().find(|line| !line.starts_with("debugfs ") && !line.trim().is_empty());
        assert!(output.status.success() && complaint.is_none(), "{}", describe(&command, &output));
        output.stdout
    }
}

/// What a script has made so far, over what the image holds.
#[derive(Default)]
struct Known {
    /// Folders whose names were read from the image.
    read: BTreeSet<String>,
    folders: BTreeSet<String>,
    files: BTreeSet<String>,
}

impl Known {
    /// Reads the names of `folder` once.
    #[track_caller]
    fn load(&mut self, system: &FileSystem, folder: &str) {
        if !self.read.insert(folder.to_owned()) {
            return;
        }
        for entry in system.list(folder) {
            let path = if folder.is_empty() { entry.name } else { format!("{folder}/{}", entry.name) };
            if entry.is_folder {
                self.folders.insert(path)
            } else {
                self.files.insert(path)
            };
        }
    }

    /// The folders above `path` that are missing, outermost first; from now on they are there.
    #[track_caller]
    fn add_folders(&mut self, system: &FileSystem, path: &str) -> Vec<String> {
        let mut missing = Vec::new();
        let mut parent = "";
        for (end, _) in path.match_indices('/') {
            let folder = &path[..end];
            self.load(system, parent);
            if self.folders.insert(folder.to_owned()) {
                self.read.insert(folder.to_owned());
                missing.push(folder.to_owned());
            }
            parent = folder;
        }
        missing
    }

    /// Notes a file, in a folder that is there. Returns whether it was there before.
    #[track_caller]
    fn add_file(&mut self, system: &FileSystem, path: &str) -> bool {
        self.load(system, parent_of(path));
        !self.files.insert(path.to_owned())
    }

    #[track_caller]
    fn forget_file(&mut self, system: &FileSystem, path: &str) {
        self.load(system, parent_of(path));
        self.files.remove(path);
    }
}

/// A command of `debugfs` on the last part of `path`, given in its folder: `write` takes any path for a name, and `rm` and
/// `mkdir` look for `/name` in the current folder.
fn command_in_folder(command: &str, path: &str) -> String {
    let parent = parent_of(path);
    let name = path.strip_prefix(parent).unwrap_or(path).trim_start_matches('/');
    format!("cd \"/{parent}\"\n{command} \"{name}\"\n")
}

fn parent_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// A line of `ls -p`: `/inode/mode/user/group/name/size/`, where a folder has no size.
#[track_caller]
fn parse_entry(line: &str) -> Entry {
    let fields: Vec<&str> = line.split('/').collect();
    let [_, _inode, mode, _user, _group, name, size, ..] = fields[..] else { panic!("what is this entry? {line:?}") };
    Entry { name: name.to_owned(), is_folder: mode.starts_with("04"), bytes: size.parse().unwrap_or(0) }
}
