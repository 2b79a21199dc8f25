//! Verification, repair, and what is left over.

use std::collections::{BTreeMap, BTreeSet};

use offsite::model::MachineName;
use offsite::model::RetiredObject;
use offsite::model::Sequence;
use offsite::{Repair, RepairReport, Verify, VerifyReport};
use offsite_core::format::backup_file::region_bytes;
use offsite_repository::{Key, Reclaim, Repository};

use crate::damage::Target;
use crate::judge::Makes;
use crate::keeping::Keeping;
use crate::operation::Interruption;
use crate::perform::Applied;
use crate::proof::Proven;
use crate::settings::{FOLDERS, FolderSpec};
use crate::violation::{Law, Violation, ensure};
use crate::world::{Ended, World};

impl World {
    /// Verifies a folder: all of it, without data, or some bytes of it.
    ///
    /// # Errors
    /// What it says wrongly.
    pub async fn verify(
        &mut self,
        number: usize,
        how: u32,
        interruption: Option<Interruption>,
    ) -> Result<Option<Applied>, Violation> {
        if self.proven(number).is_none() {
            return Ok(None);
        }
        let (faulty, job) = (self.faulty(number), self.job(number));
        let budget = [None, None, Some(1), Some(900), Some(6_000)][how as usize % 5];
        let reads = how % 5 != 1;
        let run = async {
            let repository = Self::open(&faulty).await?;
            let verify = Verify::new(&repository, job);
            match budget {
                Some(bytes) => verify.budget_bytes(bytes).run().await,
                None => verify.read_data(reads).run().await,
            }
        };
        let Ended { result, is_struck } = self.carry_out(FOLDERS[number].place, interruption, run).await;
        self.look()?;
        let is_unreadable = self.folders[number].wounds.iter().any(|wound| wound.target == Target::Newest);
        match result {
            Some(Ok(report)) => {
                let reads_all = reads && budget.is_none();
                self.did("damage found by verifications", report.damage.len() as u64);
                if !is_unreadable {
                    self.judge_verification(number, &report, reads_all)?;
                }
                if reads_all && !is_struck && !is_unreadable {
                    self.note(number);
                }
            }
            Some(Err(error)) => self.judge_failure("verification", &[number], &error, is_unreadable, is_struck)?,
            None => {}
        }
        Ok(Some(Applied { is_struck }))
    }

    /// What a full verification has noted.
    fn note(&mut self, number: usize) {
        let Some(proven) = self.proven(number) else { return };
        let has_index = |sequence: &Sequence| !self.hidden(number, &proven).contains(sequence);
        let damaged = proven.damaged().filter(|(_, frame)| frame.users.iter().any(|(sequence, _)| has_index(sequence)));
        self.folders[number].noted = damaged.map(|(place, frame)| (*place, frame.at.digest)).collect();
    }

    /// The points that stand on an index that cannot be read.
    fn hidden(&self, number: usize, proven: &Proven) -> BTreeSet<Sequence> {
        let wounds = self.folders[number].wounds.iter().filter(|wound| wound.target == Target::Index);
        let lost: BTreeSet<&str> = wounds.filter_map(|wound| wound.name.rsplit('/').next()).collect();
        let is_hidden = |sequence| {
            let steps = proven.head.chain.steps_to(sequence).unwrap_or_default();
            steps.into_iter().flat_map(|step| step.indexes()).any(|index| lost.contains(index.id.to_string().as_str()))
        };
        proven.points().map(|point| point.sequence).filter(|sequence| is_hidden(*sequence)).collect()
    }

    /// Compares what verification says with what is damaged.
    fn judge_verification(&self, number: usize, report: &VerifyReport, reads_all: bool) -> Result<(), Violation> {
        let job = FOLDERS[number].job;
        let Some(proven) = self.proven(number) else { return Ok(()) };
        let hidden = self.hidden(number, &proven);
        let mut lost: BTreeSet<(Sequence, Option<MachineName>)> =
            hidden.iter().map(|sequence| (*sequence, None)).collect();
        lost.extend(
            proven
                .lost()
                .into_iter()
                .filter(|(sequence, _)| !hidden.contains(sequence))
                .map(|(sequence, name)| (sequence, Some(name))),
        );
        let said: BTreeSet<(Sequence, Option<MachineName>)> = report
            .damage
            .iter()
            .flat_map(|damage| &damage.touches)
            .map(|touched| (touched.sequence, touched.machine.clone()))
            .collect();
        let more: Vec<_> = said.difference(&lost).collect();
        ensure(more.is_empty(), Law::Named, || format!("{job}: {more:?} are called damaged, and are not: {report:?}"))?;
        let less: Vec<_> = lost.difference(&said).collect();
        let is_whole = less.is_empty() || !reads_all;
        ensure(is_whole, Law::Named, || format!("{job}: {less:?} are damaged, and not named: {report:?}"))?;
        let named: BTreeSet<&str> = report.damage.iter().map(|damage| damage.object.as_str()).collect();
        for wound in &self.folders[number].wounds {
            let is_named = named.contains(wound.name.as_str());
            let must = matches!(wound.target, Target::Index | Target::Twin)
                || (wound.target == Target::Older && !wound.is_gone());
            ensure(is_named || !must, Law::Named, || format!("{job}: {} is damaged, and not named", wound.name))?;
        }
        let known: BTreeSet<&str> = self.folders[number].wounds.iter().map(|wound| wound.name.as_str()).collect();
        let files: BTreeSet<String> = proven.damaged().map(|((file, _), _)| format!("{job}/blocks/{file}")).collect();
        let wrong = named.iter().find(|name| !known.contains(*name) && !files.contains(**name));
        ensure(wrong.is_none(), Law::Named, || format!("{job}: {wrong:?} is called damaged, and is not: {report:?}"))
    }

    /// Repairs a folder, and lets go of what an earlier repair left out if `how` is large.
    ///
    /// # Errors
    /// What that does wrongly.
    pub async fn repair(
        &mut self,
        number: usize,
        how: u32,
        interruption: Option<Interruption>,
    ) -> Result<Option<Applied>, Violation> {
        let Some(before) = self.proven(number) else { return Ok(None) };
        let (faulty, job, now) = (self.faulty(number), self.job(number), self.now());
        let contents = self.places[FOLDERS[number].place].contents.clone();
        let run = async {
            let repository = Self::open(&faulty).await?;
            Repair::new(&repository, job).discard(how >= 120).run().await
        };
        let Ended { result, is_struck } = self.carry_out(FOLDERS[number].place, interruption, run).await;
        let is_sound = self.folders[number].is_sound();
        match &result {
            Some(Ok(report)) if report.left_out.is_empty() => {}
            // What a repair had to give up is judged by what it says.
            Some(Ok(report)) => {
                ensure(!is_sound, Law::Repaired, || format!("{} gave points up: {report:?}", FOLDERS[number].job))?;
                self.folders[number].wounds.retain(|wound| matches!(wound.target, Target::Frame | Target::File));
                self.folders[number].is_estimated = true;
                self.folders[number].is_loose = true;
            }
            // It may have been cut off as it committed that.
            None | Some(Err(_)) if is_struck && !is_sound => {
                self.folders[number].is_estimated = true;
                self.folders[number].is_loose = true;
            }
            _ => {}
        }
        self.look()?;
        // What the copy of a head says whose commit was cut off counts as committed: that may have been a merge.
        let prefix = format!("{}/blocks/", FOLDERS[number].job);
        let number_of = |name: &str| {
            let copy = name.strip_prefix(&prefix)?.strip_suffix(".head")?;
            u64::from_str_radix(copy.rsplit_once('-')?.1, 16).ok()
        };
        let was_cut_off =
            contents.iter().any(|(name, _)| number_of(name.as_ref()).is_some_and(|copy| copy > before.head.number));
        let keeping = Keeping { policy: None, now, elsewhere: &[], deletes_machines: was_cut_off };
        let is_whole =
            result.as_ref().is_none_or(|result| result.as_ref().is_ok_and(|report| report.left_out.is_empty()));
        if is_whole {
            // The copy of a head whose commit was cut off is as good as a commit.
            self.judge_points(number, Some(&before), Makes::One, &keeping)?;
        }
        match result {
            Some(Ok(report)) => {
                let place = &self.places[FOLDERS[number].place];
                if self.folders[number].wounds.is_empty() && is_sound && report.is_intact() {
                    // Readers give signs of life meanwhile.
                    let lasting = |contents: &crate::proof::Contents| -> crate::proof::Contents {
                        let lasting = contents.iter().filter(|(name, _)| !name.contains("/pin/"));
                        lasting.map(|(name, bytes)| (name.clone(), bytes.clone())).collect()
                    };
                    let is_same = lasting(&contents) == lasting(&place.contents);
                    ensure(is_same, Law::Repaired, || format!("{} was intact and was changed", FOLDERS[number].job))?;
                }
                self.judge_repair(number, &report)?;
                self.did("objects put back by repairs", report.restored.len() as u64);
                self.did("indexes made again of frames", report.salvaged.len() as u64);
                self.did("points given up by repairs", report.left_out.len() as u64);
                self.did("files discarded by repairs", if how >= 120 { report.unneeded.len() as u64 } else { 0 });
                self.did("heads written by repairs", u64::from(report.head.is_some()));
            }
            Some(Err(error)) => self.judge_failure("a repair", &[number], &error, !is_sound, is_struck)?,
            None => {}
        }
        Ok(Some(Applied { is_struck }))
    }

    /// After a repair, heads, indexes and their copies can be read.
    fn judge_repair(&self, number: usize, report: &RepairReport) -> Result<(), Violation> {
        let left = self.folders[number]
            .wounds
            .iter()
            .find(|wound| matches!(wound.target, Target::Index | Target::Twin | Target::Newest));
        ensure(left.is_none(), Law::Repaired, || {
            let name = left.map_or("", |wound| wound.name.as_str());
            format!("{}: {name} is still damaged after a repair: {report:?}", FOLDERS[number].job)
        })
    }

    /// Deletes a folder, as a user does.
    ///
    /// # Errors
    /// If another changes by that.
    pub fn forget(&mut self, number: usize) -> Result<Option<Applied>, Violation> {
        let FolderSpec { place, job } = FOLDERS[number];
        if self.proven(number).is_none() {
            return Ok(None);
        }
        let folder = format!("{job}/");
        for name in self.places[place].contents.keys().filter(|name| name.starts_with(&folder)) {
            if let Ok(key) = Key::new(name) {
                self.places[place].memory.remove(&key);
            }
        }
        self.folders[number] = crate::world::Folder { was_hurt: true, ..Default::default() };
        self.look()?;
        Ok(Some(Applied { is_struck: false }))
    }

    /// Two runs with nothing to do; then nothing is stored that nothing needs.
    ///
    /// # Errors
    /// What is.
    pub async fn idle(&mut self, number: usize) -> Result<Option<Applied>, Violation> {
        if self.proven(number).is_none() || self.readers.iter().any(|reader| reader.folder == number) {
            return Ok(None);
        }
        let transforms = self.own_transforms(number).apply_changes_at_once(true).verify_bytes(None);
        for _ in 0..2 {
            self.pass(60);
            self.transform_alone(number, transforms.clone(), true, None).await?;
        }
        let Some(proven) = self.proven(number).filter(|_| self.folders[number].is_sound()) else {
            return Ok(Some(Applied { is_struck: false }));
        };
        self.judge_tight(number, &proven).await?;
        let is_known = self.now() >= proven.head.clock && self.skew_secs <= 0;
        if is_known && transforms.deleted_machines.is_none() && self.folders[number].is_intact() {
            let keeping = Keeping {
                policy: transforms.retention.as_ref(),
                now: self.now(),
                elsewhere: &transforms.elsewhere,
                deletes_machines: false,
            };
            keeping.check_gone(FOLDERS[number].job, transforms.ageing, &proven)?;
        }
        Ok(Some(Applied { is_struck: false }))
    }

    /// Whether a folder holds what its head refers to, and nothing else.
    async fn judge_tight(&self, number: usize, proven: &Proven) -> Result<(), Violation> {
        let FolderSpec { place, job } = FOLDERS[number];
        let PlaceOf { contents, memory } = self.place_of(place);
        let head = &proven.head;
        let folder = &self.folders[number];
        if folder.was_hurt {
            return Ok(());
        }
        if let Some(retirement) = head.retired.first() {
            let what = match retirement.what {
                RetiredObject::File(id) => format!("file {id}"),
                RetiredObject::Index(id) => format!("index {id}"),
                RetiredObject::Ranges { list, .. } => format!("the ranges of {list}"),
            };
            return Err(Violation::new(Law::Tight, format!("{job}: {what} waits for its release")));
        }
        let mut known: BTreeSet<String> = head.files.keys().map(|id| format!("{job}/blocks/{id}")).collect();
        for index in head.chain.indexes() {
            known.insert(format!("{job}/index/{}", index.id));
            known.insert(format!("{job}/blocks/{}.index", index.id));
        }
        known.extend((head.boundary + 1..=head.number).map(|number| format!("{job}/head/{number:020}")));
        let own = format!("{job}/");
        let names = || contents.keys().filter(|name| name.starts_with(&own));
        let copies: Vec<&String> = names().filter(|name| name.ends_with(".head")).collect();
        ensure(copies.len() == 1, Law::Tight, || format!("{job}: copies of heads: {copies:?}"))?;
        let notes: Vec<&String> = names().filter(|name| name.contains("/verify/")).collect();
        ensure(notes.len() <= 1, Law::Tight, || format!("{job}: notes of verification: {notes:?}"))?;
        // A pin of a reader of which nothing is known is looked at when something is to be let go.
        let is_pin = |name: &String| self.has_restarted() && name.contains("/pin/");
        let mut others =
            names().filter(|name| !known.contains(*name) && !copies.contains(name) && !notes.contains(name));
        let stray = others.find(|name| !is_pin(name));
        ensure(stray.is_none(), Law::Tight, || format!("{job}: nobody refers to {stray:?}"))?;
        let live = proven.live_bytes();
        if !folder.is_estimated {
            let dead = live.iter().find(|(_, live)| **live == 0);
            ensure(dead.is_none(), Law::Tight, || format!("{job}: nothing of {dead:?} is needed"))?;
        }
        if let (Some(reclaim), None) = (memory.reclaim(), memory.patch()) {
            let mut taken = BTreeMap::new();
            for id in head.files.keys() {
                let Ok(key) = Key::new(format!("{job}/blocks/{id}")) else { continue };
                let allocated = Reclaim::allocated_bytes(reclaim, &key).await.unwrap_or(0);
                taken.insert(*id, allocated);
            }
            for (id, taken) in taken {
                let needed = live.get(&id).copied().unwrap_or(0);
                // The header of a file, and what a granule has beside a frame.
                let alignment = u64::from(head.alignment_bytes);
                let header = region_bytes(head.machines.iter().map(MachineName::as_str), alignment);
                let bound = needed + header + alignment;
                ensure(taken <= bound, Law::Tight, || format!("{job}: {id} takes {taken} bytes and needs {needed}"))?;
            }
        }
        Ok(())
    }

    fn place_of(&self, place: usize) -> PlaceOf<'_> {
        PlaceOf { contents: &self.places[place].contents, memory: &self.places[place].memory }
    }
}

struct PlaceOf<'a> {
    contents: &'a crate::proof::Contents,
    memory: &'a offsite_repository::testing::Memory,
}
