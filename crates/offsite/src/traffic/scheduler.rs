//! Which request may go now: weighted fair queueing under several rules. It reads no clock and waits for nothing.
//!
//! Two things decide. A token bucket for each rule says how much may go: a request goes once each of its rules has the tokens for it. So
//! nothing passes a rule's limit. And a model in which all flows send at once, each at its max-min fair rate, says who is next: the flow
//! whose first request would be through first in the model. So flows share by their weights, whatever the sizes of their requests, and a
//! flow that pauses neither loses nor saves up anything.
//!
//! A request that must wait for one of its rules holds no tokens of the others. A later one may use them, if they will have come back by
//! then.

use std::collections::{BTreeMap, VecDeque};

use offsite_repository::TokenBucket;
use tokio::time::{Duration, Instant};

use super::share::{Claim, max_min};

/// A rule saves up as many bytes as it lets through in a tenth of a second, or this many: a block of the usual size.
const BLOCK_BYTES: u64 = 1 << 20;

/// A flow in the model is done if it has less than this left.
const NOTHING: f64 = 0.5;

/// What a rule saves up while nothing is asked. It may be sent at once.
pub(super) fn capacity(limit_bytes_per_sec: u64) -> u64 {
    (limit_bytes_per_sec / 10).max(BLOCK_BYTES)
}

/// The largest grant under a limit. It leaves room for what comes while a timer is late, for a hundredth of a second.
pub(super) fn grant_bytes(limit_bytes_per_sec: u64) -> u64 {
    capacity(limit_bytes_per_sec) - limit_bytes_per_sec / 100
}

/// A rule that a scheduler keeps.
#[derive(Debug)]
struct Rule {
    limit: u64,
    bucket: TokenBucket,
}

#[derive(Debug)]
struct Flow {
    weight: f64,
    rules: Vec<usize>,
    waiting: VecDeque<Request>,
    /// Bytes that were granted, less those that the model has sent.
    ahead: f64,
    /// Its rate in the model, when it last had one.
    rate: f64,
}

#[derive(Debug)]
struct Request {
    id: u64,
    wanted: u64,
}

impl Flow {
    fn waiting_bytes(&self) -> f64 {
        self.waiting.iter().map(|request| request.wanted as f64).sum()
    }

    /// What the model has still to send.
    fn backlog(&self) -> f64 {
        self.waiting_bytes() + self.ahead
    }

    fn is_active(&self) -> bool {
        !self.rules.is_empty() && self.backlog() > NOTHING
    }
}

/// A request that may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) request: u64,
    /// As much of it as may go.
    pub(super) bytes: u64,
}

/// Requests that wait, and what they wait for.
#[derive(Debug)]
pub(super) struct Scheduler {
    rules: Vec<Rule>,
    flows: BTreeMap<u64, Flow>,
    /// How far the model has come.
    modelled: Instant,
}

impl Scheduler {
    pub(super) fn new(now: Instant) -> Self {
        Self { rules: Vec::new(), flows: BTreeMap::new(), modelled: now }
    }

    /// From now on there are rules of these limits. Each goes on from the rule of the old number that is given with it, with what that one
    /// owes. No flow is under any of them before [`Scheduler::put_under`].
    pub(super) fn set_rules(&mut self, rules: &[(u64, Option<usize>)], now: Instant) {
        self.advance(now);
        let mut old: Vec<Option<Rule>> = self.rules.drain(..).map(Some).collect();
        let rules = rules.iter().map(|(limit, former)| {
            let former = former.and_then(|number| old.get_mut(number)?.take());
            let bucket = match former {
                Some(Rule { mut bucket, .. }) => {
                    bucket.set_rate(Some(*limit), capacity(*limit), now);
                    bucket
                }
                None => TokenBucket::new(Some(*limit), capacity(*limit), now),
            };
            Rule { limit: *limit, bucket }
        });
        self.rules = rules.collect();
        self.flows.values_mut().for_each(|flow| flow.rules.clear());
    }

    /// Puts a flow under these rules, by their numbers, and under no others.
    pub(super) fn put_under(&mut self, flow: u64, rules: Vec<usize>, now: Instant) {
        self.advance(now);
        if let Some(flow) = self.flows.get_mut(&flow) {
            flow.rules = rules;
            if flow.rules.is_empty() {
                // No rule, no model.
                flow.ahead = 0.0;
            }
        }
        self.share();
    }

    pub(super) fn add(&mut self, flow: u64, weight: f64) {
        let flow_state = Flow { weight, rules: Vec::new(), waiting: VecDeque::new(), ahead: 0.0, rate: f64::INFINITY };
        self.flows.insert(flow, flow_state);
    }

    pub(super) fn remove(&mut self, flow: u64, now: Instant) {
        self.advance(now);
        self.flows.remove(&flow);
        self.share();
    }

    /// Whether a flow is under a rule.
    pub(super) fn is_bound(&self, flow: u64) -> bool {
        self.flows.get(&flow).is_some_and(|flow| !flow.rules.is_empty())
    }

    /// A flow wants to send so many bytes, or fewer.
    pub(super) fn ask(&mut self, flow: u64, request: u64, wanted: u64, now: Instant) {
        self.advance(now);
        if let Some(flow) = self.flows.get_mut(&flow) {
            flow.waiting.push_back(Request { id: request, wanted });
        }
        self.share();
    }

    /// A request is no longer wanted.
    pub(super) fn cancel(&mut self, flow: u64, request: u64, now: Instant) {
        self.advance(now);
        if let Some(flow) = self.flows.get_mut(&flow) {
            flow.waiting.retain(|waiting| waiting.id != request);
            flow.ahead = flow.ahead.max(-flow.waiting_bytes());
        }
        self.share();
    }

    /// A flow has sent bytes without asking. Its rules make the next requests wait for it.
    pub(super) fn owe(&mut self, flow: u64, bytes: u64, now: Instant) {
        self.advance(now);
        self.take(flow, bytes, now);
        self.share();
    }

    /// A flow has not sent what it was granted.
    pub(super) fn give_back(&mut self, flow: u64, bytes: u64, now: Instant) {
        self.advance(now);
        let Some(flow) = self.flows.get_mut(&flow) else { return };
        flow.ahead = (flow.ahead - bytes as f64).max(-flow.waiting_bytes());
        for rule in &flow.rules {
            self.rules[*rule].bucket.give_back(bytes);
        }
        self.share();
    }

    /// The requests that may go now, and when to ask again if nothing else happens.
    pub(super) fn grants(&mut self, now: Instant) -> (Vec<Grant>, Option<Instant>) {
        self.advance(now);
        let mut granted = Vec::new();
        loop {
            match self.next(now) {
                Next::Grant { flow, bytes } => {
                    self.take(flow, bytes, now);
                    let request = self.flows.get_mut(&flow).and_then(|flow| flow.waiting.pop_front());
                    granted.extend(request.map(|request| Grant { request: request.id, bytes }));
                    self.share();
                }
                Next::At(wake) => {
                    self.begin_anew_where_the_model_is_done();
                    return (granted, wake);
                }
            }
        }
    }

    /// The request that may go first.
    fn next(&mut self, now: Instant) -> Next {
        let mut order: Vec<(f64, u64, u64)> = Vec::new();
        for (id, flow) in &self.flows {
            let Some(first) = flow.waiting.front() else { continue };
            let limits = flow.rules.iter().map(|rule| grant_bytes(self.rules[*rule].limit));
            let bytes = limits.min().map_or(first.wanted, |most| most.min(first.wanted));
            if flow.rules.is_empty() {
                return Next::Grant { flow: *id, bytes };
            }
            // When the model has sent it.
            order.push(((flow.ahead + bytes as f64) / flow.rate, *id, bytes));
        }
        order.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
        let levels: Vec<f64> = self.rules.iter_mut().map(|rule| rule.bucket.level(now) as f64).collect();
        let mut kept = vec![Kept::default(); self.rules.len()];
        let mut wake: Option<Duration> = None;
        for (_, id, bytes) in order {
            let Some(flow) = self.flows.get(&id) else { continue };
            let waits =
                flow.rules.iter().map(|rule| self.rules[*rule].bucket.wait(bytes, now).unwrap_or(Duration::MAX));
            let wait = waits.max().unwrap_or_default();
            let size = bytes as f64;
            let is_free =
                flow.rules.iter().all(|rule| kept[*rule].leaves(size, levels[*rule], self.rules[*rule].limit as f64));
            if is_free && wait.is_zero() {
                return Next::Grant { flow: id, bytes };
            }
            if is_free {
                wake = Some(wake.map_or(wait, |wake| wake.min(wait)));
            }
            for rule in &flow.rules {
                kept[*rule].keep(size, wait.as_secs_f64(), levels[*rule], self.rules[*rule].limit as f64);
            }
        }
        Next::At(wake.map(|wake| now + wake))
    }

    fn take(&mut self, flow: u64, bytes: u64, now: Instant) {
        let Some(flow) = self.flows.get_mut(&flow) else { return };
        if flow.rules.is_empty() {
            return;
        }
        flow.ahead += bytes as f64;
        for rule in &flow.rules {
            self.rules[*rule].bucket.take(bytes, now);
        }
    }

    /// Lets the model go on to `now`.
    fn advance(&mut self, now: Instant) {
        loop {
            let left = now.saturating_duration_since(self.modelled).as_secs_f64();
            let active = self.flows.values().filter(|flow| flow.is_active());
            let ends = active.map(|flow| flow.backlog() / flow.rate).fold(f64::INFINITY, f64::min);
            let step = left.min(ends);
            if step > 0.0 {
                for flow in self.flows.values_mut().filter(|flow| flow.is_active()) {
                    flow.ahead = (flow.ahead - flow.rate * step).max(-flow.waiting_bytes());
                }
            }
            if ends >= left || ends.is_infinite() {
                self.modelled = self.modelled.max(now);
                break;
            }
            // Of what is smaller than the clock's steps nothing is left.
            self.modelled += Duration::from_secs_f64(step);
            for flow in self.flows.values_mut().filter(|flow| flow.backlog() <= NOTHING) {
                flow.ahead = -flow.waiting_bytes();
            }
            self.share();
        }
    }

    /// Shares the rules among the flows that the model sends for.
    fn share(&mut self) {
        let limits: Vec<f64> = self.rules.iter().map(|rule| rule.limit as f64).collect();
        let active: Vec<u64> = self.flows.iter().filter(|(_, flow)| flow.is_active()).map(|(id, _)| *id).collect();
        let flows = active.iter().filter_map(|id| self.flows.get(id));
        let claims: Vec<_> = flows.map(|flow| Claim { weight: flow.weight, rules: &flow.rules }).collect();
        let rates = max_min(&limits, &claims);
        for (id, rate) in active.iter().zip(rates) {
            if let Some(flow) = self.flows.get_mut(id) {
                // A rule that others use up leaves something all the same.
                flow.rate = rate.max(f64::MIN_POSITIVE);
            }
        }
    }

    /// Where the model has sent all that waits, tokens were lost: timers were late, or a rule waited for another. The model starts anew
    /// with what waits there, as it has nothing left to order it by.
    fn begin_anew_where_the_model_is_done(&mut self) {
        let is_done = |rule: &usize| !self.flows.values().any(|flow| flow.rules.contains(rule) && flow.is_active());
        let done: Vec<usize> = (0..self.rules.len()).filter(is_done).collect();
        if done.is_empty() {
            return;
        }
        for flow in self.flows.values_mut().filter(|flow| !flow.waiting.is_empty()) {
            if flow.rules.iter().any(|rule| done.contains(rule)) {
                flow.ahead = flow.ahead.max(0.0);
            }
        }
        self.share();
    }
}

enum Next {
    Grant {
        flow: u64,
        bytes: u64,
    },
    /// None before that time; `None` if nothing waits.
    At(Option<Instant>),
}

/// What those who come first will take of a rule: by which second so many bytes, all together.
#[derive(Debug, Clone, Default)]
struct Kept {
    takes: Vec<(f64, f64)>,
}

impl Kept {
    /// Whether all of that is still there in time, if a request takes `bytes` now.
    fn leaves(&self, bytes: f64, level: f64, limit: f64) -> bool {
        // The level was rounded down.
        self.takes.iter().all(|(secs, kept)| level + 1.0 + limit * secs - bytes >= *kept)
    }

    /// Keeps `bytes` for a request that will take them in `secs`, or once they are there.
    fn keep(&mut self, bytes: f64, secs: f64, level: f64, limit: f64) {
        let kept = self.takes.last().map_or(0.0, |(_, kept)| *kept) + bytes;
        self.takes.push((secs.max((kept - level) / limit), kept));
    }
}
