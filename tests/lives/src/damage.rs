//! What is damaged on purpose, and put back.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use offsite_repository::{Key, RepositoryExt};

use crate::machines::modulo;
use crate::proof::Contents;
use crate::settings::{FOLDERS, FolderSpec};
use crate::violation::Violation;
use crate::world::{Folder, World};

/// What of a folder is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// A frame that a point needs.
    Frame,
    /// An index that the chain refers to.
    Index,
    /// The second copy of one.
    Twin,
    /// The newest head.
    Newest,
    /// An older head.
    Older,
    /// The second copy of a head.
    HeadCopy,
    /// A release list.
    List,
    /// What verification noted.
    Note,
    /// A whole backup file.
    File,
}

/// What a flipped byte is changed by.
const FLIP: u8 = 0x5a;

const TARGETS: [Target; 10] = [
    Target::Frame,
    Target::Frame,
    Target::Index,
    Target::Twin,
    Target::Newest,
    Target::Older,
    Target::HeadCopy,
    Target::List,
    Target::Note,
    Target::File,
];

/// What was done to an object.
#[derive(Debug, Clone)]
pub struct Wound {
    /// The object's name.
    pub name: String,
    /// What it is.
    pub target: Target,
    /// What it held before.
    pub good: Bytes,
    /// The byte that was flipped; none: it was cut off, or is gone.
    flipped: Option<usize>,
    /// Whether it was deleted.
    is_gone: bool,
}

impl Wound {
    /// Whether it was deleted.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.is_gone
    }

    /// Whether a head or index cannot be read, so that writers have to refuse the folder.
    #[must_use]
    pub fn is_grave(&self) -> bool {
        matches!(self.target, Target::Index | Target::Newest)
    }
}

impl Folder {
    /// Whether the head and all indexes can be read.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        !self.wounds.iter().any(Wound::is_grave)
    }

    /// Whether nothing of it was damaged.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.wounds.is_empty() && self.excused.is_empty()
    }

    /// What damaged heads and indexes held before.
    #[must_use]
    pub fn good(&self) -> Contents {
        let is_metadata =
            |wound: &&Wound| !matches!(wound.target, Target::Frame | Target::File | Target::List | Target::Note);
        self.wounds.iter().filter(is_metadata).map(|wound| (wound.name.clone(), wound.good.clone())).collect()
    }

    /// Forgets what is well again, and what is no more.
    pub fn forget_healed(&mut self, stored: &Contents) {
        self.wounds.retain(|wound| match stored.get(&wound.name) {
            Some(bytes) => *bytes != wound.good,
            // What was deleted on purpose, or by the engine since: only the former is still damage. But a repair that is cut off has
            // deleted an index that the head needs.
            None => wound.is_gone || matches!(wound.target, Target::Index | Target::Twin),
        });
    }

    /// Forgets damage to what the newest head does not need any more.
    pub fn forget_needless(&mut self, stored: &Contents, job: &str) {
        let Some(proven) = &self.proven else { return self.wounds.clear() };
        let head = &proven.head;
        let needed: BTreeSet<String> = head.chain.indexes().map(|index| index.id.to_string()).collect();
        let newest = format!("{job}/head/{:020}", head.number);
        let oldest = format!("{job}/head/{:020}", head.boundary + 1);
        let is_there = |name: &str| stored.contains_key(name);
        let has_other = |folder: &str, end: &str, name: &str| {
            let others = stored.range(format!("{job}/{folder}/")..format!("{job}/{folder}0"));
            others.map(|(other, _)| other).any(|other| other.ends_with(end) && other != name)
        };
        self.wounds.retain_mut(|wound| {
            let name = wound.name.rsplit('/').next().unwrap_or_default();
            if wound.target == Target::Newest && wound.name != newest {
                wound.target = Target::Older;
            }
            match wound.target {
                Target::Index => needed.contains(name),
                Target::Twin => needed.contains(name.trim_end_matches(".index")),
                Target::Older => is_there(&wound.name) || wound.name >= oldest,
                Target::HeadCopy => is_there(&wound.name) || !has_other("blocks", ".head", &wound.name),
                Target::Note => is_there(&wound.name) || !has_other("verify", "", &wound.name),
                Target::List => is_there(&wound.name) || !head.retired.is_empty(),
                Target::File => head.files.keys().any(|id| id.to_string() == name),
                Target::Frame | Target::Newest => true,
            }
        });
    }
}

impl World {
    /// Damages something of a folder; none, if there is no such thing.
    ///
    /// # Errors
    /// What was not as it must be before.
    pub fn damage(&mut self, number: usize, what: u32, how: u32) -> Result<Option<Target>, Violation> {
        let FolderSpec { place, job } = FOLDERS[number];
        let Some(proven) = self.proven(number) else { return Ok(None) };
        let stored = self.places[place].contents.clone();
        let target = TARGETS[what as usize % TARGETS.len()];
        let which = what / 10;
        let names = |folder: &str, end: &str| -> Vec<String> {
            let names = stored.range(format!("{job}/{folder}/")..format!("{job}/{folder}0")).map(|(name, _)| name);
            names.filter(|name| name.ends_with(end)).cloned().collect()
        };
        let pick = |names: Vec<String>| names.get(modulo(which, names.len())?).cloned();
        let indexes = || proven.head.chain.indexes().map(|index| index.id.to_string());
        let (mut flipped, mut is_gone) = (None, false);
        let name = match target {
            Target::Frame => {
                let frames: Vec<_> = proven.frames.values().filter(|frame| frame.flaw.is_none()).collect();
                let Some(position) = modulo(which, frames.len()) else { return Ok(None) };
                let at = frames[position].at;
                flipped = Some(usize::try_from(at.offset).unwrap_or(0) + how as usize / 3 % at.length as usize);
                Some(format!("{job}/blocks/{}", at.file))
            }
            Target::Index => pick(indexes().map(|id| format!("{job}/index/{id}")).collect()),
            Target::Twin => pick(indexes().map(|id| format!("{job}/blocks/{id}.index")).collect()),
            Target::Newest => names("head", "").pop(),
            Target::Older => {
                let mut heads = names("head", "");
                heads.pop();
                pick(heads)
            }
            Target::HeadCopy => pick(names("blocks", ".head")),
            Target::List => pick(names("release", "")),
            Target::Note => pick(names("verify", "")),
            Target::File => pick(proven.head.files.keys().map(|id| format!("{job}/blocks/{id}")).collect()),
        };
        let Some(name) = name.filter(|name| !self.folders[number].wounds.iter().any(|wound| wound.name == *name))
        else {
            return Ok(None);
        };
        let Some(good) = stored.get(&name).cloned() else { return Ok(None) };
        let Ok(key) = Key::new(&name) else { return Ok(None) };
        let memory = self.places[place].memory.clone();
        // A newest head that vanishes leaves no trace that a writer could see.
        match (target, how % 3) {
            (Target::File, 0) | (_, 1) if target != Target::Frame => {
                let _ = memory.truncate(&key, good.len() as u64 / 2);
            }
            (_, 2) if !matches!(target, Target::Frame | Target::Newest) => {
                is_gone = memory.remove(&key);
            }
            _ => {
                let offset = flipped.unwrap_or(how as usize / 3 * 7 % good.len());
                flipped = Some(offset);
                let _ = memory.corrupt(&key, offset as u64, FLIP);
            }
        }
        let is_block = matches!(target, Target::Frame | Target::File);
        self.folders[number].was_hurt = true;
        self.folders[number].wounds.push(Wound { name, target, good, flipped, is_gone });
        if is_block {
            self.excuse(number)?;
        }
        if target == Target::Note {
            self.folders[number].noted.clear();
        }
        self.look()?;
        Ok(Some(target))
    }

    /// Takes note of all frames that are damaged now.
    fn excuse(&mut self, number: usize) -> Result<(), Violation> {
        let FolderSpec { place, job } = FOLDERS[number];
        let stored = self.places[place].memory.contents();
        let stored: BTreeMap<String, Bytes> =
            stored.into_iter().map(|(key, bytes)| (key.as_str().to_owned(), bytes)).collect();
        let good = self.folders[number].good();
        let stores = crate::proof::Stores { stored: &stored, good: &good, job };
        if let Some(proven) = self.prover.prove(stores, &self.machines)? {
            self.folders[number].excused.extend(proven.damaged().map(|(_, frame)| frame.at.digest));
        }
        Ok(())
    }

    /// Puts back what was there before some damage; none, if there is none, or nothing to put it back to.
    ///
    /// # Errors
    /// What is not as it must be then.
    pub async fn mend(&mut self, which: u32) -> Result<Option<()>, Violation> {
        let all = self.folders.iter().enumerate();
        let all: Vec<(usize, usize)> =
            all.flat_map(|(number, folder)| (0..folder.wounds.len()).map(move |wound| (number, wound))).collect();
        let Some(position) = modulo(which, all.len()) else { return Ok(None) };
        let (number, position) = all[position];
        let FolderSpec { place, .. } = FOLDERS[number];
        let wound = self.folders[number].wounds.remove(position);
        let Ok(key) = Key::new(&wound.name) else { return Ok(None) };
        let memory = self.places[place].memory.clone();
        let found = self.places[place].contents.get(&wound.name).cloned();
        match (wound.flipped, &found) {
            (Some(offset), Some(found)) => {
                // Unless something else was written there since.
                let around = offset.saturating_sub(16)..(offset + 16).min(wound.good.len());
                let mut good = wound.good.get(around.clone()).unwrap_or_default().to_vec();
                good.iter_mut().zip(around.clone()).filter(|(_, at)| *at == offset).for_each(|(byte, _)| *byte ^= FLIP);
                if found.get(around) == Some(&good[..]) {
                    let _ = memory.corrupt(&key, offset as u64, FLIP);
                }
            }
            (Some(_), None) => {}
            (None, _) => {
                let _ = memory.remove(&key);
                let put = memory.put(&key, wound.good.clone()).await;
                put.map_err(|error| Violation::new(crate::violation::Law::Succeeds, error.to_string()))?;
                self.folders[number].is_loose = true;
            }
        }
        self.look()?;
        Ok(Some(()))
    }
}
