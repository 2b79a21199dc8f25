//! Writers of a repository with one flaw.

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use offsite_repository::{ErrorKind, Key, ObjectWriter, RepositoryExt, Result};

use super::place::{EVERYWHERE, Flaw, Place, error};

pub(crate) struct Writer {
    place: Place,
    key: Key,
    content: BytesMut,
    done: bool,
}

impl Writer {
    pub(crate) fn new(place: Place, key: Key) -> Self {
        Self { place, key, content: BytesMut::new(), done: false }
    }

    fn is_large(&self) -> bool {
        self.place.is_large(self.content.len())
    }

    /// What is stored of what was written.
    fn stored(&self) -> Bytes {
        let part = self.place.part_bytes;
        let mut content = self.content.clone();
        match self.place.flaw {
            Flaw::LargeIsTruncated if self.is_large() => content.truncate(part),
            Flaw::LastPartIsLostIfFull if self.is_large() && content.len().is_multiple_of(part) => {
                content.truncate(content.len() - part);
            }
            _ => {}
        }
        content.freeze()
    }

    /// After an abort, or a drop.
    fn given_up(&self, aborted: bool) {
        let (place, key) = (&self.place, &self.key);
        let content = self.content.clone().freeze();
        if place.flaw == Flaw::LargeIsVisibleEarly {
            place.shared.lock().unwrap().elsewhere.retain(|(_, other, _)| other != key);
        }
        if place.flaw == Flaw::LargeIsListedEarly {
            place.shared.lock().unwrap().ghosts.remove(key);
        }
        match place.flaw {
            Flaw::AbortAppearsLate | Flaw::AbortAppearsOnSweep | Flaw::AbortOverwritesLate
                if aborted && !self.is_large() =>
            {
                place.appear_late(key, content);
            }
            Flaw::LargeAbortAppearsLate if aborted && self.is_large() => place.appear_late(key, content),
            Flaw::DropAppearsLate if !aborted && !self.is_large() => place.appear_late(key, content),
            Flaw::AbortAppearsWhenFree if aborted => {
                place.shared.lock().unwrap().given_up.insert(key.clone(), content);
            }
            Flaw::AbortForgetsTheName if aborted => drop(place.shared.lock().unwrap().loose.insert(key.clone())),
            Flaw::AbortAppearsElsewhere if aborted => self.appear_elsewhere(content),
            Flaw::DropAppearsElsewhere if !aborted => self.appear_elsewhere(content),
            Flaw::LargeAbortFinishes if aborted && self.is_large() => place.store_by_force(key, content),
            Flaw::LargeDropFinishes if !aborted && self.is_large() => place.store_by_force(key, content),
            _ => {}
        }
    }

    fn appear_elsewhere(&self, content: Bytes) {
        self.place.shared.lock().unwrap().elsewhere.push((self.place.id(), self.key.clone(), content));
    }

    /// What the handle makes of having created a name.
    fn remember(&self) {
        let mut seen = self.place.seen.lock().unwrap();
        seen.listed.clear();
        match self.place.flaw {
            Flaw::HandleRemembersObjects | Flaw::HandleRemembersRanges => drop(seen.objects.remove(&self.key)),
            Flaw::ContentOfBefore | Flaw::RangesOfBefore if seen.objects.contains_key(&self.key) => {
                seen.recreated.insert(self.key.clone());
            }
            Flaw::LengthOfBefore => {
                seen.lengths.entry(self.key.clone()).or_insert(self.content.len() as u64);
            }
            _ => {}
        }
    }
}

#[async_trait]
impl ObjectWriter for Writer {
    async fn write(&mut self, chunks: Vec<Bytes>) -> Result<()> {
        chunks.iter().for_each(|chunk| self.content.extend_from_slice(chunk));
        if self.place.flaw == Flaw::LargeIsVisibleEarly && self.is_large() {
            let seen = (EVERYWHERE, self.key.clone(), self.content.clone().freeze());
            self.place.shared.lock().unwrap().elsewhere.push(seen);
        }
        if self.place.flaw == Flaw::LargeIsListedEarly && self.is_large() {
            self.place.shared.lock().unwrap().ghosts.insert(self.key.clone(), self.content.len() as u64);
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<()> {
        self.done = true;
        let (place, key, stored) = (self.place.clone(), self.key.clone(), self.stored());
        let is_large = self.is_large();
        let is_loose = place.flaw == Flaw::AbortForgetsTheName && place.shared.lock().unwrap().loose.contains(&key);
        if (place.flaw == Flaw::LargeCreateOverwrites && is_large) || is_loose {
            place.store_by_force(&key, stored);
        } else if place.inner.get(&key, u64::MAX).await.is_ok() {
            if place.flaw == Flaw::LargeRacersAllWin && is_large {
                return Ok(());
            }
            if place.flaw == Flaw::LoserAppearsLate {
                place.appear_late(&key, stored);
            }
            return Err(error(ErrorKind::AlreadyExists));
        } else {
            place.inner.put(&key, stored).await?;
        }
        {
            let mut shared = place.shared.lock().unwrap();
            shared.finished += 1;
            shared.hidden.remove(&key);
            shared.ghosts.remove(&key);
            shared.elsewhere.retain(|(_, other, _)| *other != key);
        }
        self.remember();
        let flaw = place.flaw;
        if flaw != Flaw::AbortAppearsOnSweep {
            place.let_appear(false, flaw == Flaw::AbortOverwritesLate).await;
        }
        Ok(())
    }

    async fn abort(mut self: Box<Self>) -> Result<()> {
        self.done = true;
        self.given_up(true);
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.done {
            self.given_up(false);
        }
    }
}
