//! What the server remembers, and what it answers: one lock over all of it, so that each request happens at one moment.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use s3s::dto::{ETag, Metadata, Timestamp};
use s3s::{S3Result, s3_error};

use crate::Behaviour;

/// The shortest part that is not the last.
const PART_BYTES_MIN: u64 = 5 << 20;

/// What becomes of `If-None-Match`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Conditions {
    /// It is honoured, at one moment with the write.
    #[default]
    Honoured,
    /// It is honoured on storing an object and ignored on completing an upload, as by Ceph 16.
    IgnoredOnComplete,
    /// It is ignored, as by Garage.
    Ignored,
    /// It is looked at before the body comes, and not again, as by s3s-fs.
    LookedAtEarly,
}

#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub(crate) content: Content,
    pub(crate) metadata: Option<Metadata>,
    pub(crate) e_tag: String,
    pub(crate) modified: SystemTime,
    pub(crate) version: Option<String>,
    pub(crate) retained_until: Option<SystemTime>,
    /// It stands for a name that was deleted.
    pub(crate) is_marker: bool,
}

/// Bytes in pieces, which are shared and never joined.
#[derive(Debug, Clone, Default)]
pub(crate) struct Content {
    pieces: Vec<Bytes>,
    pub(crate) length: u64,
}

impl Content {
    pub(crate) fn push(&mut self, piece: Bytes) {
        self.length += piece.len() as u64;
        self.pieces.push(piece);
    }

    fn append(&mut self, other: &Self) {
        self.length += other.length;
        self.pieces.extend(other.pieces.iter().cloned());
    }

    /// Takes note of bytes that are not kept.
    pub(crate) fn forget(&mut self, piece: &Bytes) {
        self.length += piece.len() as u64;
    }

    pub(crate) fn slice(&self, range: std::ops::Range<u64>) -> Vec<Bytes> {
        let mut start = 0;
        let mut found = Vec::new();
        for piece in &self.pieces {
            let end = start + piece.len() as u64;
            let (from, to) = (range.start.max(start), range.end.min(end));
            if from < to {
                let index = |offset: u64| usize::try_from(offset - start).unwrap_or(usize::MAX);
                found.push(piece.slice(index(from)..index(to)));
            }
            start = end;
        }
        found
    }
}

#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) key: String,
    pub(crate) metadata: Option<Metadata>,
    pub(crate) started: SystemTime,
    parts: BTreeMap<i32, (String, Content)>,
}

#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) bucket: String,
    pub(crate) conditions: Mutex<Conditions>,
    pub(crate) forgets_metadata: bool,
    /// Whether versions are kept, and objects can be locked.
    pub(crate) locks: bool,
    /// By how much its clock is ahead of the machine's.
    pub(crate) ahead_secs: AtomicI64,
    numbers: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    /// The versions of each name, the newest last.
    objects: BTreeMap<String, Vec<Object>>,
    pub(crate) uploads: BTreeMap<String, Upload>,
}

impl Store {
    pub(crate) fn new(bucket: String, behaviour: Behaviour) -> Self {
        let Behaviour { conditions, forgets_metadata, locks, .. } = behaviour;
        let conditions = Mutex::new(conditions);
        let (ahead_secs, numbers) = (AtomicI64::new(0), AtomicU64::new(0));
        Self { bucket, conditions, forgets_metadata, locks, ahead_secs, numbers, state: Mutex::default() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn conditions(&self) -> Conditions {
        *self.conditions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> SystemTime {
        let ahead = self.ahead_secs.load(Ordering::SeqCst);
        SystemTime::now() + Duration::from_secs(ahead.unsigned_abs())
    }

    fn number(&self, of: &str) -> String {
        format!("{of}{:06}", self.numbers.fetch_add(1, Ordering::SeqCst))
    }

    pub(crate) fn check_bucket(&self, bucket: &str) -> S3Result<()> {
        if bucket == self.bucket { Ok(()) } else { Err(s3_error!(NoSuchBucket, "There is no such bucket.")) }
    }

    /// Whether a name is taken, where that is looked at before the body comes.
    pub(crate) fn check_early(&self, key: &str, if_absent: bool) -> S3Result<()> {
        let early = self.conditions() == Conditions::LookedAtEarly;
        if early && if_absent && self.lock().newest(key).is_some() { Err(taken()) } else { Ok(()) }
    }

    pub(crate) fn put(
        &self,
        key: &str,
        content: Content,
        metadata: Option<Metadata>,
        if_absent: bool,
    ) -> S3Result<Object> {
        let honours = matches!(self.conditions(), Conditions::Honoured | Conditions::IgnoredOnComplete);
        let mut state = self.lock();
        if if_absent && honours && state.newest(key).is_some() {
            return Err(taken());
        }
        Ok(self.insert(&mut state, key, content, metadata))
    }

    fn insert(&self, state: &mut State, key: &str, content: Content, metadata: Option<Metadata>) -> Object {
        let object = Object {
            content,
            metadata: metadata.filter(|_| !self.forgets_metadata),
            e_tag: self.number("e"),
            modified: self.now(),
            version: self.locks.then(|| self.number("v")),
            retained_until: None,
            is_marker: false,
        };
        let versions = state.objects.entry(key.to_owned()).or_default();
        if !self.locks {
            versions.clear();
        }
        versions.push(object.clone());
        object
    }

    /// Removes a version, or, where versions are kept and none is named, hides the name behind a marker.
    pub(crate) fn delete(&self, key: &str, version: Option<&str>) -> S3Result<()> {
        let now = self.now();
        let mut state = self.lock();
        let Some(versions) = state.objects.get_mut(key) else { return Ok(()) };
        match version {
            Some(version) => {
                let wanted = |object: &Object| object.version.as_deref() == Some(version);
                let locked = |object: &Object| object.retained_until.is_some_and(|until| until > now);
                if versions.iter().any(|object| wanted(object) && locked(object)) {
                    return Err(s3_error!(AccessDenied, "It is locked."));
                }
                versions.retain(|object| !wanted(object));
            }
            None if self.locks => {
                let (e_tag, version) = (String::new(), Some(self.number("v")));
                let (content, metadata, retained_until) = (Content::default(), None, None);
                versions.push(Object {
                    content,
                    metadata,
                    e_tag,
                    modified: now,
                    version,
                    retained_until,
                    is_marker: true,
                });
            }
            None => versions.clear(),
        }
        if versions.is_empty() {
            state.objects.remove(key);
        }
        Ok(())
    }

    pub(crate) fn begin(&self, key: &str, metadata: Option<Metadata>) -> String {
        let id = self.number("u");
        let started = self.now();
        let upload = Upload { key: key.to_owned(), metadata, started, parts: BTreeMap::new() };
        self.lock().uploads.insert(id.clone(), upload);
        id
    }

    pub(crate) fn add_part(&self, key: &str, id: &str, number: i32, content: Content) -> S3Result<String> {
        let e_tag = self.number("p");
        let mut state = self.lock();
        let upload = state.upload(key, id)?;
        upload.parts.insert(number, (e_tag.clone(), content));
        Ok(e_tag)
    }

    pub(crate) fn complete(&self, key: &str, id: &str, parts: &[(i32, String)], if_absent: bool) -> S3Result<Object> {
        let honours = self.conditions() == Conditions::Honoured;
        let mut state = self.lock();
        let is_taken = state.newest(key).is_some();
        let upload = state.upload(key, id)?;
        if parts.is_empty() || !parts.is_sorted_by(|left, right| left.0 < right.0) {
            return Err(s3_error!(InvalidPartOrder, "The parts are not in order."));
        }
        let mut content = Content::default();
        for (position, (number, e_tag)) in parts.iter().enumerate() {
            let part = upload.parts.get(number).filter(|(found, _)| found == e_tag);
            let (_, part) = part.ok_or_else(|| s3_error!(InvalidPart, "There is no such part."))?;
            if part.length < PART_BYTES_MIN && position + 1 < parts.len() {
                return Err(s3_error!(EntityTooSmall, "A part is too small."));
            }
            content.append(part);
        }
        if if_absent && honours && is_taken {
            return Err(taken());
        }
        let metadata = upload.metadata.clone();
        state.uploads.remove(id);
        Ok(self.insert(&mut state, key, content, metadata))
    }
}

impl State {
    /// The newest version, if the name was not deleted.
    pub(crate) fn newest(&self, key: &str) -> Option<&Object> {
        self.objects.get(key)?.last().filter(|object| !object.is_marker)
    }

    pub(crate) fn newest_mut(&mut self, key: &str) -> Option<&mut Object> {
        self.objects.get_mut(key)?.last_mut().filter(|object| !object.is_marker)
    }

    pub(crate) fn get(&self, key: &str) -> S3Result<&Object> {
        self.newest(key).ok_or_else(|| s3_error!(NoSuchKey, "There is no such object."))
    }

    pub(crate) fn upload(&mut self, key: &str, id: &str) -> S3Result<&mut Upload> {
        let upload = self.uploads.get_mut(id).filter(|upload| upload.key == key);
        upload.ok_or_else(|| s3_error!(NoSuchUpload, "There is no such upload."))
    }

    /// All names, with their newest versions.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&String, &Object)> {
        self.objects.keys().filter_map(|key| Some((key, self.newest(key)?)))
    }

    /// How many versions there are of a name, markers included.
    pub(crate) fn versions(&self, key: &str) -> usize {
        self.objects.get(key).map_or(0, Vec::len)
    }
}

impl Object {
    pub(crate) fn tag(&self) -> Option<ETag> {
        Some(ETag::Strong(self.e_tag.clone()))
    }

    pub(crate) fn last_modified(&self) -> Option<Timestamp> {
        Some(Timestamp::from(self.modified))
    }
}

fn taken() -> s3s::S3Error {
    s3_error!(PreconditionFailed, "The name is taken.")
}
