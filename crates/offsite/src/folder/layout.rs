//! The keys of objects. Names below the job folder are generated, so they cannot clash with other names.

use offsite_core::{ClaimId, ObjectId};
use offsite_repository::{Key, KeyError, Prefix};

use crate::job_name::MARKER;
use crate::{Error, JobName, Result};

/// The name of the folder of backup files in a job folder.
pub(crate) const BLOCKS: &str = "blocks";

/// The name of the folder of indexes in a job folder.
const INDEX: &str = "index";

/// The end of the name of an index's second copy, after the id of the index. It tells the copy from a backup file.
const TWIN: &str = ".index";
/// The end of the name of a head's second copy, after the epoch and the number.
const HEAD_COPY: &str = ".head";

/// The key of the repository's marker.
pub(crate) fn marker_key() -> Result<Key> {
    Key::new(MARKER).map_err(|error| Error::defect(error.to_string()))
}

/// The name of the marker of a folder whose job was removed.
const REMOVED: &str = "0-removed";

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

    /// The marker of a folder whose job was removed. It comes before all heads in a listing.
    pub(crate) fn removed(&self) -> Result<Key> {
        self.key("head", REMOVED)
    }

    pub(crate) fn backup_file(&self, id: ObjectId) -> Result<Key> {
        self.key(BLOCKS, &id.to_string())
    }

    pub(crate) fn index(&self, id: ObjectId) -> Result<Key> {
        self.key(INDEX, &id.to_string())
    }

    /// The second copy of an index. It lies among the backup files, so the folder of backup files alone says what they hold.
    pub(crate) fn index_second_copy(&self, id: ObjectId) -> Result<Key> {
        self.key(BLOCKS, &format!("{id}{TWIN}"))
    }

    /// The second copy of a head, beside the backup files.
    pub(crate) fn head_second_copy(&self, epoch: u32, number: u64) -> Result<Key> {
        self.key(BLOCKS, &format!("{epoch:08x}-{number:016x}{HEAD_COPY}"))
    }

    /// A small object that an operation makes, uses, and deletes again. It lies among the indexes, where the next writer looks for
    /// the remains of a cut-off run.
    pub(crate) fn scratch(&self, id: ObjectId) -> Result<Key> {
        self.index(id)
    }

    pub(crate) fn release_list(&self, id: ObjectId) -> Result<Key> {
        self.key("release", &id.to_string())
    }

    pub(crate) fn pin(&self, claim: ClaimId, renewals: u32) -> Result<Key> {
        self.key("pin", &format!("{claim}-{renewals:010}"))
    }

    pub(crate) fn lease_renewal(&self, epoch: u32, count: u64) -> Result<Key> {
        self.key("lease", &format!("{epoch:010}-{count:020}"))
    }

    pub(crate) fn verification(&self, number: u64) -> Result<Key> {
        self.key("verify", &format!("{number:020}"))
    }

    /// When the packs of a block cache were used. Only the folder of a cache has it.
    pub(crate) fn cache_usage(&self, id: ObjectId) -> Result<Key> {
        self.key("usage", &id.to_string())
    }

    pub(crate) fn heads(&self) -> Result<Prefix> {
        self.folder("head")
    }

    pub(crate) fn backup_files(&self) -> Result<Prefix> {
        self.folder(BLOCKS)
    }

    pub(crate) fn indexes(&self) -> Result<Prefix> {
        self.folder(INDEX)
    }

    pub(crate) fn release_lists(&self) -> Result<Prefix> {
        self.folder("release")
    }

    pub(crate) fn pins(&self) -> Result<Prefix> {
        self.folder("pin")
    }

    pub(crate) fn verifications(&self) -> Result<Prefix> {
        self.folder("verify")
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

/// Whether the key is that of the marker of a folder whose job was removed.
pub(crate) fn is_removed(key: &Key) -> bool {
    key.name() == REMOVED
}

/// Returns the number in the key of a head.
pub(crate) fn head_number(key: &Key) -> Option<u64> {
    plain_number(key)
}

/// Returns the number in the key of verification notes.
pub(crate) fn verification_number(key: &Key) -> Option<u64> {
    plain_number(key)
}

/// Returns the number in a name of 20 digits.
fn plain_number(key: &Key) -> Option<u64> {
    let name = key.name();
    if name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit()) { name.parse().ok() } else { None }
}

/// Returns the epoch and the number in the key of a head's second copy.
pub(crate) fn head_second_copy_number(key: &Key) -> Option<(u32, u64)> {
    let (epoch, number) = key.name().strip_suffix(HEAD_COPY)?.split_once('-')?;
    let is_plain = |part: &str, digits| part.len() == digits && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_plain(epoch, 8) || !is_plain(number, 16) {
        return None;
    }
    Some((u32::from_str_radix(epoch, 16).ok()?, u64::from_str_radix(number, 16).ok()?))
}

/// Returns the part of a pin's name that tells it from the pins of other readers. Each name of the pin has it.
pub(crate) fn pin_nonce(key: &Key) -> Option<&str> {
    key.name().split_once('-').map(|(nonce, _)| nonce)
}

/// Returns the id in the key of an index's second copy.
pub(crate) fn index_second_copy_id(key: &Key) -> Option<ObjectId> {
    ObjectId::parse(key.name().strip_suffix(TWIN)?)
}

/// Returns the class of a key for counting: backup files, or everything else.
pub(crate) fn class_of(key: &Key) -> &'static str {
    let is_file = key.as_str().split('/').nth(1) == Some(BLOCKS) && ObjectId::parse(key.name()).is_some();
    if is_file { BLOCKS } else { "" }
}

/// Whether the key is that of a backup file or an index. These objects may be long. All others are short.
pub(crate) fn may_be_long(key: &Key) -> bool {
    match key.as_str().split('/').nth(1) {
        Some(BLOCKS) => head_second_copy_number(key).is_none(),
        folder => folder == Some(INDEX),
    }
}

/// A generated key is valid for every valid job name, so this is a defect.
fn defect(error: KeyError) -> Error {
    Error::defect(format!("a generated key is not valid: {error}"))
}
