//! The surroundings of a job while it runs.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::clock::Clock;
use super::control::Control;
use super::job::Activity;
use super::slots::Slots;
use super::tell::Teller;

/// A future that is ready when the runner is to stop.
pub(super) type Stop<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// How long a stop waits for an activity that is not a transfer.
pub(super) const GRACE: Duration = Duration::from_secs(10);

/// The pause between two steps if the time of the second has already come.
pub(super) const PAUSE: Duration = Duration::from_millis(100);

pub(super) struct Setup {
    pub(super) teller: Arc<Teller>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) slots: Slots,
    pub(super) activities: Vec<Arc<dyn Activity>>,
    pub(super) max_age: Option<Duration>,
    pub(super) control: Control,
}
