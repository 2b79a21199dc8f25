//! Machines that a job no longer selects.

use std::collections::BTreeMap;

use super::calendar::Zone;
use super::policy::DaysError;
use crate::{MachineName, Timestamp};

/// When the blocks of machines that a job no longer selects are removed from its chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeletedMachines {
    days: u32,
}

impl DeletedMachines {
    /// So many days after the machine was last in the job's selection.
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

    /// When each machine's blocks go, by when it was last selected. A machine that is selected now is not asked about.
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
