//! The catalogue of media on the host.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{ErrorKind as IoErrorKind, Write};
use std::path::{Path, PathBuf};

use offsite_repository::{Error, ErrorKind, Key, ObjectInfo, Prefix, Repository, RepositoryExt, Result};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::absent::AbsentMedium;
use super::known::{KnownMedium, MediumAbilities};
use super::marker::{Medium, MediumId, check_label};
use super::remember::RememberOptions;
use super::sealed::{Unsealed, seal, unseal};
use crate::local::{blocking, fault};
use crate::{Local, LocalOptions};

const KIND: &str = "offsite-catalogue";
const VERSION: u32 = 1;
/// The end of the name of a medium's entry.
const ENTRY: &str = ".medium";

/// A folder on the host that remembers media while they are away.
///
/// For each medium it has a small file that lists the objects. It also has copies of those objects that
/// [`Removable::remember`](super::Removable::remember) was told to keep. Clones are the same catalogue.
#[derive(Debug, Clone)]
pub struct MediaCatalogue {
    folder: PathBuf,
}

/// The stored form.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    label: String,
    seen_unix_secs: i64,
    object_bytes_max: u64,
    can: MediumAbilities,
    /// Keys and lengths.
    objects: Vec<(String, u64)>,
}

impl MediaCatalogue {
    /// Opens the catalogue in `folder`, and creates that folder if it is missing.
    ///
    /// Its parent must exist.
    ///
    /// # Errors
    /// Any error that prevents creating the folder.
    pub async fn open(folder: impl Into<PathBuf>) -> Result<Self> {
        // As a repository's, whose folders lie in it: made, and durable.
        let local = Local::create(folder).await?;
        Ok(Self { folder: local.path().to_owned() })
    }

    /// All known media, in the order of their labels.
    ///
    /// If the entry of a medium is damaged, only its id is known, and the label is the id. The next
    /// [`remember`](super::Removable::remember) of the medium writes a new entry.
    ///
    /// # Errors
    /// `Unsupported` for an entry of a later version, and any error that prevents reading the folder.
    pub async fn media(&self) -> Result<Vec<KnownMedium>> {
        let this = self.clone();
        self.run("list", move || {
            let failed = |error| io_fault("list", &this.folder, &error);
            let mut media = Vec::new();
            for entry in fs::read_dir(&this.folder).map_err(failed)? {
                let name = entry.map_err(failed)?.file_name();
                let id = name.to_str().and_then(|name| name.strip_suffix(ENTRY)).and_then(|id| id.parse().ok());
                if let Some(id) = id {
                    match this.load(id) {
                        Err(error) if error.kind() == ErrorKind::Corrupt => media.push(KnownMedium::by_id(id)),
                        known => media.extend(known?),
                    }
                }
            }
            media.sort_by(|left, right| {
                (&left.medium.label, left.medium.id).cmp(&(&right.medium.label, right.medium.id))
            });
            Ok(media)
        })
        .await
    }

    /// What is known of one medium.
    ///
    /// `None` if the catalogue has never seen it.
    ///
    /// # Errors
    /// `Corrupt` if the entry of the medium is damaged.
    pub async fn medium(&self, id: MediumId) -> Result<Option<KnownMedium>> {
        let this = self.clone();
        self.run("read", move || this.load(id)).await
    }

    /// A read-only repository for a medium that is away.
    ///
    /// It lists what was on the medium, and reads what the catalogue has copied.
    ///
    /// # Errors
    /// `NotFound` if the catalogue has never seen the medium. `Corrupt` if its entry is damaged.
    pub async fn absent_medium(&self, id: MediumId) -> Result<AbsentMedium> {
        let Some(known) = self.medium(id).await? else {
            let error = Error::new(ErrorKind::NotFound, "find").with_subject(format!("medium {id}"));
            return Err(error.with_detail(format!("the catalogue in {} has never seen it", self.place())));
        };
        let copies = match Local::open(self.copies(id)).await {
            Ok(copies) => Some(copies),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(AbsentMedium::new(known, copies))
    }

    /// Forgets a medium, and deletes the copies of its objects.
    ///
    /// # Errors
    /// Any error that prevents deleting them.
    pub async fn forget(&self, id: MediumId) -> Result<()> {
        let this = self.clone();
        self.run("forget", move || {
            let (entry, copies) = (this.entry(id), this.copies(id));
            absent_is_fine(fs::remove_file(&entry)).map_err(|error| io_fault("forget", &entry, &error))?;
            absent_is_fine(fs::remove_dir_all(&copies)).map_err(|error| io_fault("forget", &copies, &error))
        })
        .await
    }

    pub(super) fn load(&self, id: MediumId) -> Result<Option<KnownMedium>> {
        let path = self.entry(id);
        let place = path.display().to_string();
        let file = match fs::read(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == IoErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_fault("read", &path, &error)),
        };
        known_of(id, &place, &file).map(Some)
    }

    /// Takes down what is `known`, after copying from `source` what is to be kept.
    pub(super) async fn keep(
        &self,
        source: &dyn Repository,
        mut known: KnownMedium,
        what: &RememberOptions,
    ) -> Result<()> {
        let id = known.medium.id;
        let options = LocalOptions::default().with_make_folder(true);
        let copies = Local::open_with(self.copies(id), options).await?;
        let have = copies.list_all(&Prefix::root()).await?;
        let have: BTreeMap<Key, u64> = have.into_iter().map(|object| (object.key, object.length)).collect();
        let mut wanted = BTreeSet::new();
        let mut gone = BTreeSet::new();
        for ObjectInfo { key, length, .. } in &known.objects {
            let is_small = *length <= what.object_bytes_max;
            let is_asked_for = what.keys.contains(key) || what.prefixes.iter().any(|prefix| prefix.contains(key));
            if !is_small || !is_asked_for {
                continue;
            }
            // Objects do not change, so one that is kept need not be read again.
            if have.get(key) != Some(length) {
                let bytes = match source.get(key, *length).await {
                    Ok(bytes) => bytes,
                    Err(error) if error.kind() == ErrorKind::NotFound => {
                        gone.insert(key.clone());
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                copies.delete(key).await?;
                copies.put(key, bytes).await?;
            }
            wanted.insert(key.clone());
        }
        known.objects.retain(|object| !gone.contains(&object.key));
        let this = self.clone();
        self.run("write", move || this.store(&known)).await?;
        // Only now: until then the entry before still counted on them.
        for key in have.keys().filter(|key| !wanted.contains(*key)) {
            copies.delete(key).await?;
        }
        Ok(())
    }

    fn store(&self, known: &KnownMedium) -> Result<()> {
        let path = self.entry(known.medium.id);
        let sealed = entry_of(known, &path.display().to_string())?;
        // Of one process; what a killed one leaves is replaced when its number comes round.
        let new = self.folder.join(format!(".{}-{}", known.medium.id, std::process::id()));
        let written = (|| {
            let mut file = File::create(&new)?;
            file.write_all(&sealed)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(&self.folder)?.sync_all()
        })();
        written.map_err(|error| {
            let _ = fs::remove_file(&new);
            io_fault("write", &path, &error)
        })
    }

    async fn run<T: Send + 'static>(
        &self,
        action: &'static str,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        blocking(action, work).await.map_err(|error| error.with_location(self.place()))
    }

    fn entry(&self, id: MediumId) -> PathBuf {
        self.folder.join(format!("{id}{ENTRY}"))
    }

    fn copies(&self, id: MediumId) -> PathBuf {
        self.folder.join(id.to_string())
    }

    fn place(&self) -> String {
        self.folder.display().to_string()
    }
}

/// What the entry of the medium `id` at `place` says.
pub(super) fn known_of(id: MediumId, place: &str, file: &[u8]) -> Result<KnownMedium> {
    let damaged = || {
        let error = Error::new(ErrorKind::Corrupt, "read").with_location(place);
        error.with_detail("remove this file: it comes back when the medium is next used")
    };
    let entry: Entry = unseal(KIND, VERSION, file).map_err(|why| match why {
        Unsealed::Damaged => damaged(),
        Unsealed::Newer => Error::new(ErrorKind::Unsupported, "read")
            .with_location(place)
            .with_detail("a later version of this program wrote it: use that one"),
    })?;
    let objects = entry.objects.into_iter().map(|(key, length)| Ok(ObjectInfo::new(Key::new(key)?, length)));
    let objects = objects.collect::<std::result::Result<Vec<_>, offsite_repository::KeyError>>();
    let objects = objects.map_err(|_| damaged())?;
    if entry.id != id.to_string() || !objects.is_sorted_by(|left, right| left.key < right.key) {
        return Err(damaged());
    }
    check_label(&entry.label).map_err(|_| damaged())?;
    Ok(KnownMedium {
        medium: Medium { id, label: entry.label },
        seen_unix_secs: entry.seen_unix_secs,
        object_bytes_max: entry.object_bytes_max,
        abilities: entry.can,
        objects,
    })
}

/// The entry of a medium, which is to lie at `place`.
pub(super) fn entry_of(known: &KnownMedium, place: &str) -> Result<Vec<u8>> {
    let entry = Entry {
        id: known.medium.id.to_string(),
        label: known.medium.label.clone(),
        seen_unix_secs: known.seen_unix_secs,
        object_bytes_max: known.object_bytes_max,
        can: known.abilities,
        objects: known.objects.iter().map(|object| (object.key.to_string(), object.length)).collect(),
    };
    seal(KIND, VERSION, &entry)
        .map_err(|error| Error::new(ErrorKind::Unsupported, "write").with_location(place).with_source(error))
}

fn io_fault(action: &'static str, path: &Path, error: &std::io::Error) -> Error {
    fault(action, path.display(), Errno::from_io_error(error).unwrap_or(Errno::IO))
}

fn absent_is_fine(answer: std::io::Result<()>) -> std::io::Result<()> {
    match answer {
        Err(error) if error.kind() == IoErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_read_back_and_one_that_contradicts_itself_is_damaged() {
        let id: MediumId = "00112233445566778899aabbccddeeff".parse().expect("an id");
        let object = |key: &str| ObjectInfo::new(Key::new(key).expect("a key"), 7);
        let known = KnownMedium {
            medium: Medium { id, label: "Blue 1".to_owned() },
            seen_unix_secs: 77,
            object_bytes_max: 1 << 30,
            abilities: MediumAbilities::default(),
            objects: vec![object("a"), object("b")],
        };
        let read = |known: &KnownMedium| known_of(id, "/catalogue", &entry_of(known, "/catalogue").expect("an entry"));
        assert_eq!(read(&known).expect("the medium"), known);
        let mut unlabelled = known.clone();
        unlabelled.medium.label = "Blue\u{1b}[2J".to_owned();
        let mut unordered = known.clone();
        unordered.objects.reverse();
        let mut other = known;
        other.medium.id = "10112233445566778899aabbccddeeff".parse().expect("an id");
        for wrong in [unlabelled, unordered, other] {
            assert_eq!(read(&wrong).expect_err("damaged").kind(), ErrorKind::Corrupt);
        }
    }
}
