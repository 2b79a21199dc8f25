//! Who is next: every call of every actor waits until the seed says that it is its turn, and what becomes of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use offsite_repository::Key;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::numbers::{Numbers, Trace};

/// One of those who act at once.
pub type Actor = usize;

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is carried out and answered.
    Done,
    /// The request is lost; an error says so.
    RequestLost,
    /// It is carried out, and the answer is lost.
    AnswerLost,
    /// It is carried out twice, and the second answer arrives.
    Doubled,
    /// The answer is given up on; it is carried out after so long.
    Late(Duration),
    /// The repository says that it stored nothing, as somebody else was at the same name.
    Conflict,
}

/// A call, as far as its fate depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// Reads and listings.
    Look,
    /// The end of a create.
    Create,
    /// A delete.
    Delete,
    /// Any other change.
    Change,
}

/// How rough the world is: each happens to one in so many calls; never, for zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Weather {
    /// An actor stops for a while, as a whole.
    pub pauses: u64,
    /// A call is lost, doubled, late, or in conflict.
    pub faults: u64,
    /// An actor dies.
    pub kills: u64,
}

#[derive(Debug)]
struct Waiting {
    actor: Actor,
    call: Call,
    what: String,
    turn: oneshot::Sender<Fate>,
}

/// What an actor went through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Suffered {
    /// It was stopped for a while.
    pub pauses: u64,
    /// It was stopped for longer than a pin waits for a sign of life.
    pub stood_still: bool,
    /// Calls that were not simply done.
    pub faults: u64,
    /// It is dead.
    pub killed: bool,
}

impl Suffered {
    /// Whether a reader may have been silent for so long that its pin was taken away.
    #[must_use]
    pub const fn may_be_taken_for_dead(&self) -> bool {
        self.stood_still || self.pauses > 2 || self.faults > 2
    }
}

/// An actor that stops at one of its calls until all others have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sleeper {
    /// The actor.
    pub actor: Actor,
    /// Calls of this kind count; none: all do.
    pub action: Option<&'static str>,
    /// It stops before the call of this number, from one.
    pub call: u64,
    /// Whether it is only slow, and gives signs of life meanwhile.
    pub is_only_slow: bool,
}

impl Sleeper {
    /// Whether it is this call that waits for the others to end.
    fn holds(&self, waiting: &Waiting) -> bool {
        let is_sign_of_life = waiting.what.contains("/pin/");
        self.actor == waiting.actor && self.call == 0 && !(self.is_only_slow && is_sign_of_life)
    }
}

#[derive(Debug)]
struct State {
    numbers: Numbers,
    weather: Weather,
    waiting: Vec<Waiting>,
    paused_until: BTreeMap<Actor, Instant>,
    sleeper: Option<Sleeper>,
    suffered: BTreeMap<Actor, Suffered>,
    /// An outage that an actor sees: so many calls that fail.
    outage: BTreeMap<Actor, u64>,
    trace: Trace,
    calls: u64,
    activity: u64,
    begin: Instant,
    /// Whether each call is told as it happens.
    is_printed: bool,
}

/// The order of all things.
#[derive(Debug, Clone)]
pub struct Schedule {
    state: Arc<Mutex<State>>,
    news: Arc<Notify>,
}

impl Schedule {
    /// The schedule of a seed.
    #[must_use]
    pub fn new(seed: u64, weather: Weather, sleeper: Option<Sleeper>) -> Self {
        let state = State {
            numbers: Numbers::new(seed),
            weather,
            waiting: Vec::new(),
            paused_until: BTreeMap::new(),
            sleeper,
            suffered: BTreeMap::new(),
            outage: BTreeMap::new(),
            trace: Trace::default(),
            calls: 0,
            activity: 0,
            begin: Instant::now(),
            is_printed: std::env::var_os("OFFSITE_TRACE").is_some(),
        };
        Self { state: Arc::new(Mutex::new(state)), news: Arc::new(Notify::new()) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the actor's turn.
    pub async fn turn(&self, actor: Actor, call: Call, action: &str, key: Option<&Key>) -> Fate {
        let (turn, mine) = oneshot::channel();
        {
            let mut state = self.lock();
            state.activity += 1;
            let what = format!("{actor} {action} {}", key.map_or("", Key::as_str));
            state.waiting.push(Waiting { actor, call, what, turn });
        }
        self.news.notify_one();
        match mine.await {
            Ok(fate) => fate,
            // The world has ended.
            Err(_) => std::future::pending().await,
        }
    }

    /// What became of an actor.
    #[must_use]
    pub fn suffered(&self, actor: Actor) -> Suffered {
        self.lock().suffered.get(&actor).copied().unwrap_or_default()
    }

    /// Wakes whoever sleeps until all others have ended, and lets the weather be fair.
    pub fn wake_all(&self) {
        let mut state = self.lock();
        state.sleeper = None;
        state.paused_until.clear();
        drop(state);
        self.news.notify_one();
    }

    /// All that happened, in a number, and how many calls that were.
    #[must_use]
    pub fn trace(&self) -> (Trace, u64) {
        let state = self.lock();
        (state.trace, state.calls)
    }

    /// Grants turns for ever.
    pub async fn grant(self) {
        loop {
            // First all who can go on do so, up to their next call, sleep or end.
            loop {
                let before = self.lock().activity;
                for _ in 0..3 {
                    tokio::task::yield_now().await;
                }
                if self.lock().activity == before {
                    break;
                }
            }
            let next = self.lock().next();
            match next {
                Next::Granted => {}
                Next::Nobody(None) => self.news.notified().await,
                Next::Nobody(Some(until)) => {
                    // Either will do.
                    let _ = timeout_at(until, self.news.notified()).await;
                }
            }
        }
    }
}

enum Next {
    Granted,
    /// Nobody can go on, before this time.
    Nobody(Option<Instant>),
}

impl State {
    fn next(&mut self) -> Next {
        self.waiting.retain(|waiting| !waiting.turn.is_closed());
        let now = Instant::now();
        let is_ready = |state: &Self, waiting: &Waiting| {
            let actor = waiting.actor;
            !state.suffered.get(&actor).is_some_and(|suffered| suffered.killed)
                && !state.sleeper.is_some_and(|sleeper| sleeper.holds(waiting))
                && state.paused_until.get(&actor).is_none_or(|until| *until <= now)
        };
        let ready: Vec<usize> =
            (0..self.waiting.len()).filter(|position| is_ready(self, &self.waiting[*position])).collect();
        if ready.is_empty() {
            let later = self.waiting.iter().filter_map(|waiting| self.paused_until.get(&waiting.actor));
            return Next::Nobody(later.filter(|until| **until > now).min().copied());
        }
        let position = ready[self.numbers.position(ready.len())];
        let actor = self.waiting[position].actor;
        let Weather { pauses, kills, .. } = self.weather;
        if self.numbers.one_in(pauses) {
            // From a moment to far beyond any lease.
            let millis = [200, 1_500, 4_000, 20_000, 300_000][self.numbers.position(5)];
            self.paused_until.insert(actor, now + Duration::from_millis(millis));
            if self.is_printed {
                println!("{:>9.3} s {actor} stops for {millis} ms", self.begin.elapsed().as_secs_f64());
            }
            let suffered = self.suffered.entry(actor).or_default();
            suffered.pauses += 1;
            suffered.stood_still |= millis > 60_000;
            return Next::Granted;
        }
        if self.numbers.one_in(kills) {
            self.suffered.entry(actor).or_default().killed = true;
            return Next::Granted;
        }
        let action = self.waiting[position].what.split(' ').nth(1);
        if let Some(sleeper) = &mut self.sleeper
            && sleeper.actor == actor
            && sleeper.call > 0
            && (sleeper.action.is_none() || sleeper.action == action)
        {
            sleeper.call -= 1;
            if sleeper.call == 0 {
                let suffered = self.suffered.entry(actor).or_default();
                suffered.pauses += 1;
                suffered.stood_still |= !sleeper.is_only_slow;
                return Next::Granted;
            }
        }
        let Waiting { call, what, turn, .. } = self.waiting.remove(position);
        let fate = self.fate(actor, call);
        self.calls += 1;
        if self.is_printed {
            println!("{:>9.3} s {what}: {fate:?}", self.begin.elapsed().as_secs_f64());
        }
        self.trace.note(what.as_bytes());
        self.trace.note(format!("{fate:?}").as_bytes());
        self.activity += 1;
        // Whoever no longer waits was dropped.
        let _ = turn.send(fate);
        Next::Granted
    }

    fn fate(&mut self, actor: Actor, call: Call) -> Fate {
        let suffered = self.suffered.entry(actor).or_default();
        if let Some(left) = self.outage.get_mut(&actor).filter(|left| **left > 0) {
            *left -= 1;
            suffered.faults += 1;
            return Fate::RequestLost;
        }
        if !self.numbers.one_in(self.weather.faults) {
            return Fate::Done;
        }
        suffered.faults += 1;
        let late = Fate::Late(Duration::from_millis(self.numbers.below(9_000)));
        let fates: &[Fate] = match call {
            Call::Look => &[Fate::RequestLost],
            Call::Create => &[Fate::RequestLost, Fate::AnswerLost, Fate::Doubled, late, Fate::Conflict],
            Call::Delete => &[Fate::RequestLost, Fate::AnswerLost, Fate::Doubled, late],
            Call::Change => &[Fate::RequestLost, Fate::AnswerLost, Fate::Doubled],
        };
        let fate = fates[self.numbers.position(fates.len())];
        // After a lost answer the line is often down for a while.
        if fate == Fate::AnswerLost && self.numbers.one_in(2) {
            let calls = 1 + self.numbers.below(3);
            self.outage.insert(actor, calls);
        }
        fate
    }
}
