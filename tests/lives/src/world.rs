//! The places, folders, machines and jobs of a life, and what the model knows of them.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{Either, select};
use offsite::model::Digest;
use offsite::model::RestorePoint;
use offsite::model::Timestamp;
use offsite::simulation::on_host;
use offsite::{JobName, OpenRepository, Source, Transforms};
use offsite_repository::testing::{CrashImage, Fault, Faulty, Gate, Memory, MemoryOptions};
use offsite_repository::{ErrorKind, Key, RepositoryExt};
use offsite_simulation::machines::{job, machine};
use offsite_simulation::proof::finished;

use crate::damage::Wound;
use crate::machines::Machines;
use crate::operation::{Interruption, Weather};
use crate::proof::{Contents, Place, Proven, Prover, Stores};
use crate::readers::Reader;
use crate::settings::{BACKUPS, BackupSettings, CopySettings, DRIVES, FOLDERS, FolderSpec, SourceSpec};
use crate::violation::{Law, Violation, ensure};

/// Short, so that a wait for a sign of life is a few looks.
pub const LEASE: Duration = Duration::from_secs(3);
/// 2026-11-01T22:00:00Z.
const START_UNIX_SECS: i64 = 1_793_570_400;

/// The way to a place, on which faults come.
pub type Way = Faulty<CrashImage>;

/// A place that stores objects.
#[derive(Debug)]
pub struct PlaceState {
    /// What is stored.
    pub memory: Memory,
    /// The disk below, whose power can be cut.
    pub disk: CrashImage,
    /// The way to it.
    pub faulty: Way,
    /// What was stored after the last step.
    pub contents: Rc<Contents>,
}

/// What the model knows of a folder.
#[derive(Debug, Default)]
pub struct Folder {
    /// What it holds; none, if it has no head.
    pub proven: Option<Rc<Proven>>,
    /// What was done to it.
    pub wounds: Vec<Wound>,
    /// What its damaged frames ought to hold.
    pub excused: BTreeSet<Digest>,
    /// The damaged frames that the newest verification note names.
    pub noted: BTreeMap<Place, Digest>,
    /// Whether it was rebuilt, so that some numbers are estimates.
    pub is_estimated: bool,
    /// Whether something was put back that may have been let go meanwhile, so that it is not looked for leaks.
    pub is_loose: bool,
    /// Whether anything of it was ever damaged, so that a reader that stands still may meet it.
    pub was_hurt: bool,
}

/// All there is.
#[derive(Debug)]
pub struct World {
    /// The places.
    pub places: Vec<PlaceState>,
    /// The machines.
    pub machines: Machines,
    /// The backup jobs.
    pub backups: [BackupSettings; BACKUPS],
    /// The copy jobs.
    pub copies: [CopySettings; 2],
    /// The folders.
    pub folders: Vec<Folder>,
    /// The drive that is connected; none: both are.
    pub drive: Option<usize>,
    /// The readers that stand still.
    pub readers: Vec<Reader>,
    /// What has been proven.
    pub prover: Prover,
    /// The time, in truth.
    true_unix_secs: i64,
    /// What passes with each call of the engine.
    pub step_secs: i64,
    /// How far the clock is off.
    pub skew_secs: i64,
    host: u32,
    /// How many restores there were.
    pub restores: u64,
    /// What the engine has done, and how often.
    pub deeds: BTreeMap<&'static str, u64>,
}

/// How an operation ended.
#[derive(Debug)]
pub struct Ended<T> {
    /// What it came to; none: its process was killed.
    pub result: Option<Result<T, offsite::Error>>,
    /// Whether something came between.
    pub is_struck: bool,
}

fn options(number: u32) -> MemoryOptions {
    MemoryOptions::default()
        .with_reclaim(number & 1 != 0)
        .with_patch(number & 2 != 0)
        .with_clone_range(number & 4 != 0)
        .with_retain(false)
        .with_granularity_bytes(if number & 16 != 0 { 4_096 } else { 512 })
        // Room for a block that does not compress, and for little else.
        .with_object_bytes_max(if number & 8 != 0 { 266_240 } else { u64::MAX })
}

impl World {
    /// An empty world whose places can do so much, in which so many hours pass with each call of the engine.
    ///
    /// # Errors
    /// Those of the engine.
    pub async fn new(places: &[u32], hours: u32, prover: Prover) -> Result<Self, Violation> {
        let mut world = Self {
            places: Vec::new(),
            machines: Machines::new(),
            backups: Default::default(),
            copies: Default::default(),
            folders: (0..FOLDERS.len()).map(|_| Folder::default()).collect(),
            drive: None,
            readers: Vec::new(),
            prover,
            true_unix_secs: START_UNIX_SECS,
            step_secs: 3_600 * i64::from(hours),
            skew_secs: 0,
            host: 0,
            restores: 0,
            deeds: BTreeMap::new(),
        };
        for number in places {
            let memory = Memory::with_options(options(*number));
            let disk = CrashImage::from_memory(1, &memory);
            let faulty = Faulty::new(disk.clone());
            let made = OpenRepository::initialise(Arc::new(faulty.clone()), world.now()).await;
            made.map_err(|error| Violation::new(Law::Succeeds, words(&error)))?;
            world.places.push(PlaceState { memory, disk, faulty, contents: Rc::default() });
        }
        world.copies[0].transforms.retention = crate::settings::policy(0, 0, 0);
        world.copies[1].transforms.retention = crate::settings::policy(2, 0, 0);
        world.look()?;
        Ok(world)
    }

    /// The time that the clock shows.
    ///
    /// # Panics
    /// If there is no such time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::from_unix_secs(self.true_unix_secs + self.skew_secs)
            .unwrap_or_else(|error| panic!("no such time: {error}"))
    }

    /// Lets time pass.
    pub fn pass(&mut self, secs: i64) {
        self.true_unix_secs += secs;
    }

    /// The host starts again.
    pub fn restart(&mut self) {
        self.host += 1;
    }

    /// Whether the host ever started again.
    #[must_use]
    pub fn has_restarted(&self) -> bool {
        self.host > 0
    }

    /// The name of the host since it last started.
    #[must_use]
    pub fn host(&self) -> String {
        format!("host-{}", self.host)
    }

    /// A folder.
    #[must_use]
    pub fn spec(&self, folder: usize) -> FolderSpec {
        FOLDERS[folder]
    }

    /// The name of a folder's job.
    #[must_use]
    pub fn job(&self, folder: usize) -> JobName {
        job(FOLDERS[folder].job)
    }

    /// What a folder holds.
    #[must_use]
    pub fn proven(&self, folder: usize) -> Option<Rc<Proven>> {
        self.folders[folder].proven.clone()
    }

    /// Whether the folder's place is connected.
    #[must_use]
    pub fn is_there(&self, folder: usize) -> bool {
        self.drive.is_none_or(|drive| drive == folder || !DRIVES.contains(&folder))
    }

    /// The settings of the copy job that writes to a folder.
    #[must_use]
    pub fn copy_settings(&self, folder: usize) -> &CopySettings {
        &self.copies[usize::from(folder > DRIVES[1])]
    }

    /// What a copy job that writes to a folder copies from.
    #[must_use]
    pub fn sources(&self, folder: usize) -> Vec<SourceSpec> {
        SourceSpec::numbered(folder <= DRIVES[1], self.copy_settings(folder).sources)
    }

    /// The transforms of the copy job that writes to a folder, which knows of the other drive's points.
    #[must_use]
    pub fn transforms(&self, folder: usize) -> Transforms {
        crate::settings::counting(&self.copy_settings(folder).transforms, self.elsewhere(folder))
    }

    /// The points on the drive that is away.
    #[must_use]
    pub fn elsewhere(&self, folder: usize) -> Vec<RestorePoint> {
        let other = DRIVES.into_iter().find(|drive| *drive != folder);
        let other = other.filter(|_| self.drive == Some(folder)).and_then(|drive| self.proven(drive));
        other.map_or_else(Vec::new, |proven| proven.points().cloned().collect())
    }

    /// Opens a place by the way that faults come.
    ///
    /// # Errors
    /// Those of the engine.
    pub async fn open(faulty: &Way) -> Result<OpenRepository, offsite::Error> {
        OpenRepository::open(Arc::new(faulty.clone())).await
    }

    /// The way to a folder's place.
    #[must_use]
    pub fn faulty(&self, folder: usize) -> Way {
        self.places[FOLDERS[folder].place].faulty.clone()
    }

    /// The sources, opened.
    ///
    /// # Errors
    /// Those of the engine.
    pub async fn open_sources(specs: &[SourceSpec], places: &[Way]) -> Result<Vec<Source>, offsite::Error> {
        let mut sources = Vec::new();
        let mut opened: BTreeMap<usize, OpenRepository> = BTreeMap::new();
        for spec in specs {
            let place = match spec {
                SourceSpec::Job(folder) | SourceSpec::Machines(folder, _) => FOLDERS[*folder].place,
                SourceSpec::Infrastructure(place) => *place,
            };
            let repository = match opened.entry(place) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unknown) => unknown.insert(Self::open(&places[place]).await?),
            };
            let repository: &OpenRepository = repository;
            sources.push(match spec {
                SourceSpec::Job(folder) => Source::job(repository, job(FOLDERS[*folder].job)),
                SourceSpec::Infrastructure(_) => Source::infrastructure(repository),
                SourceSpec::Machines(folder, names) => {
                    let names = names.iter().map(|name| offsite::selection::Pattern::new(machine(name).as_str()));
                    Source::backup(repository, job(FOLDERS[*folder].job), names.collect())
                }
            });
        }
        Ok(sources)
    }

    /// The ways to all places.
    #[must_use]
    pub fn ways(&self) -> Vec<Way> {
        self.places.iter().map(|place| place.faulty.clone()).collect()
    }

    /// Takes note of something that the engine has done.
    pub fn did(&mut self, deed: &'static str, count: u64) {
        if count > 0 {
            *self.deeds.entry(deed).or_default() += count;
        }
    }

    /// How many calls all places have had.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.places.iter().map(|place| place.faulty.calls()).sum()
    }

    /// Carries an operation out as a process of this host, with whatever comes between at a place.
    pub async fn carry_out<T>(
        &self,
        place: usize,
        interruption: Option<Interruption>,
        operation: impl Future<Output = Result<T, offsite::Error>>,
    ) -> Ended<T> {
        let PlaceState { memory, disk, faulty, .. } = &self.places[place];
        let failures = faulty.failures();
        let kill = Gate::new();
        let spare = interruption.map_or(0, |interruption| u64::from(interruption.after));
        let weather = interruption.map(|interruption| interruption.weather);
        match weather {
            Some(Weather::Outage) => faulty.inject(Fault::after_calls(spare, ErrorKind::Unavailable).for_ever()),
            Some(Weather::Fault) => faulty.inject(Fault::after_calls(spare, ErrorKind::Unavailable)),
            Some(Weather::LostAnswer) => {
                faulty.inject(Fault::after_calls(spare, ErrorKind::Unavailable).losing_the_answer());
            }
            Some(Weather::Kill) => faulty.inject(Fault::holding(spare, &kill)),
            Some(Weather::Full) => memory.set_capacity_bytes(memory.used_bytes() + spare * 256),
            Some(Weather::PowerCut) => {
                disk.flush_all();
                disk.cut_after(spare + 1);
            }
            Some(Weather::Gate) | None => {}
        }
        let result = {
            let host = self.host();
            match select(pin!(on_host(&host, operation)), pin!(kill.reached())).await {
                Either::Left((result, _)) => Some(result),
                Either::Right(_) => None,
            }
        };
        faulty.heal();
        memory.set_capacity_bytes(u64::MAX);
        let is_cut = !disk.has_power();
        if is_cut {
            disk.power_on(self.calls());
        }
        disk.cancel_cut();
        let is_full = |result: &Option<Result<T, _>>| matches!(result, Some(Err(_))) && weather == Some(Weather::Full);
        let is_struck = result.is_none() || is_cut || faulty.failures() > failures || is_full(&result);
        if is_struck {
            self.finish_commits(place).await;
        }
        Ended { result, is_struck }
    }

    /// Makes the commits of a place that an operation was cut off before, as if only their answers were lost: the next writer would make
    /// them (the crash simulation sees that), and what is expected of it would depend on the call that was struck.
    async fn finish_commits(&self, place: usize) {
        let memory = &self.places[place].memory;
        let stored: Contents =
            memory.contents().into_iter().map(|(key, bytes)| (String::from(key.as_str()), bytes)).collect();
        for FolderSpec { job, .. } in FOLDERS.iter().filter(|spec| spec.place == place) {
            let finished = finished(stored.clone(), job);
            for (name, bytes) in finished.iter().filter(|(name, _)| !stored.contains_key(*name)) {
                let Ok(key) = Key::new(name.clone()) else { continue };
                let _ = memory.put(&key, bytes.clone()).await;
            }
        }
    }

    /// Looks at what is stored: proves every folder of which something has changed.
    ///
    /// # Errors
    /// What is not as it must be.
    pub fn look(&mut self) -> Result<(), Violation> {
        for number in 0..self.places.len() {
            let found = self.places[number].memory.contents();
            let found: Contents = found.into_iter().map(|(key, bytes)| (String::from(key.as_str()), bytes)).collect();
            if is_same(&found, &self.places[number].contents) {
                continue;
            }
            let before = std::mem::replace(&mut self.places[number].contents, Rc::new(found));
            for (folder, spec) in FOLDERS.iter().enumerate() {
                if spec.place == number && !self.is_same_folder(folder, &before) {
                    self.prove(folder)?;
                }
            }
        }
        Ok(())
    }

    fn is_same_folder(&self, folder: usize, before: &Contents) -> bool {
        let FolderSpec { place, job } = FOLDERS[folder];
        let range = || format!("{job}/")..format!("{job}0");
        let (old, new) = (before.range(range()), self.places[place].contents.range(range()));
        let is_same =
            |(old, new): ((&String, &Bytes), (&String, &Bytes))| old.0 == new.0 && is_same_bytes(old.1, new.1);
        old.clone().count() == new.clone().count() && old.zip(new).all(is_same)
    }

    /// Proves a folder.
    ///
    /// # Errors
    /// What is not as it must be.
    pub fn prove(&mut self, number: usize) -> Result<(), Violation> {
        let FolderSpec { place, job } = FOLDERS[number];
        let stored = Rc::clone(&self.places[place].contents);
        let folder = &mut self.folders[number];
        folder.forget_healed(&stored);
        let good = folder.good();
        let proven = self.prover.prove(Stores { stored: &stored, good: &good, job }, &self.machines)?;
        let folder = &mut self.folders[number];
        if let Some(proven) = &proven {
            for ((file, offset), frame) in proven.damaged() {
                ensure(folder.excused.contains(&frame.at.digest), Law::Intact, || {
                    let flaw = frame.flaw.clone().unwrap_or_default();
                    format!("{job}: the frame at {offset} of file {file}: {flaw}; needed by {:?}", frame.users)
                })?;
            }
            let damaged: BTreeSet<Digest> = proven.damaged().map(|(_, frame)| frame.at.digest).collect();
            folder.excused.retain(|digest| damaged.contains(digest));
            for (id, live) in proven.live_bytes() {
                let said = proven.head.files.get(&id).map_or(0, |file| file.live_bytes);
                let is_right = said == live || (folder.is_estimated && said >= live);
                ensure(is_right, Law::Numbers, || {
                    format!("{job}: the head says that {said} bytes of file {id} are live, its indexes {live}")
                })?;
            }
        }
        folder.proven = proven.map(Rc::new);
        folder.forget_needless(&stored, job);
        Ok(())
    }
}

fn is_same_bytes(old: &Bytes, new: &Bytes) -> bool {
    old.len() == new.len() && (old.as_ptr() == new.as_ptr() || old == new)
}

fn is_same(old: &Contents, new: &Contents) -> bool {
    old.len() == new.len() && old.iter().zip(new).all(|(old, new)| old.0 == new.0 && is_same_bytes(old.1, new.1))
}

/// An error with its causes.
#[must_use]
pub fn words(error: &dyn std::error::Error) -> String {
    offsite_simulation::crash::words(error)
}
