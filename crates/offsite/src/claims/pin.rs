//! Pins: a reader's claim that what a head refers to stays readable.
//!
//! A pin is an object. Its reader stores it again and again under a new name, as a sign of life. A writer that wants to release
//! what the pin holds asks the kernel first. If the reader ran on another host, or before a restart, only time tells: the writer
//! removes a pin that keeps its name for longer than a living reader would. Clocks of different hosts are never compared.

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

/// The greatest length of a pin that is read, in bytes.
const PIN_BYTES_MAX: u64 = 8 << 10;
/// A living reader renews its pin at least once in this time.
pub(crate) const PIN_DURATION: Duration = Duration::from_secs(60);
/// If a pin is listed this many times and is never found, it counts as unreadable.
const LISTINGS_MAX: u32 = 16;
/// The number of renewals that a reader tries in that time.
const RENEWALS_PER_DURATION: u32 = 4;

/// A pin that this process holds. It also ends when the kernel says that the process is gone.
#[derive(Debug)]
pub(crate) struct Pin {
    claim: Arc<Claim>,
    signs: Signs,
    _holder: Holder,
}

/// The part that a reader shares with its signs of life.
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
    /// The number of renewals, which is part of the pin's name.
    renewals: u32,
    /// Whether a renewal has begun, so that the next name may exist already.
    is_renewing: bool,
    /// Whether a writer took the reader for dead.
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

    /// Returns whether the pin has been there all the time. A writer that takes its reader for dead removes it. In doubt, it has
    /// been there.
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
            // If this fails, it is tried again at the next renewal.
            let _ = self.renew().await;
            if self.state().is_lost {
                return;
            }
        }
    }

    /// Stores the pin under its next name, and then deletes the old one.
    ///
    /// A writer that takes this reader for dead first deletes the old name, and then looks which pins there are. The reader first
    /// stores the new name, and then looks for the old one. So at least one of the two sees the other. If an answer is lost, the
    /// next renewal does the same again under the same names.
    async fn renew(&self) -> Result<()> {
        let backend = self.repository.backend();
        let state = self.state();
        let next = State { renewals: state.renewals.saturating_add(1), ..State::default() };
        let (old, new) = (self.key(state.renewals)?, self.key(next.renewals)?);
        let while_doing = || format!("renewing a pin of job {}", self.layout.job());
        self.set(State { is_renewing: true, ..state });
        match backend.put(&new, self.bytes.clone()).await {
            // Nobody else uses this name, so an answer was lost.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            answer => answer.while_doing(while_doing)?,
        }
        match backend.get(&old, PIN_BYTES_MAX).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.set(State { is_lost: true, ..next });
                backend.delete(&new).await.while_doing(while_doing)
            }
            // Whatever it contains, it is there.
            Err(error) if error.kind() != ErrorKind::Corrupt => Err(error).while_doing(while_doing),
            _ => {
                self.set(next);
                backend.delete(&old).await.while_doing(while_doing)
            }
        }
    }
}

/// Returns the lowest number of a head that a living reader has pinned. `None` if there is no pin. It also removes pins of dead
/// readers.
///
/// A pin that cannot be read holds everything: in doubt, nothing is released (release rule 7). [`remove_silent`] finds out when its
/// reader is gone.
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

/// Removes the pins of readers that give no sign of life for as long as a living reader may be silent.
///
/// It watches readers that cannot be asked, or whose pins cannot be read. A pin is silent if all its names stay the same. It
/// returns as soon as all others have given a sign. Returns whether any pin has gone meanwhile, also by itself.
pub(crate) async fn remove_silent(
    repository: &OpenRepository,
    layout: &Layout,
    progress: &dyn Progress,
) -> Result<bool> {
    // A reader that died during a renewal has left two names.
    let mut silent: BTreeMap<String, BTreeSet<Key>> = BTreeMap::new();
    for (key, pin) in pins(repository, layout).await? {
        if let Some(nonce) = pin_nonce(&key)
            // A living reader renews its pin even if the pin cannot be read.
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

/// Returns the pins of a job folder by key, with `None` for a pin that cannot be read.
///
/// If a listed pin is not found, it was given back, or has its next name by now, which another listing shows. A pin that is listed
/// again and again and never found cannot be read.
async fn pins(repository: &OpenRepository, layout: &Layout) -> Result<Vec<(Key, Option<records::Pin>)>> {
    let mut listings = 0;
    'listing: loop {
        let listed = repository.backend().list_all(&layout.pins()?).await;
        let listed = listed.while_doing(|| format!("looking for readers of job {}", layout.job()))?;
        listings += 1;
        let mut pins = Vec::new();
        // An object with any other name is no pin.
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
