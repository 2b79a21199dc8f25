//! The rules of a process, and the flows that they are for.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use offsite_core::Timestamp;
use offsite_repository::Endpoint;
use tokio::sync::Notify;
use tokio::time::{Duration, Instant, timeout_at};

use super::flow::{Direction, Flow, FlowName, Path};
use super::rule::{TrafficRule, TrafficRuleError};
use super::scheduler::Scheduler;
use crate::now::Now;

/// Whoever waits looks at the clock at least this often: it may be set, and the hours of a rule begin and end.
const LOOK: Duration = Duration::from_millis(500);

/// The rules about traffic, and all flows that they are for. A process has one, and hands it to everything that opens repositories.
/// Clones are handles of the same one. It needs a tokio runtime with its clock enabled.
///
/// - All flows of a rule together keep to its limit. They share it evenly, by their weights: none gets more because it asks more
///   often or for more at a time. What a flow does not use, the others get at once.
/// - If several rules match a flow, all of them hold, so the tightest one counts.
/// - [`Traffic::set_rules`], and the beginning and the end of a rule's hours, count within a second, also for a request that waits.
///
/// [`OpenRepository::with_traffic`](crate::OpenRepository::with_traffic) puts a repository under the rules.
///
/// ```
/// use offsite::repository::Endpoint;
/// use offsite::{Direction, FlowName, Traffic, TrafficRule};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// let traffic = Traffic::new();
/// traffic.set_rules(vec![TrafficRule::of_repository("dr", 2 << 20)?])?;
/// let flow = traffic.flow(FlowName::new("dr"), Direction::Writing);
/// flow.set_endpoint(Endpoint::Address([10, 2, 0, 9].into()));
/// let begun = tokio::time::Instant::now();
/// let mut left = 9 << 20;
/// while left > 0 {
///     left -= flow.grant(left).await;
///     // Now send these bytes.
/// }
/// // The first MiB passed at once.
/// assert_eq!(begun.elapsed().as_secs(), 4);
/// # Ok::<(), offsite::TrafficRuleError>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Traffic {
    shared: Arc<Shared>,
}

impl Default for Traffic {
    fn default() -> Self {
        Self::new()
    }
}

impl Traffic {
    /// A registry without rules, in which hours go by the clock of this host.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(Timestamp::now)
    }

    /// A registry without rules, in which hours go by `clock`.
    #[must_use]
    pub fn with_clock(clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        let state = State {
            rules: Vec::new(),
            is_open: Vec::new(),
            looked: None,
            flows: BTreeMap::new(),
            scheduler: Scheduler::new(Instant::now()),
            waiters: BTreeMap::new(),
            armed: None,
            numbers: 0,
        };
        Self { shared: Arc::new(Shared { clock: Box::new(clock), state: Mutex::new(state) }) }
    }

    /// Puts these rules in force, in place of those before. What a rule has let through counts on in one for the same. If they make no
    /// sense, those before stay.
    ///
    /// # Errors
    /// [`TrafficRuleError::Overlap`] if two rules are for the same at the same hours.
    pub fn set_rules(&self, rules: Vec<TrafficRule>) -> Result<(), TrafficRuleError> {
        TrafficRule::overlap(&rules)?;
        let time = (self.shared.clock)();
        let now = Instant::now();
        let mut state = self.shared.lock();
        let mut unclaimed: Vec<Option<&TrafficRule>> = state.rules.iter().map(Some).collect();
        let numbered: Vec<_> = rules
            .iter()
            .map(|rule| {
                let is_former = |old: &Option<&TrafficRule>| old.is_some_and(|old| old.is_for_the_same(rule));
                let former = unclaimed.iter().position(is_former);
                former.inspect(|number| unclaimed[*number] = None);
                (rule.limit_bytes_per_sec(), former)
            })
            .collect();
        state.scheduler.set_rules(&numbered, now);
        state.rules = rules;
        state.is_open = Vec::new();
        state.look(time, now);
        state.turn(now, None);
        Ok(())
    }

    /// The rules.
    #[must_use]
    pub fn rules(&self) -> Vec<TrafficRule> {
        self.shared.lock().rules.clone()
    }

    /// A flow from or to a repository. Until [`Flow::set_endpoint`] says more, its place is [`Endpoint::Unknown`].
    #[must_use]
    pub fn flow(&self, name: FlowName, direction: Direction) -> Flow {
        let mut state = self.shared.lock();
        let id = state.number();
        state.scheduler.add(id, name.share());
        state.flows.insert(id, Known { name, path: Path::Across(None) });
        state.rematch(id, Instant::now());
        drop(state);
        let flow = Flow::new(Arc::clone(&self.shared), id, direction);
        flow.set_endpoint(Endpoint::Unknown);
        flow
    }
}

/// What the handles of a registry and its flows have in common.
pub(super) struct Shared {
    clock: Box<dyn Fn() -> Timestamp + Send + Sync>,
    state: Mutex<State>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Shared").field("state", &self.lock()).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct State {
    rules: Vec<TrafficRule>,
    /// Whether it is in their hours.
    is_open: Vec<bool>,
    /// The second of the clock for which that was told.
    looked: Option<Timestamp>,
    flows: BTreeMap<u64, Known>,
    scheduler: Scheduler,
    waiters: BTreeMap<u64, Waiter>,
    /// Which of them has a timer, and for when. One is enough: it tells the others.
    armed: Option<(u64, Instant)>,
    numbers: u64,
}

#[derive(Debug)]
struct Known {
    name: FlowName,
    path: Path,
}

#[derive(Debug)]
struct Waiter {
    notify: Arc<Notify>,
    granted: Option<u64>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No panic leaves it half changed: what is asked of it is checked before it changes.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_path(&self, flow: u64, path: Path) {
        let mut state = self.lock();
        let Some(known) = state.flows.get_mut(&flow).filter(|known| known.path != path) else { return };
        known.path = path;
        let now = Instant::now();
        state.rematch(flow, now);
        state.turn(now, None);
    }

    pub(super) fn is_bound(&self, flow: u64) -> bool {
        let time = (self.clock)();
        let mut state = self.lock();
        state.look(time, Instant::now());
        state.scheduler.is_bound(flow)
    }

    pub(super) fn owe(&self, flow: u64, bytes: u64) {
        self.lock().scheduler.owe(flow, bytes, Instant::now());
    }

    pub(super) fn remove(&self, flow: u64) {
        let now = Instant::now();
        let mut state = self.lock();
        state.flows.remove(&flow);
        state.scheduler.remove(flow, now);
        state.turn(now, None);
    }

    pub(super) async fn grant(&self, flow: u64, wanted: u64) -> u64 {
        if wanted == 0 || !self.is_bound(flow) {
            return wanted;
        }
        let mut ticket = {
            let now = Instant::now();
            let mut state = self.lock();
            let (request, notify) = (state.number(), Arc::new(Notify::new()));
            state.waiters.insert(request, Waiter { notify: Arc::clone(&notify), granted: None });
            state.scheduler.ask(flow, request, wanted, now);
            Ticket { shared: self, flow, request, notify, is_used: false }
        };
        loop {
            match self.turn_of(ticket.request) {
                Turn::Granted(bytes) => {
                    ticket.is_used = true;
                    return bytes;
                }
                // Either outcome is a reason to look again.
                Turn::At(moment) => drop(timeout_at(moment, ticket.notify.notified()).await),
                Turn::Told => ticket.notify.notified().await,
            }
        }
    }

    fn turn_of(&self, request: u64) -> Turn {
        let time = (self.clock)();
        let now = Instant::now();
        let mut state = self.lock();
        state.look(time, now);
        state.turn(now, Some(request));
        if let Some(granted) = state.waiters.get(&request).and_then(|waiter| waiter.granted) {
            return Turn::Granted(granted);
        }
        match state.armed {
            Some((armed, moment)) if armed == request => Turn::At(moment),
            _ => Turn::Told,
        }
    }
}

enum Turn {
    Granted(u64),
    /// Nothing yet; look again then.
    At(Instant),
    /// Nothing yet; another waiter has the timer.
    Told,
}

impl State {
    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Sees which rules are in their hours.
    fn look(&mut self, time: Timestamp, now: Instant) {
        if self.looked == Some(time) && self.is_open.len() == self.rules.len() {
            return;
        }
        self.looked = Some(time);
        let is_open: Vec<bool> = self.rules.iter().map(|rule| rule.is_in_force(time)).collect();
        if self.is_open != is_open {
            self.is_open = is_open;
            let flows: Vec<u64> = self.flows.keys().copied().collect();
            flows.into_iter().for_each(|flow| self.rematch(flow, now));
        }
    }

    /// Sees which rules are for a flow.
    fn rematch(&mut self, flow: u64, now: Instant) {
        let Some(Known { name, path }) = self.flows.get(&flow) else { return };
        let rules = match path {
            Path::Inside => Vec::new(),
            Path::Across(ends) => {
                let open = self.rules.iter().zip(&self.is_open).enumerate().filter(|(_, (_, is_open))| **is_open);
                open.filter(|(_, (rule, _))| rule.is_for(name, *ends)).map(|(number, _)| number).collect()
            }
        };
        self.scheduler.put_under(flow, rules, now);
    }

    /// Hands out what may go now, and sees to it that one of those who wait has a timer. `caller` looks for itself afterwards.
    fn turn(&mut self, now: Instant, caller: Option<u64>) {
        let (grants, wake) = self.scheduler.grants(now);
        for grant in grants {
            if let Some(waiter) = self.waiters.get_mut(&grant.request) {
                waiter.granted = Some(grant.bytes);
                if caller != Some(grant.request) {
                    waiter.notify.notify_one();
                }
            }
        }
        let waits = |waiter: &&Waiter| waiter.granted.is_none();
        let look = now + LOOK;
        let wake = wake.map_or(look, |wake| wake.min(look));
        let armed = self.armed.filter(|(request, _)| self.waiters.get(request).as_ref().is_some_and(waits));
        let Some(request) = armed.map(|(request, _)| request).or_else(|| {
            // Whoever is here need not be woken.
            let caller = caller.filter(|caller| self.waiters.get(caller).as_ref().is_some_and(waits));
            caller.or_else(|| self.waiters.iter().find(|(_, waiter)| waits(waiter)).map(|(request, _)| *request))
        }) else {
            self.armed = None;
            return;
        };
        let is_new = armed.is_none_or(|(_, moment)| wake < moment);
        if (is_new || caller == Some(request)) && self.armed != Some((request, wake)) {
            self.armed = Some((request, wake));
            if caller != Some(request)
                && let Some(waiter) = self.waiters.get(&request)
            {
                waiter.notify.notify_one();
            }
        }
    }
}

/// A request that waits. Dropped, it is out of the queue.
struct Ticket<'a> {
    shared: &'a Shared,
    flow: u64,
    request: u64,
    notify: Arc<Notify>,
    is_used: bool,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut state = self.shared.lock();
        let granted = state.waiters.remove(&self.request).and_then(|waiter| waiter.granted);
        match granted {
            Some(bytes) if !self.is_used => state.scheduler.give_back(self.flow, bytes, now),
            Some(_) => return,
            None => state.scheduler.cancel(self.flow, self.request, now),
        }
        state.turn(now, None);
    }
}
