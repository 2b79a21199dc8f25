//! The rules of a process, and the flows that they are for.

use std::sync::Arc;

use offsite_core::Timestamp;
use offsite_repository::Endpoint;

use super::flow::Flow;
use super::name::FlowName;
use super::route::Direction;
use super::rule::{TrafficRule, TrafficRuleError};
use super::shared::Shared;
use crate::now::Now;

/// The rules about traffic, and all flows that they apply to.
///
/// A process has one registry, and puts all its repositories under it. Clones are handles of the same registry. It needs a tokio
/// runtime with its clock enabled.
///
/// - All flows of a rule together keep to its limit. Over any 10 seconds, the error is at most 2 % or 1 MiB, whichever is more.
/// - The flows share the limit evenly, by their weights, whatever the sizes of their requests. What one flow does not use, the others
///   get at once.
/// - If several rules apply to a flow, all of them hold. So the tightest one counts.
/// - [`Traffic::set_rules`], and the beginning and the end of a rule's hours, take effect within a second, also for a request that
///   waits.
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
        Self { shared: Arc::new(Shared::new(Box::new(clock))) }
    }

    /// Puts `rules` in force, in place of the former rules.
    ///
    /// A rule for the same flows as a former one counts on from what that one has let through. After an error, the former rules stay.
    ///
    /// # Errors
    /// [`TrafficRuleError::Overlap`] if two rules apply to the same flows at the same hours.
    pub fn set_rules(&self, rules: Vec<TrafficRule>) -> Result<(), TrafficRuleError> {
        self.shared.set_rules(rules)
    }

    /// The rules in force.
    #[must_use]
    pub fn rules(&self) -> Vec<TrafficRule> {
        self.shared.rules()
    }

    /// A new flow from or to a repository.
    ///
    /// Its endpoint is [`Endpoint::Unknown`] until [`Flow::set_endpoint`] says more.
    #[must_use]
    pub fn flow(&self, name: FlowName, direction: Direction) -> Flow {
        let flow = Flow::new(Arc::clone(&self.shared), self.shared.add(name), direction);
        flow.set_endpoint(Endpoint::Unknown);
        flow
    }
}
