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
