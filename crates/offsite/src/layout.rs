//! Which object has which key. Names below the job folder are generated, so they cannot clash with anything.

use offsite_core::ObjectId;
use offsite_repository::{Key, KeyError, Prefix};

use crate::{Error, JobName, Result};

/// The marker of a repository.
pub(crate) const MARKER: &str = "offsite-repository";
/// The folder of backup files in a job folder.
pub(crate) const BLOCKS: &str = "blocks";

/// The keys of one job folder.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    job: JobName,
}

impl Layout {
    pub(crate) fn new(job: JobName) -> Self {
        Self { job }
    }

    pub(crate) fn job(&self) -> &JobName {
        &self.job
    }

    pub(crate) fn head(&self, number: u64) -> Result<Key> {
        self.key("head", &format!("{number:020}"))
    }

    pub(crate) fn backup_file(&self, id: ObjectId) -> Result<Key> {
        self.key(BLOCKS, &id.to_string())
    }

    pub(crate) fn index(&self, id: ObjectId) -> Result<Key> {
        self.key("index", &id.to_string())
    }

    /// A small object that is gone again once another is made of it. It lies among the indexes, where the next writer looks
    /// for what a cut-off run left.
    pub(crate) fn scratch(&self, id: ObjectId) -> Result<Key> {
        self.index(id)
    }

    pub(crate) fn release_list(&self, id: ObjectId) -> Result<Key> {
        self.key("release", &id.to_string())
    }

    pub(crate) fn pin(&self, nonce: [u8; 16]) -> Result<Key> {
        let name: String = nonce.iter().map(|byte| format!("{byte:02x}")).collect();
        self.key("pin", &name)
    }

    pub(crate) fn lease_renewal(&self, epoch: u32, count: u64) -> Result<Key> {
        self.key("lease", &format!("{epoch:010}-{count:020}"))
    }

    pub(crate) fn heads(&self) -> Result<Prefix> {
        self.folder("head")
    }

    pub(crate) fn backup_files(&self) -> Result<Prefix> {
        self.folder(BLOCKS)
    }

    pub(crate) fn indexes(&self) -> Result<Prefix> {
        self.folder("index")
    }

    pub(crate) fn release_lists(&self) -> Result<Prefix> {
        self.folder("release")
    }

    pub(crate) fn pins(&self) -> Result<Prefix> {
        self.folder("pin")
    }

    pub(crate) fn lease_renewals(&self) -> Result<Prefix> {
        self.folder("lease")
    }

    fn folder(&self, folder: &str) -> Result<Prefix> {
        Prefix::new(format!("{}/{folder}", self.job)).map_err(defect)
    }

    fn key(&self, folder: &str, name: &str) -> Result<Key> {
        Key::new(format!("{}/{folder}/{name}", self.job)).map_err(defect)
    }
}

/// The number in a head's key.
pub(crate) fn head_number(key: &Key) -> Option<u64> {
    let name = key.name();
    if name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit()) { name.parse().ok() } else { None }
}

/// The class of a key for counting: the folder below the job's.
pub(crate) fn class_of(key: &Key) -> &'static str {
    match key.as_str().split('/').nth(1) {
        Some(BLOCKS) => BLOCKS,
        _ => "",
    }
}

/// A generated key is valid for every valid job name.
fn defect(error: KeyError) -> Error {
    Error::Defect(format!("a generated key is not valid: {error}"))
}
