//! Who committed what, as the heads that were stored tell.

use offsite::model::CommitId;
use offsite_core::format::WireFormat;
use std::collections::{BTreeMap, BTreeSet};

use offsite::model::Head;
use offsite::model::Timestamp;

use crate::proof::{Invariant, Violation};
use crate::schedule::Actor;
use crate::simulated::StoredHead;

/// The heads of a job that count.
#[derive(Debug)]
pub(crate) struct History {
    /// The points that were a head's newest, and who committed them.
    pub(crate) points: BTreeSet<(Actor, Timestamp)>,
    /// The actors, by the epochs of their commits.
    epochs: BTreeMap<u32, Actor>,
}

impl History {
    pub(crate) fn new(newest: &Head, stored: &[StoredHead]) -> Result<Self, Violation> {
        let mut history = Self { points: BTreeSet::new(), epochs: BTreeMap::new() };
        // Who stored a head or its second copy first has made it: another may have finished the commit.
        let mut makers: BTreeMap<CommitId, Actor> = BTreeMap::new();
        for StoredHead { actor, name, bytes } in stored {
            let Ok(head) = Head::decode(bytes) else { continue };
            let maker = *makers.entry(head.commit).or_insert(*actor);
            let is_committed = head.commit == newest.commit || newest.ancestry.contains(&head.commit);
            if !is_committed || !name.contains("/head/") {
                continue;
            }
            if let Some(point) = head.chain.latest() {
                history.points.insert((maker, point.time));
            }
            let other = history.epochs.insert(head.epoch, maker);
            if let Some(other) = other.filter(|other| *other != maker) {
                let detail = format!("epoch {} is of actors {other} and {maker}", head.epoch);
                return Err(Violation::new(Invariant::OneWriterPerEpoch, detail));
            }
        }
        Ok(history)
    }

    /// Whether another actor has committed after this one. One that runs several times has several epochs, and which of its runs
    /// ended is not known here: any may have been overtaken.
    pub(crate) fn is_overtaken(&self, actor: Actor) -> bool {
        let own = self.epochs.iter().find(|(_, holder)| **holder == actor).map(|(epoch, _)| *epoch);
        self.epochs.iter().any(|(epoch, holder)| *holder != actor && Some(*epoch) > own)
    }
}
