//! How many requests are worthwhile at once. It reads no clock and waits for nothing.
//!
//! The controller climbs the curve of throughput over the number of requests. It judges by *rounds*: after each change of the number, it
//! lets the requests pass that began before, and then compares those that follow with those of the *reference*, the best number so far.
//!
//! By Little's law, the throughput is the number of requests at once over the time that each takes. So the controller needs no clock of
//! its own, and a pause between requests is no fall of throughput. Requests differ in length, so it compares each with those of the
//! reference that are about as long.

use std::time::Duration;

/// The number of requests at the beginning, unless more are allowed at least, or fewer at most.
const FIRST: usize = 8;
/// A round has twice as many requests as there may be at once, but at least this many. The rounds at the beginning have half as many: what
/// they tell apart is far apart.
const ROUND_REQUESTS_MIN: usize = 8;
/// More requests at once are worthwhile if they bring at least this share of what they would bring on an idle link.
const WORTHWHILE: f64 = 0.25;
/// The link is idle enough to try twice as many if more requests at once bring this share.
const IDLE: f64 = 0.7;
/// Fewer requests are enough if they bring at least this share of the throughput.
const ENOUGH: f64 = 0.95;
/// The link has become another one if requests of the reference's number take this many times as long, or as short.
const CHANGED: f64 = 1.5;
/// The numbers of requests of a round count if at least this share of them was under way.
const IN_USE: f64 = 0.7;
/// How many rounds the number stays, after neither more nor fewer requests were better. It doubles each time.
const HOLD_ROUNDS_MIN: u32 = 8;
const HOLD_ROUNDS_MAX: u32 = 32;
/// Lengths are told apart by their powers of two.
const CLASSES: usize = u64::BITS as usize + 1;

/// The bounds of the number of requests at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamRange {
    least: usize,
    most: usize,
}

impl StreamRange {
    /// Always `number` requests, but at least one.
    #[must_use]
    pub fn fixed(number: usize) -> Self {
        let number = number.max(1);
        Self { least: number, most: number }
    }

    /// From one request to `most`, but at least one.
    #[must_use]
    pub fn up_to(most: usize) -> Self {
        Self { least: 1, most: most.max(1) }
    }

    /// The largest number of requests at once.
    #[must_use]
    pub fn most(self) -> usize {
        self.most
    }
}

/// A request that has ended well.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    pub(super) bytes: u64,
    /// Without the time that it waited for its permit.
    pub(super) duration: Duration,
    /// How many were under way as it ended, itself included.
    pub(super) in_flight: usize,
}

/// What the requests of a round took.
#[derive(Debug, Clone)]
struct Round {
    count: usize,
    in_flight: usize,
    /// For each class of lengths: the number of requests, and their seconds.
    classes: Box<[(f64, f64); CLASSES]>,
}

impl Round {
    fn new() -> Self {
        Self { count: 0, in_flight: 0, classes: Box::new([(0.0, 0.0); CLASSES]) }
    }

    fn add(&mut self, sample: Sample) {
        self.count += 1;
        self.in_flight += sample.in_flight;
        let (count, secs) = &mut self.classes[class_of(sample.bytes)];
        *count += 1.0;
        *secs += sample.duration.as_secs_f64();
    }

    /// Whether so many requests were under way as were allowed.
    fn is_in_use(&self, limit: usize) -> bool {
        self.in_flight as f64 >= IN_USE * (limit * self.count) as f64
    }

    /// How many times as long requests take here as there. `None` if the two have no lengths in common.
    fn slowness(&self, reference: &Self) -> Option<f64> {
        let (mut here, mut there) = (0.0, 0.0);
        for ((count, secs), (known, known_secs)) in self.classes.iter().zip(reference.classes.iter()) {
            if *count > 0.0 && *known > 0.0 {
                here += secs;
                there += count * known_secs / known;
            }
        }
        (there > 0.0 && here > 0.0).then(|| here / there)
    }

    /// Lets older requests count less.
    fn fade(&mut self, newer: &Self) {
        for ((count, secs), (added, added_secs)) in self.classes.iter_mut().zip(newer.classes.iter()) {
            *count = *count * 0.75 + added;
            *secs = *secs * 0.75 + added_secs;
        }
    }
}

fn class_of(bytes: u64) -> usize {
    (u64::BITS - bytes.leading_zeros()) as usize
}

/// What the controller tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Twice as many, as nothing is known of the link.
    Double,
    /// One more a round, up to this number, which is a quarter more than the reference.
    Grow { up_to: usize },
    /// A quarter fewer, as more were not better.
    Shrink,
    /// As many as now, for so many rounds.
    Hold { rounds: u32 },
}

/// Decides how many requests there may be at once.
#[derive(Debug)]
pub(super) struct Controller {
    range: StreamRange,
    limit: usize,
    phase: Phase,
    /// The best number so far, with what its requests took.
    reference: Option<(usize, Round)>,
    round: Round,
    /// Requests to pass over, as they began before the number changed.
    skip: usize,
    hold_rounds: u32,
}

impl Controller {
    pub(super) fn new(range: StreamRange) -> Self {
        Self {
            range,
            limit: FIRST.clamp(range.least, range.most),
            phase: Phase::Double,
            reference: None,
            round: Round::new(),
            skip: 0,
            hold_rounds: HOLD_ROUNDS_MIN,
        }
    }

    /// How many requests there may be at once.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// How many requests there may be at once at the most.
    pub(super) fn range(&self) -> StreamRange {
        self.range
    }

    /// Changes the bounds.
    pub(super) fn set_range(&mut self, range: StreamRange) {
        if range != self.range {
            *self = Self { limit: self.limit.clamp(range.least, range.most), ..Self::new(range) };
        }
    }

    /// The other side has refused a request because there were too many, or has not answered in time.
    pub(super) fn overloaded(&mut self) {
        // Those that began before the last halving say nothing new.
        if self.skip > 0 && self.reference.is_none() {
            self.skip -= 1;
            return;
        }
        let in_flight = self.limit;
        self.move_to(self.limit / 2);
        self.skip = in_flight;
        self.reference = None;
        self.hold();
    }

    /// A request has ended well.
    pub(super) fn take(&mut self, sample: Sample) {
        if self.skip > 0 {
            self.skip -= 1;
            return;
        }
        self.round.add(sample);
        let enough = (2 * self.limit).max(ROUND_REQUESTS_MIN);
        if self.round.count < if self.phase == Phase::Double { enough / 2 } else { enough } {
            return;
        }
        let round = std::mem::replace(&mut self.round, Round::new());
        // If few were wanted, the number that was allowed has not been tried.
        if round.is_in_use(self.limit) {
            self.judge(round);
        }
    }

    fn judge(&mut self, round: Round) {
        let Some((reference, known)) = &mut self.reference else {
            let is_at_most = self.limit == self.range.most;
            self.reference = Some((self.limit, round));
            return match self.phase {
                Phase::Double if !is_at_most => self.move_to(self.limit * 2),
                Phase::Double => self.shrink(),
                _ => {}
            };
        };
        let reference = *reference;
        let Some(slowness) = round.slowness(known) else {
            // Requests of other lengths than before. They begin a new comparison.
            self.reference = None;
            return self.judge(round);
        };
        let ratio = self.limit as f64 / reference as f64;
        let gain = ratio / slowness;
        let is_worthwhile = gain - 1.0 >= WORTHWHILE * (ratio - 1.0);
        let is_idle = gain - 1.0 >= IDLE * (ratio - 1.0);
        match self.phase {
            Phase::Double if is_worthwhile => {
                self.reference = Some((self.limit, round));
                if self.limit == self.range.most { self.hold() } else { self.move_to(self.limit * 2) }
            }
            Phase::Double => {
                self.move_to(reference);
                self.grow();
            }
            Phase::Grow { up_to } if self.limit < up_to => self.move_to(self.limit + 1),
            Phase::Grow { .. } if is_worthwhile => {
                self.hold_rounds = HOLD_ROUNDS_MIN;
                self.reference = Some((self.limit, round));
                if self.limit == self.range.most {
                    self.hold();
                } else if is_idle {
                    self.phase = Phase::Double;
                    self.move_to(self.limit * 2);
                } else {
                    self.grow();
                }
            }
            Phase::Grow { .. } => {
                self.move_to(reference);
                self.shrink();
            }
            Phase::Shrink if gain >= ENOUGH => {
                self.reference = Some((self.limit, round));
                self.shrink();
            }
            Phase::Shrink => {
                self.move_to(reference);
                self.hold();
            }
            // The number is that of the reference, so the throughput falls as the requests take longer.
            Phase::Hold { .. } if slowness > CHANGED => {
                self.begin_anew(self.limit / 2);
            }
            Phase::Hold { .. } if slowness < 1.0 / CHANGED => self.begin_anew(self.limit),
            Phase::Hold { rounds } => {
                known.fade(&round);
                match rounds.checked_sub(1) {
                    Some(left) => self.phase = Phase::Hold { rounds: left },
                    None if self.limit < self.range.most => self.grow(),
                    None => self.hold(),
                }
            }
        }
    }

    /// Nothing is known of the link any more.
    fn begin_anew(&mut self, limit: usize) {
        self.reference = None;
        self.hold_rounds = HOLD_ROUNDS_MIN;
        self.phase = Phase::Double;
        self.move_to(limit);
    }

    /// Tries more than the reference.
    fn grow(&mut self) {
        let up_to = (self.limit + (self.limit / 4).max(1)).min(self.range.most);
        self.phase = Phase::Grow { up_to };
        self.move_to(self.limit + 1);
    }

    /// Tries fewer than the reference.
    fn shrink(&mut self) {
        let fewer = self.limit - (self.limit / 4).max(1).min(self.limit);
        if fewer < self.range.least.max(1) {
            return self.hold();
        }
        self.phase = Phase::Shrink;
        self.move_to(fewer);
    }

    fn hold(&mut self) {
        self.phase = Phase::Hold { rounds: self.hold_rounds };
        self.hold_rounds = (self.hold_rounds * 2).min(HOLD_ROUNDS_MAX);
    }

    fn move_to(&mut self, limit: usize) {
        let limit = limit.clamp(self.range.least, self.range.most);
        if limit != self.limit {
            // As many are under way, and were when another number held.
            self.skip = self.limit;
            self.limit = limit;
            self.round = Round::new();
        }
    }
}
