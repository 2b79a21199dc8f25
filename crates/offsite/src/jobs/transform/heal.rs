//! Healing: blocks that are known to be damaged are put back for every point that needs them.
//!
//! A block is looked for by its digest, in the chain's other frames first and then in every restore point of every source, whatever it is
//! called there. What is found is read and compared before anything is planned with it. Healing is a transform like compaction: the frames
//! are written to a new file, and their places go on top of the indexes of all points that refer to the damaged ones. No restore point is
//! made, and nothing else is carried.
//!
//! It costs nothing while no damage is known. Else the indexes are read that list a damaged file, and then those of the chain and of the
//! sources, newest first, until every block is found.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use offsite_core::plan::{Address, references, replace};
use offsite_core::{BlockMap, Chain, Digest, MachineName, ObjectId, RestorePoint, Sequence, StoredBlock};

use super::draft::DraftedOperation;
use super::stack::{Relaid, relaid};
use super::{PlannedOperation, carried_out, imagine};
use crate::Error;
use crate::commit::draft::BlockViews;
use crate::commit::dry_run::DryRun;
use crate::commit::plan_context::PlanContext;
use crate::commit::writer::Writer;
use crate::folder::verification_notes::{Place, VerificationNotes};
use crate::mover::{Aliases, FrameSource, Wanted, scrub};
use crate::progress::Task;
use crate::reader::indexes::Indexes;
use crate::reader::job_folder::JobFolder;
use crate::report::{ErrorSummary, HealedFrom, HealingSearch, Note, Operation, OperationReport};
use crate::teller::Control;
use crate::teller::Teller;
use crate::{Result, Silent};

/// An operation puts back at most so many bytes, or one block.
const PIECE_BYTES: u64 = 1 << 30;

/// What healing has come to.
#[derive(Debug, Default)]
pub(crate) struct Healed {
    pub(crate) operations: Vec<OperationReport>,
    /// What cannot be healed.
    pub(crate) notes: Vec<Note>,
    /// Whether the gate has ended it.
    pub(crate) is_stopped: bool,
}

/// Puts back all known damaged blocks of which the chain or one of `sources` has the bytes.
pub(crate) async fn heal(
    writer: &mut Writer,
    indexes: &mut Indexes,
    sources: &[&JobFolder],
    control: Control<'_>,
) -> Result<Healed> {
    let (mut healing, mut healed) = (Healing::new(sources), Healed::default());
    loop {
        let drafted = healing.draft(&mut writer.plan_context(indexes)).await?;
        let Some(drafted) = drafted else { break };
        let reads_source = !drafted.sources.is_empty();
        match carried_out(writer, drafted, control).await {
            Ok(Some(done)) => {
                healed.operations.push(done);
                forget(writer, &healing.taken).await?;
            }
            // It was damaged after it had been read; now that is known.
            Ok(None) => {}
            Err(error) if error.is_loss() && reads_source => {
                healed.notes.push(Note::NotHealedFromSource { why: (&error).into() });
                break;
            }
            Err(Error::Stopped { .. }) => {
                healed.is_stopped = true;
                break;
            }
            Err(error) => return Err(error),
        }
    }
    healed.notes.extend(healing.left());
    Ok(healed)
}

/// Takes these frames off what is known to be damaged.
///
/// Where that cannot be noted, they are known a little longer.
async fn forget(writer: &Writer, frames: &BTreeSet<Place>) -> Result<()> {
    let (repository, layout, folder) = (writer.repository(), writer.layout(), writer.head().folder);
    let mut noted = VerificationNotes::load(repository, layout, folder).await?;
    noted.damaged.retain(|place, _| !frames.contains(place));
    noted.cut.retain(|file, _| writer.head().files.contains_key(file));
    let _ = noted.store(repository, layout, folder).await;
    Ok(())
}

/// What healing would do, as if it had been done, and what a user should know of what it would leave.
pub(crate) async fn plan_healing(
    dry_run: &mut DryRun<'_>,
    sources: &[&JobFolder],
) -> Result<(Vec<PlannedOperation>, Vec<Note>)> {
    let (mut healing, mut planned) = (Healing::new(sources), Vec::new());
    while let Some(drafted) = healing.draft(&mut dry_run.context()).await? {
        planned.push(imagine(dry_run, drafted));
    }
    Ok((planned, healing.left()))
}

/// A frame with the bytes of a damaged block.
#[derive(Debug, Clone)]
struct Found {
    address: Address,
    at: StoredBlock,
}

/// A source, with those of its indexes that were read already.
struct Searched<'a> {
    folder: &'a JobFolder,
    indexes: Indexes,
    /// Why it could not be searched.
    why_not: Option<ErrorSummary>,
}

impl Searched<'_> {
    fn frames(&self) -> FrameSource {
        FrameSource::new(self.folder.repository(), self.folder.layout(), self.folder.head())
    }
}

struct Healing<'a> {
    sources: Vec<Searched<'a>>,
    /// Frames that turned out to be damaged, with the source that they are in. Those of the chain itself have no source.
    bad: BTreeSet<(Option<usize>, Place)>,
    /// Digests of blocks that are nowhere.
    lost: BTreeSet<Digest>,
    /// The frames that each machine needs of these, and the points that they are stored with.
    needed_by: BTreeMap<MachineName, (BTreeSet<Place>, BTreeSet<Sequence>)>,
    /// Whether a point's index cannot be read, so that nobody knows which frames it needs.
    waits_for_index: bool,
    /// The damaged frames that the operation which was drafted last takes the place of.
    taken: BTreeSet<Place>,
}

impl<'a> Healing<'a> {
    fn new(sources: &[&'a JobFolder]) -> Self {
        let sources = sources.iter().map(|folder| Searched { folder, indexes: folder.indexes(), why_not: None });
        Self {
            sources: sources.collect(),
            waits_for_index: false,
            bad: BTreeSet::new(),
            lost: BTreeSet::new(),
            needed_by: BTreeMap::new(),
            taken: BTreeSet::new(),
        }
    }

    /// The next operation, as long as anything can be healed.
    async fn draft(&mut self, context: &mut PlanContext<'_>) -> Result<Option<DraftedOperation>> {
        let noted = context.noted().await?;
        if noted.is_empty() {
            return Ok(None);
        }
        let Some(steps) = steps_in(context, &noted.files()).await? else {
            self.waits_for_index = true;
            return Ok(None);
        };
        let parts = steps.iter().map(|(sequence, step)| {
            let part = step.picked(|_, _, _, at| (noted.names(&at) && !self.lost.contains(&at.digest)).then_some(at));
            (*sequence, part)
        });
        let parts: BTreeMap<Sequence, BlockMap> = parts.filter(|(_, part)| *part != BlockMap::empty()).collect();
        let wanted: BTreeSet<Digest> = parts.values().flat_map(BlockMap::stored).map(|(.., at)| at.digest).collect();
        if wanted.is_empty() {
            return Ok(None);
        }
        for source in std::iter::once(None).chain((0..self.sources.len()).map(Some)) {
            if source.is_some_and(|number| self.sources[number].why_not.is_some()) {
                continue;
            }
            let is_damaged = |at: &StoredBlock| source.is_none() && noted.names(at);
            let found = match (self.found(context, source, &wanted, is_damaged).await, source) {
                // A source that cannot be reached keeps nothing else from being done.
                (Err(error), Some(number)) => {
                    self.sources[number].why_not = Some((&error).into());
                    continue;
                }
                (found, _) => found?,
            };
            if !found.is_empty() {
                return self.drafted(context, source, &found, &steps, &parts).await.map(Some);
            }
        }
        for (sequence, part) in &parts {
            for (machine, _, _, at) in part.stored() {
                let (places, points) = self.needed_by.entry(machine.clone()).or_default();
                places.insert((at.file, at.offset));
                points.insert(*sequence);
            }
        }
        self.lost.extend(wanted);
        Ok(None)
    }

    /// What a source, or the chain itself, has intact of these blocks.
    async fn found(
        &mut self,
        context: &mut PlanContext<'_>,
        source: Option<usize>,
        wanted: &BTreeSet<Digest>,
        is_damaged: impl Fn(&StoredBlock) -> bool,
    ) -> Result<BTreeMap<Digest, Found>> {
        let mut sound = BTreeMap::new();
        loop {
            let still: BTreeSet<Digest> =
                wanted.iter().filter(|digest| !sound.contains_key(*digest)).copied().collect();
            let bad = &self.bad;
            let is_bad = |at: &StoredBlock| is_damaged(at) || bad.contains(&(source, (at.file, at.offset)));
            let (found, frames) = match source.and_then(|number| self.sources.get_mut(number)) {
                Some(searched) => {
                    let found = look(&mut searched.indexes, searched.folder.chain(), &still, is_bad).await?;
                    (found, searched.frames())
                }
                None => {
                    let frames = FrameSource::new(context.repository, context.indexes.layout(), context.head);
                    (look(context.indexes, &context.head.chain, &still, is_bad).await?, frames)
                }
            };
            if found.is_empty() {
                return Ok(sound);
            }
            // What is only planned yet cannot be read, and will be intact.
            let is_stored = |at: &StoredBlock| source.is_some() || context.stored.contains_key(&at.file);
            let stored = found.values().filter(|found| is_stored(&found.at));
            let mut blocks: Vec<Wanted> =
                stored.map(|Found { address, at }| Wanted { address: address.clone(), at: *at }).collect();
            blocks.sort_by_key(|block| (block.at.file, block.at.offset));
            let quiet = Teller::new(&Silent, Task::Heal, context.indexes.layout().job());
            let flaws = scrub(Arc::new(blocks), &frames, quiet).await?.flaws;
            let flawed: BTreeSet<Digest> = flaws.iter().map(|flaw| flaw.block.at.digest).collect();
            self.bad.extend(flaws.iter().map(|flaw| (source, (flaw.block.at.file, flaw.block.at.offset))));
            sound.extend(found.into_iter().filter(|(digest, _)| !flawed.contains(digest)));
        }
    }

    async fn drafted(
        &mut self,
        context: &mut PlanContext<'_>,
        source: Option<usize>,
        found: &BTreeMap<Digest, Found>,
        steps: &BTreeMap<Sequence, BlockMap>,
        parts: &BTreeMap<Sequence, BlockMap>,
    ) -> Result<DraftedOperation> {
        let newest = context.head.chain.latest().cloned();
        let newest =
            newest.ok_or_else(|| crate::Error::defect("a chain without points has damaged blocks".to_owned()))?;
        let header = context.header_of_all(&newest).await?;
        let placement = header.placement(context.repository);
        let room = PIECE_BYTES.min(placement.file_bytes_max.saturating_sub(placement.first_offset));
        let number = source.map_or(0, |number| u32::try_from(number).unwrap_or(u32::MAX));
        let (mut taken, mut bytes, mut aliases) = (BTreeMap::new(), 0, Aliases::new());
        let all: Vec<&BlockMap> = parts.values().collect();
        for at in references(all.iter().copied()) {
            let Some(Found { address, at: from }) = found.get(&at.digest) else { continue };
            bytes += u64::from(from.length).next_multiple_of(context.head.alignment_bytes.into());
            if bytes > room && !taken.is_empty() {
                break;
            }
            taken.insert((at.file, at.offset), (number, *from));
            aliases.insert((number, from.file, from.offset), address.clone());
        }
        self.taken = taken.keys().copied().collect();
        let picked = parts.iter().map(|(sequence, part)| {
            (*sequence, part.picked(|_, _, _, at| taken.contains_key(&(at.file, at.offset)).then_some(at)))
        });
        let picked: Vec<(Sequence, BlockMap)> = picked.filter(|(_, part)| *part != BlockMap::empty()).collect();
        let reclaiming = context.reclaiming();
        let maps: Vec<&BlockMap> = picked.iter().map(|(_, part)| part).collect();
        let relocation = replace(&maps, &[], &taken, placement, || context.minter.mint(), reclaiming);
        let plan = relocation.plan;
        let files = plan.files_after(&context.head.files, context.head.alignment_bytes.into());
        let mut steps = steps.clone();
        let Relaid { indexes, chain, after } =
            relaid(context, &picked, &relocation.indexes, &files, &mut steps).await?;
        let operation = Operation::Heal {
            blocks: plan.moves.len() as u64,
            points: picked.iter().map(|(sequence, _)| *sequence).collect(),
            from: if source.is_some() { HealedFrom::Source } else { HealedFrom::Chain },
        };
        let views = BlockViews { before: maps, after: after.iter().collect(), others: steps.values().collect() };
        let draft = context.draft_operation(operation, plan, chain, indexes, views).await?;
        let sources = if source.is_some() { self.sources.iter().map(Searched::frames).collect() } else { Vec::new() };
        Ok(DraftedOperation { header: Some(header), sources, aliases, ..draft })
    }

    /// What a user should know of what was not healed.
    fn left(&self) -> Vec<Note> {
        let unsearched = self.sources.iter().filter_map(|searched| {
            let (job, location) = (searched.folder.job().clone(), searched.folder.repository().location());
            Some(Note::SourceNotSearched { job, location, why: searched.why_not.clone()? })
        });
        let waiting = self.waits_for_index.then_some(Note::HealingWaits);
        let searched = match self.sources.is_empty() {
            true => HealingSearch::Chain,
            false if self.sources.iter().all(|searched| searched.why_not.is_none()) => HealingSearch::All,
            false => HealingSearch::SomeSources,
        };
        let left = self.needed_by.iter().map(|(machine, (places, points))| Note::NotHealed {
            machine: machine.clone(),
            blocks: places.len() as u64,
            points: points.iter().copied().collect(),
            searched,
        });
        waiting.into_iter().chain(unsearched).chain(left).collect()
    }
}

/// What the points say whose indexes list one of these files.
///
/// Nothing is told while an index cannot be read: its point may need any frame, and a frame that is wrongly taken for damaged
/// must not be let go then.
async fn steps_in(
    context: &mut PlanContext<'_>,
    files: &BTreeSet<ObjectId>,
) -> Result<Option<BTreeMap<Sequence, BlockMap>>> {
    let mut steps = BTreeMap::new();
    for point in context.head.chain.all() {
        match step_in(context.indexes, point, files).await {
            Err(error) if error.is_loss() => return Ok(None),
            step => drop(step?.map(|step| steps.insert(point.sequence, step))),
        }
    }
    Ok(Some(steps))
}

async fn step_in(indexes: &mut Indexes, point: &RestorePoint, files: &BTreeSet<ObjectId>) -> Result<Option<BlockMap>> {
    for reference in point.indexes() {
        if indexes.files(reference, point).await?.iter().any(|file| files.contains(file)) {
            return indexes.step(point).await.map(Some);
        }
    }
    Ok(None)
}

/// Frames of a chain with these digests, one of each, those of the newest points first.
///
/// What cannot be read has none.
async fn look(
    indexes: &mut Indexes,
    chain: &Chain,
    wanted: &BTreeSet<Digest>,
    is_bad: impl Fn(&StoredBlock) -> bool,
) -> Result<BTreeMap<Digest, Found>> {
    let mut found = BTreeMap::new();
    for point in chain.all().rev() {
        if found.len() == wanted.len() {
            break;
        }
        let step = match indexes.step(point).await {
            Err(error) if error.is_loss() => continue,
            step => step?,
        };
        for (machine, disk, block, at) in step.stored().filter(|(.., at)| wanted.contains(&at.digest) && !is_bad(at)) {
            let address = Address { machine: machine.clone(), disk, block };
            found.entry(at.digest).or_insert(Found { address, at });
        }
    }
    Ok(found)
}
