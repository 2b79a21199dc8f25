//! A repository with one flaw.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use offsite_repository::testing::Memory;
use offsite_repository::{
    ErrorKind, Key, Limits, ListPage, ObjectInfo, ObjectWriter, Prefix, ReadRequest, Repository, RepositoryExt, Result,
};

use super::writer::Writer;

/// What is wrong with a repository; all else is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    None,
    /// A handle answers from what it has read, as long as the name is there and it did not itself change it.
    HandleRemembersObjects,
    HandleRemembersRanges,
    /// A handle lists what it has listed once, as long as it did not itself change anything.
    HandleListsNothingNew,
    HandleListsTheDeleted,
    HandleRemembersLengths,
    /// A handle that creates a name anew goes on answering from what it has read.
    ContentOfBefore,
    RangesOfBefore,
    /// A name has the length with which this handle first created it.
    LengthOfBefore,
    RangeEndsAtPage,
    RangeStartsAtPage,
    RangeSpansPages,
    /// The last byte of an object that ends at a page's end is not read in a range.
    ObjectEndsAtPage,
    RangeEndsAtPart,
    RangeStartsAtPart,
    RangeSpansParts,
    EndsAt(u64),
    StartsAt(u64),
    Spans(u64),
    LargeIsTruncated,
    LargeIsListedShort,
    /// Where it is read as a whole.
    LargeIsDamagedInside,
    LastPartIsLostIfFull,
    LargeRangesAreCutShort,
    LargeLimitIsIgnored,
    LargeDeleteDoesNothing,
    LargeDeleteHidesFromLists,
    LargeCreateOverwrites,
    LargeRacersAllWin,
    LargeIsVisibleEarly,
    LargeIsListedEarly,
    LargeAbortFinishes,
    LargeDropFinishes,
    LargeAbortAppearsLate,
    AbortAppearsLate,
    AbortAppearsOnSweep,
    AbortAppearsWhenFree,
    DropAppearsLate,
    LoserAppearsLate,
    DeletedAppearsLate,
    AbortOverwritesLate,
    AbortForgetsTheName,
    AbortAppearsElsewhere,
    DropAppearsElsewhere,
    LongListIsCut,
    LongListIsOutOfOrder,
    FullPageIsTheLast,
    FullPageLosesTheNext,
}

/// What is seen elsewhere than in this handle is seen in all: none has it.
pub(crate) const EVERYWHERE: usize = 0;
/// A page of a store, in bytes.
const PAGE_BYTES: u64 = 64 << 10;
/// What a store lists at a time.
const LISTED_AT_ONCE: usize = 1_000;
/// After so many further objects what was to be nothing appears.
const LATE: u64 = 3;

/// A handle of the place.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) inner: Memory,
    pub(crate) flaw: Flaw,
    pub(crate) part_bytes: usize,
    pub(crate) seen: Arc<Mutex<Seen>>,
    pub(crate) shared: Arc<Mutex<Shared>>,
}

/// What a handle remembers.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) objects: BTreeMap<Key, Bytes>,
    /// Names that this handle created anew after it had read them.
    pub(crate) recreated: BTreeSet<Key>,
    pub(crate) listed: BTreeMap<String, Vec<ObjectInfo>>,
    pub(crate) lengths: BTreeMap<Key, u64>,
}

/// What the place remembers.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// What is to appear, and how many objects were finished by then.
    pub(crate) late: Vec<(u64, Key, Bytes)>,
    pub(crate) finished: u64,
    pub(crate) loose: BTreeSet<Key>,
    pub(crate) given_up: BTreeMap<Key, Bytes>,
    pub(crate) hidden: BTreeSet<Key>,
    /// Not of the place, but named by listings.
    pub(crate) ghosts: BTreeMap<Key, u64>,
    /// Seen by handles other than the one with this memory.
    pub(crate) elsewhere: Vec<(usize, Key, Bytes)>,
}

pub(crate) fn error(kind: ErrorKind) -> offsite_repository::Error {
    offsite_repository::Error::new(kind, "use a broken repository")
}

impl Place {
    pub(crate) fn new(flaw: Flaw, part_bytes: usize) -> Self {
        let (inner, seen, shared) = (Memory::new(), Arc::default(), Arc::default());
        Self { inner, flaw, part_bytes, seen, shared }
    }

    pub(crate) fn opened_anew(&self) -> Self {
        Self { seen: Arc::default(), ..self.clone() }
    }

    pub(crate) fn id(&self) -> usize {
        Arc::as_ptr(&self.seen) as usize
    }

    pub(crate) fn is_large(&self, length: usize) -> bool {
        length > self.part_bytes
    }

    /// Makes `content` appear under its name, whatever is there.
    pub(crate) fn store_by_force(&self, key: &Key, content: Bytes) {
        self.inner.remove(key);
        // Memory without yields is ready at once.
        futures::FutureExt::now_or_never(self.inner.put(key, content)).unwrap().unwrap();
    }

    /// Remembers what is to appear after some more objects.
    pub(crate) fn appear_late(&self, key: &Key, content: Bytes) {
        let mut shared = self.shared.lock().unwrap();
        let when = shared.finished + LATE;
        shared.late.push((when, key.clone(), content));
    }

    /// Lets what is due appear, where its name is free or where it is taken. What cannot appear waits.
    pub(crate) async fn let_appear(&self, all: bool, on_taken: bool) {
        let (finished, waiting) = {
            let mut shared = self.shared.lock().unwrap();
            (shared.finished, std::mem::take(&mut shared.late))
        };
        for (when, key, content) in waiting {
            let is_taken = self.inner.get(&key, u64::MAX).await.is_ok();
            if (all || when <= finished) && is_taken == on_taken {
                self.store_by_force(&key, content);
            } else {
                self.shared.lock().unwrap().late.push((when, key, content));
            }
        }
    }

    fn elsewhere(&self, key: &Key) -> Option<Bytes> {
        let shared = self.shared.lock().unwrap();
        let mut seen = shared.elsewhere.iter().filter(|(owner, ..)| *owner != self.id());
        seen.find(|(_, other, _)| other == key).map(|(.., content)| content.clone())
    }

    /// The object as this handle believes it to be.
    async fn object(&self, key: &Key, ranges: bool) -> Result<Bytes> {
        let content = match self.inner.get(key, u64::MAX).await {
            Err(error) => return self.elsewhere(key).ok_or(error),
            Ok(content) => content,
        };
        let mut seen = self.seen.lock().unwrap();
        let remembers = match self.flaw {
            Flaw::HandleRemembersObjects => !ranges,
            Flaw::HandleRemembersRanges => ranges,
            Flaw::ContentOfBefore => !ranges && seen.recreated.contains(key),
            Flaw::RangesOfBefore => ranges && seen.recreated.contains(key),
            _ => false,
        };
        if remembers {
            return Ok(seen.objects.entry(key.clone()).or_insert(content).clone());
        }
        if self.flaw == if ranges { Flaw::RangesOfBefore } else { Flaw::ContentOfBefore } {
            seen.objects.insert(key.clone(), content.clone());
        }
        Ok(content)
    }

    /// One range of an object, with what goes wrong in it.
    fn range(&self, content: &Bytes, range: &Range<u64>) -> Result<Bytes> {
        let length = content.len() as u64;
        let part = self.part_bytes as u64;
        let mut range = range.clone();
        if self.flaw == Flaw::LargeRangesAreCutShort && length > part {
            range.end = range.end.min(length);
            range.start = range.start.min(range.end);
        }
        if range.start > range.end || range.end > length {
            return Err(error(ErrorKind::Corrupt));
        }
        let bound = |offset: u64| usize::try_from(offset).unwrap();
        let found = content.slice(bound(range.start)..bound(range.end));
        let below_parts = range.end < part;
        let (ends, starts, spans) = match self.flaw {
            Flaw::RangeEndsAtPage if below_parts => (PAGE_BYTES, 0, 0),
            Flaw::RangeStartsAtPage if below_parts => (0, PAGE_BYTES, 0),
            Flaw::RangeSpansPages if below_parts => (0, 0, PAGE_BYTES),
            Flaw::RangeEndsAtPart => (part, 0, 0),
            Flaw::RangeStartsAtPart => (0, part, 0),
            Flaw::RangeSpansParts => (0, 0, part),
            Flaw::EndsAt(edge) => (edge, 0, 0),
            Flaw::StartsAt(edge) => (0, edge, 0),
            Flaw::Spans(edge) => (0, 0, edge),
            _ => (0, 0, 0),
        };
        let is_at = |offset: u64, edge: u64| edge > 0 && offset > 0 && offset.is_multiple_of(edge);
        // A long range is read page by page, and rightly.
        let is_short = found.len() < 10_000;
        let wrong = (is_at(range.end, ends) && is_short && range.end < length)
            || (is_at(range.start, starts) && is_short && !found.is_empty())
            || (spans > 0
                && is_short
                && range.start / spans != range.end.saturating_sub(1) / spans
                && !found.is_empty());
        if wrong
            || (self.flaw == Flaw::ObjectEndsAtPage && length == PAGE_BYTES && range.end == length && !found.is_empty())
        {
            let mut turned = BytesMut::from(&found[..]);
            let last = turned.len() - 1;
            turned[last] = 0;
            return Ok(turned.freeze());
        }
        Ok(found)
    }

    /// A whole listing, with what goes wrong in it.
    async fn listing(&self, prefix: &Prefix) -> Result<Vec<ObjectInfo>> {
        let mut objects = self.inner.list_all(prefix).await?;
        let shared = self.shared.lock().unwrap();
        let elsewhere = shared.elsewhere.iter().filter(|(owner, ..)| *owner != self.id());
        let elsewhere = elsewhere.map(|(_, key, content)| (key.clone(), content.len() as u64));
        let ghosts = shared.ghosts.iter().map(|(key, length)| (key.clone(), *length));
        for (key, length) in ghosts.chain(elsewhere).filter(|(key, _)| prefix.contains(key)) {
            if !objects.iter().any(|object| object.key == key) {
                objects.push(ObjectInfo::new(key, length));
            }
        }
        objects.retain(|object| !shared.hidden.contains(&object.key));
        objects.sort_by(|left, right| left.key.cmp(&right.key));
        let mut seen = self.seen.lock().unwrap();
        match self.flaw {
            Flaw::HandleListsNothingNew | Flaw::HandleListsTheDeleted if !objects.is_empty() => {
                let before = seen.listed.entry(prefix.to_string()).or_insert_with(|| objects.clone());
                if self.flaw == Flaw::HandleListsNothingNew {
                    objects.retain(|object| before.iter().any(|before| before.key == object.key));
                } else {
                    before.retain(|before| !objects.iter().any(|object| object.key == before.key));
                    let gone = std::mem::replace(before, objects.clone());
                    objects.extend(gone);
                    objects.sort_by(|left, right| left.key.cmp(&right.key));
                }
            }
            Flaw::HandleRemembersLengths => {
                for object in &mut objects {
                    object.length = *seen.lengths.entry(object.key.clone()).or_insert(object.length);
                }
            }
            Flaw::LengthOfBefore => {
                for object in &mut objects {
                    object.length = seen.lengths.get(&object.key).copied().unwrap_or(object.length);
                }
            }
            Flaw::LargeIsListedShort => {
                for object in &mut objects {
                    object.length = object.length.min(self.part_bytes as u64);
                }
            }
            Flaw::LongListIsOutOfOrder if objects.len() > LISTED_AT_ONCE => objects[LISTED_AT_ONCE - 2..].reverse(),
            _ => {}
        }
        Ok(objects)
    }
}

#[async_trait]
impl Repository for Place {
    fn location(&self) -> String {
        format!("broken: {:?}", self.flaw)
    }

    fn limits(&self) -> Limits {
        self.inner.limits().with_part_bytes(self.part_bytes as u64)
    }

    async fn create(&self, key: &Key) -> Result<Box<dyn ObjectWriter>> {
        Ok(Box::new(Writer::new(self.clone(), key.clone())))
    }

    async fn read(&self, key: &Key, what: ReadRequest<'_>) -> Result<Vec<Bytes>> {
        match what {
            ReadRequest::Whole { limit_bytes } => {
                let content = self.object(key, false).await?;
                let is_ignored = self.flaw == Flaw::LargeLimitIsIgnored && self.is_large(content.len());
                if content.len() as u64 > limit_bytes && !is_ignored {
                    return Err(error(ErrorKind::Corrupt));
                }
                if self.flaw == Flaw::LargeIsDamagedInside && content.len() > self.part_bytes * 2 {
                    let mut damaged = BytesMut::from(&content[..]);
                    damaged[self.part_bytes * 3 / 2] = 0;
                    return Ok(vec![damaged.freeze()]);
                }
                Ok(vec![content])
            }
            ReadRequest::Ranges(ranges) => {
                let content = self.object(key, true).await?;
                ranges.iter().map(|range| self.range(&content, range)).collect()
            }
        }
    }

    async fn list(&self, prefix: &Prefix, after: Option<&Key>, limit: usize) -> Result<ListPage> {
        let mut objects = self.listing(prefix).await?;
        if self.flaw == Flaw::LongListIsOutOfOrder && objects.len() > LISTED_AT_ONCE {
            // Pages of a listing that is wrong as a whole.
            let start = after.and_then(|after| objects.iter().position(|object| object.key == *after));
            objects.drain(..start.map_or(0, |start| start + 1));
        } else {
            objects.retain(|object| after.is_none_or(|after| object.key > *after));
        }
        let mut more = objects.len() > limit.max(1);
        objects.truncate(limit.max(1));
        match self.flaw {
            Flaw::LongListIsCut if objects.len() > LISTED_AT_ONCE => {
                objects.truncate(LISTED_AT_ONCE);
                more = false;
            }
            Flaw::FullPageIsTheLast => more &= objects.len() != LISTED_AT_ONCE,
            Flaw::FullPageLosesTheNext if objects.len() > LISTED_AT_ONCE => drop(objects.remove(LISTED_AT_ONCE)),
            _ => {}
        }
        Ok(ListPage::new(objects, more))
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        let content = self.inner.get(key, u64::MAX).await.ok();
        {
            let mut seen = self.seen.lock().unwrap();
            if matches!(self.flaw, Flaw::HandleRemembersObjects | Flaw::HandleRemembersRanges) {
                seen.objects.remove(key);
            }
            if self.flaw == Flaw::HandleRemembersLengths {
                seen.lengths.remove(key);
            }
            seen.listed.clear();
        }
        if let Some(content) = content {
            let is_large = self.is_large(content.len());
            match self.flaw {
                Flaw::LargeDeleteDoesNothing if is_large => return Ok(()),
                Flaw::LargeDeleteHidesFromLists if is_large => {
                    self.shared.lock().unwrap().hidden.insert(key.clone());
                    return Ok(());
                }
                Flaw::DeletedAppearsLate => self.appear_late(key, content),
                _ => {}
            }
        }
        self.inner.delete(key).await?;
        if self.flaw == Flaw::AbortAppearsWhenFree {
            let given_up = self.shared.lock().unwrap().given_up.remove(key);
            given_up.into_iter().for_each(|content| self.store_by_force(key, content));
        }
        Ok(())
    }

    async fn sweep(&self) -> Result<()> {
        if self.flaw == Flaw::AbortAppearsOnSweep {
            self.let_appear(true, false).await;
        }
        Ok(())
    }
}
