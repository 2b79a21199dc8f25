//! What brings about what has not been seen yet: steps that make it possible, then the steps themselves.

use offsite_simulation::numbers::Numbers;

use crate::coverage::Coverage;
use crate::operation::{Interruption, Kind, Operation, Step, Weather};

/// One of two things that an operation can be done to, so that the same can be done twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    First,
    Second,
}

impl Slot {
    /// The folder of a copy.
    fn folder(self) -> u32 {
        4 + u32::from(self == Self::Second)
    }

    /// The same, as copies are counted.
    fn copy(self) -> u32 {
        self.folder() - 3
    }
}

fn step(kind: Kind, first: u32, second: u32, third: u32) -> Step {
    Step { operation: Operation { kind, numbers: [first, second, third] }, interruption: None }
}

/// What makes an operation possible.
fn before(kind: Kind, slot: Slot) -> Vec<Step> {
    let has_folder = || step(Kind::Run, slot.copy(), 0, 0);
    match kind {
        Kind::Map | Kind::Carry => vec![step(Kind::Forget, slot.folder(), 0, 0)],
        Kind::Forget | Kind::Idle => vec![has_folder()],
        Kind::LetGo => vec![step(Kind::Hold, 0, 0, 0)],
        // The second copy of an index stops nothing.
        Kind::Mend | Kind::Repair => vec![step(Kind::Damage, 0, 3 + 10 * slot.folder(), 2)],
        Kind::DropDisk | Kind::SwapDisks => vec![step(Kind::AddDisk, 0, 0, 0)],
        Kind::Return => vec![step(Kind::Leave, 0, 0, 1)],
        Kind::Hold => vec![step(Kind::Backup, 0, 0, 0)],
        _ => Vec::new(),
    }
}

/// An operation, to something that it can be done to.
fn done(kind: Kind, slot: Slot, numbers: &mut Numbers) -> Step {
    let draw = |numbers: &mut Numbers, bound| u32::try_from(numbers.below(bound)).unwrap_or(0);
    let (second, third) = (draw(numbers, 180), draw(numbers, 60));
    match kind {
        Kind::Map => step(kind, slot.copy(), 0, 0),
        Kind::Carry => step(kind, slot.copy(), 0, third),
        // A reader that is held is of another folder.
        Kind::Forget | Kind::Idle => step(kind, slot.folder(), 0, 0),
        Kind::Drive => step(kind, draw(numbers, 3), 0, 0),
        Kind::Leave => step(kind, 0, second, 1),
        _ => step(kind, 0, second, third),
    }
}

/// Steps towards one thing that has not been seen; none, if there is none.
#[must_use]
pub fn towards(coverage: &Coverage, calls: impl Fn(Kind) -> u32, numbers: &mut Numbers) -> Vec<Step> {
    let pairs = coverage.missing_pairs();
    let weathers = coverage.missing_weathers();
    let position = numbers.position(pairs.len() + weathers.len());
    let mut steps = Vec::new();
    if let Some((first, second)) = pairs.get(position) {
        steps.extend(before(*second, Slot::Second));
        steps.extend(before(*first, Slot::First));
        steps.push(done(*first, Slot::First, numbers));
        steps.push(done(*second, Slot::Second, numbers));
    } else if let Some((kind, weather)) = weathers.get(position - pairs.len()) {
        steps.extend(before(*kind, Slot::Second));
        let bound = if *weather == Weather::Full { 4 } else { u64::from(calls(*kind)).max(4) };
        let after = u32::try_from(numbers.below(bound)).unwrap_or(0);
        let interruption = Some(Interruption { weather: *weather, after, at_source: false });
        steps.push(Step { interruption, ..done(*kind, Slot::Second, numbers) });
    }
    steps
}

/// A short story of the kind that ends badly where something is wrong: what happens next to each other by chance seldom enough.
#[must_use]
pub fn story(numbers: &mut Numbers) -> Vec<Step> {
    let mut draw = |bound| u32::try_from(numbers.below(bound)).unwrap_or(0);
    let which = draw(6);
    let backup = |how| step(Kind::Backup, 0, how, 0);
    let run = step(Kind::Run, 0, 1, 0);
    let nights = |count: usize| [backup(0), run].repeat(count);
    let mut steps = Vec::new();
    match which {
        // A source's block cannot be read while a machine is copied for the first time, and can be later.
        0 => {
            steps.extend([
                step(Kind::Join, 0, draw(60), 0),
                backup(0),
                step(Kind::Damage, 0, 10 * draw(12), 3 * draw(20)),
            ]);
            steps.extend([run, step(Kind::Mend, 0, 0, 0)]);
            steps.extend(nights(3));
        }
        // A copy is cut off between machines whose blocks lie in different files.
        1 => {
            steps.extend([step(Kind::Join, 0, draw(60), 0), backup(0), step(Kind::Join, 0, draw(60), 0), backup(0)]);
            let gate = Interruption { weather: Weather::Gate, after: draw(1_500), at_source: false };
            steps.push(Step { interruption: Some(gate), ..step(Kind::Sync, 0, draw(3), 0) });
            steps.extend(nights(3));
        }
        // Damage is found, and healed by the next copy.
        2 => {
            steps.extend([step(Kind::Damage, 3, 10 * draw(12), 3 * draw(20)), step(Kind::Verify, 3, 0, 0)]);
            steps.extend(nights(1));
            steps.push(step(Kind::Verify, 3, 0, 0));
        }
        // A reader stands still while its point is merged.
        3 => {
            steps.extend(nights(1));
            steps.push(step(Kind::Hold, 3, draw(4), draw(4)));
            steps.extend(nights(4));
            steps.push(step(Kind::LetGo, 0, 0, 0));
        }
        // Weeks pass, and archives are made.
        4 => {
            steps.push(step(Kind::Policy, 0, draw(180), 3 + draw(5)));
            for _ in 0..3 {
                steps.push(step(Kind::Clock, 9, 0, 0));
                steps.extend(nights(1));
            }
        }
        // A run is killed, and those after it go on.
        _ => {
            steps.push(backup(0));
            let kill = Interruption { weather: Weather::Kill, after: draw(100), at_source: false };
            steps.push(Step { interruption: Some(kill), ..run });
            steps.extend(nights(2));
        }
    }
    steps.push(step(Kind::Idle, 3, 0, 0));
    steps
}
