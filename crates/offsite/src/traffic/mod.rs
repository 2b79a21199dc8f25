//! How much block data may cross the network, and who may send it when.

mod flow;
mod registry;
mod route;
mod rule;
mod scheduler;
mod share;

pub use flow::{Direction, Flow, FlowName};
pub use registry::Traffic;
pub use rule::{TrafficRule, TrafficRuleError};
