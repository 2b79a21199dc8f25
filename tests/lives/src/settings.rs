//! What jobs are told to do, as a user would write it down.

use std::collections::BTreeSet;
use std::time::Duration;

use offsite::model::Labels;
use offsite::model::MachineName;
use offsite::model::RestorePoint;
use offsite::retention::Ageing;
use offsite::retention::ArchiveMethod;
use offsite::retention::Days;
use offsite::retention::DeletedMachines;
use offsite::retention::Expiry;
use offsite::retention::Gfs;
use offsite::retention::Marking;
use offsite::retention::Policy;
use offsite::retention::Regular;
use offsite::retention::Simple;
use offsite::selection::MachineFilter;
use offsite::selection::Pattern;
use offsite::{BackupMethod, Budget, Compact, LiveShare, MergeMethod, Selection, Transforms};
use offsite_simulation::machines::machine;

use crate::machines::TAGS;

/// The places of a life.
pub const PLACES: usize = 5;

/// A job folder of a life: its place and its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FolderSpec {
    /// The place.
    pub place: usize,
    /// The job.
    pub job: &'static str,
}

/// The folders: three of backup jobs, two drives of a copy job, and one of a copy of copies.
pub const FOLDERS: [FolderSpec; 6] = [
    FolderSpec { place: 0, job: "nightly" },
    FolderSpec { place: 1, job: "weekly" },
    FolderSpec { place: 0, job: "hourly" },
    FolderSpec { place: 2, job: "second" },
    FolderSpec { place: 3, job: "second" },
    FolderSpec { place: 4, job: "third" },
];
/// The folders of backup jobs come first.
pub const BACKUPS: usize = 3;
/// The folders of copy jobs follow.
pub const COPIES: usize = 3;
/// The two drives that the first copy job writes to.
pub const DRIVES: [usize; 2] = [3, 4];

/// A source of a copy job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceSpec {
    /// All machines of a folder.
    Job(usize),
    /// Some machines of a folder.
    Machines(usize, Vec<String>),
    /// All folders of a place.
    Infrastructure(usize),
}

impl SourceSpec {
    /// The sources of the first copy job, or of the copy of copies.
    #[must_use]
    pub fn numbered(is_second: bool, number: u32) -> Vec<Self> {
        let some = || vec!["vm1".to_owned(), "vm3".to_owned(), "vm4".to_owned()];
        match (is_second, number % 6) {
            (true, 0) => vec![Self::Job(0)],
            (true, 1) => vec![Self::Job(0), Self::Job(1)],
            (true, 2) => vec![Self::Infrastructure(0)],
            (true, 3) => vec![Self::Infrastructure(0), Self::Infrastructure(1)],
            (true, 4) => vec![Self::Machines(0, some()), Self::Job(1)],
            (true, _) => vec![Self::Infrastructure(1), Self::Job(2)],
            (false, 0) => vec![Self::Job(3)],
            (false, 1) => vec![Self::Job(3), Self::Job(4)],
            (false, 2) => vec![Self::Infrastructure(2)],
            (false, 3) => vec![Self::Job(3), Self::Infrastructure(0)],
            (false, 4) => vec![Self::Machines(3, some())],
            (false, _) => vec![Self::Infrastructure(2), Self::Infrastructure(3), Self::Job(1)],
        }
    }

    /// The folders that it may read.
    #[must_use]
    pub fn folders(&self) -> Vec<usize> {
        match self {
            Self::Job(folder) | Self::Machines(folder, _) => vec![*folder],
            Self::Infrastructure(place) => {
                (0..FOLDERS.len()).filter(|folder| FOLDERS[*folder].place == *place).collect()
            }
        }
    }

    /// Whether it takes a machine.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        match self {
            Self::Machines(_, names) => names.iter().any(|known| known == name),
            _ => true,
        }
    }
}

/// A backup job.
#[derive(Debug, Clone, Default)]
pub struct BackupSettings {
    /// Its machines.
    pub members: BTreeSet<String>,
    /// How its chain grows.
    pub method: BackupMethod,
    /// How many points it keeps.
    pub keep: Option<u32>,
}

/// A copy job.
#[derive(Debug, Clone, Default)]
pub struct CopySettings {
    /// Which of the sources it copies from.
    pub sources: u32,
    /// Which machines.
    pub select: Select,
    /// What it does afterwards.
    pub transforms: Transforms,
}

/// Which machines a copy job selects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Select {
    /// All.
    #[default]
    All,
    /// These.
    Only(BTreeSet<String>),
    /// All but these.
    Without(BTreeSet<String>),
    /// Those with this tag.
    Tagged(&'static str),
    /// All but those with this tag.
    Untagged(&'static str),
}

impl Select {
    /// Whether it selects a machine that the sources know by these labels.
    #[must_use]
    pub fn has(&self, name: &str, labels: Option<&Labels>) -> bool {
        let has_tag = |tag: &str| labels.is_some_and(|labels| labels.tags().any(|known| known == tag));
        match self {
            Self::All => true,
            Self::Only(names) => names.contains(name),
            Self::Without(names) => !names.contains(name),
            Self::Tagged(tag) => has_tag(tag),
            Self::Untagged(tag) => !has_tag(tag),
        }
    }

    /// As the engine takes it.
    #[must_use]
    pub fn selection(&self) -> Selection {
        let names = |names: &BTreeSet<String>| -> Vec<MachineName> { names.iter().map(|name| machine(name)).collect() };
        match self {
            Self::All => Selection::all(),
            Self::Only(only) => Selection::machines(names(only)),
            Self::Without(without) => Selection::all().without(names(without)),
            Self::Tagged(tag) => Selection::all().include(tagged(tag)),
            Self::Untagged(tag) => Selection::all().exclude(tagged(tag)),
        }
    }

    /// One of them, by numbers, of these machines.
    #[must_use]
    pub fn numbered(names: &[String], mask: u32, how: u32) -> Self {
        let chosen = names.iter().enumerate().filter(|(place, _)| mask >> (place % 32) & 1 == 1);
        let chosen: BTreeSet<String> = chosen.map(|(_, name)| name.clone()).collect();
        let tag = TAGS[mask as usize % 2];
        match how % 3 {
            1 if how >= 40 => Self::Tagged(tag),
            2 if how >= 40 => Self::Untagged(tag),
            _ if chosen.is_empty() => Self::All,
            0 => Self::All,
            1 => Self::Only(chosen),
            _ => Self::Without(chosen),
        }
    }
}

fn tagged(tag: &str) -> MachineFilter {
    MachineFilter::default().with_tags([Pattern::new(tag)])
}

fn out_of_range(what: &str) -> ! {
    panic!("{what} is out of range")
}

/// How many points are kept.
#[must_use]
pub fn simple(points: u32) -> Simple {
    Simple::new(points).unwrap_or_else(|_| out_of_range("keep"))
}

/// A policy by numbers.
#[must_use]
pub fn policy(regular: u32, tiers: u32, how: u32) -> Option<Policy> {
    let days = |days| Regular::Days(Days::new(days).unwrap_or_else(|_| out_of_range("days")));
    let regular = match regular % 8 {
        0 => Regular::Simple(simple(2)),
        1 => Regular::Simple(simple(3)),
        2 => Regular::Simple(simple(4)),
        3 => Regular::Simple(simple(7)),
        4 => days(1),
        5 => days(2),
        6 => days(6),
        _ => return None,
    };
    let gfs = |weekly, monthly, quarterly, yearly| Gfs::new(weekly, monthly, quarterly, yearly).ok();
    let gfs = match tiers % 8 {
        0..3 => None,
        3 => gfs(1, 0, 0, 0),
        4 => gfs(2, 1, 0, 0),
        5 => gfs(1, 1, 1, 1),
        6 => gfs(0, 2, 0, 1),
        _ => gfs(3, 0, 2, 0),
    };
    let method = [ArchiveMethod::Shared, ArchiveMethod::Independent, ArchiveMethod::Active][how as usize % 3];
    let marking = [Marking::Nearest, Marking::InInterval][how as usize / 3 % 2];
    let expiry = [Expiry::Count, Expiry::Date][how as usize / 6 % 2];
    let gfs = gfs.map(|gfs| gfs.with_method(method).with_marking(marking).with_expiry(expiry));
    Some(Policy::new(regular).with_gfs(gfs))
}

/// How points are merged.
#[must_use]
pub fn merge_method(number: u32) -> MergeMethod {
    [MergeMethod::Auto, MergeMethod::Adopt, MergeMethod::Fold][number as usize % 3]
}

/// How a backup job's chain grows.
#[must_use]
pub fn backup_method(number: u32) -> BackupMethod {
    [BackupMethod::ForeverForward, BackupMethod::Forward, BackupMethod::Reverse][number as usize % 3]
}

/// When files are emptied; none for the first number.
#[must_use]
pub fn compact(threshold: u32, budget: u32) -> Option<Compact> {
    let share = match threshold % 5 {
        0 => return None,
        1 => 0.3,
        2 => 0.6,
        3 => 0.9,
        _ => 1.0,
    };
    let share = LiveShare::new(share).unwrap_or_else(|_| out_of_range("share"));
    let budget = match budget % 5 {
        0..3 => None,
        3 => Some(Budget::Bytes(9_000)),
        _ => Some(Budget::Duration(Duration::from_secs(1))),
    };
    let piece_bytes = [Compact::PIECE_BYTES, 6_000, 600][threshold as usize / 5 % 3];
    let every_days = (threshold / 15 % 3 == 1).then_some(5);
    let files_max = (threshold / 45 % 3 == 1).then_some(3);
    Some(Compact::below(share).budget(budget).piece_bytes(piece_bytes).every_days(every_days).files_max(files_max))
}

/// When machines go that are not selected.
#[must_use]
pub fn deleted(days: u32) -> Option<DeletedMachines> {
    [None, DeletedMachines::after_days(1).ok(), DeletedMachines::after_days(4).ok()][days as usize % 3]
}

/// The transforms of a backup job.
#[must_use]
pub fn ageing(method: BackupMethod) -> Ageing {
    match method {
        BackupMethod::Forward => Ageing::WholeChains,
        BackupMethod::ForeverForward | BackupMethod::Reverse => Ageing::Merge,
    }
}

/// The transforms of a copy job that knows of points elsewhere.
#[must_use]
pub fn counting(transforms: &Transforms, elsewhere: Vec<RestorePoint>) -> Transforms {
    transforms.clone().elsewhere(elsewhere)
}

/// A policy that only counts.
#[must_use]
pub fn policy_of(points: u32) -> Option<Policy> {
    Some(Policy::new(simple(points)))
}
