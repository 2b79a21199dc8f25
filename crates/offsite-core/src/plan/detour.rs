//! Plans of copies that read some blocks elsewhere than at their source.
//!
//! A block whose bytes the side of the target already has need not cross the link, and a block that occurs several times in one copy
//! crosses once. Each owner still gets a frame of its own: no two blocks ever share one.

use std::collections::BTreeMap;

use super::sync::{Placer, SyncInput, spare_of};
use super::{Address, Move, Plan};
use crate::{Digest, ObjectId, Run, StoredBlock};

/// A frame that a copy reads instead of the block's own frame at the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detour {
    /// The number of the folder that the frame is read from, counted on from those of the sources.
    pub source: u32,
    /// The place of the frame.
    pub from: StoredBlock,
    /// The block that the frame holds there.
    pub holder: Address,
    /// Why the block's own frame need not be read.
    pub why: Saving,
}

/// Why a block of a copy does not cross the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Saving {
    /// The chain has the bytes in another block, or in another state, of the same machine.
    Chain,
    /// The chain has the bytes in a block of another machine.
    Machine,
    /// A spare block has the bytes.
    Spare,
    /// A chain of another job of the target repository has the bytes.
    Job,
    /// The block cache has the bytes.
    Cache,
    /// The bytes occur several times in the copy.
    Twice,
}

/// Who lends a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lender {
    /// The chain that is copied to.
    Chain,
    /// A copy before that was cut off.
    Spare,
    /// A chain of another job.
    Job,
    /// The block cache.
    Cache,
}

/// A frame on the side of the target that has the bytes of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loan {
    /// The number of the folder that the frame is read from, counted on from those of the sources.
    pub source: u32,
    /// The place of the frame.
    pub at: StoredBlock,
    /// The block that the frame holds there.
    pub holder: Address,
    /// Who lends it.
    pub lender: Lender,
}

impl Loan {
    /// Why a block need not cross the link.
    fn saving(&self, address: &Address) -> Saving {
        match self.lender {
            Lender::Chain if self.holder.machine == address.machine => Saving::Chain,
            Lender::Chain => Saving::Machine,
            Lender::Spare => Saving::Spare,
            Lender::Job => Saving::Job,
            Lender::Cache => Saving::Cache,
        }
    }
}

/// What can be lent, by digest.
pub type Loans = BTreeMap<Digest, Loan>;

/// A number of blocks, and their bytes as stored frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Amount {
    /// The number of blocks.
    pub blocks: u64,
    /// The bytes of their frames as the source has them. A block of zeros has no frame.
    pub bytes: u64,
}

impl Amount {
    /// So many blocks with frames of so many bytes.
    #[must_use]
    pub const fn new(blocks: u64, bytes: u64) -> Self {
        Self { blocks, bytes }
    }

    fn add(&mut self, frame_bytes: u32) {
        self.blocks += 1;
        self.bytes += u64::from(frame_bytes);
    }

    fn take(&mut self, frame_bytes: u32) {
        self.blocks = self.blocks.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(u64::from(frame_bytes));
    }
}

/// What a copy was asked for, what of it crosses the link, and why the rest does not.
///
/// All other amounts add up to `asked`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Savings {
    /// All blocks of the states to copy.
    pub asked: Amount,
    /// Blocks that are read from the source.
    pub sent: Amount,
    /// Blocks that the newest state of the chain has already, in the same place.
    pub unchanged: Amount,
    /// Blocks of zeros.
    pub zero: Amount,
    /// Blocks that arrived in a copy before, which was cut off.
    pub spare: Amount,
    /// Blocks whose bytes the chain has elsewhere, of the same machine.
    pub chain: Amount,
    /// Blocks whose bytes the chain has of another machine.
    pub machine: Amount,
    /// Blocks whose bytes another job of the target repository has.
    pub job: Amount,
    /// Blocks whose bytes the block cache has.
    pub cache: Amount,
    /// Blocks whose bytes are read for another block of the copy.
    pub twice: Amount,
    /// Blocks that have not arrived, as the copy was cut off or they cannot be read.
    pub left: Amount,
}

/// How a block of a plan came in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    /// As it was planned.
    AsPlanned,
    /// From the source, as what was lent could not be used.
    FromSource,
    /// With another block that came from the source, as what was lent could not be used.
    WithAnother,
    /// Not at all.
    Not,
}

impl Savings {
    /// The amount of the blocks that do not cross the link for this reason.
    #[must_use]
    pub const fn of(&self, why: Saving) -> Amount {
        match why {
            Saving::Chain => self.chain,
            Saving::Machine => self.machine,
            Saving::Spare => self.spare,
            Saving::Job => self.job,
            Saving::Cache => self.cache,
            Saving::Twice => self.twice,
        }
    }

    /// Blocks that a lender has, or that occur several times.
    #[must_use]
    pub fn detoured(&self) -> Amount {
        let all = [Saving::Chain, Saving::Machine, Saving::Spare, Saving::Job, Saving::Cache, Saving::Twice];
        all.iter().map(|why| self.of(*why)).fold(Amount::default(), |sum, one| Amount {
            blocks: sum.blocks + one.blocks,
            bytes: sum.bytes + one.bytes,
        })
    }

    fn amount(&mut self, why: Option<Saving>) -> &mut Amount {
        match why {
            None => &mut self.sent,
            Some(Saving::Chain) => &mut self.chain,
            Some(Saving::Machine) => &mut self.machine,
            Some(Saving::Spare) => &mut self.spare,
            Some(Saving::Job) => &mut self.job,
            Some(Saving::Cache) => &mut self.cache,
            Some(Saving::Twice) => &mut self.twice,
        }
    }

    /// What is true after the copy. `came` says of each of the plan's moves how it came.
    #[must_use]
    pub fn settled(mut self, plan: &Plan, came: impl Fn(usize) -> Came) -> Self {
        for (position, step) in plan.moves.iter().enumerate() {
            let length = step.from.length;
            let planned = plan.detours.get(&position).map(|detour| detour.why);
            let now = match came(position) {
                Came::AsPlanned => continue,
                Came::FromSource => Some(None),
                Came::WithAnother => Some(Some(Saving::Twice)),
                Came::Not => None,
            };
            self.amount(planned).take(length);
            match now {
                Some(why) => self.amount(why).add(length),
                None => self.left.add(length),
            }
        }
        self
    }
}

/// The digests of the blocks that a sync must get from the folders for which `is_asked` returns `true`, ascending.
#[must_use]
pub fn missing(sync: SyncInput<'_>, is_asked: impl Fn(u32) -> bool) -> Vec<Digest> {
    let step = sync.latest.diff(sync.wanted);
    let blocks = step.stored().filter(|(machine, disk, block, from)| {
        is_asked(sync.source_of(machine)) && spare_of(sync.spare, machine, *disk, *block, from).is_none()
    });
    let mut digests: Vec<Digest> = blocks.map(|(.., from)| from.digest).collect();
    digests.sort_unstable();
    digests.dedup();
    digests
}

/// The plan that copies the wanted states, reads what `loans` has from there, and reads what occurs several times once.
///
/// It differs from [`sync_from`](super::sync_from) in [`Plan::detours`], and in the order of its moves: blocks of the same bytes follow
/// each other. So one frame in memory is written for all of them. It also returns what crosses the link, and why the rest does not.
#[must_use]
pub fn sync_lent(sync: SyncInput<'_>, loans: &Loans, mut mint: impl FnMut() -> ObjectId) -> (Plan, Savings) {
    let step = sync.latest.diff(sync.wanted);
    let mut savings = asked(sync);
    let mut groups: BTreeMap<Digest, usize> = BTreeMap::new();
    // Which block it is among those of the step, the first block with its bytes, and how it moves.
    let mut asked: Vec<(usize, usize, Move)> = Vec::new();
    let mut of_step = Amount::default();
    for (ordinal, (machine, disk, block, from)) in step.stored().enumerate() {
        of_step.add(from.length);
        if spare_of(sync.spare, machine, disk, block, &from).is_some() {
            savings.spare.add(from.length);
            continue;
        }
        let group = *groups.entry(from.digest).or_insert(ordinal);
        let address = Address { machine: machine.clone(), disk, block };
        asked.push((group, ordinal, Move { address, source: sync.source_of(machine), from, to: from }));
    }
    drop(groups);
    savings.unchanged.blocks = savings.asked.blocks - savings.zero.blocks - of_step.blocks;
    savings.unchanged.bytes = savings.asked.bytes - of_step.bytes;
    asked.sort_by_key(|(group, ..)| *group);
    let mut placer = Placer::new(sync.placement);
    let mut places: BTreeMap<usize, StoredBlock> = BTreeMap::new();
    let mut plan = Plan::default();
    let mut first: Option<(usize, Detour)> = None;
    for (group, ordinal, mut step) in asked {
        let detour = match (&first, loans.get(&step.from.digest)) {
            (_, Some(loan)) => {
                let Loan { source, at, holder, .. } = loan.clone();
                Some(Detour { source, from: at, holder, why: loan.saving(&step.address) })
            }
            (Some((of, detour)), None) if *of == group => Some(detour.clone()),
            (_, None) => {
                let (holder, why) = (step.address.clone(), Saving::Twice);
                first = Some((group, Detour { source: step.source, from: step.from, holder, why }));
                None
            }
        };
        savings.amount(detour.as_ref().map(|detour| detour.why)).add(step.from.length);
        let read = detour.as_ref().map_or(step.from, |detour| detour.from);
        let (file, offset) = placer.place(read.length, &mut mint);
        step.to = StoredBlock { file, offset, ..read };
        places.insert(ordinal, step.to);
        if let Some(detour) = detour {
            plan.detours.insert(plan.moves.len(), detour);
        }
        plan.moves.push(step);
    }
    let mut ordinal = 0;
    plan.index = step.relocated(|machine, disk, block, from| {
        let place = places.get(&ordinal).copied();
        ordinal += 1;
        place.or_else(|| spare_of(sync.spare, machine, disk, block, &from)).unwrap_or(from)
    });
    plan.files = placer.into_files();
    (plan, savings)
}

/// What a sync is asked for, and how much of it is zeros.
fn asked(sync: SyncInput<'_>) -> Savings {
    let mut savings = Savings::default();
    let disks = sync.wanted.machines().values().flat_map(|machine| machine.disks.values());
    for run in disks.flat_map(|disk| disk.runs()) {
        match run {
            Run::Zero { count, .. } => savings.zero.blocks += u64::from(*count),
            Run::Stored { at, .. } => savings.asked.add(at.length),
        }
    }
    savings.asked.blocks += savings.zero.blocks;
    savings
}
