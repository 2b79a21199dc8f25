//! Machines that a job no longer selects.

use std::collections::BTreeMap;

use super::calendar::Zone;
use super::policy::DaysError;
use crate::{MachineName, Timestamp};

/// When a job removes machines from its chain that it no longer selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeletedMachines {
    days: u32,
}

impl DeletedMachines {
    /// So many days after the job last selected the machine.
    ///
    /// # Errors
    /// [`DaysError`] for 0 and above [`super::Days::DAYS_MAX`].
    pub fn after_days(days: u32) -> Result<Self, DaysError> {
        super::Days::new(days).map(|_| Self { days })
    }

    /// How many days.
    #[must_use]
    pub const fn days(self) -> u32 {
        self.days
    }

    /// When each machine's blocks go. `last_selected` says when the job last selected each machine that it does not select now.
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
