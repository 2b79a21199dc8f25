//! What happens in a life, as data: one line of text that can be read back.

use std::fmt;
use std::str::FromStr;

macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $kind:ident = $word:literal,)*) => {
        /// What is done. The numbers of an [`Operation`] say to what, each taken modulo what there is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind { $($(#[doc = $doc])* $kind,)* }

        impl Kind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];

            /// Its word in the text of a life.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$kind => $word,)* }
            }
        }
    };
}

kinds! {
    /// A machine writes to a block of a disk: machine, disk and block, how it looks.
    Write = "write",
    /// A block is zeroed: machine, block.
    Zero = "zero",
    /// A block gets back what it held at an earlier backup: machine, block, which backup.
    Revert = "revert",
    /// A block repeats what another block of any machine holds: machine, block, which.
    Repeat = "repeat",
    /// A disk grows: machine, disk, by how much.
    Grow = "grow",
    /// A disk shrinks: machine, disk, to how much.
    Shrink = "shrink",
    /// A machine gets one more disk: machine, size.
    AddDisk = "add-disk",
    /// A machine loses a disk: machine, disk.
    DropDisk = "drop-disk",
    /// Two disks of a machine change places: machine, which.
    SwapDisks = "swap-disks",
    /// A machine that was never there joins a backup job: job.
    Join = "join",
    /// A machine leaves a backup job: job, machine.
    Leave = "leave",
    /// A machine that is not in a backup job joins it, be it again: job, machine.
    Return = "return",
    /// A machine gets another name: machine.
    Rename = "rename",
    /// A machine gets a tag, or has none any more: machine, which.
    Tag = "tag",
    /// How a backup job's chain grows from now on: job, method.
    Method = "method",
    /// How many points a backup job keeps: job, how many (0: all).
    Keep = "keep",
    /// A backup job runs: job, whether its point is to be a full.
    Backup = "backup",
    /// What a copy job copies from: job, which.
    Sources = "sources",
    /// Which machines a copy job selects: job, which, of all or all but these.
    Select = "select",
    /// What a copy job keeps: job, of the regular tier, of the other tiers and how.
    Policy = "policy",
    /// How a copy job merges, and whether a changed policy applies at once: job, how.
    Merge = "merge",
    /// When a copy job compacts: job, threshold, budget.
    Compaction = "compaction",
    /// When machines go that a copy job does not select any more: job, days.
    Deleted = "deleted",
    /// How much a copy job verifies after each run: job, how much.
    Share = "share",
    /// A copy job runs, its plan being asked first where the second number is odd, machines of other origins taken where it is large, with a
    /// checkpoint for each block where both others are even: copy.
    Run = "run",
    /// A copy job copies: copy, whether it joins the newest point and makes a checkpoint for each block, which of several states.
    Sync = "sync",
    /// A copy job transforms: copy.
    Transform = "transform",
    /// A copy's files are emptied: folder, threshold, budget.
    Compact = "compact",
    /// A folder is verified: folder, budget.
    Verify = "verify",
    /// A folder is repaired: folder, whether what was left out is let go.
    Repair = "repair",
    /// A machine is restored: folder, point, machine.
    Restore = "restore",
    /// A seed becomes the start of a copy: copy, seed.
    Map = "map",
    /// A point is exported, and imported as the start of a copy: copy, folder, point.
    Carry = "carry",
    /// A folder is deleted: folder.
    Forget = "forget",
    /// A reader begins, and stands still in the middle: folder, point, machine.
    Hold = "hold",
    /// A reader goes on, and ends: which.
    LetGo = "let-go",
    /// Time passes, or the clock is wrong, or right again: how.
    Clock = "clock",
    /// One drive of a set is connected, or both are there: which.
    Drive = "drive",
    /// The host starts again: readers die, and nothing is known of them.
    Restart = "restart",
    /// Something stored is damaged: folder, what, how.
    Damage = "damage",
    /// Damage is undone: which.
    Mend = "mend",
    /// Two runs with nothing to do, after which nothing is stored that nothing needs: folder.
    Idle = "idle",
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.word())
    }
}

impl Kind {
    /// Whether it calls the engine, so that something can come between.
    #[must_use]
    pub const fn calls(self) -> bool {
        self.transfers()
            || matches!(
                self,
                Self::Backup
                    | Self::Run
                    | Self::Transform
                    | Self::Compact
                    | Self::Verify
                    | Self::Repair
                    | Self::Restore
                    | Self::Map
                    | Self::Carry
            )
    }

    /// Whether it passes a gate.
    #[must_use]
    pub const fn transfers(self) -> bool {
        matches!(self, Self::Sync)
    }

    /// Whether it writes to a folder of its own.
    #[must_use]
    pub const fn writes(self) -> bool {
        self.calls() && !matches!(self, Self::Restore | Self::Verify)
    }
}

/// Something that is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Operation {
    /// What.
    pub kind: Kind,
    /// To what, and how.
    pub numbers: [u32; 3],
}

/// What comes between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Weather {
    /// A gate ends the transfer once so many bytes have passed.
    Gate,
    /// The place is gone from this call on.
    Outage,
    /// This call fails.
    Fault,
    /// This call is carried out, and its answer is lost.
    LostAnswer,
    /// The place has so little room left, in units of 256 bytes.
    Full,
    /// The process is killed in this call.
    Kill,
    /// The power is cut in this call, of those that change something; what is found then is whatever a disk may have kept of it.
    PowerCut,
}

impl Weather {
    /// All of it.
    pub const ALL: [Self; 7] =
        [Self::Gate, Self::Outage, Self::Fault, Self::LostAnswer, Self::Full, Self::Kill, Self::PowerCut];

    /// Its word in the text of a life.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Gate => "gate",
            Self::Outage => "outage",
            Self::Fault => "fault",
            Self::LostAnswer => "lost-answer",
            Self::Full => "full",
            Self::Kill => "kill",
            Self::PowerCut => "power-cut",
        }
    }
}

/// What comes between, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Interruption {
    /// What.
    pub weather: Weather,
    /// After so many calls or bytes.
    pub after: u32,
    /// Whether the place that is read from meets it, where there are two.
    pub at_source: bool,
}

/// A step of a life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Step {
    /// What is done.
    pub operation: Operation,
    /// What comes between.
    pub interruption: Option<Interruption>,
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Operation { kind, numbers } = self.operation;
        let used = 3 - numbers.iter().rev().take_while(|number| **number == 0).count();
        write!(formatter, "{kind}")?;
        for number in &numbers[..used] {
            write!(formatter, " {number}")?;
        }
        if let Some(Interruption { weather, after, at_source }) = self.interruption {
            write!(formatter, " !{}{} {after}", weather.word(), if at_source { "@source" } else { "" })?;
        }
        Ok(())
    }
}

impl FromStr for Step {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (what, between) = match text.split_once('!') {
            Some((what, between)) => (what, Some(between)),
            None => (text, None),
        };
        let mut words = what.split_whitespace();
        let word = words.next().ok_or("a step without a word")?;
        let kind =
            Kind::ALL.iter().find(|kind| kind.word() == word).ok_or_else(|| format!("{word} is no operation"))?;
        let mut numbers = [0; 3];
        for (place, word) in words.enumerate() {
            let number = word.parse().map_err(|_| format!("{word} is no number"))?;
            *numbers.get_mut(place).ok_or_else(|| format!("{text} has too many numbers"))? = number;
        }
        let interruption = between.map(interruption).transpose()?;
        Ok(Self { operation: Operation { kind: *kind, numbers }, interruption })
    }
}

fn interruption(text: &str) -> Result<Interruption, String> {
    let mut words = text.split_whitespace();
    let word = words.next().unwrap_or_default();
    let (name, at_source) = match word.strip_suffix("@source") {
        Some(name) => (name, true),
        None => (word, false),
    };
    let weather = Weather::ALL.into_iter().find(|weather| weather.word() == name);
    let weather = weather.ok_or_else(|| format!("{name} does not come between"))?;
    let after = words.next().unwrap_or("0");
    let after = after.parse().map_err(|_| format!("{after} is no number"))?;
    Ok(Interruption { weather, after, at_source })
}

/// What the places of a life can do, and what happens there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Life {
    /// Of each place: 1 holes, 2 patches, 4 clones, 8 small objects, 16 coarse holes.
    pub places: [u32; 5],
    /// So many hours pass with each call of the engine.
    pub hours: u32,
    /// What happens.
    pub steps: Vec<Step>,
}

impl fmt::Display for Life {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places: Vec<String> = self.places.iter().map(ToString::to_string).collect();
        write!(formatter, "places {} hours {}", places.join(" "), self.hours)?;
        self.steps.iter().try_for_each(|step| write!(formatter, "; {step}"))
    }
}

impl FromStr for Life {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
        let first = parts.next().and_then(|part| part.strip_prefix("places")).ok_or("a life begins with its places")?;
        let (first, hours) = first.split_once("hours").ok_or("a life has its hours")?;
        let hours = hours.trim().parse().map_err(|_| format!("{hours} is no number"))?;
        let numbers = first.split_whitespace().map(|word| word.parse().map_err(|_| format!("{word} is no number")));
        let numbers: Vec<u32> = numbers.collect::<Result<_, _>>()?;
        let places = numbers.try_into().map_err(|_| "a life has five places".to_owned())?;
        Ok(Self { places, hours, steps: parts.map(str::parse).collect::<Result<_, _>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_reads_back_as_it_is_written() {
        let text =
            "places 1 2 3 0 31 hours 7; backup 1 2; sync 0 1 !gate 300; run 2 0 7 !outage@source 12; mend; idle 5";
        let life: Life = text.parse().unwrap();
        assert_eq!(life.to_string(), text);
        assert!("places 1 2 3 4 hours 1; idle".parse::<Life>().is_err());
        assert!("places 1 2 3 4 5 hours 1; sleep".parse::<Life>().is_err());
        assert!("places 1 2 3 4 5 hours 1; idle 1 2 3 4".parse::<Life>().is_err());
        assert!("places 1 2 3 4 5 hours 1; idle !rain 3".parse::<Life>().is_err());
    }
}
