//! What the handles of a registry have in common: the rules, the flows, and who waits.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use offsite_core::Timestamp;
use tokio::sync::Notify;
use tokio::time::{Duration, Instant, timeout, timeout_at};

use super::name::FlowName;
use super::route::Path;
use super::rule::{TrafficRule, TrafficRuleError};
use super::scheduler::Scheduler;

/// Whoever waits looks at the clock at least this often: it may be set, and the hours of a rule begin and end.
const LOOK: Duration = Duration::from_millis(500);

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
    /// Until when the task that serves those who wait sleeps. It is there while somebody waits.
    served: Option<Instant>,
    /// Wakes it.
    wake: Arc<Notify>,
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
    pub(super) fn new(clock: Box<dyn Fn() -> Timestamp + Send + Sync>) -> Self {
        let state = State {
            rules: Vec::new(),
            is_open: Vec::new(),
            looked: None,
            flows: BTreeMap::new(),
            scheduler: Scheduler::new(Instant::now()),
            waiters: BTreeMap::new(),
            served: None,
            wake: Arc::new(Notify::new()),
            numbers: 0,
        };
        Self { clock, state: Mutex::new(state) }
    }

    pub(super) fn set_rules(&self, rules: Vec<TrafficRule>) -> Result<(), TrafficRuleError> {
        TrafficRule::check(&rules)?;
        let time = (self.clock)();
        let now = Instant::now();
        let mut state = self.lock();
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
        state.is_open = state.rules.iter().map(|rule| rule.is_in_force(time)).collect();
        state.looked = Some(time);
        state.rematch_all(now);
        state.turn(now);
        Ok(())
    }

    pub(super) fn rules(&self) -> Vec<TrafficRule> {
        self.lock().rules.clone()
    }

    /// A new flow, whose way is not known yet.
    pub(super) fn add(&self, name: FlowName) -> u64 {
        let mut state = self.lock();
        let id = state.number();
        state.scheduler.add(id, name.share());
        state.flows.insert(id, Known { name, path: Path::Across(None) });
        state.rematch(id, Instant::now());
        id
    }

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
        state.turn(now);
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
        state.turn(now);
    }

    pub(super) async fn grant(self: &Arc<Self>, flow: u64, wanted: u64) -> u64 {
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
            if let Some(bytes) = self.turn_of(ticket.request) {
                ticket.is_used = true;
                return bytes;
            }
            // Either outcome is a reason to look again: the task may have ended with its runtime.
            let _ = timeout(2 * LOOK, ticket.notify.notified()).await;
        }
    }

    /// What a request was granted, if it was. Else there is a task that serves it.
    fn turn_of(self: &Arc<Self>, request: u64) -> Option<u64> {
        let time = (self.clock)();
        let now = Instant::now();
        let mut state = self.lock();
        state.look(time, now);
        state.turn(now);
        let granted = state.waiters.get(&request).and_then(|waiter| waiter.granted);
        // One that should have woken long ago is gone.
        if granted.is_none() && state.served.is_none_or(|until| now.saturating_duration_since(until) > LOOK) {
            state.served = Some(now);
            drop(state);
            tokio::spawn(serve(Arc::clone(self)));
        }
        granted
    }
}

/// Hands out grants while somebody waits. It is a task of its own, as those who wait may be futures that nobody polls at the moment.
async fn serve(shared: Arc<Shared>) {
    loop {
        let (until, wake) = {
            let time = (shared.clock)();
            let now = Instant::now();
            let mut state = shared.lock();
            state.look(time, now);
            let next = state.turn(now);
            if state.waiters.values().all(|waiter| waiter.granted.is_some()) {
                state.served = None;
                return;
            }
            let until = next.unwrap_or(now + LOOK).min(now + LOOK);
            state.served = Some(until);
            (until, Arc::clone(&state.wake))
        };
        // Either outcome is a reason to look again.
        let _ = timeout_at(until, wake.notified()).await;
    }
}

impl State {
    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Sees which rules are in their hours.
    fn look(&mut self, time: Timestamp, now: Instant) {
        if self.looked == Some(time) {
            return;
        }
        self.looked = Some(time);
        let is_open: Vec<bool> = self.rules.iter().map(|rule| rule.is_in_force(time)).collect();
        if self.is_open != is_open {
            self.is_open = is_open;
            self.rematch_all(now);
        }
    }

    fn rematch_all(&mut self, now: Instant) {
        let flows: Vec<u64> = self.flows.keys().copied().collect();
        flows.into_iter().for_each(|flow| self.rematch(flow, now));
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

    /// Hands out what may go now, and returns when to look again if nothing else happens.
    fn turn(&mut self, now: Instant) -> Option<Instant> {
        let (grants, next) = self.scheduler.grants(now);
        for grant in grants {
            if let Some(waiter) = self.waiters.get_mut(&grant.request) {
                waiter.granted = Some(grant.bytes);
                waiter.notify.notify_one();
            }
        }
        if next.is_some_and(|next| self.served.is_some_and(|until| next < until)) {
            self.wake.notify_one();
        }
        next
    }
}

/// A request that waits. Dropped, it is out of the queue.
struct Ticket<'a> {
    shared: &'a Arc<Shared>,
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
        state.turn(now);
    }
}
