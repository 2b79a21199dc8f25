//! What indexes say, machine by machine. If a machine of an index cannot be read, the others still can.

use std::collections::BTreeMap;

use offsite_core::format::index::Directory;
use offsite_core::format::{FormatError, WireFormat};
use offsite_core::{
    BlockMap, DiskMap, Index, IndexReference, MachineMap, MachineName, ObjectId, RestorePoint, Sequence, Status,
};
use offsite_repository::Key;

use crate::report::{ErrorSummary, IndexLoss, Loss};

/// What one index says, or several indexes of a point, one above the other.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    pub(super) map: BlockMap,
    /// The machines whose part of the index cannot be read, each with the reason.
    unread: BTreeMap<MachineName, Loss>,
    /// The reason why nothing is known of any machine that is not in `map`. `None` if only machines in `unread` are not known.
    rest_unread: Option<Loss>,
    /// The newer blocks of machines that are not known. When they are all blocks of a machine, the machine is known again.
    partial: BlockMap,
    /// The point whose state the uppermost index changes, as the index says. `None` if it changes none.
    pub(super) base: Option<Sequence>,
    /// Whether a reader accepts all of it as it is.
    pub(super) is_accepted: bool,
}

impl Default for Reading {
    fn default() -> Self {
        Self::of(BlockMap::empty(), None)
    }
}

impl Reading {
    /// A reading of an index that every reader accepts.
    pub(super) fn of(map: BlockMap, base: Option<Sequence>) -> Self {
        let (unread, partial) = (BTreeMap::new(), BlockMap::empty());
        Self { map, unread, rest_unread: None, partial, base, is_accepted: true }
    }

    /// A reading of an index that cannot be read at all.
    pub(super) fn nothing(why: impl Into<Loss>) -> Self {
        Self { rest_unread: Some(why.into()), is_accepted: false, ..Self::default() }
    }

    /// A reading of the parts of an index that no reader accepts, but whose directory can be read. `why` says what is wrong.
    pub(super) fn in_part(directory: &Directory, bytes: &[u8], why: &IndexLoss) -> Self {
        let mut reading = Self { base: directory.base, is_accepted: false, ..Self::default() };
        let machines = directory.machines.iter().enumerate();
        for (position, (state, _)) in machines.filter(|(_, (state, _))| state.status != Status::Incomplete) {
            let range = directory.part_range(position);
            let range = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
            let part = range.and_then(|(start, end)| bytes.get(start..end));
            match part.map(|part| directory.decode_part(position, part)) {
                Some(Ok(Some(machine))) => reading.map.insert(state.name.clone(), machine),
                Some(Ok(None)) => {}
                Some(Err(_)) | None => drop(reading.unread.insert(state.name.clone(), why.clone().into())),
            }
        }
        reading
    }

    /// Returns why a machine is not known. `None` if it is known.
    pub(super) fn why_unread(&self, name: &MachineName) -> Option<&Loss> {
        let rest = self.rest_unread.as_ref().filter(|_| self.map.machine(name).is_none());
        self.unread.get(name).or(rest)
    }

    /// Adds what is known of a machine from elsewhere.
    pub(super) fn learn(&mut self, name: MachineName, machine: MachineMap) {
        self.unread.remove(&name);
        self.map.insert(name, machine);
    }

    /// Puts `upper` on top. A machine that was not known is known again once all its blocks have been said.
    pub(super) fn follow(&mut self, upper: &Self) {
        self.is_accepted &= upper.is_accepted;
        self.base = upper.base;
        if let Some(why) = &upper.rest_unread {
            (self.map, self.partial) = (BlockMap::empty(), BlockMap::empty());
            self.unread.clear();
            self.rest_unread = Some(why.clone());
        }
        if !upper.unread.is_empty() {
            let stays = |name: &MachineName| !upper.unread.contains_key(name);
            (self.map, self.partial) = (self.map.project(stays), self.partial.project(stays));
            self.unread.extend(upper.unread.iter().map(|(name, why)| (name.clone(), why.clone())));
        }
        for (name, machine) in upper.partial.machines() {
            self.partial.insert(name.clone(), machine.clone());
        }
        let is_known = |name: &MachineName| self.why_unread(name).is_none();
        let known = upper.map.project(is_known);
        let unknown = upper.map.project(|name| !is_known(name));
        self.map = if self.map == BlockMap::empty() { known } else { self.map.overlay(&known) };
        for (name, machine) in unknown.machines() {
            // A step that keeps blocks of a machine keeps nothing if nothing is known of the machine.
            let nothing = || MachineMap::new(machine.captured, BTreeMap::new());
            let mut before = BlockMap::empty();
            before.insert(name.clone(), self.partial.machine(name).cloned().unwrap_or_else(nothing));
            let after = before.overlay(&unknown.project(|other| other == name));
            self.partial = self.partial.project(|other| other != name);
            for (name, machine) in after.machines() {
                if is_whole(machine) {
                    self.learn(name.clone(), machine.clone());
                } else {
                    self.partial.insert(name.clone(), machine.clone());
                }
            }
        }
    }

    /// Returns the part about the machines that the point has complete.
    pub(super) fn of_point(mut self, point: &RestorePoint) -> Self {
        let has = |name: &MachineName| point.machine(name).is_some_and(|machine| machine.is_whole());
        self.map = self.map.project(has);
        self.partial = self.partial.project(has);
        self.unread.retain(|name, _| has(name));
        self
    }
}

/// Whether the disks of the machine say all of their blocks, so that nothing before counts.
pub(super) fn is_whole(machine: &MachineMap) -> bool {
    machine.disks.values().all(DiskMap::is_full)
}

/// The readings of indexes.
#[derive(Debug, Default)]
pub(super) struct Readings(BTreeMap<ObjectId, (IndexReference, Reading)>);

impl Readings {
    pub(super) fn insert(&mut self, reference: IndexReference, reading: Reading) {
        self.0.insert(reference.id, (reference, reading));
    }

    /// Returns the reading of exactly this index. An index of the same name with other bytes does not count.
    pub(super) fn get(&self, reference: &IndexReference) -> Option<&Reading> {
        self.0.get(&reference.id).filter(|(found, _)| found == reference).map(|(_, reading)| reading)
    }

    /// Whether every reader accepts all of these indexes.
    pub(super) fn accept<'a>(&self, mut references: impl Iterator<Item = &'a IndexReference>) -> bool {
        references.all(|reference| self.get(reference).is_some_and(|reading| reading.is_accepted))
    }
}

/// Reads the bytes of an index: all of it if every reader accepts it, and otherwise what can be read.
///
/// # Errors
/// The loss of the index, if not even its directory can be read.
pub(super) fn read(bytes: &[u8], key: &Key) -> Result<(Directory, Reading), IndexLoss> {
    let why = |error: FormatError| IndexLoss::Damaged {
        index: key.clone(),
        why: ErrorSummary::new(error.to_string(), false),
    };
    let directory = Directory::decode(bytes).map_err(why)?;
    let reading = match Index::decode(bytes) {
        Ok(index) => Reading::of(index.map, index.base),
        Err(error) => Reading::in_part(&directory, bytes, &why(error)),
    };
    Ok((directory, reading))
}
