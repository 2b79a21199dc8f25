//! Pins: a reader's claim that what a head refers to stays readable.
//!
//! A pin is an object that its reader puts again and again under a new name, as a sign of its life. Whoever wants to release what it
//! holds asks the kernel first. Of a reader that ran on another host, or before a restart, only time tells: if its pin keeps its
//! name for longer than a living reader would let it, it goes. Clocks of different hosts are never compared.

use offsite_core::ClaimId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use offsite_core::Head;
use offsite_core::format::records;
use offsite_core::format::{Kind, decode_record, encode_record};
use offsite_repository::{ErrorKind, Key, Repository, RepositoryExt};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use crate::claims::holder::{Holder, Life, life_of};
use crate::claims::signs::Signs;
use crate::error::Context;
use crate::folder::layout::{Layout, pin_nonce};
use crate::folder::open_repository::random_bytes;
use crate::progress::Wait;
use crate::seams::is_broken;
use crate::{Error, OpenRepository, Progress, Result};

/// The longest pin that is read.
const PIN_BYTES_MAX: u64 = 8 << 10;
/// A living reader renews its pin at least once in this time.
pub(crate) const PIN_DURATION: Duration = Duration::from_secs(60);
/// After so many listings a pin that is never there is one that cannot be read.
const LISTINGS_MAX: u32 = 16;
/// So often it tries.
const RENEWALS_PER_DURATION: u32 = 4;

/// A pin that this process holds. The kernel's word that the process is gone ends it too.
#[derive(Debug)]
pub(crate) struct Pin {
    claim: Arc<Claim>,
    signs: Signs,
    _holder: Holder,
}

/// What a reader and its signs of life share.
#[derive(Debug)]
struct Claim {
    repository: OpenRepository,
    layout: Layout,
    claim: ClaimId,
    bytes: Bytes,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct State {
    /// How often the pin was renewed, which is part of its name.
    renewals: u32,
    /// Whether its next name may be there already: a renewal has begun.
    is_renewing: bool,
    /// Whether somebody took the reader for dead.
    is_lost: bool,
}

impl Pin {
    pub(crate) async fn create(repository: &OpenRepository, layout: &Layout, head: &Head) -> Result<Self> {
        let holder = Holder::new()?;
        let record = records::Pin { folder: head.folder, head: head.number, holder: holder.text().to_owned() };
        let bytes = encode_record(Kind::Pin, &record).map_err(|error| Error::defect(error.to_string()))?;
        let claim = Arc::new(Claim {
            repository: repository.clone(),
            layout: layout.clone(),
            claim: ClaimId::new(random_bytes()?),
            bytes: bytes.into(),
            state: Mutex::default(),
        });
        let stored = repository.backend().put(&claim.key(0)?, claim.bytes.clone()).await;
        stored.while_doing(|| format!("pinning job {} in {}", layout.job(), repository.location()))?;
        let renewed = Arc::clone(&claim);
        let signs = Signs::start(|stopped| async move { renewed.renew_until(stopped).await });
        Ok(Self { claim, signs, _holder: holder })
    }

    /// Whether the pin has been there all the time. A writer that took its reader for dead removes it; in doubt it is there.
    pub(crate) async fn is_held(&self) -> bool {
        loop {
            let state = self.claim.state();
            let Ok(key) = self.claim.key(state.renewals) else { return false };
            if state.is_lost {
                return false;
            }
            let found = self.claim.repository.backend().get(&key, PIN_BYTES_MAX).await;
            let is_gone = found.is_err_and(|error| error.kind() == ErrorKind::NotFound);
            // It may have been renewed just now.
            if !is_gone || self.claim.state() == state {
                return !is_gone;
            }
        }
    }

    /// Gives the pin back.
    pub(crate) async fn release(mut self) -> Result<()> {
        self.signs.stop().await;
        let state = self.claim.state();
        let names = state.renewals..=state.renewals.saturating_add(u32::from(state.is_renewing));
        for renewals in names {
            let deleted = self.claim.repository.backend().delete(&self.claim.key(renewals)?).await;
            deleted.while_doing(|| format!("giving a pin back in {}", self.claim.repository.location()))?;
        }
        Ok(())
    }
}

impl Claim {
    fn key(&self, renewals: u32) -> Result<Key> {
        self.layout.pin(self.claim, renewals)
    }

    fn state(&self) -> State {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, state: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    async fn renew_until(&self, mut stopped: oneshot::Receiver<()>) {
        while timeout(PIN_DURATION / RENEWALS_PER_DURATION, &mut stopped).await.is_err() {
            // What fails is tried again at the next time.
            let _ = self.renew().await;
            if self.state().is_lost {
                return;
            }
        }
    }

    /// Puts the pin under its next name, then takes the old one away.
    ///
    /// Whoever takes this reader for dead deletes the old name and only then looks which pins there are; here the new name is put and
    /// only then the old one is looked for. So at least one of the two sees the other. Where the answer is lost, the same is done again
    /// at the next time, under the same names.
    async fn renew(&self) -> Result<()> {
        let backend = self.repository.backend();
        let state = self.state();
        let next = State { renewals: state.renewals.saturating_add(1), ..State::default() };
        let (old, new) = (self.key(state.renewals)?, self.key(next.renewals)?);
        let while_doing = || format!("renewing a pin of job {}", self.layout.job());
        self.set(State { is_renewing: true, ..state });
        match backend.put(&new, self.bytes.clone()).await {
            // The name is nobody else's: an answer was lost.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            answer => answer.while_doing(while_doing)?,
        }
        match backend.get(&old, PIN_BYTES_MAX).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.set(State { is_lost: true, ..next });
                backend.delete(&new).await.while_doing(while_doing)
            }
            // Whatever it holds by now, it is there.
            Err(error) if error.kind() != ErrorKind::Corrupt => Err(error).while_doing(while_doing),
            _ => {
                self.set(next);
                backend.delete(&old).await.while_doing(while_doing)
            }
        }
    }
}

/// The lowest number of a head that a living reader has pinned. Pins of dead readers are removed on the way.
///
/// A pin that cannot be read holds everything: in doubt nothing is released (release rule 7). [`remove_silent`] tells when its reader is
/// gone.
pub(crate) async fn lowest_pinned(repository: &OpenRepository, layout: &Layout) -> Result<Option<u64>> {
    let mut lowest: Option<u64> = None;
    for (key, pin) in pins(repository, layout).await? {
        let pinned = match pin {
            Some(pin) if life_of(&pin.holder) == Life::Dead => {
                remove(repository, layout, &key).await?;
                continue;
            }
            Some(pin) => pin.head,
            None => 0,
        };
        lowest = Some(lowest.map_or(pinned, |lowest| lowest.min(pinned)));
    }
    if is_broken!(PinsIgnored) { Ok(None) } else { Ok(lowest) }
}

/// Removes the pins of readers that cannot be asked, or whose pins cannot be read, if they give no sign of life for as long as a living
/// reader may be silent: all their names stay as they are. It returns as soon as all others have given one. It tells whether any pin has
/// gone meanwhile, be it by itself.
pub(crate) async fn remove_silent(
    repository: &OpenRepository,
    layout: &Layout,
    progress: &dyn Progress,
) -> Result<bool> {
    // A reader that died in the middle of a renewal has left two names.
    let mut silent: BTreeMap<String, BTreeSet<Key>> = BTreeMap::new();
    for (key, pin) in pins(repository, layout).await? {
        if let Some(nonce) = pin_nonce(&key)
            // A reader whose pin cannot be read renews it all the same, if it lives.
            && pin.is_none_or(|pin| life_of(&pin.holder) == Life::Unknown)
        {
            silent.entry(nonce.to_owned()).or_default().insert(key);
        }
    }
    let mut has_gone = false;
    if silent.is_empty() {
        return Ok(false);
    }
    progress.wait(&Wait::Readers { job: layout.job(), readers: silent.len() as u64, at_most: PIN_DURATION });
    let end = Instant::now() + PIN_DURATION;
    while !silent.is_empty() && Instant::now() < end {
        sleep(PIN_DURATION / 30).await;
        let listed = repository.backend().list_all(&layout.pins()?).await;
        let listed = listed.while_doing(|| format!("watching the readers of job {}", layout.job()))?;
        silent.retain(|nonce, names| {
            let of_reader = listed.iter().filter(|object| pin_nonce(&object.key) == Some(nonce));
            let now: BTreeSet<Key> = of_reader.map(|object| object.key.clone()).collect();
            has_gone |= now.is_empty();
            now == *names
        });
    }
    for key in silent.values().flatten() {
        remove(repository, layout, key).await?;
    }
    Ok(has_gone || !silent.is_empty())
}

/// The pins of a job folder, by key; none for one that cannot be read.
///
/// A pin that is listed and then not there was given back, or has its next name by now, which only another listing tells. One that
/// is listed again and again and never there cannot be read.
async fn pins(repository: &OpenRepository, layout: &Layout) -> Result<Vec<(Key, Option<records::Pin>)>> {
    let mut listings = 0;
    'listing: loop {
        let listed = repository.backend().list_all(&layout.pins()?).await;
        let listed = listed.while_doing(|| format!("looking for readers of job {}", layout.job()))?;
        listings += 1;
        let mut pins = Vec::new();
        // What has another name is nobody's pin.
        for object in listed.into_iter().filter(|object| pin_nonce(&object.key).is_some()) {
            let pin = match repository.backend().get(&object.key, PIN_BYTES_MAX).await {
                Err(error) if error.kind() == ErrorKind::NotFound && listings < LISTINGS_MAX => continue 'listing,
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => None,
                answer => {
                    let bytes = answer.while_doing(|| format!("reading a pin of job {}", layout.job()))?;
                    decode_record(Kind::Pin, &bytes).ok()
                }
            };
            pins.push((object.key, pin));
        }
        return Ok(pins);
    }
}

async fn remove(repository: &OpenRepository, layout: &Layout, key: &Key) -> Result<()> {
    let deleted = repository.backend().delete(key).await;
    deleted.while_doing(|| format!("removing a dead reader's pin of job {}", layout.job()))
}
