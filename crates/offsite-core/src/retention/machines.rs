//! Retention of machines that a job no longer selects.

use std::collections::BTreeMap;

use super::calendar::Zone;
use super::policy::DaysError;
use crate::{MachineName, Timestamp};

/// How long a job keeps machines that it no longer selects, in days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeletedMachines {
    days: u32,
}

impl DeletedMachines {
    /// Removes a machine `days` days after the job last selected it.
    ///
    /// # Errors
    /// [`DaysError`] for 0, and for more than [`Days::DAYS_MAX`](super::Days::DAYS_MAX).
    pub fn after_days(days: u32) -> Result<Self, DaysError> {
        super::Days::new(days).map(|_| Self { days })
    }

    /// The number of days.
    #[must_use]
    pub const fn days(self) -> u32 {
        self.days
    }

    /// The time at which each machine is removed.
    ///
    /// `last_selected` holds the machines that the job does not select now, each with the time at which it last did.
    #[must_use]
    pub fn due(
        self,
        last_selected: &BTreeMap<MachineName, Timestamp>,
        zone: &Zone,
    ) -> BTreeMap<MachineName, Timestamp> {
        let due = |(name, time): (&MachineName, &Timestamp)| (name.clone(), zone.days_later(*time, self.days));
        last_selected.iter().map(due).collect()
    }
}
