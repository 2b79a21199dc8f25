//! How much block data may cross the network, and who may send it when.

mod flow;
pub(crate) mod metered;
mod name;
mod registry;
mod route;
mod rule;
mod scheduler;
mod share;
mod shared;
#[cfg(test)]
mod tests;

pub use flow::Flow;
pub use name::FlowName;
pub use registry::Traffic;
pub use route::Direction;
pub use rule::{TrafficRule, TrafficRuleError};
