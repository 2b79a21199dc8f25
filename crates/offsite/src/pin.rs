//! Pins: a reader's claim that what a head refers to stays readable.

use bytes::Bytes;
use offsite_core::format::head::Head;
use offsite_core::format::records;
use offsite_core::format::{Kind, decode_record, encode_record};
use offsite_repository::{ErrorKind, Key, Repository, RepositoryExt};

use crate::error::Context;
use crate::holder::{Holder, Life, life_of};
use crate::layout::Layout;
use crate::open_repository::random_id;
use crate::seams::is_broken;
use crate::{Error, OpenRepository, Result};

/// The longest pin that is read.
const PIN_BYTES_MAX: u64 = 8 << 10;

/// A pin that this process holds. The kernel's word that the process is gone ends it too.
#[derive(Debug)]
pub(crate) struct Pin {
    repository: OpenRepository,
    key: Key,
    _holder: Holder,
}

impl Pin {
    pub(crate) async fn create(repository: &OpenRepository, layout: &Layout, head: &Head) -> Result<Self> {
        let holder = Holder::new()?;
        let record = records::Pin { folder: head.folder, head: head.number, holder: holder.text().to_owned() };
        let bytes = encode_record(Kind::Pin, &record).map_err(|error| Error::Defect(error.to_string()))?;
        let key = layout.pin(random_id()?)?;
        let stored = repository.backend().put(&key, Bytes::from(bytes)).await;
        stored.while_doing(|| format!("pinning job {} in {}", layout.job(), repository.location()))?;
        Ok(Self { repository: repository.clone(), key, _holder: holder })
    }

    /// Whether the pin is still there. A writer that took its reader for dead removes it; in doubt it is there.
    pub(crate) async fn is_held(&self) -> bool {
        let found = self.repository.backend().get(&self.key, PIN_BYTES_MAX).await;
        !found.is_err_and(|error| error.kind() == ErrorKind::NotFound)
    }

    /// Gives the pin back.
    pub(crate) async fn release(self) -> Result<()> {
        let deleted = self.repository.backend().delete(&self.key).await;
        deleted.while_doing(|| format!("giving a pin back in {}", self.repository.location()))
    }
}

/// The lowest number of a head that a living reader has pinned. Pins of dead readers are removed on the way.
///
/// A pin that cannot be read holds everything: in doubt nothing is released (release rule 7).
pub(crate) async fn lowest_pinned(repository: &OpenRepository, layout: &Layout) -> Result<Option<u64>> {
    let pins = repository.backend().list_all(&layout.pins()?).await;
    let pins = pins.while_doing(|| format!("looking for readers of job {}", layout.job()))?;
    let mut lowest: Option<u64> = None;
    for object in pins {
        let bytes = match repository.backend().get(&object.key, PIN_BYTES_MAX).await {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            answer => answer.while_doing(|| format!("reading a pin of job {}", layout.job()))?,
        };
        let pinned = match decode_record::<records::Pin>(Kind::Pin, &bytes) {
            Ok(pin) if life_of(&pin.holder) == Life::Dead => {
                let deleted = repository.backend().delete(&object.key).await;
                deleted.while_doing(|| format!("removing a dead reader's pin of job {}", layout.job()))?;
                continue;
            }
            Ok(pin) => pin.head,
            Err(_) => 0,
        };
        lowest = Some(lowest.map_or(pinned, |lowest| lowest.min(pinned)));
    }
    if is_broken!(PinsIgnored) { Ok(None) } else { Ok(lowest) }
}
